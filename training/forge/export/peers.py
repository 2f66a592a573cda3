"""A branch as the record of each trainer: the arguments of the type that it is there.

| format | type | of |
|---|---|---|
| `trl` | `RolloutSample` | trl.experimental.async_grpo (1.16) |
| `verl` | `AgentLoopOutput` | verl.experimental.agent_loop (0.9) |
| `skyrl` | `GeneratorOutput`, a column for each key, step-wise | skyrl.train.generators (0.3) |
| `prime-rl` | `TrainingSample` | prime_rl.transports.rollouts (August 2026) |
| `slime` | `Sample`, as `Sample.to_dict` gives it | slime.utils.types (0.3) |

Field names and meanings are those of these versions; benchmarks/peer_records.py makes their objects from our
records. What a type has no place for (versions in verl, the group in prime-rl) is left out, or in its field
for extras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from training.forge.export.branches import Branch

Record = Mapping[str, Any]


def trl(branch: Branch, index: int) -> Record:
    """Arrays are over the whole sequence. Messages are not kept in the pool: the lists are empty."""
    before = len(branch.prompt_P)
    return {
        "prompt": [],
        "completion": [],
        "input_ids": _whole(branch),
        "completion_mask": np.r_[np.zeros(before, np.int64), branch.learnt_R],
        "old_log_probs": np.r_[np.zeros(before, np.float32), branch.logprobs_R],
        "advantage": branch.advantage,
        "model_version": branch.oldest_version,
        "group_id": branch.group,
        "metrics": {"reward": branch.reward},
    }


def verl(branch: Branch, index: int) -> Record:
    """`extra_fields` become non-tensor columns of the DataProto; its `uid` is the group."""
    return {
        "prompt_ids": branch.prompt_P,
        "response_ids": branch.response_R,
        "response_mask": branch.learnt_R.astype(np.int64),
        "response_logprobs": branch.logprobs_R,
        "reward_score": branch.reward,
        "num_turns": 2 * branch.turns,
        "metrics": {"generate_sequences": branch.seconds},
        "extra_fields": {
            "uid": f"g{branch.group}" if branch.group >= 0 else branch.trajectory,
            "trajectory": branch.trajectory,
            "min_global_steps": branch.oldest_version,
            "max_global_steps": branch.newest_version,
        },
    }


def skyrl(branch: Branch, index: int) -> Record:
    """A row; the columns of all rows are a GeneratorOutput. A branch is a step of its trajectory."""
    return {
        "prompt_token_ids": branch.prompt_P,
        "response_ids": branch.response_R,
        "rewards": branch.reward,
        "loss_masks": branch.learnt_R.astype(np.int64),
        "stop_reasons": branch.finish,
        "rollout_logprobs": branch.logprobs_R,
        "trajectory_ids": {
            "instance_id": f"g{branch.group}" if branch.group >= 0 else branch.trajectory,
            "repetition_id": max(branch.sample, 0),
        },
        "is_last_step": branch.last,
    }


def prime_rl(branch: Branch, index: int) -> Record:
    """Arrays are over the whole sequence; advantages only where it is learnt."""
    before = len(branch.prompt_P)
    mask_S = np.r_[np.zeros(before, bool), branch.learnt_R]
    routes = branch.routes_SLK
    return {
        "token_ids": _whole(branch),
        "mask": mask_S,
        "logprobs": np.r_[np.zeros(before, np.float32), branch.logprobs_R],
        "temperatures": np.r_[np.ones(before, np.float32), branch.temperature_R],
        "env_name": "verifactory",
        "routed_experts": None if routes is None else {
            "data": routes.tobytes(), "shape": list(routes.shape), "dtype": str(routes.dtype),
        },
        "advantages": np.where(mask_S, branch.advantage, 0.0),
    }  # fmt: skip


def slime(branch: Branch, index: int) -> Record:
    """Branches of a trajectory have one `rollout_id`, so that slime counts it once."""
    status = "truncated" if branch.finish == "length" else "completed"
    return {
        "group_index": branch.group,
        "index": index,
        "rollout_id": branch.group * SAMPLES + branch.sample if branch.group >= 0 else None,
        "tokens": _whole(branch).tolist(),
        "response_length": len(branch.response_R),
        "reward": branch.reward,
        "loss_mask": branch.learnt_R.astype(int).tolist(),
        "weight_versions": [str(branch.oldest_version), str(branch.newest_version)],
        "rollout_log_probs": branch.logprobs_R.tolist(),
        "rollout_routed_experts": None if branch.routes_SLK is None else branch.routes_SLK[:-1].tolist(),
        "status": status,
        "metadata": {"trajectory": branch.trajectory},
        "spec_info": {},
        "prefix_cache_info": {},
    }


SAMPLES = 1 << 16  # more than a group has
RECORDS: Mapping[str, Callable[[Branch, int], Record]] = {
    "prime-rl": prime_rl,
    "skyrl": skyrl,
    "slime": slime,
    "trl": trl,
    "verl": verl,
}


def _whole(branch: Branch) -> np.ndarray:
    return np.r_[branch.prompt_P, branch.response_R].astype(np.int64)
