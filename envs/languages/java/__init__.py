"""The Java toolchain: Debian's JDK of the time, Maven, surefire's reports.

Artifacts come from the repository that Maven is set up with, where it answers; else from Debian's, offline.
Maven is asked for goals (compile, test), not for phases, so that plugins which only check, sign or publish
are never needed. A project of Gradle whose build file writes its dependencies out is built by a pom that says
the same: its own wrapper and plugins could not be had offline.
"""

from __future__ import annotations

import re
import shlex
from datetime import date
from pathlib import Path, PurePosixPath
from typing import ClassVar

from envs import registries
from envs.languages import Broken, Resolved, Upstream, layers
from envs.languages.java import manifest
from envs.languages.java.manifest import Artifact
from envs.languages.native import CACHE, NativeRecipe, NativeToolchain
from envs.languages.tree import Tree

JDK: tuple[tuple[str, int, date], ...] = (
    ("bullseye", 11, date(2021, 12, 1)),
    ("bookworm", 17, date(2025, 1, 1)),
    ("trixie", 21, date.max),
)
"""Debian suite, its Java, and until when sources are rather older than newer than that."""

SCRIPT = "debian_maven.py"
PLACE = f"/usr/local/lib/verifactory/{SCRIPT}"
REPOSITORY = f"{CACHE}/m2"
POM = f"{CACHE}/project/pom.xml"
# By their whole names: to find a short one, Maven would load every plugin that the project has.
GOALS = " ".join(
    f"org.apache.maven.plugins:maven-{plugin}-plugin:{goal}"
    for plugin, goal in (
        ("resources", "resources"), ("compiler", "compile"), ("resources", "testResources"),
        ("compiler", "testCompile"), ("surefire", "test"),
    )
)  # fmt: skip
OPTIONS = (
    "-Dsurefire.useFile=false -Dsurefire.reportFormat=plain -Dmaven.test.failure.ignore=false "
    "-DfailIfNoTests=false -Dsurefire.failIfNoSpecifiedTests=false"
)
# Maven reads no proxy variables.
PROXY = (
    'at="${https_proxy#*://}"; at="${at%/}"; [ -z "$at" ] || export MAVEN_OPTS="-Dhttps.proxyHost=${at%:*} '
    '-Dhttps.proxyPort=${at##*:} -Dhttp.proxyHost=${at%:*} -Dhttp.proxyPort=${at##*:}"; '
)
REPORTS = "**/target/surefire-reports/TEST-*.xml"

_STEERING = (
    r"(^|/)(pom\.xml|build\.gradle(\.kts)?|settings\.gradle(\.kts)?|gradle\.properties|mvnw(\.cmd)?|gradlew(\.bat)?"
    r"|\.mvn/.*|gradle/wrapper/.*|libs\.versions\.toml|junit-platform\.properties|surefire[\w.-]*\.xml|testng\.xml)$"
)


class JavaToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "java"
    suffixes: ClassVar[tuple[str, ...]] = (".java",)
    steering: ClassVar[str] = _STEERING
    packages: ClassVar[tuple[str, ...]] = (
        "default-jdk-headless", "junit4", "junit5", "libsurefire-java", "maven", "maven-debian-helper",
    )  # fmt: skip

    def claims(self, tree: Tree) -> bool:
        return "pom.xml" in tree or any(name in tree for name in manifest.GRADLE_FILES)

    def is_test(self, path: str) -> bool:
        folders = PurePosixPath(path).parts[:-1]
        name = PurePosixPath(path).name
        if any(folder in ("test", "tests", "testFixtures", "integration-test") for folder in folders[:4]):
            return True
        return (
            bool(re.fullmatch(r"(Test[A-Z]\w*|\w+(Test|Tests|TestCase|IT))\.java", name))
            and "main" not in folders
        )

    def toolchain(self, recipe: NativeRecipe) -> str:
        """The JDK's packages put links below folders of manuals, which a slim image does not have."""
        install = f"RUN {layers.apt(self.packages)}"
        manuals = f"RUN mkdir -p /usr/share/man/man1 && {layers.apt(self.packages)}"
        return super().toolchain(recipe).replace(install, manuals)

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        if not any(path.endswith(".java") and self.is_test(path) for path in upstream.gold):
            return Broken("plan", "No file of the source looks like a test.", reason="no_tests")
        wanted = manifest.release(upstream.gold)
        fitting = [entry for entry in JDK if entry[1] >= wanted]
        when = upstream.date.date()
        chosen = [e for e in fitting if when < e[2]] + [e for e in reversed(fitting) if when >= e[2]]
        if not chosen:
            detail = f"The source requires Java {wanted}; the newest at hand is {JDK[-1][1]}."
            return Broken("plan", detail, reason="interpreter_unavailable")
        kind = _maven if "pom.xml" in upstream.gold else _gradle
        return [recipe for suite, _, _ in chosen for recipe in kind(suite, upstream, self)]

    def context(self, resolved: Resolved) -> dict[str, bytes]:
        script = (Path(__file__).parent / SCRIPT).read_bytes()
        return super().context(resolved) | {SCRIPT: script}

    def dockerfile(self, recipe: NativeRecipe) -> str:
        before, tree, after = super().dockerfile(recipe).partition("ADD app.tar /app/\n")
        return f"{before}COPY {SCRIPT} {PLACE}\n{tree}{after}"


def _recipe(
    suite: str, arguments: str, artifacts: tuple[Artifact, ...], **fields: object
) -> list[NativeRecipe]:
    """By the registry, where it answers, and by Debian."""
    plain = NativeRecipe(
        language="java", suite=suite, framework="surefire", report="junit", log_report="surefire_log",
        report_files=(REPORTS,), env={"MAVEN_OPTS": "-Xmx768m"},
        test=("sh", "-c", f"exec mvn -B -o -Dmaven.repo.local={REPOSITORY} {OPTIONS} {arguments} {GOALS}"),
    ).model_copy(update=fields)  # fmt: skip
    found = []
    # A test that is not there: surefire fetches what it needs to run any.
    ahead = f"-Dtest=NoSuchTestAtAll {OPTIONS} {arguments} {GOALS}"
    if registries.maven_hosts():
        fetch = f"{PROXY}mvn -B -q -Dmaven.repo.local={REPOSITORY} {ahead}"
        found.append(
            plain.model_copy(
                update={"install": (*plain.install, fetch), "notes": ("artifacts: the registry's",)}
            )
        )
    make = f"python3 -I {PLACE} {REPOSITORY} {ahead}"
    packages = tuple(sorted({a.package for a in artifacts} - {""}))
    update = {"install": (*plain.install, make), "packages": packages, "notes": ("artifacts: Debian's",)}
    return [*found, plain.model_copy(update=update)]


def _maven(suite: str, upstream: Upstream, toolchain: JavaToolchain) -> list[NativeRecipe]:
    gold = upstream.gold
    poms = manifest.poms(gold)
    arguments = []
    if len(poms) > 1:
        tested = [
            path.removesuffix("/pom.xml")
            for path in poms[1:]
            if any(file.startswith(f"{path.removesuffix('pom.xml')}src/test/") for file in gold)
        ]
        arguments.append(f"-fae -pl {shlex.quote(','.join(tested))}" if tested else "-fae")
    if any("@{argLine}" in gold.text(path) for path in poms):
        arguments.append("-DargLine=")  # a coverage plugin's, which does not run
    return _recipe(suite, " ".join(arguments), manifest.artifacts(gold))


_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>localhost</groupId><artifactId>project</artifactId><version>0</version>
<properties><maven.compiler.source>{release}</maven.compiler.source><maven.compiler.target>{release}</maven.compiler.target>
<project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>
<dependencies>{dependencies}</dependencies>
<build><directory>/app/target</directory><sourceDirectory>/app/src/main/java</sourceDirectory>
<testSourceDirectory>/app/src/test/java</testSourceDirectory>
<resources><resource><directory>/app/src/main/resources</directory></resource></resources>
<testResources><testResource><directory>/app/src/test/resources</directory></testResource></testResources>
<plugins><plugin><artifactId>maven-surefire-plugin</artifactId>
<configuration><workingDirectory>/app</workingDirectory></configuration></plugin></plugins></build></project>
"""
_DEPENDENCY = (
    "<dependency><groupId>{0.group}</groupId><artifactId>{0.name}</artifactId><version>{1}</version>"
    "<scope>{0.scope}</scope></dependency>"
)


def _gradle(suite: str, upstream: Upstream, toolchain: JavaToolchain) -> list[NativeRecipe]:
    """A pom that says what the build file does. A version left to a platform is whatever Debian has."""
    artifacts = manifest.gradle(upstream.gold)
    java = next(version for name, version, _ in JDK if name == suite)
    text = _POM.format(
        release=manifest.release(upstream.gold) or min(java, 8),
        dependencies="".join(_DEPENDENCY.format(a, a.version or "0") for a in artifacts),
    ).replace("\n", "")
    write = f"mkdir -p {PurePosixPath(POM).parent} && printf %s {shlex.quote(text)} > {POM}"
    return _recipe(suite, f"-f {POM}", artifacts, install=(write,))
