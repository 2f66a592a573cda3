"""The in-process grader of decks and texts: full, zero, malformed, the same again; and every way round."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import built_otherwise as otherwise
import pytest
from pptx import Presentation

from pipelines.office.briefs import Brief, brief
from pipelines.office.documents import DocumentTask, document
from pipelines.office.occupations import Work, taxonomy
from verifiers.documents import ask, warm_child
from verifiers.documents.forgeries import NoHold, forgeries
from verifiers.documents.spec import Deliverable
from verifiers.spreadsheet.child import WarmChild

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="graded in process on Linux only"
)
WORKS = taxonomy(None).works
KINDS = ("deck", "deck-edit", "memo")


@pytest.fixture(scope="module")
def child() -> Iterator[WarmChild]:
    with warm_child() as warm:
        yield warm


def task(kind: str, level: str, place: int = 0) -> tuple[Brief, DocumentTask]:
    """A task of a kind and level, and its brief."""
    occupation, work = WORKS[place]
    for number in range(30):
        made = document(kind, occupation, work, number)
        if made.level == level:
            return brief(occupation, work, number), made
    raise AssertionError(f"no {kind} of level {level} among thirty")


def failed(report: Any) -> list[str]:
    return [f"{check['name']}: {check['evidence']}" for check in report["checks"] if not check["passed"]]


@pytest.mark.parametrize("place", range(0, len(WORKS), 2))
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_holds(kind: str, place: int, child: WarmChild) -> None:
    occupation, work = WORKS[place]
    for number in (1, 2):
        made = document(kind, occupation, work, number)
        assert made == document(kind, occupation, work, number)
        report = ask(child, made.spec, made.reference, made.original)
        assert report["reward"] == 1.0, failed(report)
        assert report == ask(child, made.spec, made.reference, made.original)
        assert report["report"]["inverted"] > 0
        for other in (made.original, made.partial):
            assert other is None or ask(child, made.spec, other, made.original)["reward"] == 0.0


@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_forgery_is_paid(kind: str, level: str, child: WarmChild) -> None:
    _, made = task(kind, level, place=2)
    tried = []
    for name, forge in forgeries(made.file).items():
        try:
            forged = forge(made.reference)
        except NoHold:
            continue
        report = ask(child, made.spec, forged, made.original)
        assert report["reward"] == 0.0, name
        assert failed(report), name
        tried.append(name)
    assert len(tried) >= 6


@pytest.mark.parametrize("build", [otherwise.in_sentences, otherwise.in_cards, otherwise.in_tables])
@pytest.mark.parametrize("level", ["medium", "hard"])
def test_a_right_deck_built_otherwise_is_paid(
    build: Callable[[Brief, Deliverable], bytes], level: str, child: WarmChild
) -> None:
    for place in (0, 3, 5):
        told, made = task("deck", level, place)
        report = ask(child, made.spec, build(told, made.spec))
        assert report["reward"] == 1.0, failed(report)


def test_a_right_memo_built_otherwise_is_paid(child: WarmChild) -> None:
    for place in (1, 4):
        told, made = task("memo", "medium", place)
        report = ask(child, made.spec, otherwise.memo_in_sentences(told, made.spec))
        assert report["reward"] == 1.0, failed(report)


def test_a_form_that_is_asked_for_is_needed(child: WarmChild) -> None:
    told, made = task("deck", "easy")
    report = ask(child, made.spec, otherwise.in_sentences(told, made.spec))
    assert any("in a table" in one for one in failed(report))
    assert any("in a chart" in one for one in failed(report))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.private, "nothing that must not go out"),
        (lambda told: "Revenue will be 987,654", "no figure without a source"),
        (lambda told: "TBD", "nothing left over"),
    ],
)
def test_what_must_not_be_told_is_found_in_a_deck(
    change: Callable[[Brief], str], words: str, child: WarmChild
) -> None:
    told, made = task("deck", "medium")
    other = Presentation(io.BytesIO(made.reference))
    for shape in other.slides[3].placeholders:
        if shape != other.slides[3].shapes.title:
            shape.text_frame.add_paragraph().text = change(told)
    report = ask(child, made.spec, otherwise.saved(other))
    assert [one.partition(":")[0] for one in failed(report)] == [words]


@pytest.mark.parametrize("name", otherwise.BAD)
def test_a_file_that_must_not_be_read_is_refused_in_one_sentence(name: str, child: WarmChild) -> None:
    _, made = task("deck", "medium")
    change, words = otherwise.BAD[name]
    report = ask(child, made.spec, change(made.reference))
    assert (report["kind"], report["reward"]) == ("malformed", 0.0), report
    assert words in report["reason"]
    assert report["reason"].endswith(".")
    assert "\n" not in report["reason"]
    assert ask(child, made.spec, made.reference)["reward"] == 1.0  # and the grader lives


def test_memory_is_bounded(child: WarmChild) -> None:
    _, made = task("deck", "medium")
    big = otherwise.repacked(made.reference, **{"ppt__media__x.bin": bytes(64 << 20)})
    report = ask(child, made.spec, big, memory_bytes=200 << 20)
    assert report["reward"] == 0.0


def test_a_specification_survives_its_json_and_must_ask_for_something() -> None:
    for kind in KINDS:
        made = document(kind, *WORKS[0], 1)
        assert Deliverable.model_validate_json(made.spec.to_json()) == made.spec
    with pytest.raises(ValueError, match="either sections"):
        Deliverable(answer="a.pptx")


def test_the_instruction_says_what_is_checked() -> None:
    for kind in KINDS:
        for occupation, work in WORKS:
            made = document(kind, occupation, work, 0)
            assert f"/app/{made.file}" in made.instruction
            for section in made.spec.sections:
                assert not made.spec.placed or section.heading in made.instruction
            assert all(text not in made.instruction for text in made.spec.forbidden)


def test_a_taxonomy_is_the_users(tmp_path: Any) -> None:
    from pipelines.office.family import SOURCE, OfficeFamily, OfficeOptions
    from warehouse.errors import FactoryError
    from warehouse.settings import Settings

    own = tmp_path / "own.toml"
    own.write_text(_toml(WORKS[1][1]).replace("Manufacturing", "Shipbuilding"))
    options = OfficeOptions(kind=("deck", "memo"), taxonomy=own, seeds=2)
    found = list(OfficeFamily().mine(SOURCE, options, Settings()))
    assert {mined.candidate.repo for mined in found} == {"office/shipbuilding"}
    assert len({mined.candidate.candidate_id for mined in found}) == 4
    own.write_text("[[occupation]]\nname = 'x'\n")
    with pytest.raises(FactoryError, match="no taxonomy of occupations"):
        list(OfficeFamily().mine(SOURCE, options, Settings()))
    with pytest.raises(ValueError, match="choose of"):
        OfficeOptions(kind=("poster",))


def _toml(work: Work) -> str:
    import tomli_w

    return tomli_w.dumps({"occupation": [{"name": "Planner", "field": [work.model_dump(mode="json")]}]})
