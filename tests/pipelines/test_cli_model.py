"""`verifactory model show`: presets and checkpoints, in a process that has no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from training.model.config import preset
from training.model.hf_config import to_hf

RUN = (
    "import sys; sys.modules['torch'] = None; import pipelines.cli; sys.argv[0] = 'verifactory';"
    "pipelines.cli.main()"
)


def verifactory(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False
    )


def test_m2_is_counted_part_by_part() -> None:
    shown = verifactory("model", "show", "m2")
    assert shown.returncode == 0, shown.stderr
    rows = {line.split("  ")[0]: line.split() for line in shown.stdout.splitlines()}
    assert "228,689,764,864" in rows["without mtp"]
    assert "9,801,359,872" in rows["blocks"]
    assert "224,680,476,672" in rows["experts"]


def test_a_checkpoint_is_counted_from_its_config(tmp_path: Path) -> None:
    small = preset("small")
    (tmp_path / "config.json").write_text(json.dumps(to_hf(small, "float32")))
    shown = json.loads(verifactory("model", "show", str(tmp_path), "--json").stdout)
    assert shown["config"]["hidden"] == 512
    assert shown["parts"]["without mtp"] == small.counts().trunk
    assert shown["active"]["blocks"] == small.counts().blocks_active


def test_neither_is_one_sentence(tmp_path: Path) -> None:
    shown = verifactory("model", "show", str(tmp_path / "none"))
    assert shown.returncode == 1
    assert "There is no model preset named" in shown.stderr
    assert "Traceback" not in shown.stderr
