"""What Cargo.toml, pom.xml and build.gradle come down to."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from envs import registries
from envs.languages import Broken, Upstream, detect
from envs.languages.java import manifest as java
from envs.languages.native import NativeRecipe
from envs.languages.rust import debian_crates, debian_package, manifest
from envs.languages.tree import Tree


def tree(files: dict[str, str]) -> Tree:
    return Tree({path: text.encode() for path, text in files.items()})


def plan(files: dict[str, str], *, year: int = 2023) -> list[NativeRecipe]:
    found = tree(files)
    toolchain = detect(found)
    assert toolchain is not None
    recipes = toolchain.plan(Upstream("x", "1", datetime(year, 1, 1, tzinfo=UTC), found, found))
    assert isinstance(recipes, list), recipes
    return recipes


@pytest.fixture
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "cargo_hosts", lambda: ("index.example",))
    monkeypatch.setattr(registries, "maven_hosts", lambda: ("repository.example",))


@pytest.fixture
def _no_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "cargo_hosts", lambda: ())
    monkeypatch.setattr(registries, "maven_hosts", lambda: ())


CRATE = '[package]\nname = "x"\nversion = "1.0.0"\nedition = "2018"\n'


@pytest.mark.usefixtures("_no_registries")
def test_only_tests_in_files_of_their_own_are_run() -> None:
    files = {"Cargo.toml": CRATE, "src/lib.rs": "", "src/a/tests.rs": "", "tests/b.rs": ""}
    command = plan(files)[0].test[-1]
    assert "--lib -- a::tests::" in command
    assert "--test '*'" in command
    assert "--test" not in plan({k: v for k, v in files.items() if k != "tests/b.rs"})[0].test[-1]
    inline = tree({"Cargo.toml": CRATE, "src/lib.rs": "#[test] fn a() {}"})
    toolchain = detect(inline)
    assert toolchain is not None
    refused = toolchain.plan(Upstream("x", "1", datetime.now(UTC), inline, inline))
    assert isinstance(refused, Broken)
    assert refused.reason == "no_tests"


def test_an_old_cargo_is_given_every_file_by_name(tmp_path: Path) -> None:
    files = {"Cargo.toml": CRATE, "tests/b.rs": ""}
    old = next(recipe for recipe in plan(files) if recipe.suite == "bullseye")
    words = re.search(r"\$\(.*\)", old.test[-1])
    assert words is not None
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "b.rs").write_text("")
    told = subprocess.run(
        ["sh", "-c", f"echo {words[0]}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "--test b"
    assert "bullseye" not in {recipe.suite for recipe in plan(WORKSPACE | {"crates/a/Cargo.toml": CRATE})}


def test_the_compiler_is_one_that_the_edition_allows() -> None:
    files = {"Cargo.toml": CRATE, "tests/b.rs": ""}
    assert [r.suite for r in plan(files)] == ["bookworm", "trixie", "bullseye"]
    newer = CRATE.replace("2018", "2021") + 'rust-version = "1.70"\n'
    assert [r.suite for r in plan(files | {"Cargo.toml": newer})] == ["trixie"]
    told = tree(files | {"Cargo.toml": CRATE + 'rust-version = "1.99"\n'})
    toolchain = detect(told)
    assert toolchain is not None
    broken = toolchain.plan(Upstream("x", "1", datetime.now(UTC), told, told))
    assert isinstance(broken, Broken)
    assert broken.reason == "interpreter_unavailable"


WORKSPACE = {
    "Cargo.toml": '[workspace]\nmembers = ["crates/*"]\nexclude = ["crates/out"]\n'
    '[workspace.package]\nedition = "2021"\n'
    '[workspace.dependencies]\nserde = { version = "1", features = ["rc"] }\n',
    "crates/a/Cargo.toml": '[package]\nname = "a"\nedition.workspace = true\n'
    '[dependencies]\nserde = { workspace = true, features = ["derive"] }\nb = { path = "../b" }\n'
    '[target."cfg(unix)".dev-dependencies]\nre_named = { package = "Some_Crate", version = "0.2" }\n',
    "crates/b/Cargo.toml": '[package]\nname = "b"\n[dependencies]\nlog = "0.4"\n'
    '[features]\nstd = ["log/std"]\n',
    "crates/out/Cargo.toml": '[package]\nname = "out"\n',
    "crates/a/tests/t.rs": "",
}


def test_requirements_of_a_workspace() -> None:
    crates = {crate.name: crate for crate in manifest.crates(tree(WORKSPACE))}
    assert set(crates) == {"a", "b"}
    assert crates["a"].oldest == (1, 56)
    assert {(r.name, r.version, r.features) for r in crates["a"].requirements} == {
        ("serde", "1", ("rc", "derive")),
        ("Some_Crate", "0.2", ()),
    }
    assert [(r.name, r.features) for r in crates["b"].requirements] == [("log", ("std",))]


@pytest.mark.usefixtures("_no_registries")
def test_crates_of_debian_where_no_registry_answers() -> None:
    recipe = plan(WORKSPACE)[0]
    assert recipe.packages == (
        "librust-log+std-dev", "librust-log-dev", "librust-serde+derive-dev", "librust-serde+rc-dev",
        "librust-serde-dev", "librust-some-crate-dev",
    )  # fmt: skip
    assert "--workspace" in recipe.test[-1]
    locked = plan({**WORKSPACE, "Cargo.lock": ""})[0]
    assert locked.compile == ("cp", "/opt/cache/Cargo.lock", "Cargo.lock")


@pytest.mark.usefixtures("_registries")
def test_crates_of_the_registry_come_first_where_it_answers() -> None:
    first, second = plan({**WORKSPACE, "Cargo.lock": ""})[:2]
    assert first.install == ("cargo fetch --locked || cargo fetch",)
    assert "debian_crates.py" in second.install[0]
    assert debian_package("Foo_bar", "std") == "librust-foo-bar+std-dev"


@pytest.mark.parametrize(
    ("requirement", "version", "fits"),
    [
        ("1", "1.9.0", True), ("1.2", "1.1.9", False), ("0.2.3", "0.2.9", True), ("0.2.3", "0.3.0", False),
        ("=1.2.3", "1.2.3", True), ("=1.2.3", "1.2.4", False), ("~1.2", "1.2.9", True),
        ("~1.2", "1.3.0", False),
        (">=1, <3", "2.5.0", True), (">=1, <3", "3.0.0", False), ("*", "0.1.0", True), ("1.*", "1.7.0", True),
        ("0.0.3", "0.0.4", False),
    ],
)  # fmt: skip
def test_versions_match_as_cargo_would_have_it(requirement: str, version: str, fits: bool) -> None:
    assert debian_crates.matches(requirement, version) is fits
    assert debian_crates.matches(requirement, debian_crates.lowest(requirement))


POM = """<project><parent><groupId>g</groupId><artifactId>parent</artifactId></parent>
<groupId>g</groupId><artifactId>own</artifactId><!-- <dependency><artifactId>no</artifactId></dependency> -->
<modules><module>core</module><module>docs</module></modules>
<properties><maven.compiler.release>17</maven.compiler.release></properties>
<build><plugins><plugin><artifactId>jacoco</artifactId><x>@{argLine}</x></plugin></plugins></build></project>"""
CORE = """<project><groupId>g</groupId><artifactId>core</artifactId><dependencies>
<dependency><groupId>junit</groupId><artifactId>junit</artifactId></dependency>
<dependency><groupId>org.mockito</groupId><artifactId>mockito-core</artifactId></dependency>
<dependency><groupId>g</groupId><artifactId>own</artifactId></dependency>
<dependency><groupId>c</groupId><artifactId>commons-io</artifactId></dependency></dependencies></project>"""
MODULES = {
    "pom.xml": POM,
    "core/pom.xml": CORE,
    "docs/pom.xml": "<project/>",
    "core/src/test/java/ATest.java": "",
}


@pytest.mark.usefixtures("_no_registries")
def test_maven_runs_the_modules_that_have_tests() -> None:
    recipes = plan(MODULES)
    assert [r.suite for r in recipes] == ["bookworm", "trixie"]
    recipe = recipes[0]
    assert recipe.packages == ("junit4", "libcommons-io-java", "libmockito-java", "libparent-java")
    assert "-fae -pl core -DargLine= " in recipe.test[-1]
    assert recipe.report_files == ("**/target/surefire-reports/TEST-*.xml",)
    assert len(recipe.install) == 1


@pytest.mark.usefixtures("_registries")
def test_artifacts_of_the_repository_come_first_where_it_answers() -> None:
    first, second = plan(MODULES)[:2]
    assert "mvn -B -q" in first.install[0]
    assert "debian_maven.py" in second.install[0]


GRADLE = """plugins { id 'java-library' }
sourceCompatibility = 1.8
dependencies {
    api 'com.google.guava:guava:31.0-jre'
    testImplementation("org.junit.jupiter:junit-jupiter:5.9.0")
    testImplementation platform('org.junit:junit-bom:5.9.0')
}
"""


@pytest.mark.usefixtures("_no_registries")
def test_a_plain_gradle_build_is_said_as_a_pom() -> None:
    files = {"build.gradle": GRADLE, "src/test/java/ATest.java": ""}
    assert [(a.name, a.version, a.scope) for a in java.gradle(tree(files))] == [
        ("guava", "31.0-jre", "compile"),
        ("junit-jupiter", "5.9.0", "test"),
    ]
    assert java.release(tree(files)) == 8
    recipe = plan(files)[0]
    assert "<artifactId>guava</artifactId>" in recipe.install[0]
    assert "-f /opt/cache/project/pom.xml" in recipe.test[-1]
    assert recipe.packages == ("libguava-java",)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/test/java/a/B.java", True), ("core/src/test/resources/x.txt", True),
        ("src/main/java/a/B.java", False),
        ("src/main/java/a/TestCase.java", False), ("test/a/BTest.java", True), ("a/BTest.java", True),
        ("src/main/java/a/LatestTest.java", False),
    ],
)  # fmt: skip
def test_paths_of_java_tests(path: str, expected: bool) -> None:
    toolchain = detect(tree({"pom.xml": "<project/>", "src/test/java/ATest.java": ""}))
    assert toolchain is not None
    assert toolchain.is_test(path) is expected
