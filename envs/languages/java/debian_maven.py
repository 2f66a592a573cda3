"""Run in the image while it is built: a Maven repository of Debian's artifacts that satisfies a project.

Arguments: the repository to make, then Maven's goals and options. Debian keeps one version of each artifact
below /usr/share/maven-repo; Maven is run and says what it misses, and that version is made from Debian's,
until nothing is missing or nothing more can be done. What Debian has not is given as an empty one: of a
library only what uses it does not compile; what a parent would have said of versions is filled in with
Debian's. Standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

DEBIAN = Path("/usr/share/maven-repo")
ROUNDS = 120
MISSING = re.compile(
    r"artifact ([\w.-]+):([\w.-]+):(\w[\w-]*):(?:[\w-]+:)?([\w.-]+) (?:has not been downloaded|in )"
)
UNMANAGED = re.compile(r"'dependencies\.dependency\.version' for ([\w.-]+):([\w.-]+):\S+ is missing")
UNVERSIONED = re.compile(r"Error resolving version for plugin '([\w.-]+):([\w.-]+)'")
# A plugin that Maven would load before anything else; a parent's are about packaging, which no test needs.
EXTENSION = re.compile(r"<plugin>(?:(?!</plugin>).)*?<extensions>true</extensions>.*?</plugin>", re.S)
EMPTY = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version><packaging>{}</packaging>
</project>
"""


class Repository:
    """What is made; parents and lists of versions made here are kept in mind, to be added to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.parents: list[Path] = []
        for pom in DEBIAN.rglob("*.pom"):
            here = root / pom.parent.relative_to(DEBIAN)
            if not here.exists():
                here.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(pom.parent.resolve(), here)

    def debian(self, group: str, artifact: str) -> str:
        """Debian's version of an artifact; '' for none. It keeps real numbers beside names like 'debian'."""
        folder = DEBIAN / group.replace(".", "/") / artifact
        found = [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
        return max(found, key=lambda v: (v[:1].isdigit() and not v.endswith(".x"), _numbers(v)), default="")

    def provide(self, group: str, artifact: str, kind: str, version: str) -> bool:
        """Make what is missing, if it can be made."""
        folder = self.root / group.replace(".", "/") / artifact / version
        have = self.debian(group, artifact)
        pom = folder / f"{artifact}-{version}.pom"
        if pom.exists() and not (kind != "pom" and not list(folder.glob("*.jar"))):
            return False
        if have:
            print(f"{group}:{artifact}:{version}: Debian's {have} stands in")
            self.copy(DEBIAN / group.replace(".", "/") / artifact / have, folder, artifact, have, version)
        elif not artifact.endswith("-plugin"):
            print(f"{group}:{artifact}:{version}: not in Debian, empty")
            folder.mkdir(parents=True, exist_ok=True)
            pom.write_text(EMPTY.format(group, artifact, version, "pom" if kind == "pom" else "jar"))
            if kind != "pom":
                zipfile.ZipFile(folder / f"{artifact}-{version}.jar", "w").close()
        else:
            print(f"{group}:{artifact}:{version}: not in Debian")
            return False
        if kind == "pom":
            self.parents.append(pom)
        return True

    def copy(self, source: Path, folder: Path, artifact: str, have: str, version: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            target = folder / file.name.replace(f"{artifact}-{have}", f"{artifact}-{version}", 1)
            if target.exists() or target.is_symlink():
                continue
            if file.suffix == ".pom":
                name, old = re.escape(artifact), re.escape(have)
                named = rf"(<artifactId>{name}</artifactId>\s*<version>){old}(</version>)"
                text = file.read_text(errors="replace")
                text = re.sub(named, rf"\g<1>{version}\g<2>", text, count=1)
                target.write_text(EXTENSION.sub("", text))
            else:
                os.symlink(file.resolve(), target)

    def manage(self, group: str, artifact: str) -> bool:
        """Give a version, Debian's, to a dependency that a parent of ours should have given one."""
        version = self.debian(group, artifact) or "0"
        entry = (
            f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version></dependency>"
        )
        for pom in self.parents:
            text = pom.read_text()
            if entry in text:
                continue
            if "<dependencyManagement>" not in text:
                empty = "<dependencyManagement><dependencies></dependencies></dependencyManagement>"
                text = text.replace("</project>", f"{empty}</project>")
            head, opening, tail = text.partition("<dependencyManagement>")
            tail = tail.replace("</dependencies>", f"{entry}</dependencies>", 1)
            pom.unlink()
            pom.write_text(head + opening + tail)
            return True
        return False

    def version_plugin(self, group: str, artifact: str) -> bool:
        """Give a version to a plugin that a parent of ours should have given one: where it is named, or among
        the managed ones. Maven wants it of all plugins; that one itself is missing matters only when it runs.
        """
        version = self.debian(group, artifact) or "0"
        entry = (
            f"<plugin><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version></plugin>"
        )
        for pom in self.parents:
            text = pom.read_text()
            bare = rf"(<artifactId>{re.escape(artifact)}</artifactId>)(?!\s*<version>)"
            if re.search(bare, text):
                pom.write_text(re.sub(bare, rf"\g<1><version>{version}</version>", text))
                return True
            if entry in text:
                continue
            managed = re.search(r"<pluginManagement>\s*<plugins>", text)
            build = re.search(r"<build>", text)
            if managed:
                text = text[: managed.end()] + entry + text[managed.end() :]
            elif build:
                block = f"<pluginManagement><plugins>{entry}</plugins></pluginManagement>"
                text = text[: build.end()] + block + text[build.end() :]
            else:
                block = f"<build><pluginManagement><plugins>{entry}</plugins></pluginManagement></build>"
                text = text.replace("</project>", f"{block}</project>")
            pom.write_text(text)
            return True
        return False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version))


def main(root: Path, arguments: list[str]) -> int:
    repository = Repository(root)
    for _ in range(ROUNDS):
        ran = subprocess.run(
            ["mvn", "-B", "-o", f"-Dmaven.repo.local={root}", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
        missing = {found for found in MISSING.findall(ran.stdout)}
        unmanaged = set(UNMANAGED.findall(ran.stdout))
        made = [repository.provide(*found) for found in sorted(missing)]
        made += [repository.manage(*found) for found in sorted(unmanaged)]
        made += [repository.version_plugin(*found) for found in sorted(set(UNVERSIONED.findall(ran.stdout)))]
        if not any(made):
            print(ran.stdout[-12_000:])
            return ran.returncode
    print("too many rounds")
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
