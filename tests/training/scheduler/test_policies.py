"""Bounds of the scheduling policies on random traces, and what the report's figure says."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from training.forge.scheduler.metrics import limit, report
from training.forge.scheduler.policies import Cohorts, Greedy, Policy, StalenessCapped, WindowedFifo
from training.forge.scheduler.queue import Group, GroupQueue
from training.forge.scheduler.settings import SchedulerConfig
from training.forge.scheduler.simulate import Trace, simulate

# Lengths from a heavy tail and ties: what hypothesis shrinks to is a short list of small numbers.
DURATIONS = st.lists(
    st.one_of(st.floats(0.01, 5), st.floats(20, 2000), st.sampled_from([1.0, 2.0])), min_size=1, max_size=90
)


def run(policy: Policy, durations: list[float], batch: int, **kwargs: object) -> Trace:
    predicted = np.array(kwargs.pop("predicted")) if "predicted" in kwargs else None
    return simulate(policy, np.array(durations), batch=batch, predicted=predicted, **kwargs)


def staleness(trace: Trace) -> np.ndarray:
    return (trace.trained - trace.started)[trace.trained >= 0]


def everything_trained_once(trace: Trace) -> bool:
    return sorted(trace.order.tolist()) == list(range(len(trace.durations)))


# -- The report's figure: a queue of N = 8 with a window of W = 4 ---


def queue_of_eight(finished: set[int]) -> GroupQueue:
    queue = GroupQueue(batch=1)
    for _ in range(8):
        queue.offer()
    queue.start(list(queue.waiting.values()))
    for index in finished:
        queue.finish(index)
    return queue


def test_the_window_of_the_figure_reaches_three_beyond_its_head() -> None:
    policy = WindowedFifo(slots=8, batch=1, window=4)
    for index in range(8):
        batch = policy.select(queue_of_eight({index}))
        assert [group.index for group in batch or []] == ([index] if index <= 3 else [])


def test_the_window_moves_only_when_its_head_is_taken() -> None:
    policy = WindowedFifo(slots=8, batch=1, window=4)
    queue = queue_of_eight({1, 2, 3, 4, 5, 6, 7})
    for index in (1, 2, 3):
        batch = policy.select(queue)
        assert batch is not None
        assert [group.index for group in batch] == [index]
        queue.take(batch)
        queue.trained()
    assert policy.select(queue) is None  # 4 to 7 have finished, and the head has not
    queue.finish(0)
    assert [group.index for group in policy.select(queue) or []] == [0]
    queue.take(policy.select(queue) or [])
    assert [group.index for group in policy.select(queue) or []] == [4]


def test_the_figures_lag_of_ten_is_reached_and_not_exceeded() -> None:
    policy = WindowedFifo(slots=8, batch=1, window=4)
    assert policy.bound == 10
    # Group 7 starts first with seven older ones before it; three younger ones overtake it, then it trains.
    trace = run(policy, [0.1] * 7 + [9.5] + [0.1] * 12, batch=1, train_time=1.0)
    assert staleness(trace).max() == 10
    assert int(staleness(trace).argmax()) == 7


def test_windows_of_one_and_of_everything_are_fifo_and_greedy_among_the_oldest() -> None:
    durations = [5.0, 1.0, 1.0, 9.0, 1.0, 1.0, 2.0, 1.0]
    assert run(WindowedFifo(slots=4, batch=1), durations, batch=1).order.tolist() == list(range(8))
    assert WindowedFifo(slots=160, batch=32).bound == 4
    assert WindowedFifo(slots=160, batch=32, window=48).bound == 6


# -- Bounds ---


@settings(max_examples=250)
@given(st.data(), DURATIONS, st.integers(1, 5), st.integers(0, 6), st.integers(1, 12), st.floats(0.01, 10))
def test_windowed_fifo_keeps_its_bound(
    data: st.DataObject, durations: list[float], batch: int, extra: int, window: int, train_time: float
) -> None:
    policy = WindowedFifo(slots=batch + extra, batch=batch, window=window)
    cap = data.draw(st.sampled_from([None, 1, 3]))
    trace = run(policy, durations, batch=batch, train_time=train_time, engine_concurrency=cap)
    assert staleness(trace).max() <= policy.bound
    assert everything_trained_once(trace)


@settings(max_examples=400)
@given(st.data(), DURATIONS, st.integers(1, 5), st.integers(0, 7), st.floats(0.01, 10))
def test_cohorts_keep_their_bound_drop_nothing_and_hold_nobody_for_long(
    data: st.DataObject, durations: list[float], batch: int, bound: int, train_time: float
) -> None:
    policy = Cohorts(
        bound=bound,
        batch=batch,
        burst=data.draw(st.integers(1, max(bound, 1))),
        block=data.draw(st.integers(1, 8)),
        long_share=data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    )
    predicted = data.draw(st.lists(st.floats(-3, 3), min_size=len(durations), max_size=len(durations)))
    cap = data.draw(st.sampled_from([None, 1, 3]))
    trace = run(
        policy, durations, batch=batch, train_time=train_time, predicted=predicted, engine_concurrency=cap
    )
    assert staleness(trace).max() <= bound
    assert everything_trained_once(trace)
    assert trace.held.max() < policy.block * policy.burst
    sizes = np.bincount(trace.trained)
    assert (sizes[:-1] == batch).all()


@settings(max_examples=100)
@given(DURATIONS, st.integers(1, 4), st.integers(0, 5), st.integers(0, 5))
def test_dropping_keeps_the_cap_and_loses_groups_where_greedy_exceeds_it(
    durations: list[float], batch: int, extra: int, cap: int
) -> None:
    greedy = run(Greedy(slots=batch + extra), durations, batch=batch)
    capped = run(StalenessCapped(slots=batch + extra, cap=cap), durations, batch=batch)
    assert everything_trained_once(greedy)
    assert len(staleness(capped)) == 0 or staleness(capped).max() <= cap
    if staleness(greedy).max() <= cap:
        assert everything_trained_once(capped)


@settings(max_examples=150)
@given(DURATIONS, st.integers(1, 4), st.integers(1, 6), st.floats(0.1, 5))
def test_no_trace_is_faster_than_its_limit(
    durations: list[float], batch: int, bound: int, train_time: float
) -> None:
    for policy in (
        Cohorts(bound=bound, batch=batch, burst=bound),
        WindowedFifo(slots=(bound + 1) * batch, batch=batch),
    ):
        trace = run(policy, durations, batch=batch, train_time=train_time)
        assert (limit(trace) <= trace.version_time * (1 + 1e-9)).all()


def test_strict_fifo_with_all_slots_of_its_bound_reaches_the_limit_of_its_starts() -> None:
    durations = np.random.default_rng(0).lognormal(0, 1.2, 4000).tolist()
    trace = run(WindowedFifo(slots=7 * 8, batch=8), durations, batch=8)
    assert staleness(trace).max() == 6
    full = trace.version_time[: trace.supplied]
    # Its first seven batches start together at version 0, and the formula only knows their common deadline.
    assert limit(trace)[: trace.supplied][-1] >= 0.97 * full[-1]


# -- Our policy's choices ---


def test_a_cohort_starts_when_one_batch_is_left() -> None:
    durations = np.random.default_rng(1).lognormal(0, 1, 300).tolist()
    trace = run(Cohorts(bound=3, batch=5, burst=3), durations, batch=5)
    versions, sizes = np.unique(trace.started, return_counts=True)
    assert set(sizes[:-1]) == {15}
    assert np.diff(versions).tolist()[1:] == [3] * (len(versions) - 2)


def test_sorting_by_predicted_length_puts_long_groups_beside_long_ones() -> None:
    lengths = np.random.default_rng(2).lognormal(0, 1.2, 4800)
    policy = Cohorts(bound=6, batch=10, burst=6, block=8, long_share=0.2)
    trace = run(policy, lengths.tolist(), batch=10, predicted=lengths)
    top = lengths >= np.quantile(lengths[:480], 0.8)
    shares = [top[trace.started == version][:60].sum() for version in np.unique(trace.started)[:8]]
    assert shares == [12] * 8  # each cohort of 60 has its fifth of long ones …
    longest = [lengths[trace.started == version].max() for version in np.unique(trace.started)[:8]]
    assert longest == sorted(longest, reverse=True)  # … and they come in order of length


def test_it_is_faster_than_the_window_and_keeps_the_mix() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.lognormal(0.15, 1.2, 200 * 32)
    windowed = report(simulate(WindowedFifo(slots=160, batch=32, window=48), lengths, batch=32))
    ours = report(simulate(Cohorts(bound=6, batch=32, burst=6), lengths, batch=32))
    assert (ours.bound, windowed.bound, ours.dropped) == (6, 6, 0)
    assert ours.throughput > 1.1 * windowed.throughput
    assert (ours.of_limit or 0) >= 0.9
    assert ours.kl_all < 1e-9


# -- The queue ---


def test_a_queue_that_is_restored_goes_on_as_the_first_one_would() -> None:
    policy = Cohorts(bound=2, batch=2, burst=2, block=2, long_share=0.5)
    queue = GroupQueue(batch=2)
    for length in (5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 7.0, 8.0):
        queue.offer(predicted=length)
    queue.start(policy.admit(queue))
    for index in sorted(queue.live)[:3]:
        queue.finish(index)
    groups = [replace(group) for group in [*queue.live.values(), *queue.waiting.values()]]
    again = GroupQueue.restored(2, queue.version, groups, queue.offered)
    picked = [[group.index for group in policy.select(one) or []] for one in (queue, again)]
    assert picked[0] == picked[1] != []
    for one in (queue, again):
        one.take(policy.select(one) or [])
        one.trained()
    admitted = [[group.index for group in policy.admit(one)] for one in (queue, again)]
    assert admitted[0] == admitted[1]


def test_a_restarted_group_counts_from_its_new_start() -> None:
    queue = queue_of_eight(set())
    queue.finish(1)
    queue.take([queue.live[1]])
    queue.trained()
    group = queue.restart(0)
    assert (group.started, queue.live_at) == (1, {0: 6, 1: 1})
    assert next(iter(queue.live)) == 0  # and keeps its place


def test_what_was_passed_over_knows_since_when() -> None:
    queue = GroupQueue(batch=1)
    groups: list[Group] = [queue.offer() for _ in range(4)]
    queue.version = 5
    queue.start([groups[2]])
    assert [group.held(7) for group in groups] == [2, 2, 0, 0]


def test_settings_build_the_policy_and_refuse_what_it_does_not_use() -> None:
    assert SchedulerConfig().policy_for(32) == Cohorts(bound=6, batch=32, burst=6, block=8)
    assert SchedulerConfig(policy="windowed").policy_for(32) == WindowedFifo(slots=160, batch=32, window=48)
    assert SchedulerConfig(policy="fifo", bound=6).policy_for(32).slots == 224
    with pytest.raises(ValidationError, match="has no window"):
        SchedulerConfig(policy="cohorts", window=3)


# -- Any order of events ---


@settings(max_examples=250)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 5), st.booleans())
def test_bounds_hold_for_any_order_of_finishes_and_restarts(
    seed: int, batch: int, bound: int, windowed: bool
) -> None:
    """No durations here: whoever is drawn finishes next, and some lose their engine and start anew."""
    chance = random.Random(seed)
    policy: Policy = Cohorts(bound=bound, batch=batch, burst=chance.randint(1, max(bound, 1)))
    if windowed:
        policy = WindowedFifo(slots=batch * (bound + 1), batch=batch, window=chance.randint(1, 9))
    queue, trained = GroupQueue(batch=batch, closed=True), []
    for _ in range(chance.randint(1, 80)):
        queue.offer()
    while queue.live or queue.waiting:
        queue.start(policy.admit(queue))
        while not (chosen := policy.select(queue)):
            running = [group for group in queue.live.values() if not group.finished]
            group = chance.choice(running)
            if chance.random() < 0.2:
                queue.restart(group.index)
            queue.finish(group.index)
        queue.take(chosen)
        assert all(queue.version - group.started <= (policy.bound or 0) for group in chosen)
        trained += [group.index for group in queue.trained()]
    assert sorted(trained) == list(range(queue.offered))
