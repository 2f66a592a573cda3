"""What a bundle with a deck or a text shows for its certificate: controls, forgeries, rules, leaks."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Attempts
from verifiers import documents
from verifiers.documents.forgeries import NoHold, forgeries
from verifiers.integrity.patch import Change, patch
from verifiers.integrity.trials import Trial
from verifiers.verdict import Submission

REFERENCE, PARTIAL = "solution/reference", "solution/partial"


def is_document(bundle: Path) -> bool:
    """Whether a bundle of this family is about a deck or a text, not a workbook."""
    return (bundle / documents.SPEC).is_file()


def original(bundle: Path) -> bytes | None:
    path = bundle / documents.ORIGINAL
    return path.read_bytes() if path.is_file() else None


def submission(name: str, before: bytes | None, after: bytes) -> Submission:
    """The patch that makes or replaces the document."""
    return Submission(patch=patch({} if before is None else {name: before}, {name: Change(after)}))


def partial(bundle: Path) -> Submission | None:
    """The reference without its last section or edit."""
    if not (bundle / PARTIAL).is_file():
        return None
    return submission(documents.read(bundle).answer, original(bundle), (bundle / PARTIAL).read_bytes())


def attempts(bundle: Path) -> Attempts:
    """Every forgery that the task gives a hold."""
    spec = documents.read(bundle)
    before, reference = original(bundle), (bundle / REFERENCE).read_bytes()
    trials: list[Trial] = []
    inapplicable: dict[str, str] = {}
    for name, forge in forgeries(spec.answer).items():
        try:
            forged = submission(spec.answer, before, forge(reference))
        except NoHold as error:
            inapplicable[name] = str(error)
            continue
        trials.append(Trial(f"document_{name}", (f"document_{name}",), forged, "task", slow=False))
    return Attempts(tuple(trials), inapplicable)
