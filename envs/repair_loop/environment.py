"""Where the builder asks the model: what is mended, from which recipe, and what becomes of the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envs.builder import ENOUGH, Builder, BuildFailure, BuiltEnvironment, toolchain_image
from envs.languages import Broken, Recipe
from envs.languages.native import NativeRecipe, NativeToolchain, suites
from envs.model import Model
from envs.reasons import INFRASTRUCTURE, REASONS, classify
from envs.repair_loop.loop import Job, Mended, Tried, mend
from envs.repair_loop.memory import Memory
from envs.repair_loop.proposal import Proposal, form_of
from envs.sandbox import Network, Sandbox

STAGES = ("plan", "resolve", "build", "import", "collect")
NOTHING = ("sh", "-c", "echo 'No test command is known.'; exit 1")


async def asked(
    builder: Builder, failure: BuildFailure, plan: list[Any] | Broken
) -> BuiltEnvironment | BuildFailure:
    """What the model makes of a failure; the failure itself where nothing could come of asking."""
    model, start = Model.of(builder.settings), furthest(builder, plan)
    form = start and form_of(start[0])
    if model is None or start is None or form is None or failure.reason in INFRASTRUCTURE:
        return failure
    memory = Memory.of(builder.settings, builder.toolchain.language, builder.upstream.name)
    if remembered := await recalled(builder, start[0], memory.read(form)):
        return remembered
    builder.progress(f"{builder.upstream.name}: {model.name} mends {failure.reason}")

    async def build(recipe: Recipe) -> Tried:
        return await tried(builder, recipe)

    async def trial(recipe: Recipe) -> Sandbox:
        image = await toolchain_image(builder.toolchain, recipe, builder.backend, builder.settings)
        return await builder.start(image, Network.ALLOWLIST)

    outcome = await mend(Job(builder.upstream, *start, build, trial), model, builder.settings)
    if isinstance(outcome, Mended):
        if outcome.proposal is not None:
            memory.add(outcome.proposal)
        return replace(outcome.environment, log=builder.trail.log, transcript=outcome.transcript)
    builder.trail.add(f"model: {outcome.reason}", outcome.detail)
    return BuildFailure(
        outcome.reason,
        f"{REASONS[outcome.reason]}: {outcome.detail}; before that, {failure.reason}: {failure.detail}",
        builder.trail.log,
        builder.trail.attempts,
        builder.trail.seconds,
        outcome.transcript,
    )


def furthest(builder: Builder, plan: list[Any] | Broken) -> tuple[Recipe, Broken] | None:
    """The recipe that came furthest, the first of equals, with what broke; an empty recipe where there was no
    plan but there are tests.
    """
    if not isinstance(plan, Broken):
        found = max(builder.failed, key=lambda failed: STAGES.index(failed[1].stage), default=None)
        return found and (found[0], replace(found[1], reason=classify(found[1])))
    toolchain, upstream = builder.toolchain, builder.upstream
    if not isinstance(toolchain, NativeToolchain) or not any(map(toolchain.is_test, upstream.gold)):
        return None
    suite, *_ = suites(upstream.date)
    blank = NativeRecipe(
        language=toolchain.language, suite=suite, framework="command", test=NOTHING, report="tap"
    )
    return blank, plan


async def recalled(builder: Builder, recipe: Recipe, proposals: list[Proposal]) -> BuiltEnvironment | None:
    """The first that mends this recipe too."""
    for proposal in proposals:
        try:
            again = proposal.applied(recipe, builder.upstream)
        except ValueError:
            continue
        outcome = await tried(builder, again)
        if outcome.works:
            return replace(outcome.environment, log=builder.trail.log)
    return None


async def tried(builder: Builder, recipe: Recipe) -> Tried:
    """One recipe of the model's, from scratch: as a rule's would be, but that no rule mends it further."""
    builder.trail.attempts += 1
    builder.trail.add("recipe of the model", recipe.notes[-1])
    broken, environment, _ = await builder.attempt(recipe)
    if broken is not None:
        broken = replace(broken, reason=classify(broken))
        builder.trail.add(f"broken at {broken.stage}: {broken.reason}", broken.log)
    works = environment is not None and (broken is None or broken.share >= ENOUGH)
    return Tried(environment, broken, works)
