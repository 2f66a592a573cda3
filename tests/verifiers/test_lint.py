"""Every rule of the linter finds what it is for, and nothing in a task as it should be."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from verifiers.tests.bundle import HiddenFiles, load, render
from verifiers.tests.lint import LEAKS, RULES, lint
from verifiers.tests.spec import TestSpec

HIDDEN = b"from calc import add\n\n\n" + b"\n".join(
    b"def test_add_%d():\n    assert add(%d, 1) == %d\n" % (n, n, n + 1) for n in range(5)
)
GOLD = (
    b"diff --git a/calc.py b/calc.py\n--- a/calc.py\n+++ b/calc.py\n@@ -1,2 +1,9 @@\n-def add(a, b):\n"
    b"-    return a - b\n+def add(first, second):\n+    if first is None or second is None:\n"
    b"+        raise TypeError('both numbers are needed')\n+    total = first + second\n+    return total\n"
)
TOLD = (
    "Adding two numbers gives their difference; it should give the sum, and complain about nothing at all.\n"
)
DOCKERFILE = "ARG BASE=debian:bookworm-20260101\nFROM ${BASE}\nCOPY requirements.lock app.tar /\n"


def problems(folder: Path, files: Mapping[str, bytes] | None = None, **changes: Any) -> dict[str, str]:
    """Codes and places that the rules find in a bundle of one project, changed as named."""
    environment = folder / "environment"
    environment.mkdir()
    environment.joinpath("Dockerfile").write_text(changes.pop("dockerfile", DOCKERFILE))
    with tarfile.open(environment / "app.tar", "w") as tar:
        for path, data in {"calc.py": b"def add(a, b):\n    return a - b\n", **(files or {})}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    hidden: HiddenFiles = {"tests/test_calc.py": ("100644", changes.pop("hidden", HIDDEN))}
    spec = TestSpec(
        runner="pytest", args=("tests",),
        fail_to_pass=changes.pop("fail_to_pass", ("tests/test_calc.py::t",)),
        pass_to_pass=changes.pop("pass_to_pass", ("tests/test_old.py::t",)),
        unprotected=changes.pop("unprotected", ()),
    )  # fmt: skip
    values: dict[str, Any] = {
        "instruction": TOLD, "licenses": {"LICENSE": b"MIT"}, "metadata": {"license": "MIT"}, **changes,
    }  # fmt: skip
    bundle = render(
        folder / "task", task_id="t1", kind="bug_fix", repo="calc", environment_dir=environment,
        hidden=hidden, gold_patch=GOLD, spec=spec, **values,
    )  # fmt: skip
    return {problem.code: problem.where for problem in lint(load(bundle.path), ("MIT",))}


def test_a_task_as_it_should_be(tmp_path: Path) -> None:
    assert problems(tmp_path) == {}


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "history_in_image": ({"files": {".git/HEAD": b"ref: x"}}, "environment/app.tar"),
    "hidden_test_in_image": ({"files": {"build/lib/t.py": HIDDEN}}, "environment/app.tar"),
    "solution_in_image": ({"files": {"fix.txt": GOLD}}, "environment/app.tar"),
    "dockerfile_copies_answer": ({"dockerfile": DOCKERFILE + "ADD tests /t\n"}, "environment/Dockerfile"),
    "nothing_decides": ({"fail_to_pass": ()}, "tests/spec.json"),
    "instruction_names_change": (
        {"instruction": TOLD + "See https://example.org/calc/pull/7 for more.\n"}, "instruction.md",
    ),
    "license_missing": ({"licenses": {}}, "LICENSES"),
    "license_not_allowed": ({"metadata": {"license": "GPL-3.0-only"}}, "task.toml"),
    "instruction_leaks_solution": (
        {"instruction": TOLD + "".join(line[1:] + "\n" for line in GOLD.decode().split("\n")[-8:])},
        "instruction.md",
    ),
    "spec_undetermined": (
        {"hidden": HIDDEN + b"def test_none():\n    complains('both numbers')\n"},
        "tests/hidden/tests/test_calc.py:19",
    ),
    "instruction_short": ({"instruction": "Mend it.\n"}, "instruction.md"),
    "nothing_maintained": ({"pass_to_pass": ()}, "tests/spec.json"),
    "dockerfile_downloads": ({"dockerfile": DOCKERFILE + "RUN git clone x\n"}, "environment/Dockerfile"),
    "floating_base_image": ({"dockerfile": "FROM debian:latest\n"}, "environment/Dockerfile"),
    "steering_file_open": ({"unprotected": ("pyproject.toml",)}, "pyproject.toml"),
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(CASES))
def test_a_rule_finds_what_it_is_for(tmp_path: Path, code: str) -> None:
    changes, where = CASES[code]
    assert problems(tmp_path, **changes) == {code: where}


def test_an_open_network_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from verifiers.tests import bundle

    made = bundle._task_toml
    monkeypatch.setattr(
        bundle, "_task_toml", lambda *a: (t := made(*a)) | {"agent": t["agent"] | {"network_mode": "public"}}
    )
    assert problems(tmp_path) == {"open_network": "task.toml"}


def test_every_rule_has_a_case_and_every_leak_is_a_rule() -> None:
    assert set(CASES) | {"open_network"} == set(RULES)
    assert set(LEAKS) < set(RULES)
