"""What a SWE bundle shows for its certificate besides its controls: rules, leaks, cheats."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.family import Attempts, Context
from pipelines.swe.filters import kind_of
from pipelines.swe.image import bundle_image
from verifiers.integrity.cheat import Target
from verifiers.integrity.leaks import leaks
from verifiers.integrity.trials import inapplicable, trials
from verifiers.problems import Problem
from verifiers.tests.bundle import Bundle, load
from verifiers.tests.lint import lint
from verifiers.verdict import Submission
from warehouse.settings import Settings

SECTION = re.compile(rb"^diff --git ", re.M)
PATHS = re.compile(rb'^diff --git "?a/(.+?)"? "?b/(.+?)"?$', re.M)


def problems(bundle: Path, settings: Settings) -> tuple[Problem, ...]:
    """What reading the bundle finds."""
    return lint(load(bundle), settings.licenses)


def attempts(bundle: Path) -> Attempts:
    """The cheats that the bundle gives a hold, and why not the others."""
    target = Target.of(load(bundle))
    return Attempts(trials(target), inapplicable(target))


async def leaked(bundle: Path, context: Context) -> tuple[Problem, ...]:
    """What lies in the environment's image that an agent must not have."""
    loaded = load(bundle)
    image = await bundle_image(loaded, context.sandboxes, context.settings)
    return await leaks(
        context.sandboxes, image.tag,
        workdir=loaded.spec.workdir, answers=answers(loaded), runtime=context.settings.runtime,
    )  # fmt: skip


def answers(bundle: Bundle) -> dict[str, bytes]:
    """The files that would give the answer away, by what they are."""
    folder = bundle.tests / "hidden"
    found = {
        f"the hidden {file.path}": (folder / file.path).read_bytes()
        for file in bundle.spec.hidden
        if file.mode != "120000"
    }
    return found | {"the gold patch": bundle.gold_patch}


def partial(bundle: Path) -> Submission | None:
    """The gold patch without its largest source file; None where it has but one."""
    patch = load(bundle).gold_patch
    starts = [found.start() for found in SECTION.finditer(patch)]
    sections = [patch[a:b] for a, b in zip(starts, [*starts[1:], len(patch)], strict=True)]
    sources = [section for section in sections if _kind(section) == "source"]
    if len(sources) < 2:
        return None
    largest = max(sources, key=len)
    return Submission(patch=b"".join(section for section in sections if section is not largest))


def _kind(section: bytes) -> str:
    found = PATHS.search(section)
    path = found[2].decode("utf-8", "replace") if found else ""
    return kind_of(path, lambda _: False)
