"""The simulator's clocks and figures, against small cases worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from training.forge.scheduler.durations import lognormal, measured, pareto, predictions
from training.forge.scheduler.metrics import divergence, limit, masked_share, report, token_staleness
from training.forge.scheduler.policies import Greedy, StalenessCapped, WindowedFifo
from training.forge.scheduler.simulate import simulate
from warehouse.errors import FactoryError


def test_steps_wait_for_their_groups_and_weights_for_their_step() -> None:
    policy = WindowedFifo(slots=4, batch=2)
    trace = simulate(policy, np.array([1.0, 3.0, 1.0, 1.0, 2.0, 2.0]), batch=2, train_time=0.5)
    # 0 and 1 finish at 1 and 3; 2 and 3 wait for them; 4 and 5 start with version 1 at 3.5 and run for 2.
    assert trace.version_time.tolist() == [0.0, 3.5, 4.0, 6.0]
    assert trace.started.tolist() == [0, 0, 0, 0, 1, 1]
    assert trace.trained.tolist() == [0, 0, 1, 1, 2, 2]
    assert trace.finish_time.tolist() == [1.0, 3.0, 1.0, 1.0, 5.5, 5.5]
    assert limit(trace).tolist() == [0.0, 0.5, 3.5, 4.0]  # it takes version 1 for an early one


def test_engines_share_their_speed_evenly() -> None:
    policy = WindowedFifo(slots=3, batch=1)
    trace = simulate(policy, np.array([1.0, 1.0, 4.0]), batch=1, train_time=0.1, engine_concurrency=2)
    # Three at two thirds of the speed until the short ones are done, at 1.5; then one alone at full speed.
    assert trace.finish_time.tolist() == pytest.approx([1.5, 1.5, 4.5])


def test_tokens_that_were_sampled_before_the_bound_would_be_masked() -> None:
    trace = simulate(Greedy(slots=2), np.array([4.0, 1.0, 1.0, 1.0, 1.0]), batch=1, train_time=0.0)
    assert trace.order.tolist() == [1, 2, 3, 0, 4] or trace.order.tolist() == [1, 2, 3, 4, 0]
    step = int(trace.trained[0])
    assert masked_share(trace, bound=step) == 0.0
    # Versions 1, 2, 3 came at 1, 2, 3: at a bound of one version less, what came before version 1 is too old.
    assert masked_share(trace, bound=step - 1) == pytest.approx(1.0 / 8)
    assert 0 < token_staleness(trace) < step


def test_what_is_dropped_is_counted_and_missing_from_the_mix() -> None:
    durations = np.array([100.0, *np.linspace(1, 2, 39)])
    dropped = report(simulate(StalenessCapped(slots=4, cap=3), durations, batch=2))
    kept = report(simulate(Greedy(slots=4), durations, batch=2))
    assert (dropped.dropped, kept.dropped) == (1, 0)
    assert dropped.staleness_max <= 3 < kept.staleness_max
    assert dropped.top_share == pytest.approx(7 / 39)
    assert kept.kl_all == pytest.approx(0, abs=1e-12)


def test_divergence_is_that_of_the_shares() -> None:
    assert divergence(np.arange(5)) == pytest.approx(0)
    assert divergence(np.array([0, 0, 0])) == pytest.approx(math.log(5))


def test_durations_have_the_mean_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    assert lognormal(rng, 400_000, sigma=0.8, mean=2.4).mean() == pytest.approx(2.4, rel=0.02)
    assert pareto(rng, 400_000, alpha=3.0, mean=2.4).mean() == pytest.approx(2.4, rel=0.02)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_predictions_are_as_good_as_they_say_and_no_better_in_raw_values(correlation: float) -> None:
    rng = np.random.default_rng(0)
    durations = lognormal(rng, 40_000, sigma=1.2, mean=2.4)
    predicted = predictions(rng, durations, correlation=correlation)
    assert np.corrcoef(predicted, np.log(durations))[0, 1] == pytest.approx(correlation, abs=0.02)
    assert np.corrcoef(np.exp(1.2 * predicted), durations)[0, 1] <= correlation + 0.02


def test_measured_durations_are_read_from_lines_or_json(tmp_path: Path) -> None:
    file = tmp_path / "durations"
    file.write_text("1.5\n2\n")
    assert measured(file).tolist() == [1.5, 2.0]
    file.write_text("[3, 4.5]")
    assert measured(file).tolist() == [3.0, 4.5]


@pytest.mark.parametrize("text", ["", "one", "1 -2", "[1, nan]", "[[1], [2]]", '["a"]', "[1", "0"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "durations"
    file.write_text(text)
    with pytest.raises(FactoryError, match="duration"):
        measured(file)
