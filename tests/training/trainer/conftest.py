"""A run small enough to train in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.model.config import ModelConfig
from training.settings import OptimizerConfig, SftConfig
from warehouse.settings import Settings


@pytest.fixture
def config(shard: Path, tmp_path: Path) -> SftConfig:
    return SftConfig(
        data=str(shard),
        out=tmp_path / "runs",
        steps=8,
        batch_tokens=1000,
        sequence_length=500,
        save_every=3,
        threads=1,
        model=ModelConfig(layers=1, hidden=32, heads=2, kv_heads=1, experts=4, expert_hidden=16),
        optimizer=OptimizerConfig(lr=1e-2),
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")
