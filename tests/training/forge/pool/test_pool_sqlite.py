"""What the pool promises, call by call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_processes import made

from training.forge.pool.ledger import Ledger
from training.forge.pool.pool import PoolClosed, PoolConflict, PoolTimeout
from training.forge.pool.records import OUTCOME, Completion, Reward, prompts
from training.forge.pool.sqlite import SqlitePool
from warehouse.errors import FactoryError


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[SqlitePool]:
    opened = SqlitePool(tmp_path / "pool.sqlite", batch=2, samples=2)
    yield opened
    opened.close()


def running(pool: SqlitePool, groups: int = 4) -> Ledger:
    ledger = Ledger(pool)
    ledger.start(ledger.offer([(f"task {n}", float(n)) for n in range(groups)]))
    return ledger


def finish(pool: SqlitePool, group: int) -> None:
    for sample in range(2):
        name = pool.open(group, sample)
        pool.add([made(name, 0)])
        pool.end(name)
        pool.reward([Reward(name, OUTCOME, 1.0)])


def test_many_open_a_new_pool_at_once(tmp_path: Path) -> None:
    for turn in range(20):
        path = tmp_path / f"{turn}.sqlite"
        with ThreadPoolExecutor(8) as threads:
            for opened in threads.map(lambda _, path=path: SqlitePool(path), range(8)):
                opened.close()


def test_completions_and_rewards_join_in_any_order(pool: SqlitePool) -> None:
    ledger = running(pool)
    first, second = pool.open(1, 0), pool.open(1, 1)
    pool.reward([Reward(first, OUTCOME, 0.25)])  # before its end, and before its completions
    pool.add([made(first, 0), made(second, 0)])
    pool.end(first)
    assert ledger.settle() == []
    pool.end(second)
    assert ledger.settle() == []
    assert not pool.trajectory(second).judged
    pool.reward([Reward(second, OUTCOME, 1.0)])
    assert [group.index for group in ledger.settle()] == [1]
    assert ledger.settle() == []
    assert pool.trajectory(first).rewards == (Reward(first, OUTCOME, 0.25),)
    assert not pool.trajectory(second).partial


def test_twice_is_once_and_another_is_a_conflict(pool: SqlitePool) -> None:
    pool.add([made("t", 0), made("t", 1)])
    pool.add([made("t", 1), made("t", 2)])
    reward = Reward("t", "process", -1.0, turn=1)
    pool.reward([reward])
    pool.reward([reward])
    assert [c.turn for c in pool.trajectory("t").completions] == [0, 1, 2]
    other = Completion("t", 3, None, made("t", 9).suffix, *[np.empty(0, np.int32)] * 2, 0, 0)
    with pytest.raises(PoolConflict, match="other completions under"):
        pool.add([other, Completion("t", 1, None, other.suffix, other.response, other.logprobs, 0, 0)])
    assert [c.turn for c in pool.trajectory("t").completions] == [0, 1, 2], "all or none"
    with pytest.raises(PoolConflict, match="other rewards under"):
        pool.reward([Reward("t", "process", 1.0, turn=1)])


def late_turn(pool: SqlitePool, name: str) -> None:
    pool.add([made(name, 7)])


def late_reward(pool: SqlitePool, name: str) -> None:
    pool.reward([Reward(name, "process", 1.0)])


def open_finished(pool: SqlitePool, name: str) -> None:
    pool.open(0, 0)


def open_unknown(pool: SqlitePool, name: str) -> None:
    pool.open(99, 0)


def open_waiting(pool: SqlitePool, name: str) -> None:
    Ledger(pool).offer([("later", None)])
    pool.open(4, 0)


@pytest.mark.parametrize("write", [late_turn, late_reward, open_finished, open_unknown, open_waiting])
def test_an_end_is_an_end(pool: SqlitePool, write: Callable[[SqlitePool, str], None]) -> None:
    ledger = running(pool)
    finish(pool, 0)
    assert [group.index for group in ledger.settle()] == [0]
    before = pool.trajectory("g0-s0-a0")
    with pytest.raises(PoolClosed):
        write(pool, "g0-s0-a0")
    after = pool.trajectory("g0-s0-a0")
    assert (len(after.completions), after.rewards) == (len(before.completions), before.rewards)


def test_what_never_comes_is_given_up_and_the_run_goes_on(pool: SqlitePool) -> None:
    ledger = running(pool)
    silent, endless = pool.open(2, 0), pool.open(2, 1)
    pool.add([made(silent, 0), made(endless, 0)])
    pool.end(silent)
    assert pool.overdue(end_seconds=3600, reward_seconds=3600) == []
    given = {one.trajectory: one.reason for one in pool.overdue(end_seconds=0, reward_seconds=0)}
    assert given == {silent: "reward_never_came", endless: "never_ended"}
    assert [group.index for group in ledger.settle()] == [2]
    found = pool.trajectory(silent)
    assert found.partial
    assert found.reason == "reward_never_came"
    assert len(found.completions) == 1, "what was sampled is kept"
    with pytest.raises(PoolClosed, match="settled"):
        pool.reward([Reward(silent, OUTCOME, 1.0)])


def test_a_new_attempt_replaces_the_lost_one(pool: SqlitePool) -> None:
    ledger = running(pool)
    lost = pool.open(3, 0)
    pool.add([made(lost, 0)])
    assert pool.missing(3) == [0, 1]
    again = pool.open(3, 0)
    assert (lost, again) == ("g3-s0-a0", "g3-s0-a1")
    with pytest.raises(PoolClosed, match="has ended"):
        pool.add([made(lost, 1)])
    assert pool.trajectory(lost).reason == "lost"
    pool.end(again)
    pool.reward([Reward(again, OUTCOME, 0.0)])
    assert pool.missing(3) == [1]
    other = pool.open(3, 1)
    pool.end(other)
    pool.reward([Reward(other, OUTCOME, 1.0)])
    finish(pool, 1)
    ledger.settle()
    batch = ledger.take([ledger.queue.live[3], ledger.queue.live[1]])
    assert batch.trajectories == (("g3-s0-a1", "g3-s1-a0"), ("g1-s0-a0", "g1-s1-a0"))


def test_a_batch_is_taken_once(pool: SqlitePool) -> None:
    ledger = running(pool)
    for group in (2, 0, 3):
        finish(pool, group)
        ledger.settle()
    second = Ledger(pool)
    assert [group.index for group in second.queue.ready.values()] == [2, 0, 3]
    batch = ledger.take([ledger.queue.live[2], ledger.queue.live[0]])
    with pytest.raises(PoolConflict, match=r"Step 0 of the pool .* has another batch"):
        second.take([second.queue.live[3]])
    with pytest.raises(PoolConflict, match="not ready for step 1"):
        pool.take(1, [0])
    assert pool.take(0, [2, 0]) == batch, "the same again changes nothing"
    resumed = Ledger(pool)
    assert [b.groups for b in resumed.replay(0)] == [(2, 0)]
    assert [group.index for group in resumed.queue.training] == [2, 0]
    resumed.trained(0)
    resumed.trained(0)
    assert resumed.queue.version == Ledger(pool).queue.version == 1
    assert [b.step for b in Ledger(pool).replay(0)] == [0], "a checkpoint of before trains it again"
    assert list(Ledger(pool).replay(1)) == []
    with pytest.raises(PoolConflict, match="The checkpoint has version 2, the pool"):
        list(Ledger(pool).replay(2))
    with pytest.raises(PoolConflict, match="was not taken"):
        pool.trained(1)


def test_a_checkpoint_that_the_pool_did_not_hear_of_counts(pool: SqlitePool) -> None:
    ledger = running(pool)
    finish(pool, 0)
    finish(pool, 1)
    ledger.settle()
    ledger.take(list(ledger.queue.ready.values()))
    resumed = Ledger(pool)  # killed between the checkpoint of version 1 and `trained`
    assert list(resumed.replay(1)) == []
    assert resumed.queue.version == 1
    batch = pool.batch(0)
    assert batch is not None
    assert batch.trained


def test_waits_end_and_name_their_peer(pool: SqlitePool) -> None:
    with pytest.raises(PoolTimeout, match=r"The scheduler of the pool .* committed no batch for step 0"):
        pool.wait_batch(0, 0.1)


def test_the_state_comes_back_as_it_was(pool: SqlitePool) -> None:
    ledger = Ledger(pool)
    groups = ledger.offer([(f"p{n}", 1.5 * n) for n in range(6)])
    ledger.start([groups[1], groups[3]])
    ledger.start([groups[4]])
    ledger.drop([groups[4]])
    ledger.restart(3)
    finish(pool, 3)
    ledger.settle()
    ledger.close()
    again = Ledger(pool).queue
    assert vars(again).keys() == vars(ledger.queue).keys()
    for key in ("batch", "version", "closed", "offered", "live_at", "ready_at"):
        assert getattr(again, key) == getattr(ledger.queue, key), key
    for key in ("waiting", "live", "ready"):
        mine, theirs = getattr(again, key), getattr(ledger.queue, key)
        assert [(g.index, g.prompt, g.predicted, g.passed, g.started, g.finished) for g in mine.values()] == [
            (g.index, g.prompt, g.predicted, g.passed, g.started, g.finished) for g in theirs.values()
        ]


def test_what_is_no_reward_is_refused() -> None:
    for score in (math.nan, math.inf):
        with pytest.raises(ValueError, match="which is no reward"):
            Reward("t", OUTCOME, score)
    with pytest.raises(ValueError, match="2 tokens have 1 log-prob"):
        Completion("t", 0, None, *[np.zeros(2, np.int32)] * 2, np.zeros(1, np.float32), 0, 0)
    with pytest.raises(ValueError, match="turn 2 cannot continue turn 2"):
        Completion("t", 2, 2, *[np.zeros(2, np.int32)] * 2, np.zeros(2, np.float32), 0, 0)


def test_paths_that_are_no_pool_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="There is no pool"):
        SqlitePool(tmp_path / "none.sqlite", create=False)
    (tmp_path / "text").write_text("this is a text and not a database at all, by its first page" * 100)
    with pytest.raises(FactoryError, match=r"cannot be opened|failed"):
        SqlitePool(tmp_path / "text")


def test_forgetting_keeps_what_is_not_trained(pool: SqlitePool) -> None:
    ledger = running(pool)
    for group in range(4):
        finish(pool, group)
    ledger.settle()
    ledger.take([ledger.queue.live[0], ledger.queue.live[1]])
    ledger.trained(0)
    assert pool.forget(1) == 4
    assert pool.trajectory("g0-s0-a0").completions == ()
    assert len(pool.trajectory("g2-s0-a0").completions) == 1


@settings(max_examples=50)
@given(turn=st.integers(0, 50))
def test_a_completion_comes_back_as_it_was(turn: int) -> None:
    one = made("t", turn)
    again = Completion.read("t", turn, one.facts(), one.arrays())
    assert (again.facts(), again.arrays()) == (one.facts(), one.arrays())
    assert (again.routes is None) == (one.routes is None)


def test_prompts_follow_the_parents() -> None:
    turns = [made("t", turn) for turn in range(6)]
    found = prompts(reversed(turns))
    assert found[0].tolist() == turns[0].suffix.tolist()
    whole = [*found[1].tolist(), *turns[1].response.tolist(), *turns[2].suffix.tolist()]
    assert turns[2].parent == 1
    assert found[2].tolist() == whole
    assert turns[3].parent is None
    assert found[3].tolist() == turns[3].suffix.tolist()
