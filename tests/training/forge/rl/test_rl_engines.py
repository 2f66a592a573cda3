"""An RL run on several engines: all sample, all have the same weights, and one that is gone is named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import CONFIG, config, go

from training.forge.gateway.engines.router import Router
from training.forge.rl.engines import Own, supply
from training.forge.rollout.server import EngineError
from training.forge.rollout.settings import EngineConfig
from training.model.model import Model


def test_a_run_learns_on_two_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Own] = []

    class Kept(Own):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr("training.forge.rl.engines.Own", Kept)
    report = go(tmp_path, 3, vllm=EngineConfig(engines=2))
    assert len(report.metrics) == 3
    assert any(metrics.loss != 0 for metrics in report.metrics)
    engines = made[0].copies
    assert [engine.name for engine in engines] == ["own model 0", "own model 1"]
    assert all(engine._asked > 0 for engine in engines), "one engine did all"
    assert {engine.version for engine in engines} == {3}
    first, second = (engine.model.state_dict() for engine in engines)
    assert all(torch.equal(first[name], second[name]) for name in first)


async def test_new_weights_empty_what_the_router_knows_of_caches() -> None:
    made = Own(Model(CONFIG, seed=1), EngineConfig(engines=3))
    routed = made.engine
    assert isinstance(routed, Router)
    assert [seat.name for seat in routed.members] == [f"own model {n}" for n in range(3)]
    await made.update(Model(CONFIG, seed=2), 7)
    assert routed.age == 1
    assert {copy.version for copy in made.copies} == {7}
    await routed.close()


async def test_an_engine_elsewhere_that_does_not_answer_is_named(tmp_path: Path) -> None:
    asked = config(tmp_path, 1, engine="vllm", vllm=EngineConfig(engines=("http://127.0.0.1:9/v1",)))

    async def enter() -> None:
        async with supply(asked, Model(CONFIG, seed=1), tmp_path):
            raise AssertionError("it came up")

    with pytest.raises(EngineError, match=r"engine at http://127\.0\.0\.1:9 does not answer"):
        await asyncio.wait_for(enter(), 60)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engines": 0}, "at least one engine"),
        ({"engines": ()}, "at least one engine"),
        ({"engines": ("http://a:1", "http://a:1/v1")}, "named twice"),
        ({"engines": 2, "devices": ("0",)}, "one for each engine"),
    ],
)
def test_engines_that_cannot_be_are_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EngineConfig(**given)


def test_each_engine_has_a_device_of_its_own() -> None:
    assert EngineConfig(device="cuda", engines=2).device_of(1) == {"CUDA_VISIBLE_DEVICES": "1"}
    given = EngineConfig(device="cuda", engines=2, devices=("0,1", "2,3"))
    assert given.device_of(1) == {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert EngineConfig(device="cuda").device_of(0) == {}
    assert EngineConfig(engines=2).device_of(1) == {}
