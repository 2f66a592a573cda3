"""The gates that vLLM's CPU router is given, against our router; vLLM itself is run in `test_model_vllm`."""

from __future__ import annotations

from typing import Any

import torch

from training.forge.vllm_plugin import route_sigmoid
from training.model.config import preset
from training.model.experts import Router


def engine_router(**settings: Any) -> Any:
    """A router class of the shape that vLLM's has, whose own way takes no sigmoid."""

    class CPURouter:
        use_grouped_topk, custom_routing_function, renormalize, routed_scaling_factor = False, None, True, 1.0

        def _compute_routing(
            self, hidden_states: Any, router_logits: Any, kind: Any, *, input_ids: Any = None
        ) -> str:
            return "own way"

    router = CPURouter()
    for name, value in settings.items():
        setattr(router, name, value)
    return router


def test_sigmoid_gates_are_routed_as_the_model_does() -> None:
    config = preset("tiny")
    ours = Router(config)
    torch.nn.init.normal_(ours.weight, std=0.3)
    ours.bias.copy_(torch.rand(config.experts))
    theirs = engine_router(scoring_func="sigmoid", top_k=2, e_score_correction_bias=ours.bias)
    route_sigmoid(type(theirs))
    x_TD = torch.randn(50, config.hidden)
    with torch.no_grad():
        routes_TK, weights_TK = ours(x_TD)
        found_TK, chosen_TK = theirs._compute_routing(x_TD, x_TD @ ours.weight.T, torch.int32)
    order, wanted = chosen_TK.argsort(), routes_TK.argsort()
    assert chosen_TK.dtype == torch.int32
    assert torch.equal(chosen_TK.gather(1, order).long(), routes_TK.gather(1, wanted))
    torch.testing.assert_close(found_TK.gather(1, order), weights_TK.gather(1, wanted))


def test_every_other_case_stays_the_engines() -> None:
    for settings in ({"scoring_func": "softmax"}, {"scoring_func": "sigmoid", "use_grouped_topk": True}):
        router = engine_router(**settings)
        route_sigmoid(type(router))
        assert router._compute_routing(None, None, None) == "own way"


def test_twice_is_once() -> None:
    router = engine_router()
    route_sigmoid(type(router))
    once = type(router)._compute_routing
    route_sigmoid(type(router))
    assert type(router)._compute_routing is once
