"""What vLLM needs to run MiniMax-M2 and to take its weights while it runs, as vLLM's plugin (entry point
`vllm.general_plugins`).

Loaded by vLLM in its own environment and in each of its processes. Each fix is for one version and one kind
of device, given beside it, and does nothing elsewhere: where a later vLLM has mended something, its own way
is used.

- `route_sigmoid`: the router for CPUs refuses sigmoid gates that are not in groups.
- `name_partials`: reloading asks each weight loader for its `__name__`; that of M2's query and key norms is a
  `functools.partial`, which has none.
- `pack_again`: on a CPU, experts are repacked for the kernel when they are first loaded, but not when they
  are reloaded: the kernel then goes on with the old ones, without an error.

The transport of weights without a GPU (`vllm_weights`) is registered as `gloo`.
"""

from __future__ import annotations

import functools
from typing import Any

MENDED = (0, 30)  # the version these fixes are for
GLOO = "gloo"


def register() -> None:
    """Called by vLLM when it starts."""
    import vllm  # ty: ignore[import-not-found]
    from vllm.distributed.weight_transfer.factory import (  # ty: ignore[import-not-found]
        WeightTransferEngineFactory,
    )
    from vllm.platforms import current_platform  # ty: ignore[import-not-found]

    if GLOO not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(GLOO, "training.forge.vllm_weights", "GlooEngine")
    if tuple(int(part) for part in vllm.__version__.split(".")[:2]) != MENDED:
        return
    from vllm.model_executor.model_loader.reload import layerwise  # ty: ignore[import-not-found]

    name_partials(layerwise)
    if current_platform.is_cpu():
        from vllm.model_executor.layers.fused_moe import (  # ty: ignore[import-not-found]
            unquantized_fused_moe_method as method,
        )
        from vllm.model_executor.layers.fused_moe.router import (  # ty: ignore[import-not-found]
            cpu_router,
        )

        route_sigmoid(cpu_router.CPURouter)
        pack_again(method.UnquantizedFusedMoEMethod)


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


def name_partials(layerwise: Any) -> None:
    """Lets reloading name a weight loader that is a partial function. Twice is once."""
    original = layerwise._get_weight_loader
    if getattr(original, "names_partials", False):
        return

    def _get_weight_loader(tensor: Any) -> Any:
        loader = original(tensor)
        if isinstance(loader, functools.partial) and not hasattr(loader, "__name__"):
            loader.__name__ = getattr(loader.func, "__name__", "partial")
        return loader

    _get_weight_loader.names_partials = True  # ty: ignore[missing-attribute]
    layerwise._get_weight_loader = _get_weight_loader


def pack_again(method: Any) -> None:
    """Repacks experts for the CPU's kernel after each reload, as after the first load. Twice is once."""
    original = method._setup_kernel
    if getattr(original, "packs_again", False):
        return

    def _setup_kernel(self: Any, layer: Any, w13: Any, w2: Any) -> None:
        reloaded = self.moe_kernel is not None
        original(self, layer, w13, w2)
        if reloaded:
            self.moe_kernel.fused_experts.process_weights_after_loading(layer)

    _setup_kernel.packs_again = True  # ty: ignore[missing-attribute]
    method._setup_kernel = _setup_kernel
