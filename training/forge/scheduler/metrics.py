"""What a trace says about its policy: speed, idleness, staleness against the bound, mix, drops.

Speed is counted until the last prompt has started, so that the length of the drain, which depends on where
the trace happens to end, is left out; `makespan` has it. *Mix* is the share of each quintile of duration:
quintile 5 are the hard prompts that a policy is tempted to put off or to drop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.forge.scheduler.simulate import Trace

QUINTILES = 5
FIRST_STEPS = 10  # of the divergence at the start, and of the rolling share


@dataclass(frozen=True)
class Report:
    """Times in the trace's unit; staleness, held age and lateness in versions."""

    throughput: float  # groups per unit of time, until the last prompt has started
    makespan: float
    trainer_idle: float  # share of that time
    slots_running: float  # generating groups, on average
    staleness_mean: float
    staleness_p50: float
    staleness_p99: float
    staleness_max: int
    bound: int | None
    of_limit: (
        float | None
    )  # share of the speed that no zero-drop policy with this bound can exceed on these starts
    kl_first: float  # of the first 10 steps' quintiles from the stream's, in nats
    kl_all: float
    kl_chance: float  # what kl_first is in expectation if steps are drawn at random
    top_share: float  # quintile 5 among all that were trained
    share_sd: float  # standard deviation of quintile 5's share over any 10 steps
    batch_autocorrelation: float  # of successive steps' mean logarithm of duration
    dropped: int
    held_age_max: int
    lateness_max: int  # steps after the one that the order of the stream gives: starvation

    @property
    def violations(self) -> int:
        return int(self.bound is not None and self.staleness_max > self.bound)


def limit(trace: Trace) -> np.ndarray:
    """The earliest times [steps + 1] of the versions for any zero-drop policy with these starts and bound.

    A group that started at version `s` trains in a step `c <= s + b`, and step `s + b` therefore ends no
    sooner than its own length after the longest of them: t(v+1) = max(t(v) + T, t(v-b) + D(v-b) + T), with T
    the time of a step.
    """
    if trace.bound is None:
        raise ValueError("a policy without a bound has no limit")
    steps = len(trace.version_time) - 1
    longest = np.zeros(steps + 1)
    begun = trace.started >= 0
    np.maximum.at(longest, trace.started[begun], trace.durations[begun])
    times = [0.0] * (steps + 1)
    for version in range(steps):
        times[version + 1] = times[version] + trace.train_time
        if version >= trace.bound:
            oldest = version - trace.bound
            times[version + 1] = max(times[version + 1], times[oldest] + longest[oldest] + trace.train_time)
    return np.array(times)


def quintiles(durations: np.ndarray) -> np.ndarray:
    """The quintile [groups] of each duration, 0 to 4, by rank."""
    ranks = durations.argsort(kind="stable").argsort(kind="stable")
    return ranks * QUINTILES // len(durations)


def divergence(sample: np.ndarray) -> float:
    """KL divergence, in nats, of a sample of quintiles from equal shares."""
    shares = np.bincount(sample, minlength=QUINTILES) / len(sample)
    shares = shares[shares > 0]
    return float((shares * np.log(shares * QUINTILES)).sum())


def rolling_share(trace: Trace) -> np.ndarray:
    """Quintile 5's share in every 10 successive steps, until the last prompt has started."""
    top = (quintiles(trace.durations) == QUINTILES - 1)[trace.order]
    steps = trace.trained[trace.order]
    count = np.bincount(steps, minlength=len(trace.version_time) - 1)[: trace.supplied]
    tops = np.bincount(steps, weights=top, minlength=len(count))[: trace.supplied]
    kernel = np.ones(FIRST_STEPS)
    return np.convolve(tops, kernel, "valid") / np.convolve(count, kernel, "valid")


def token_staleness(trace: Trace) -> float:
    """A trained token's mean staleness, in versions, where weights are updated while groups run.

    Tokens are spread evenly over a group's time. A token's version is that of the weights when it was
    sampled.
    """
    done = trace.trained >= 0
    start, finish, step = trace.start_time[done], trace.finish_time[done], trace.trained[done]
    version = np.arange(len(trace.version_time) - 1)
    elapsed = np.concatenate([[0.0], np.cumsum(np.diff(trace.version_time) * version)])
    area = np.interp(finish, trace.version_time, elapsed) - np.interp(start, trace.version_time, elapsed)
    return float(np.average(step - area / (finish - start), weights=trace.durations[done]))


def masked_share(trace: Trace, bound: int) -> float:
    """Share of all tokens that are older than `bound` versions when they train, or were dropped."""
    done = trace.trained >= 0
    start, finish, step = trace.start_time[done], trace.finish_time[done], trace.trained[done]
    border = trace.version_time[np.maximum(step - bound, 0)]
    old = np.clip((border - start) / (finish - start), 0.0, 1.0) * trace.durations[done]
    return float((old.sum() + trace.durations[~done].sum()) / trace.durations.sum())


def report(trace: Trace) -> Report:
    """All figures of one run."""
    done = trace.trained >= 0
    staleness = (trace.trained - trace.started)[done]
    supplied = max(trace.supplied, 1)
    elapsed = float(trace.version_time[supplied])
    quintile = quintiles(trace.durations)
    trained = quintile[trace.order]
    first = trained[: FIRST_STEPS * trace.batch]
    shares = rolling_share(trace) if trace.supplied >= FIRST_STEPS else np.zeros(1)
    in_supply = trace.order[trace.trained[trace.order] < supplied]
    means = np.bincount(trace.trained[in_supply], weights=np.log(trace.durations[in_supply])) / trace.batch
    return Report(
        throughput=len(in_supply) / elapsed,
        makespan=float(trace.version_time[-1]),
        trainer_idle=1 - supplied * trace.train_time / elapsed,
        slots_running=trace.running_time / elapsed,
        staleness_mean=float(staleness.mean()),
        staleness_p50=float(np.percentile(staleness, 50)),
        staleness_p99=float(np.percentile(staleness, 99)),
        staleness_max=int(staleness.max()),
        bound=trace.bound,
        of_limit=None if trace.bound is None else float(limit(trace)[supplied] / elapsed),
        kl_first=divergence(first),
        kl_all=divergence(trained),
        kl_chance=(QUINTILES - 1) / 2 / len(first),
        top_share=float((trained == QUINTILES - 1).mean()),
        share_sd=float(shares.std()),
        batch_autocorrelation=float(np.corrcoef(means[:-1], means[1:])[0, 1]) if len(means) > 2 else 0.0,
        dropped=int((~done).sum()),
        held_age_max=int(trace.held.max()),
        lateness_max=int((trace.trained - np.arange(len(done)) // trace.batch)[done].max()),
    )
