"""What `verifactory doctor` says of the model."""

from __future__ import annotations

import pytest
from scripted_model import KEY, Raw, Say, Script, Use, in_turn, serving

from pipelines.cli import doctor


def test_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERIFACTORY_MODEL_BASE_URL", raising=False)
    found = doctor.model()
    assert (found.present, found.needed) == (False, False)
    assert "VERIFACTORY_MODEL_BASE_URL" in found.remedy


@pytest.mark.parametrize(("script", "present", "words"), [
    (in_turn(Use("report", {"ready": True})), True, "scripted at 127.0.0.1 answers and calls tools"),
    (in_turn(Say("Ready!")), False, "answers, but calls no tool"),
    (in_turn(Raw(404, '{"error": {"message": "no such model"}}')), False, "no such model"),
])  # fmt: skip
def test_a_model(script: Script, present: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(script) as endpoint:
        for name, value in (("BASE_URL", endpoint.url), ("NAME", "scripted"), ("API_KEY", KEY)):
            monkeypatch.setenv(f"VERIFACTORY_MODEL_{name}", value)
        found = doctor.model()
    assert (found.present, found.needed) == (present, False)
    assert words in found.detail
    assert KEY not in repr(found)
