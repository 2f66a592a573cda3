"""Training settings: light to import, complete to print, and strict about what they are given."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from training.settings import OptimizerConfig, SftConfig, TinyConfig
from warehouse.errors import FactoryError

EXAMPLE = Path(__file__).parents[2] / "examples/sft_tiny/sft.toml"

# pydantic is what every record costs; the 100 ms are for what training adds to it
IMPORT = """
import sys, time
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
start = time.process_time()
import training.settings
print(time.process_time() - start)
print(*sorted({"torch", "pyarrow", "duckdb", "datasets", "numpy"} & set(sys.modules)))
"""


def test_import_is_light() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    seconds, heavy = zip(*(run.splitlines() for run in runs), strict=True)
    assert set(heavy) == {""}
    assert min(map(float, seconds)) < 0.1


@pytest.mark.parametrize("model", [SftConfig, TinyConfig, OptimizerConfig])
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())


def test_example_names_every_key() -> None:
    written = tomllib.loads(EXAMPLE.read_text())
    resolved = tomllib.loads(SftConfig.read(EXAMPLE).to_toml())
    assert {k: set(v) if isinstance(v, dict) else None for k, v in written.items()} == {
        k: set(v) if isinstance(v, dict) else None for k, v in resolved.items()
    }


def test_resolved_settings_read_back(tmp_path: Path) -> None:
    config = SftConfig(data="shard", seed=7, too_long="error")
    (tmp_path / "resolved.toml").write_text(config.to_toml())
    assert SftConfig.read(tmp_path / "resolved.toml") == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data = 'x'\nstep = 3", "step: Extra inputs are not permitted"),
        ("data = 'x'\n[model]\nlayer = 3", "model.layer: Extra inputs are not permitted"),
        ("steps = 3", "data: Field required"),
        ("data = 'x'\nsteps = 0", "steps: Input should be greater than or equal to 1"),
        ("data = 'x'\nsequence_length = 10\nbatch_tokens = 9", "batch_tokens = 9 is less than"),
        ("data = 'x'\n[model]\nhidden = 36\nheads = 4", "hidden = 36 must be a multiple of 2 * heads = 8"),
        ("data = ", "cannot be read"),
    ],
)
def test_bad_settings_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(FactoryError, match=r"bad\.toml") as error:
        SftConfig.read(path)
    assert said in str(error.value)


def test_missing_config(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match=r"There is no training config at .*none\.toml"):
        SftConfig.read(tmp_path / "none.toml")
