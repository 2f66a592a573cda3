"""What the views say about a small factory whose numbers are known."""

from __future__ import annotations

import math

import pytest
from made_records import event, source, status, task

from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import Flake
from warehouse.settings import Settings


@pytest.fixture
def reader(settings: Settings) -> Reader:
    """Five candidates of `calc` in run r1, one again in r2; one failed at first for infrastructure."""
    with Outbox(settings) as outbox:
        outbox.append([source()])
        outbox.append(event("mine", f"c{n}", seconds=1) for n in range(4))
        outbox.append([event("mine", "c4", "rejected", reason="license_unknown", seconds=1)])
        outbox.append([event("build", "c0", "failed", reason="infrastructure", attempt=1, seconds=30)])
        outbox.append([event("build", f"c{n}", attempt=2 if n == 0 else 1, seconds=10) for n in range(3)])
        outbox.append([event("build", "c3", "rejected", reason="build_failed", seconds=10)])
        outbox.append([event("compose", "c0"), event("compose", "c1")])
        outbox.append([event("compose", "c2", "rejected", reason="no_fail_to_pass")])
        outbox.append(
            [
                event("validate", "c0", seconds=60, tokens=100, cost_usd=0.5),
                task("t0"),
                status("t0", "validated"),
            ]
        )
        outbox.append([event("validate", "c1", "rejected", reason="flaky", seconds=60)])
        outbox.append([event("mine", "c4", "rejected", reason="license_unknown", run_id="r2")])
    load(settings)
    return Reader(settings)


def test_funnel_counts_items_once_a_stage(reader: Reader) -> None:
    rows = reader.sql(
        "SELECT stage, items, ok, rejected, failed, reasons FROM funnel WHERE run_id = 'r1'"
    ).rows
    assert rows == [
        ("mine", 5, 4, 1, 0, "license_unknown (1)"),
        ("build", 4, 3, 1, 0, "build_failed (1)"),
        ("compose", 3, 2, 1, 0, "no_fail_to_pass (1)"),
        ("validate", 2, 1, 1, 0, "flaky (1)"),
    ]
    overall = reader.sql("SELECT stage, items, ok FROM funnel_overall").rows
    assert overall == [("mine", 5, 4), ("build", 4, 3), ("compose", 3, 2), ("validate", 2, 1)]


def test_yield_by_source(reader: Reader) -> None:
    result = reader.sql("SELECT * FROM yield_by_source")
    (row,) = result.rows
    got = dict(zip(result.columns, row, strict=True))
    assert got == {
        "flow": "swe", "source": "calc", "candidates": 5, "accepted": 4, "built": 3, "composed": 2,
        "validated": 1, "certified": 0, "published": 0, "failed": 0, "yield": 0.2,
        "top_reasons": "build_failed (1), flaky (1), license_unknown (1)",
    }  # fmt: skip


def test_cost_counts_failed_attempts_and_divides_by_validated_tasks(reader: Reader) -> None:
    columns = "stage, items, attempts, seconds, tokens, cost_usd, seconds_per_validated"
    rows = reader.sql(f"SELECT {columns} FROM cost WHERE run_id = 'r1'").rows
    assert rows == [
        ("mine", 5, 5, 5.0, 0, 0.0, 5.0),
        ("build", 4, 5, 70.0, 0, 0.0, 70.0),
        ("compose", 3, 3, 0.0, 0, 0.0, 0.0),
        ("validate", 2, 2, 120.0, 100, 0.5, 120.0),
    ]
    assert reader.sql("SELECT seconds_per_validated FROM cost WHERE run_id = 'r2'").rows == [(None,)]


def test_overview_begins_with_the_columns_programs_rely_on(reader: Reader) -> None:
    columns = reader.sql("SELECT * FROM task_overview").columns
    assert columns[:8] == ("task_id", "family", "kind", "repo", "language", "status", "difficulty", "license")
    query = "SELECT count(*) FROM task_overview WHERE status IN ('validated','published')"
    assert reader.sql(query).rows == [(1,)]


def wilson_upper(wavered: int, runs: int, z: float = 1.959963984540054) -> float:
    share = wavered / runs
    spread = z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return (share + z * z / (2 * runs) + spread) / (1 + z * z / runs)


def test_flaky_pools_runs_and_bounds_them(settings: Settings) -> None:
    def flake(run_id: str, runs: int, wavered: int, state: str = "after") -> Flake:
        return Flake(task_id="t1", state=state, run_id=run_id, runs=runs, wavered=wavered, upper=1.0)

    unstable = ("flaky tests::a", "flaky tests::b", "order_dependent tests::c", "date_dependent tests::d")
    with Outbox(settings) as outbox:
        outbox.append([task("t1", quarantined=unstable)])
        outbox.append(
            [flake("r1", 5, 0), flake("r2", 15, 1), flake("r1", 5, 0, "before"), flake("r3", 0, 0, "base")]
        )
    load(settings)
    with Reader(settings) as reader:
        rows = reader.sql("SELECT * EXCLUDE (repo) FROM flaky").rows
    assert [(row[:4], row[5:]) for row in rows] == [
        (("t1", "before", 5, 0), (2, 1, 1)),
        (("t1", "after", 20, 1), (2, 1, 1)),
    ]
    assert [row[4] for row in rows] == pytest.approx([wilson_upper(0, 5), wilson_upper(1, 20)], abs=1e-12)
    assert wilson_upper(0, 5) == pytest.approx(0.4345, abs=1e-4)  # the value tables give for 0 of 5
