"""How formulas are read, and the corpus that engines are measured with."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from small_task import specification

from verifiers.spreadsheet.child import INSIDE
from verifiers.spreadsheet.spec import SpreadsheetSpec

ROOT = Path(__file__).resolve().parents[3]
READ = """
import json, sys
sys.path.insert(0, sys.argv[1])
from references import Area, Names, Reading, completed, read
table = (Area("S", 1, 1, 10, 3), ("Day", "Unit Price", "Sum"), 1, 0)
names = Names({("", "rate"): "Inputs!$B$2"}, {"sales": table})
found = []
for formula in json.load(sys.stdin):
    one = Reading()
    read(formula, "S", 4, names, one)
    areas = [str(area) for area in one.areas]
    found.append([areas, sorted(one.functions), one.constants, one.dynamic, completed(formula)])
print(json.dumps(found))
"""
FORMULAS = {
    "=SUM(A1:B2,'My S'!C3)*Rate": (["S!A1:B2", "My S!C3", "Inputs!B2"], ["SUM"], [], False),
    "=SUM(Sales[Unit Price])": (["S!B2:B10"], ["SUM"], [], False),
    "=Sales[[#This Row],[Sum]]*2": (["S!C4"], [], [2.0], False),
    "=A1:INDEX(B1:B9,3)": (["S!A1", "S!B1:B9"], ["INDEX"], [3.0], False),
    '=INDIRECT("A1")': ([], ["INDIRECT"], [], True),
    "=-5%": ([], [], [5.0], False),
}
COMPLETED = {
    "=XLOOKUP(A1,B:B,C:C)": "=_xlfn.XLOOKUP(A1,B:B,C:C)",
    "=sort(A1:A9)": "=_xlfn._xlws.SORT(A1:A9)",
    "=LET(x,A1,x+1)": "=_xlfn.LET(_xlpm.x,A1,_xlpm.x+1)",
    "=_xlfn.LET(_xlpm.x,A1,_xlpm.x)": "=_xlfn.LET(_xlpm.x,A1,_xlpm.x)",
    "=SUM(A1)": "=SUM(A1)",
}


def asked(formulas: list[str]) -> list[list[object]]:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(INSIDE)], input=json.dumps(formulas), capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_what_formulas_read() -> None:
    for (formula, expected), found in zip(FORMULAS.items(), asked(list(FORMULAS)), strict=True):
        assert tuple(found[:4]) == expected, formula


def test_new_functions_are_completed_as_files_write_them() -> None:
    for (formula, expected), found in zip(COMPLETED.items(), asked(list(COMPLETED)), strict=True):
        assert found[4] == expected, formula


def test_the_corpus_is_what_its_python_answers() -> None:
    module = runpy.run_path(str(ROOT / "benchmarks" / "recalculation_answers.py"))
    committed = json.loads(module["CORPUS"].read_text())
    assert len(committed) >= 250
    answered = module["corpus"]()
    assert [entry["formula"] for entry in committed] == [entry["formula"] for entry in answered]
    for one, other in zip(committed, answered, strict=True):
        same = one["answer"] == other["answer"]
        assert same or one["answer"] == pytest.approx(other["answer"], rel=1e-9), one["formula"]


def test_a_spec_survives_its_json_and_refuses_equal_names() -> None:
    spec = specification()
    assert SpreadsheetSpec.model_validate_json(spec.to_json()) == spec
    with pytest.raises(ValueError, match="same name"):
        SpreadsheetSpec(answer="a.xlsx", checks=(spec.checks[0], spec.checks[0]))
