"""Tasks on decks and texts: a brief, what is asked for, the files to work with, and the reference.

Everything is told from one `Deliverable`: the reference is built from it, the instruction says it in words,
the grader accepts by it. `brief`, `outline` and `full` questions differ in what they fix, and so does what
their deliverable asks for.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.office.briefs import SPECIFICITY, Brief, brief, deliverable
from pipelines.office.deck_edits import Deck, applied, drawn_edits
from pipelines.office.occupations import Work
from pipelines.office.references import deck, source_files, source_memo, text
from verifiers.documents.spec import Deliverable, Rules

LEVELS = ("easy", "medium", "hard")
SLIDES, WORDS = (5, 8), (60, 500)
LENGTHS = {"deck": SLIDES, "memo": WORDS}


@dataclass(frozen=True)
class DocumentTask:
    """One task, with what the family reads of the tasks of the walk too."""

    kind: str
    domain: str
    seed: int
    title: str
    file: str
    operations: tuple[str, ...]
    level: str
    instruction: str
    workspace: Mapping[str, bytes]
    """What lies in `/app`."""
    original: bytes | None
    """The document that is to be edited."""
    reference: bytes
    partial: bytes | None
    spec: Deliverable
    segment: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.domain}/{self.seed}"


def document(kind: str, occupation: str, work: Work, number: int, workdir: str = "/app") -> DocumentTask:
    """The task of a kind (deck, deck-edit, memo) and number; the same every time."""
    told = brief(occupation, work, number)
    level = random.Random(f"level {kind} {work.name} {number}").randrange(len(LEVELS))
    return _edits(told, level, workdir) if kind == "deck-edit" else _new(kind, told, level, workdir)


def _domain(told: Brief) -> str:
    return told.work.name.lower().replace(" ", "_")


def _new(kind: str, told: Brief, level: int, workdir: str) -> DocumentTask:
    """A deck from a memo, or a memo from tables and notes."""
    specificity = SPECIFICITY[level]
    is_deck = kind == "deck"
    name = f"{told.stem}.{'pptx' if is_deck else 'docx'}"
    asked = deliverable(told, name, specificity, length=LENGTHS[kind], font=12 if is_deck else 9)
    if is_deck:
        workspace = {"notes.docx": source_memo(told)}
        made = deck(asked, told.work.audience)
        part = deck(asked.model_copy(update={"sections": asked.sections[:-1]}), told.work.audience)
    else:
        workspace = source_files(told)
        made = text(asked, told.occupation, told.work.audience)
        part = text(
            asked.model_copy(update={"sections": asked.sections[:-1]}), told.occupation, told.work.audience
        )
    return DocumentTask(
        kind, _domain(told), told.number, told.title, name, (specificity,), LEVELS[level],
        _asked(told, asked, workspace, workdir), workspace, None, made, part, asked,
        tags={"occupation": told.occupation, "specificity": specificity},
    )  # fmt: skip


def _asked(told: Brief, asked: Deliverable, workspace: Mapping[str, bytes], workdir: str) -> str:
    """The question, told from the deliverable."""
    is_deck = asked.answer.endswith(".pptx")
    what, unit = ("deck", "slide") if is_deck else ("memo", "section")
    files = ", ".join(f"`{workdir}/{name}`" for name in workspace)
    low, high = asked.length
    names = [figure.measure.name for figure in told.figures]
    lines = [
        f"# {asked.title}", "",
        f"You are a {told.occupation.lower()} ({told.work.name.lower()}). Make the {told.work.report} "
        f"of {told.period} for {told.work.audience}, a {what}, from {files}. "
        f"Save it as `{workdir}/{asked.answer}`.",
        "", "## What it has to tell", "",
        f"- The title “{asked.title}”" + (" on the first slide." if is_deck else " at the top."),
        f"- {', '.join(names)}: each for {told.before} and {told.period}. {names[0]} of {told.period} is the "
        "sum of its parts.",
        f"- {names[0]} of each part: {', '.join(part for part, _ in told.parts)}.",
        "- Both risks and the decision that is asked for, in the words of the notes.",
        "- Nothing that the notes call confidential, speaker notes included." if is_deck else
        "- Nothing that the notes call confidential.",
    ]  # fmt: skip
    if asked.placed:
        lines += ["", f"## {unit.capitalize()}s, in this order", ""]
        lines += ["- The title slide."] if is_deck else []
        abouts = ("the figures of both quarters", f"{names[0]} by part", "both risks", "the decision")
        for section, about in zip(asked.sections, abouts, strict=True):
            form = f", in a {section.show}" if section.show else ""
            lines.append(f"- “{section.heading}”: {about}{form}.")
    style = (
        f"- {low} to {high} slides. Text of at least {asked.rules.font:g} pt, with a contrast of at least "
        f"{asked.rules.contrast:g} to 1 (large text 3) on a plain ground.\n"
        "- Nothing beyond the slide, nothing on or over anything else, no text longer than its box, no empty "
        "placeholder, nothing hidden. Text is in text boxes, placeholders, tables and charts."
        if is_deck
        else f"- {low} to {high} words. Headings in heading styles. Text of at least "
        f"{asked.rules.font:g} pt, with a contrast of at least {asked.rules.contrast:g} to 1; no "
        "table wider than the text. Tables are tables, not pictures or text boxes."
    )
    lines += [
        "", "## Rules", "",
        "- Names of figures and parts as in the sources. A figure stands with its name: in one sentence or "
        "small box, in a row of a table whose columns are headed, or in a chart.",
        "- No other figures than those of the sources and the sum, and no derived ones.",
        style,
        "- The tools here are Python with python-pptx and python-docx, and LibreOffice "
        "(`soffice --headless`). There is no network.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _edits(told: Brief, level: int, workdir: str) -> DocumentTask:
    """One to three local edits of a deck."""
    name = f"{told.stem}.pptx"
    rng = random.Random(f"edits {told.work.name} {told.number}")
    made = Deck(told, deliverable(told, name, "full", length=SLIDES, font=12), rng)
    chosen = drawn_edits(made, level + 1)
    edits = [drawn for drawn, _, _ in chosen]
    original = made.save()
    asked = Deliverable(answer=name, edits=tuple(drawn.edit for drawn in edits), rules=Rules(font=12))
    voice = rng.randrange(2)
    return DocumentTask(
        "deck-edit", _domain(told), told.number, told.title, name, tuple(drawn.edit.do for drawn in edits),
        LEVELS[level], _asked_edits(told, [drawn.told[voice] for drawn in edits], f"{workdir}/{name}"),
        {name: original}, original, applied(original, edits),
        applied(original, edits[:-1]) if len(edits) > 1 else None, asked,
        tags={
            "occupation": told.occupation, "specificity": ("by place", "by content")[voice],
            "granularity": ", ".join(grain for _, grain, _ in chosen),
            "intent": ", ".join(intent for _, _, intent in chosen),
        },
    )  # fmt: skip


def _asked_edits(told: Brief, sentences: list[str], path: str) -> str:
    lines = [
        f"# {told.title}: changes", "",
        f"`{path}` is the {told.work.report} for {told.work.audience}. It is almost done.", "",
        "## What to change", "",
        *(f"{number}. {sentence}" for number, sentence in enumerate(sentences, 1)), "",
        "## Rules", "",
        "- Save the deck in place. Everything else stays as it is: objects and their places, texts, looks, "
        "charts, notes, order. Slide numbers are those of the deck as you find it.",
        "- Changed and new text looks like the text around it, unless another look is asked for.",
        "- At the end nothing lies on anything else, reaches beyond the slide or is longer than its "
        "box; text "
        "has at least 12 pt and a contrast of at least 4.5 to 1 (large text 3).",
        "- The tools here are Python with python-pptx, and LibreOffice (`soffice --headless`). There is no "
        "network.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)
