"""The worked example is what its script makes today, and grades as its README says."""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "office"


def parts(data: bytes) -> dict[str, bytes]:
    """What an archive holds, however it was packed and when; a text is itself."""
    if not data.startswith(b"PK"):
        return {"": data}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "docProps/core.xml"}


def test_the_files_are_what_make_writes() -> None:
    made = runpy.run_path(str(EXAMPLE / "make.py"))["files"]()
    for name, data in made.items():
        if name != "forged.xlsx":  # its archive carries the time
            assert (EXAMPLE / name).read_bytes() == data, (
                f"run examples/office/make.py: {name} is not what it writes"
            )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="graded in process on Linux only")
@pytest.mark.parametrize(("name", "reward"), [("reference", 1), ("forged", 0), ("three_statements", 0)])
def test_it_grades_as_the_readme_says(name: str, reward: int) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "grade.py"), str(EXAMPLE / f"{name}.xlsx")], capture_output=True,
        text=True, check=True, timeout=120, cwd=EXAMPLE.parents[1],
    )  # fmt: skip
    assert f"scored, reward {reward}" in done.stdout
