"""Exact causal attention over a forest, without an N × N object and without a kernel that CPUs lack.

Queries are taken in *chunks*: at most `LARGEST` tokens that stand side by side. In depth-first order whatever
any of them may see outside the chunk lies on the path of the chunk's first token, so one list of key spans
serves all, and what a query may see of them is a prefix: up to the position where its own path leaves the
first's. A chunk takes in further nodes (short siblings, short sequences) only while the pairs this computes
in vain cost less than another call would, and is as long as makes calls and its own triangle of masked
pairs cheapest together. One chunk × span mask is all that is ever masked.

Query heads of a group are laid as rows beside each other, so keys and values are never repeated. Scores
are made again backward from the saved log-sum-exp; gradients of keys and values are added in place, span by
span: slicing under autograd would allocate whole gradients for each.

Shapes: T query tokens, S key tokens of a chunk, P tokens of an earlier path, H query heads, G key heads,
R = H / G, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.model.layout import Forest, joined

SMALLEST, LARGEST = 64, 256  # query tokens a chunk
# What starting another chunk costs forward and backward, in products of scores: pairs × heads × width.
# On two cores 64 to 128 rows of 8 × 64 were fastest. A GPU's is a guess by its launches.
CALL = {"cpu": 1 << 20, "cuda": 1 << 26}


@dataclass(frozen=True)
class Chunk:
    """Queries `start:stop`, and the keys that they may see: ranges `spans` [n, 2] of past and T together.

    The last keys are the chunk's own, `outside` those before. `leaves_T` is the position at which each
    query's path leaves the first's, None if none does before the chunk; `inside_TT` is what queries see of
    the chunk itself, None if it is one path.
    """

    start: int
    stop: int
    spans: np.ndarray
    outside: int
    leaves_T: Tensor | None
    inside_TT: Tensor | None


def attend(
    q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, forest: Forest, past: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Each token's attention over its path, itself included; scores are scaled by D^-½.

    `past` holds keys and values [P, G, D] of the path that the forest continues (P = `forest.past`).
    """
    heads, groups = q_THD.shape[1], k_TGD.shape[1]
    if past is not None:
        k_TGD, v_TGD = torch.cat((past[0], k_TGD)), torch.cat((past[1], v_TGD))
    q_TGRD = q_THD.unflatten(1, (groups, heads // groups))
    chunks = plan(forest, q_THD.device, heads * q_THD.shape[2])
    return _Attention.apply(q_TGRD, k_TGD, v_TGD, chunks).flatten(1, 2)


def plan(forest: Forest, device: torch.device, width: int) -> list[Chunk]:
    """The chunks of `forest` for `width` = H · D, made once for all layers."""
    pairs = CALL.get(device.type, CALL["cuda"]) // width
    key = ("chunks", str(device), pairs)
    if key not in forest._cache:
        ranges = _ranges(forest, _rows_of(pairs), pairs)
        forest._cache[key] = [_chunk(forest, start, stop, device) for start, stop in ranges]
    return forest._cache[key]


def _rows_of(pairs: int) -> int:
    """Rows a chunk: about where (pairs + rows² / 2) / rows is least, `pairs` being what a call costs."""
    return min(max(1 << (int((2 * pairs) ** 0.5).bit_length() - 1), SMALLEST), LARGEST)


def _ranges(forest: Forest, longest: int, allowed: int) -> list[tuple[int, int]]:
    """Where chunks of at most `longest` tokens start and stop, each with at most `allowed` pairs in vain."""
    ranges: list[tuple[int, int]] = []
    starts, ends = forest.start_N.tolist(), forest.end_N.tolist()
    parents, bases = forest.parent_N.tolist(), forest.base_N.tolist()
    at = before = vain = 0  # of the open chunk: its first token, the keys outside, the pairs in vain
    first = -1  # its first node
    leaves: dict[int, int] = {}  # where the path of each of its nodes leaves the first's
    for node, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if first >= 0:
            leave = leaves.get(parents[node], bases[node])
            rows = min(end - start, longest - (start - at))
            vain += rows * (before - leave + (start - at) - (bases[node] - leave))
            if rows <= 0 or vain > allowed:
                ranges.append((at, start))
                first = -1
            else:
                leaves[node] = leave
        if first < 0:
            at, first, before, vain, leaves = start, node, bases[node], 0, {node: bases[node]}
        while end - at > longest:
            ranges.append((at, at + longest))
            at, first, vain = at + longest, node, 0
            before = bases[node] + at - start
            leaves = {node: before}
    if first >= 0:
        ranges.append((at, len(forest)))
    return ranges


def _chunk(forest: Forest, start: int, stop: int, device: torch.device) -> Chunk:
    first, last = int(forest.node_T[start]), int(forest.node_T[stop - 1])
    before = int(forest.base_N[first] + start - forest.start_N[first])
    above = forest.spans(first) + forest.past
    own = forest.past + np.array([[forest.start_N[first], stop]])
    ranges = np.concatenate((np.array([[0, forest.past]])[: forest.past], above, own))
    spans = joined(ranges[:, 0], ranges[:, 1])
    leaves_T = inside_TT = None
    if last > first:
        leaves_T, inside_TT = _masks(forest, start, stop, first, before, device)
    return Chunk(start, stop, spans, before, leaves_T, inside_TT)


def _masks(
    forest: Forest, start: int, stop: int, first: int, before: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """What queries of a chunk of several nodes see outside (a prefix) and inside (the path in it)."""
    node_T = forest.node_T[start:stop]
    leave = {first: before}
    for node in range(first + 1, int(node_T[-1]) + 1):
        leave[node] = leave.get(int(forest.parent_N[node]), int(forest.base_N[node]))
    leaves_T = np.array([leave[n] for n in range(first, int(node_T[-1]) + 1)])[node_T - first]
    token_T = np.arange(start, stop)
    inside_TT = token_T[:, None] >= token_T
    branched = token_T[:, None] >= forest.subtree_end_N[node_T]
    if not branched.any():
        return None, None
    inside = torch.from_numpy(inside_TT & ~branched).to(device)
    return (torch.from_numpy(leaves_T).to(device) if (leaves_T < before).any() else None), inside


def _keys(x_SGD: Tensor, chunk: Chunk) -> Tensor:
    """What the chunk's queries may see of keys or values, [G, S, D]."""
    parts = [x_SGD[a:b] for a, b in chunk.spans.tolist()]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).transpose(0, 1)


def _rows(x_TGRD: Tensor, chunk: Chunk) -> Tensor:
    """The chunk's queries as rows, [G, T · R, D]."""
    return x_TGRD[chunk.start : chunk.stop].transpose(0, 1).flatten(1, 2)


def _scores(q_GMD: Tensor, k_GSD: Tensor, chunk: Chunk, dtype: torch.dtype) -> Tensor:
    """Masked scores [G, T · R, S] in `dtype`; `q_GMD` is scaled already."""
    s_GMS = torch.bmm(q_GMD, k_GSD.transpose(1, 2)).to(dtype)
    rows = chunk.stop - chunk.start
    s_GTRS = s_GMS.unflatten(1, (rows, -1))
    if chunk.leaves_T is not None:
        position_S = torch.arange(chunk.outside, device=s_GMS.device)
        hidden_TS = position_S >= chunk.leaves_T[:, None]
        s_GTRS[..., : chunk.outside].masked_fill_(hidden_TS[:, None], -torch.inf)
    inside_TT = chunk.inside_TT
    if inside_TT is None:
        inside_TT = torch.ones(rows, rows, dtype=torch.bool, device=s_GMS.device).tril_()
    s_GTRS[..., chunk.outside :].masked_fill_(~inside_TT[:, None], -torch.inf)
    return s_GMS


class _Attention(torch.autograd.Function):
    """Attention chunk by chunk; saves inputs, outputs and log-sum-exp, and makes scores again backward."""

    @staticmethod
    def forward(ctx: Any, q_TGRD: Tensor, k_SGD: Tensor, v_SGD: Tensor, chunks: list[Chunk]) -> Tensor:
        tokens, groups, repeat, width = q_TGRD.shape
        high = torch.promote_types(q_TGRD.dtype, torch.float32)
        out_TGRD = torch.empty_like(q_TGRD, memory_format=torch.contiguous_format)
        lse_TGR = q_TGRD.new_empty((tokens, groups, repeat), dtype=high)
        for chunk in chunks:
            k_GSD, v_GSD = _keys(k_SGD, chunk), _keys(v_SGD, chunk)
            s_GMS = _scores(_rows(q_TGRD, chunk) * width**-0.5, k_GSD, chunk, high)
            top_GM1 = s_GMS.amax(-1, keepdim=True)
            weight_GM1 = s_GMS.sub_(top_GM1).exp_().sum(-1, keepdim=True)
            o_GMD = torch.bmm(s_GMS.to(v_SGD.dtype), v_GSD).to(high) / weight_GM1
            at = slice(chunk.start, chunk.stop)
            out_TGRD[at] = o_GMD.unflatten(1, (-1, repeat)).transpose(0, 1).to(out_TGRD.dtype)
            lse_TGR[at] = (top_GM1 + weight_GM1.log())[..., 0].unflatten(1, (-1, repeat)).transpose(0, 1)
        ctx.save_for_backward(q_TGRD, k_SGD, v_SGD, out_TGRD, lse_TGR)
        ctx.chunks = chunks
        return out_TGRD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do_TGRD: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_TGRD, k_SGD, v_SGD, out_TGRD, lse_TGR = ctx.saved_tensors
        repeat, width = q_TGRD.shape[2:]
        high = lse_TGR.dtype
        dq_TGRD = torch.empty_like(q_TGRD, memory_format=torch.contiguous_format)
        dk_SGD, dv_SGD = (
            torch.zeros_like(x, dtype=high, memory_format=torch.contiguous_format) for x in (k_SGD, v_SGD)
        )
        delta_TGR1 = (do_TGRD.to(high) * out_TGRD.to(high)).sum(-1, keepdim=True)
        for chunk in ctx.chunks:
            k_GSD, v_GSD = _keys(k_SGD, chunk), _keys(v_SGD, chunk)
            q_GMD, do_GMD = _rows(q_TGRD, chunk) * width**-0.5, _rows(do_TGRD, chunk)
            p_GMS = _scores(q_GMD, k_GSD, chunk, high)
            p_GMS.sub_(_rows(lse_TGR[..., None], chunk)).exp_()
            dp_GMS = torch.bmm(do_GMD, v_GSD.transpose(1, 2)).to(high)
            ds_GMS = dp_GMS.sub_(_rows(delta_TGR1, chunk)).mul_(p_GMS).to(q_GMD.dtype)
            dq_GMD = torch.bmm(ds_GMS, k_GSD).mul_(width**-0.5)
            dq_TGRD[chunk.start : chunk.stop] = dq_GMD.unflatten(1, (-1, repeat)).transpose(0, 1)
            _add(dk_SGD, torch.bmm(ds_GMS.transpose(1, 2), q_GMD), chunk)
            _add(dv_SGD, torch.bmm(p_GMS.to(do_GMD.dtype).transpose(1, 2), do_GMD), chunk)
        return dq_TGRD, dk_SGD.to(k_SGD.dtype), dv_SGD.to(v_SGD.dtype), None


def _add(total_SGD: Tensor, part_GSD: Tensor, chunk: Chunk) -> None:
    """Adds a chunk's gradient to the spans it was gathered from."""
    at = 0
    for a, b in chunk.spans.tolist():
        total_SGD[a:b] += part_GSD[:, at : at + b - a].transpose(0, 1)
        at += b - a
