"""What other libraries' CISPO settings are called here.

CISPO is one loss with several spellings: the bound is the ratio itself in one library and its distance from 1
in others, there may be a lower bound, and the sum over tokens is divided by different counts. Each function
below takes a library's settings by its own names, with its own defaults, and returns ours, or raises
`FactoryError` where ours cannot say it. `ROWS` is the table in docs/losses.md; a test computes every row both
ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from training.advantages import Normalizer, Scale
from warehouse.errors import FactoryError


class Unit(StrEnum):
    """What a group of `normalizer = group` is."""

    PROMPT = "prompt"  # all samples of one task: ours, the report's
    ROLLOUT = "rollout"  # all samples of one episode
    SAMPLE = "sample"  # each by itself


@dataclass(frozen=True)
class Ours:
    """Our settings."""

    ratio_max: float
    normalizer: Normalizer
    unit: Unit = Unit.PROMPT
    scale: Scale = Scale.GROUP_STD
    scale_epsilon: float = 1e-6

    def __str__(self) -> str:
        by = f" by {self.unit}" if self.normalizer is Normalizer.GROUP else ""
        plus = f" + {self.scale_epsilon:g}" if self.scale is Scale.GROUP_STD else ""
        scale = f"scale `{self.scale}`{plus}"
        return f"`ratio_max` {self.ratio_max:g}, normalizer `{self.normalizer}`{by}, {scale}"


def _one_sided(library: str, low: float, setting: str) -> None:
    if low < 1:
        raise FactoryError(
            f"{library}'s {setting} = {low:g} keeps ratios above {1 - low:g}; "
            "CISPO has no lower bound: set it to 1."
        )


def _reduction(
    library: str, setting: str, known: dict[str, tuple[Normalizer, Unit]]
) -> tuple[Normalizer, Unit]:
    if setting not in known:
        raise FactoryError(
            f"{library}'s {setting} divides by something else than learnt tokens or depends on the "
            f"micro-batch; choose one of {', '.join(known)}, or set the samples' weights yourself."
        )
    return known[setting]


TOKENS = (Normalizer.GLOBAL, Unit.PROMPT)
SAMPLES = (Normalizer.GROUP, Unit.SAMPLE)


def trl(*, epsilon: float = 0.2, epsilon_high: float | None = None, scale_rewards: str = "group") -> Ours:
    """TRL `GRPOConfig(loss_type="cispo")`: the bound is the ratio itself, and falls back to `epsilon`."""
    if scale_rewards not in ("group", "none"):
        raise FactoryError(f"TRL's scale_rewards = {scale_rewards} mixes tasks; choose group or none.")
    scale = Scale.GROUP_STD if scale_rewards == "group" else Scale.NONE
    return Ours(epsilon if epsilon_high is None else epsilon_high, *TOKENS, scale, 1e-4)


def verl(
    *,
    clip_ratio: float = 0.2,
    clip_ratio_low: float | None = None,
    clip_ratio_high: float | None = None,
    loss_agg_mode: str = "token-mean",
    norm_adv_by_std_in_grpo: bool = True,
) -> Ours:
    """verl `loss_mode=cispo`: distances from 1, two-sided by default. log π/μ is cut at ±20."""
    _one_sided("verl", clip_ratio if clip_ratio_low is None else clip_ratio_low, "clip_ratio_low")
    known = {"token-mean": TOKENS, "seq-mean-token-mean": SAMPLES}
    high = clip_ratio if clip_ratio_high is None else clip_ratio_high
    scale = Scale.GROUP_STD if norm_adv_by_std_in_grpo else Scale.NONE
    return Ours(1 + high, *_reduction("verl", loss_agg_mode, known), scale)


def slime(
    *,
    eps_clip: float = 0.2,
    eps_clip_high: float | None = None,
    calculate_per_token_loss: bool = False,
    grpo_std_normalization: bool = True,
) -> Ours:
    """slime `--advantage-estimator cispo`: distances from 1; by default the mean of rollouts' means."""
    _one_sided("slime", eps_clip, "eps_clip")
    reduction = TOKENS if calculate_per_token_loss else (Normalizer.GROUP, Unit.ROLLOUT)
    scale = Scale.GROUP_STD if grpo_std_normalization else Scale.NONE
    return Ours(1 + (eps_clip if eps_clip_high is None else eps_clip_high), *reduction, scale)


def areal(*, eps_clip: float = 0.2, eps_clip_higher: float | None = None) -> Ours:
    """AReaL `use_cispo_loss`: distances from 1, an upper one required; it norms advantages elsewhere."""
    if eps_clip_higher is None or eps_clip_higher <= 0:
        raise FactoryError(
            f"AReaL's eps_clip_higher = {eps_clip_higher} is refused there too; give 4.0, say."
        )
    _one_sided("AReaL", eps_clip, "eps_clip")
    return Ours(1 + eps_clip_higher, *TOKENS, Scale.NONE)


def skyrl(
    *,
    cispo_eps_clip_low: float = 1.0,
    cispo_eps_clip_high: float = 4.0,
    loss_reduction: str = "token_mean",
    grpo_norm_by_std: bool = True,
) -> Ours:
    """SkyRL `policy_loss_type=cispo`: distances from 1, one-sided by default; μ is the anchor's policy."""
    _one_sided("SkyRL", cispo_eps_clip_low, "cispo_eps_clip_low")
    known = {"token_mean": TOKENS, "prompt_mean": (Normalizer.GROUP, Unit.PROMPT), "sequence_mean": SAMPLES}
    scale = Scale.GROUP_STD if grpo_norm_by_std else Scale.NONE
    return Ours(1 + cispo_eps_clip_high, *_reduction("SkyRL", loss_reduction, known), scale)


LIBRARIES: dict[str, Callable[..., Ours]] = {
    "TRL": trl,
    "verl": verl,
    "slime": slime,
    "AReaL": areal,
    "SkyRL": skyrl,
}


@dataclass(frozen=True)
class Row:
    """Settings of a library that are translated, or refused."""

    library: str
    settings: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def ours(self) -> Ours:
        """Our settings; raises `FactoryError` where there are none."""
        return LIBRARIES[self.library](**self.settings)


ROWS: tuple[Row, ...] = (
    Row("TRL", {}, "the default caps every ratio at 0.2"),
    Row("TRL", {"epsilon_high": 5.0}, "what its documentation recommends"),
    Row("TRL", {"epsilon_high": 5.0, "scale_rewards": "none"}),
    Row("verl", {}, "two-sided by default"),
    Row("verl", {"clip_ratio_low": 1.0, "clip_ratio_high": 4.0}),
    Row("verl", {"clip_ratio_low": 1.0, "clip_ratio_high": 4.0, "loss_agg_mode": "seq-mean-token-mean"}),
    Row("verl", {"clip_ratio_low": 1.0, "clip_ratio_high": 4.0, "loss_agg_mode": "seq-mean-token-sum-norm"}),
    Row("slime", {}, "two-sided by default; it warns"),
    Row("slime", {"eps_clip": 1.0, "eps_clip_high": 4.0}),
    Row("slime", {"eps_clip": 1.0, "eps_clip_high": 4.0, "calculate_per_token_loss": True}),
    Row("AReaL", {}, "its own check"),
    Row("AReaL", {"eps_clip": 1.0, "eps_clip_higher": 4.0}),
    Row("SkyRL", {}),
    Row("SkyRL", {"loss_reduction": "prompt_mean"}, "the report's normaliser"),
    Row("SkyRL", {"loss_reduction": "sequence_mean", "grpo_norm_by_std": False}),
    Row("SkyRL", {"loss_reduction": "token_mean_legacy"}, "a mean of micro-batches' means"),
)


def table() -> str:
    """`ROWS` as Markdown."""
    lines = ["| library | its settings | ours | |", "| --- | --- | --- | --- |"]
    for row in ROWS:
        settings = ", ".join(f"`{name}={value}`" for name, value in row.settings.items()) or "defaults"
        try:
            ours = str(row.ours())
        except FactoryError as refusal:
            ours = f"none: {refusal}"
        lines.append(f"| {row.library} | {settings} | {ours} | {row.note} |")
    return "\n".join(lines) + "\n"
