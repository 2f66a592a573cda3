"""Rewards to advantages and weights, against the report's formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.advantages import (
    AdvantageConfig,
    Baseline,
    Normalizer,
    RewardConfig,
    Scale,
    composite,
    group_advantages,
    normalised,
    reward_to_go,
    speed_reward,
)
from training.process import Process, foreign_share, inspect, process_reward, script_of
from warehouse.errors import FactoryError

REWARDS = st.lists(st.lists(st.floats(-2, 2), min_size=1, max_size=6), min_size=2, max_size=5)


@settings(max_examples=80)
@given(REWARDS, st.floats(0, 1), st.sampled_from(list(Baseline)), st.sampled_from(list(Scale)))
def test_advantages_are_reward_to_go_less_a_baseline(
    rewards: list[list[float]], gamma: float, baseline: Baseline, scale: Scale
) -> None:
    config = AdvantageConfig(gamma=gamma, baseline=baseline, scale=scale)
    found = group_advantages(rewards, config)
    returns = [sum(gamma**t * r for t, r in enumerate(trajectory)) for trajectory in rewards]
    divisor = float(np.std(returns, ddof=1)) + 1e-6 if scale is Scale.GROUP_STD else 1.0
    for index, trajectory in enumerate(rewards):
        to_go = [
            sum(gamma ** (later - t) * trajectory[later] for later in range(t, len(trajectory)))
            for t in range(len(trajectory))
        ]
        others = returns[:index] + returns[index + 1 :]
        expected = {
            Baseline.NONE: 0.0,
            Baseline.GROUP_MEAN: sum(returns) / len(returns),
            Baseline.LEAVE_ONE_OUT: sum(others) / len(others),
            Baseline.TRAJECTORY_MEAN: sum(to_go) / len(to_go),
        }[baseline]
        wanted = [(go - expected) / divisor for go in to_go]
        assert found[index].tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-9 / divisor)


def test_reward_to_go_by_hand() -> None:
    assert reward_to_go([1, 0, 2], 0.5).tolist() == [1.5, 1.0, 2.0]
    assert reward_to_go([0, 0, 1]).tolist() == [1, 1, 1]


def test_the_composite_reward_puts_speed_and_performance_last() -> None:
    config = RewardConfig(alpha=0.5, beta=0.1)
    reward_T = composite([-1.0, 0.0, -2.0], speed_reward(50, 100), 1.0, config)
    assert reward_T.tolist() == pytest.approx([-0.5, 0.0, -1.0 + 0.1 / 3 + 1.0])
    with pytest.raises(FactoryError, match="without steps"):
        composite([], 0.0, 1.0, config)


def test_speed_falls_from_one_through_nought_at_the_baseline() -> None:
    times = [0.0, 10.0, 100.0, 1000.0, 1e9]
    rewards = [speed_reward(seconds, 100.0) for seconds in times]
    assert rewards[0] == 1.0
    assert rewards[2] == 0.0
    assert rewards == sorted(rewards, reverse=True)
    assert -1 < rewards[-1] < -0.99
    with pytest.raises(FactoryError, match="no speed"):
        speed_reward(1.0, 0.0)


def test_weights_by_group_and_by_step() -> None:
    masks = [np.array([1, 1, 1, 0]), np.array([0, 1]), np.array([0, 1, 1, 1, 1])]
    by_group = normalised(masks, [0, 0, 1], Normalizer.GROUP)
    assert by_group[0].tolist() == [0, 1 / 6, 1 / 6, 0]  # three learnt tokens in the group, two groups
    assert by_group[1].tolist() == [0, 1 / 6]
    assert by_group[2].tolist() == [0, *[1 / 8] * 4]
    everywhere = normalised(masks, [0, 0, 1], Normalizer.GLOBAL)
    assert [w.tolist() for w in everywhere] == [[0, 1 / 7, 1 / 7, 0], [0, 1 / 7], [0, *[1 / 7] * 4]]
    for weights in (by_group, everywhere):
        assert sum(float(w.sum()) for w in weights) == pytest.approx(1.0)


def test_a_group_without_learnt_tokens_is_left_out_of_the_mean() -> None:
    weights = normalised([np.array([1, 0, 0]), np.array([0, 1])], [0, 1], Normalizer.GROUP)
    assert [w.tolist() for w in weights] == [[0, 0, 0], [0, 1]]
    with pytest.raises(FactoryError, match="No token"):
        normalised([np.array([1])], [0], Normalizer.GROUP)


def test_rewards_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(FactoryError, match="Trajectory 1"):
        group_advantages([[1.0], [float("nan")]], AdvantageConfig())
    with pytest.raises(FactoryError, match="at least two"):
        group_advantages([[1.0]], AdvantageConfig(baseline=Baseline.LEAVE_ONE_OUT))


INVOKE = '<invoke name="run">\n<parameter name="cmd">ls</parameter>\n</invoke>'
CALL = f"<minimax:tool_call>\n{INVOKE}\n</minimax:tool_call>"


@pytest.mark.parametrize(
    ("completion", "wanted"),
    [
        (f"Look first.\n</think>\n\nI list the files.\n{CALL}", Process(False, False, 0.0)),
        (f"Look.\n</think>\n{CALL.replace('</invoke>', '')}", Process(True, False, 0.0)),
        (f"Look.\n</think>\n{CALL.replace('</minimax:tool_call>', '')}", Process(True, False, 0.0)),
        ("Look.\n</think>\n<minimax:tool_call>\n</minimax:tool_call>", Process(True, False, 0.0)),
        ("No end of it", Process(False, True, 0.0)),
        ("\n</think>\nNothing was thought.", Process(False, True, 0.0)),
        ("One.\n</think>\nAnd\n<think>\ntwo\n</think>\n", Process(False, True, 0.0)),
        ("abcd\n</think>\n文字漢語", Process(False, False, 0.5)),
        ("abcd\n</think>\n`文字漢語` in code", Process(False, False, 0.0)),
    ],
)
def test_faults_of_a_completion(completion: str, wanted: Process) -> None:
    found = inspect(completion, "LATIN")
    assert found == wanted
    penalty = process_reward(found, RewardConfig(tool_format=1, reasoning=2, language_mixing=4))
    assert penalty == -(wanted.tool_format + 2 * wanted.reasoning + 4 * wanted.foreign_letters)


def test_scripts() -> None:
    assert script_of("print(x)") == "LATIN"
    assert script_of("修复 bug") == "CJK"
    assert script_of("12 + 3") is None
    assert foreign_share("日本語のテキスト", "CJK") == 0.0
    assert foreign_share("修复 the bug", "CJK") == 0.0
    assert foreign_share("done 完成", "LATIN") == pytest.approx(2 / 6)
