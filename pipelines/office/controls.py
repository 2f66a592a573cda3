"""What an office bundle shows for its certificate: controls, forgeries, rules, leaks."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Attempts, Context, Control
from pipelines.office import document_controls
from pipelines.swe.image import bundle_image
from verifiers import documents, spreadsheet
from verifiers.integrity.leaks import leaks
from verifiers.integrity.patch import Change, patch
from verifiers.integrity.trials import Trial
from verifiers.problems import Problem, Severity
from verifiers.spreadsheet.forgeries import FORGERIES, Forger, NoHold
from verifiers.spreadsheet.spec import Formula, Perturbation
from verifiers.tests.bundle import load
from verifiers.tests.lint import lint
from verifiers.verdict import Submission
from warehouse.settings import Settings

REFERENCE, PARTIAL = "solution/reference.xlsx", "solution/partial.xlsx"
OF_SUITES = ("nothing_decides", "nothing_maintained")
"""Rules about test suites, which these bundles have not."""


def submission(name: str, original: bytes, changed: bytes) -> Submission:
    """The patch that replaces the task's workbook."""
    return Submission(patch=patch({name: original}, {name: Change(changed)}))


def controls(bundle: Path) -> list[Control]:
    return [
        Control("gold", Submission(patch=load(bundle).gold_patch), 1.0),
        Control("nop", Submission(), 0.0),
    ]


def partial(bundle: Path) -> Submission | None:
    """The reference without its last operation."""
    if document_controls.is_document(bundle):
        return document_controls.partial(bundle)
    spec = spreadsheet.read(bundle)
    if not (bundle / PARTIAL).is_file():
        return None
    return submission(
        spec.answer, (bundle / spreadsheet.ORIGINAL).read_bytes(), (bundle / PARTIAL).read_bytes()
    )


def attempts(bundle: Path) -> Attempts:
    """Every forgery that the task gives a hold."""
    if document_controls.is_document(bundle):
        return document_controls.attempts(bundle)
    spec = spreadsheet.read(bundle)
    original = (bundle / spreadsheet.ORIGINAL).read_bytes()
    forger = Forger(original, (bundle / REFERENCE).read_bytes(), spec)
    trials: list[Trial] = []
    inapplicable: dict[str, str] = {}
    for name, forge in FORGERIES.items():
        try:
            forged = submission(spec.answer, original, forge(forger))
        except NoHold as error:
            inapplicable[name] = str(error)
            continue
        trials.append(Trial(f"workbook_{name}", (f"workbook_{name}",), forged, "task", slow=False))
    return Attempts(tuple(trials), inapplicable)


def problems(bundle: Path, settings: Settings) -> tuple[Problem, ...]:
    """The house's rules for bundles, and that the answer cannot be typed."""
    found = [p for p in lint(load(bundle), settings.licenses) if p.code not in OF_SUITES]
    if document_controls.is_document(bundle):
        documents.read(bundle)
        return tuple(found)
    checks = spreadsheet.read(bundle).checks
    for kind, code, message in (
        (Perturbation, "inputs_not_changed", "no check changes inputs: constants would be paid"),
        (Formula, "values_may_be_typed", "no cell has to be a formula"),
    ):
        if not any(isinstance(check, kind) for check in checks):
            found.append(Problem(code=code, where=spreadsheet.SPEC, message=message, severity=Severity.ERROR))
    return tuple(found)


async def leaked(bundle: Path, context: Context) -> tuple[Problem, ...]:
    """What of the answer lies in the image that an agent is given."""
    loaded = load(bundle)
    image = await bundle_image(loaded, context.sandboxes, context.settings)
    other = document_controls.is_document(bundle)
    reference = document_controls.REFERENCE if other else REFERENCE
    answers = {
        "the gold patch": loaded.gold_patch,
        "the reference": (bundle / reference).read_bytes(),
        "the specification": (bundle / (documents.SPEC if other else spreadsheet.SPEC)).read_bytes(),
    }
    return await leaks(
        context.sandboxes,
        image.tag,
        workdir=loaded.spec.workdir,
        answers=answers,
        runtime=context.settings.runtime,
    )
