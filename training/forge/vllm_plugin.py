"""What vLLM needs to run MiniMax-M2 on a CPU, as its plugin (entry point `vllm.general_plugins`).

vLLM 0.30's router for CPUs refuses sigmoid gates that are not in groups. They are computed here as the model
does. Loaded by vLLM in its own environment and in each of its processes; does nothing on a GPU, nor where a
later vLLM has mended this.
"""

from __future__ import annotations

from typing import Any

MENDED = (0, 30)  # the version this is for


def register() -> None:
    """Called by vLLM when it starts."""
    import vllm  # ty: ignore[import-not-found]
    from vllm.platforms import current_platform  # ty: ignore[import-not-found]

    version = tuple(int(part) for part in vllm.__version__.split(".")[:2])
    if current_platform.is_cpu() and version == MENDED:
        from vllm.model_executor.layers.fused_moe.router import (  # ty: ignore[import-not-found]
            cpu_router,
        )

        route_sigmoid(cpu_router.CPURouter)


def route_sigmoid(router: Any) -> None:
    """Gives the router class a way for sigmoid gates; each other case stays its own. Twice is once."""
    original = router._compute_routing
    if getattr(original, "takes_sigmoid", False):
        return

    def _compute_routing(
        self: Any, hidden_states: Any, router_logits: Any, indices_type: Any, *, input_ids: Any = None
    ) -> tuple[Any, Any]:
        if self.scoring_func != "sigmoid" or self.use_grouped_topk or self.custom_routing_function:
            return original(self, hidden_states, router_logits, indices_type, input_ids=input_ids)
        gates = router_logits.float().sigmoid()
        bias = self.e_score_correction_bias
        chosen = (gates if bias is None else gates + bias).topk(self.top_k, dim=-1, sorted=False).indices
        weights = gates.gather(1, chosen)
        if self.renormalize:
            weights = weights / weights.sum(-1, keepdim=True)
        return (weights * self.routed_scaling_factor).contiguous(), chosen.int().contiguous()

    _compute_routing.takes_sigmoid = True  # ty: ignore[missing-attribute]
    router._compute_routing = _compute_routing
