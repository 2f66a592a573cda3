"""Sizes: what the presets count, and that counting takes no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from training.model.checkpoint import allocate
from training.model.config import PRESETS, ModelConfig, preset
from warehouse.errors import FactoryError


@pytest.mark.parametrize("name", list(PRESETS))
def test_counts_are_those_of_the_model(name: str) -> None:
    """Of every part, on the meta device: M2's 240 billion take no memory."""
    config = preset(name)
    counts = config.counts()
    sizes = {n: t.numel() for n, t in allocate(config, "meta").state_dict().items()}
    mtp = {n: s for n, s in sizes.items() if n.startswith("mtp.")}
    trunk = {n: s for n, s in sizes.items() if n not in mtp}
    blocks = {n: s for n, s in trunk.items() if n.startswith("blocks.")}
    assert sum(mtp.values()) == counts.mtp
    assert sum(trunk.values()) == counts.trunk
    assert sum(sizes.values()) == counts.total
    assert sum(s for n, s in blocks.items() if ".attention." in n) == counts.attention
    assert sum(s for n, s in blocks.items() if ".experts." in n) == counts.experts
    assert sum(s for n, s in blocks.items() if ".router." in n) == counts.router
    assert counts.active_experts * config.experts == counts.experts * config.experts_per_token


def test_m2_counts_the_published_parameters() -> None:
    """The published checkpoint holds 228.7 B; the report says 229.9 B, of which 9.8 B active."""
    counts = preset("m2").counts()
    assert counts.trunk == 228_689_764_864
    assert round(counts.blocks_active / 1e9, 1) == 9.8


def test_small_is_about_a_hundred_million() -> None:
    assert 90e6 < preset("small").counts().trunk < 110e6


def test_counting_takes_no_torch() -> None:
    code = (
        "import sys, training.model.config as c; c.preset('m2').counts(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"heads": 5}, "heads = 5 must be a multiple of kv_heads = 2"),
        ({"rotary_dim": 18}, "rotary_dim = 18 must be even and at most head_dim = 16"),
        ({"rotary_dim": 7}, "must be even"),
        ({"experts_per_token": 9}, "experts_per_token = 9 is more than experts = 8"),
        ({"layer": 3}, "Extra inputs"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        ModelConfig().replace(**changes)


def test_an_unknown_preset_is_one_sentence() -> None:
    with pytest.raises(FactoryError, match="no model preset named huge; the presets are tiny, small, m2"):
        preset("huge")
