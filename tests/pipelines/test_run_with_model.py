"""A run of the SWE family with a model: one change that rules cannot build and whose statement is too short.

The model is scripted and on loopback; everything else is real.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from calc_repo import LICENSE, _commit, _git
from scripted_model import KEY, Use, serving

from envs.docker.backend import DockerBackend
from pipelines.factory import Quiet, Tally, mine, process_batch, run_id
from pipelines.family import Context, family
from warehouse.artifacts import ArtifactStore
from warehouse.loader import load
from warehouse.query import Reader
from warehouse.settings import Settings

SETUP = """from setuptools import setup
setup(name="labels", version="1.0", py_modules=["labels"], python_requires=">=3.11,<3.12",
      install_requires=["six==99.0"])
"""
BEFORE = "import six\n\n\ndef label(number):\n    return six.text_type(number)\n"
AFTER = """import six


def label(number):
    if number < 0:
        raise ValueError("labels start at nought")
    return six.text_type(number)
"""
OLD_TESTS = 'from labels import label\n\n\ndef test_label():\n    assert label(3) == "3"\n'
NEW_TESTS = """import pytest

from labels import label


def test_label():
    assert label(3) == "3"


def test_negative():
    with pytest.raises(ValueError, match="labels start at nought"):
        label(-1)
"""
TOLD = (
    "Negative numbers get no label (#1)\n\nA label for a negative number was printed; now that is an error."
)
POINT = 'A negative number is refused with a ValueError that says "labels start at nought".'


def model(messages: list[dict[str, Any]]) -> Use:
    """One model in its three parts, told apart by what it is asked."""
    part, asked = (message["content"] for message in messages[:2])
    if part.startswith("You mend"):
        (name,) = set(re.findall(r"there is no version of (\w+)==", asked))
        return Use("submit_recipe", {"why": f"{name} had no such release", "drop": [name], "add": [name]})
    if part.startswith("You check"):
        quotes = {"statement_quote": "now that is an error", "tests_quote": "labels start at nought"}
        return Use("answer", {"verdict": "underspecified", "why": "the words of the error", **quotes})
    return Use("answer", {"points": [POINT]})


@pytest.mark.docker
@pytest.mark.network
async def test_a_model_builds_and_completes_what_rules_cannot(tmp_path: Path, docker: DockerBackend) -> None:
    repo = tmp_path / "labels"
    repo.mkdir()
    _git(repo, "init", "-q", "-b", "main")
    start = {"LICENSE": LICENSE, "setup.py": SETUP, "labels.py": BEFORE, "test_labels.py": OLD_TESTS}
    _commit(repo, start, "Start", "2023-05-01T12:00:00Z")
    _commit(repo, {"labels.py": AFTER, "test_labels.py": NEW_TESTS}, TOLD, "2023-05-02T12:00:00Z")
    swe = family("swe")
    options = swe.Options.model_validate({"source": "git", "repo": (repo,)})
    run = run_id("swe", str(repo), options.identity())
    with serving(model) as endpoint:
        settings = Settings(
            home=tmp_path / "home", certify=False, runs_per_side=1, model_base_url=endpoint.url,
            model_name="scripted", model_api_key=KEY, model_usd_read=1.0,
        )  # fmt: skip
        tally = Tally(str(repo), run)
        todo = mine(swe, str(repo), options, settings, run, tally)
        context = Context(settings=settings, sandboxes=docker, run_id=run, workdir=tmp_path / "work")
        await process_batch(swe, todo, context, str(repo), tally, Quiet())
    load(settings)
    assert tally.stages["validate"] == {"ok": 1}, tally
    sql = Reader(settings).sql

    ((check, instruction, recipe),) = sql(
        "SELECT statement_check, instruction, recipe FROM tasks JOIN environments USING (environment_id)"
    ).rows
    assert check == "model"
    assert f"now that is an error.\n\n### Details\n\n- {POINT}" in instruction
    assert "agent: six had no such release" in recipe
    facts = dict(sql("SELECT value, reason FROM task_events WHERE event = 'audit'").rows)
    assert set(facts) == {"statement_underspecified", "statement_enriched"}

    spent = {
        stage: (tokens, cost)
        for stage, tokens, cost in sql("SELECT stage, tokens, cost_usd FROM events").rows
    }
    assert spent["mine"] == spent["validate"] == (0, 0.0)
    assert all(spent[stage][0] > 100 and spent[stage][1] > 1e-4 for stage in ("build", "compose")), spent

    ((said,),) = sql("SELECT sha256 FROM artifacts WHERE kind = 'repair_transcript'").rows
    transcript = ArtifactStore(settings).get(said).decode()
    assert '"kind": "built"' in transcript
    ((log,),) = sql("SELECT build_log FROM environments").rows
    assert f"artifact {said}" in ArtifactStore(settings).get(log).decode()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert KEY.encode() not in stored + transcript.encode()
    for (image,) in sql("SELECT environment_id FROM environments").rows:
        docker.daemon.client.api.remove_image(f"verifactory/env:{image}")
