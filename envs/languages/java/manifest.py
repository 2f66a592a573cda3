"""What pom.xml and build.gradle files say, as far as the environment depends on it. Pure, by pattern: neither
is evaluated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envs.languages.tree import Tree

GRADLE_FILES = ("build.gradle", "build.gradle.kts")

# Artifact → Debian package, where it is not lib<artifact>-java.
PACKAGES = {
    "junit": "junit4",
    "testng": "testng",
    "mockito-core": "libmockito-java",
    "mockito-all": "libmockito-java",
    "mockito-junit-jupiter": "libmockito-java",
    "hamcrest-core": "libhamcrest-java",
    "hamcrest-library": "libhamcrest-java",
    "hamcrest-all": "libhamcrest-java",
    "hamcrest": "libhamcrest-java",
    "gson": "libgoogle-gson-java",
    "slf4j-api": "libslf4j-java",
    "slf4j-simple": "libslf4j-java",
    "slf4j-nop": "libslf4j-java",
    "logback-classic": "liblogback-java",
    "logback-core": "liblogback-java",
    "log4j-core": "liblog4j2-java",
    "log4j-api": "liblog4j2-java",
    "log4j": "liblog4j1.2-java",
    "jackson-core": "libjackson2-core-java",
    "jackson-databind": "libjackson2-databind-java",
    "jackson-annotations": "libjackson2-annotations-java",
    "error_prone_annotations": "liberror-prone-java",
    "checker-qual": "libchecker-framework-java",
    "guava-testlib": "libguava-testlib-java",
    "apache": "libapache-pom-java",
    "antlr4-runtime": "libantlr4-runtime-java",
    "javax.servlet-api": "libservlet-api-java",
    "servlet-api": "libservlet-api-java",
    "jmh-core": "libjmh-java",
    "jcip-annotations": "libjcip-annotations-java",
    "system-rules": "libsystem-rules-java",
    "xmlunit": "libxmlunit-java",
    "commons-lang": "libcommons-lang-java",
    "json": "libjson-java",
    "json-simple": "libjson-simple-java",
    "maven-bundle-plugin": "libmaven-bundle-plugin-java",
    "build-helper-maven-plugin": "libbuild-helper-maven-plugin-java",
}
_NEVER = re.compile(r"junit-.*|maven-(compiler|resources|surefire|jar|clean|site|install|deploy)-plugin")


@dataclass(frozen=True)
class Artifact:
    """A dependency, a parent or an extension."""

    group: str
    name: str
    version: str = ""
    scope: str = "compile"

    @property
    def package(self) -> str:
        """The Debian package that most likely has it; '' where the environment has it already."""
        if _NEVER.fullmatch(self.name):
            return ""
        name = PACKAGES.get(self.name) or f"lib{self.name.lower().replace('_', '-')}-java"
        return name if re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name) else ""


def poms(tree: Tree) -> tuple[str, ...]:
    """pom.xml of the root, and of its modules."""
    found, todo = [], ["pom.xml"]
    while todo:
        path = todo.pop(0)
        if path not in tree or path in found:
            continue
        found.append(path)
        folder = path.removesuffix("pom.xml")
        for module in re.findall(r"<module>\s*([\w./-]+?)\s*</module>", _pom(tree, path)):
            todo.append(
                f"{folder}{module.rstrip('/')}/pom.xml" if not module.endswith(".xml") else folder + module
            )
    return tuple(found)


def _pom(tree: Tree, path: str) -> str:
    return re.sub(r"<!--.*?-->", "", tree.text(path), flags=re.S)


def artifacts(tree: Tree) -> tuple[Artifact, ...]:
    """What the pom files name: dependencies, parents, plugins that are extensions."""
    found: set[Artifact] = set()
    for path in poms(tree):
        text = _pom(tree, path)
        plugins = [p for p in re.findall(r"<plugin>.*?</plugin>", text, re.S) if "<extensions>true" in p]
        elements = re.findall(r"<(?:dependency|parent)>.*?</(?:dependency|parent)>", text, re.S)
        for element in (*elements, *plugins):
            group, name = _said(element, "groupId"), _said(element, "artifactId")
            if name and "$" not in name:
                found.add(Artifact(group, name))
    own = {
        _said(re.sub(r"<parent>.*?</parent>", "", _pom(tree, path), flags=re.S), "artifactId")
        for path in poms(tree)
    }
    return tuple(sorted((a for a in found if a.name not in own), key=lambda a: (a.group, a.name)))


def _said(element: str, tag: str) -> str:
    match = re.search(rf"<{tag}>\s*([^<]+?)\s*</{tag}>", element)
    return match[1] if match else ""


def release(tree: Tree) -> int:
    """Newest Java that the sources ask for; 0 when they do not say."""
    texts = [_pom(tree, path) for path in poms(tree)] + [tree.text(name) for name in GRADLE_FILES]
    told = [
        int(number)
        for text in texts
        for number in re.findall(
            r"<(?:maven\.compiler\.(?:release|source|target)|java\.version|release|source)>\s*(?:1\.)?(\d+)\s*<"
            r"|(?!)", text,
        )
    ]  # fmt: skip
    told += [
        int(number)
        for text in texts
        for number in re.findall(
            r"(?:sourceCompatibility\s*=?\s*|languageVersion\D+)['\"]?(?:1\.)?(?:VERSION_)?(\d+)", text
        )
    ]
    return max((n for n in told if n < 40), default=0)


_GRADLE_DEPENDENCY = re.compile(
    r"^\s*(api|implementation|compile|compileOnly|runtime|runtimeOnly|testImplementation|testCompile|testRuntimeOnly"
    r"|testCompileOnly|annotationProcessor)\b[\s(]*['\"]([\w.-]+):([\w.-]+)(?::([\w.-]+))?", re.M,
)  # fmt: skip


def gradle(tree: Tree) -> tuple[Artifact, ...]:
    """Dependencies that a build.gradle writes out."""
    found = set()
    for name in GRADLE_FILES:
        for kind, group, artifact, version in _GRADLE_DEPENDENCY.findall(tree.text(name)):
            scope = "test" if kind.startswith("test") else "provided" if "Only" in kind else "compile"
            if artifact != "junit-bom" and kind != "annotationProcessor":
                found.add(Artifact(group, artifact, version, scope))
    return tuple(sorted(found, key=lambda a: (a.group, a.name)))
