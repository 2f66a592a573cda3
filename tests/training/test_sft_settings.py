"""Training settings: light to import, complete to print, and strict about what they are given."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from training.model.config import PRESETS, ModelConfig
from training.settings import (
    CleaningConfig,
    DomainConfig,
    MtpConfig,
    OptimizerConfig,
    SftConfig,
    StageConfig,
)
from warehouse.errors import FactoryError

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "sft_tiny/sft.toml"

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


@pytest.mark.parametrize(
    "model", [SftConfig, ModelConfig, OptimizerConfig, MtpConfig, CleaningConfig, DomainConfig, StageConfig]
)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())


def test_example_names_every_key() -> None:
    written = tomllib.loads(EXAMPLE.read_text())
    resolved = tomllib.loads(SftConfig.read(EXAMPLE).to_toml())
    assert resolved.pop("domains") == {"all": {"data": written["data"], "where": "true", "sql": ""}}
    assert [stage["steps"] for stage in resolved.pop("stages")] == [written["steps"]]
    assert {k: set(v) if isinstance(v, dict) else None for k, v in written.items()} == {
        k: set(v) if isinstance(v, dict) else None for k, v in resolved.items()
    }


def test_resolved_settings_read_back(tmp_path: Path) -> None:
    config = SftConfig(data="shard", seed=7, too_long="error")
    (tmp_path / "resolved.toml").write_text(config.to_toml())
    assert SftConfig.read(tmp_path / "resolved.toml") == config.resolved() == config.resolved().resolved()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data = 'x'\nstep = 3", "step: Extra inputs are not permitted"),
        ("data = 'x'\n[model]\nlayer = 3", "model.layer: Extra inputs are not permitted"),
        ("steps = 3", "name the examples: either data (a shard) or domains"),
        ("data = 'x'\nsteps = 0", "steps: Input should be greater than or equal to 1"),
        ("data = 'x'\nworkers = 0", "workers: Input should be greater than or equal to 1"),
        ("data = 'x'\ndtype = 'float16'", "dtype: Input should be 'float32', 'float64' or 'bfloat16'"),
        ("data = 'x'\nsequence_length = 10\nbatch_tokens = 9", "batch_tokens = 9 is less than"),
        ("data = 'x'\n[model]\nkv_heads = 3", "heads = 4 must be a multiple of kv_heads = 3"),
        ("data = 'x'\n[model]\npreset = 'large'", "There is no model preset named large"),
        ("data = 'x'\nsequence_length = 5000", "sequence_length = 5000 is more than model.max_positions"),
        ("data = 'x'\nmicro_batch_tokens = 100", "micro_batch_tokens = 100 is less than sequence_length"),
        ("[domains.a]\ndata = 'x'\nsql = 'y'", "a domain has either data (a shard) or sql"),
        ("data = 'x'\n[[stages]]\nratios = {code = 1}", "stage all names code, which is not a domain"),
        ("data = 'x'\n[[stages]]\ndifficulty = [0.5, 2]", "is not a range within 0 to 1"),
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


def test_a_preset_fills_in_sizes(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("data = 'x'\n[model]\npreset = 'small'\nlayers = 3\n")
    assert SftConfig.read(tmp_path / "run.toml").model == PRESETS["small"].replace(layers=3)


def test_stages_are_spelt_out() -> None:
    config = SftConfig.read(EXAMPLES / "sft_stages/sft.toml").resolved()
    assert [(s.name, s.steps, s.sequence_length) for s in config.stages] == [
        ("short", 10, 1024),
        ("long", 10, 4096),
    ]
    assert config.stages[1].context == {"statements": 1024}
    assert config.model.mtp_depth == 2
