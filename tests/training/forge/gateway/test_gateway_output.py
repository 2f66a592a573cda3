"""What the model wrote is read the same however it comes; text comes back from odd tokens and odd cuts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.chat.m2 import END_CALL, completion
from training.chat.messages import CLOSE, Message, Tool, ToolCall
from training.corpus.tokens import ByteTokenizer
from training.forge.gateway.ask import Called, Event, Reasoned, Spoke
from training.forge.gateway.output import Reader
from training.forge.gateway.spelling import Speller, Stopper, content_start

TOKENS = ByteTokenizer()
SCHEMA = {
    "properties": {"n": {"type": "integer"}, "t": {"type": "string"}, "o": {"type": ["object", "null"]}}
}
TOOLS = [Tool.read({"name": "f", "parameters": SCHEMA})]
PIECES = st.sampled_from(
    ["a", "é", "\n", " ", "<", CLOSE, "</thi", "<minimax:tool_call>", "\n<minimax:tool_", END_CALL,
     "<invoke ", '<invoke name="f">\n', "</invoke>\n", '<parameter name="n">', "</parameter>\n", "7", "[e~["]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=30).map("".join)


def joined(events: list[Event]) -> list[tuple[str, object]]:
    """Events with neighbours of a kind put together."""
    found: list[tuple[str, object]] = []
    for event in events:
        match event:
            case Called(_, call):
                found.append(("call", call))
            case Reasoned(text) | Spoke(text):
                kind = type(event).__name__
                if found and found[-1][0] == kind:
                    found[-1] = (kind, f"{found[-1][1]}{text}")
                else:
                    found.append((kind, text))
    return found


@settings(max_examples=500)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 200), max_size=20))
def test_any_cut_reads_as_the_whole(text: str, cuts: list[int]) -> None:
    whole, split = Reader(TOOLS), Reader(TOOLS)
    wanted = whole.feed(text) + whole.end()
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    events: list[Event] = []
    for begin, stop in pairwise(places):
        events += split.feed(text[begin:stop])
    events += split.end()
    assert joined(events) == joined(wanted)
    assert split.said().message == whole.said().message
    assert split.said().malformed == whole.said().malformed


VALUES = st.fixed_dictionaries(
    {},
    optional={"n": st.integers(), "t": st.text("a<\n7", max_size=5), "o": st.none() | st.just({"x": [1.5]})},
)
CALLS = st.builds(ToolCall, name=st.just("f"), arguments=VALUES)
WORDS = st.text("aé <{", max_size=6)


@settings(max_examples=300)
@given(content=WORDS, reasoning=WORDS, calls=st.lists(CALLS, max_size=3))
def test_what_the_template_writes_is_read_back(content: str, reasoning: str, calls: list[ToolCall]) -> None:
    said = Message(role="assistant", content=content, reasoning=reasoning, calls=tuple(calls))
    reader = Reader(TOOLS)
    reader.feed(completion(said).removesuffix("[e~["))
    reader.end()
    assert reader.said().message == said
    assert not reader.said().malformed
    assert len(set(reader.said().ids)) == len(calls)


@settings(max_examples=300)
@example(raw=b"\xc2\x80\x00\xc2\x80", sizes=[1, 3] + [1] * 38)  # what is held ends in the middle of another
@given(raw=st.binary(max_size=40), sizes=st.lists(st.integers(1, 4), min_size=40, max_size=40))
def test_bytes_are_spelt_as_the_whole(raw: bytes, sizes: list[int]) -> None:
    """Valid text at every cut; of other bytes nothing that is a character by itself is lost."""
    for data in (raw.decode(errors="ignore").encode(), raw):
        speller, at, text = Speller(TOKENS, 258), 0, ""
        for size in sizes:
            text += speller.feed(list(data[at : at + size]))
            at += size
        text += speller.rest()
        whole = data.decode(errors="replace")
        assert text == whole or data == raw
        assert [letter for letter in text if letter.isascii()] == [
            letter for letter in whole if letter.isascii()
        ]


def test_a_stop_sequence_ends_what_is_said_and_not_what_is_thought() -> None:
    for size in (1, 2, 50):
        stopper, shown = Stopper(["STOP", "\nEnd"]), ""
        text = "thinking of STOP</think>said ST and\nEn then\nEnd and more"
        for n in range(0, len(text), size):
            shown += stopper.feed(text[n : n + size])
        assert stopper.stopped
        assert shown + stopper.rest() == "thinking of STOP</think>said ST and\nEn then"
    kept = Stopper(["STOP"])
    assert kept.feed("x</think>ST") + kept.rest() == "x</think>ST"
    assert not kept.stopped


def test_where_the_reasoning_has_ended() -> None:
    for text, said in (("why\n</think>\n\nyes[e~[", "yes[e~["), ("</think>[e~[", "[e~["), ("open", "")):
        ids = TOKENS.encode(text)
        assert TOKENS.decode(ids[content_start(TOKENS, ids) :]) == said


def test_values_follow_the_schema() -> None:
    def value(name: str, text: str) -> object:
        reader = Reader(TOOLS)
        reader.feed(
            f'</think><minimax:tool_call>\n<invoke name="f">\n<parameter name="{name}">{text}</parameter>\n'
            "</invoke>\n</minimax:tool_call>"
        )
        return reader.said().message.calls[0].arguments[name]

    assert [value("n", t) for t in ("7", "NaN", "1e999", "many")] == [7, "NaN", "1e999", "many"]
    assert [value("t", t) for t in ("7", "null", "{}")] == ["7", "null", "{}"]
    assert [value("o", t) for t in ("null", '{"a": 1}', "{")] == [None, {"a": 1}, "{"]
    assert value("unknown", "7") == "7"
