"""The builder against a trie made token by token, over random sequences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.trees.trie import Trie, build_trie, hash_routes
from warehouse.errors import FactoryError

# Two or three tokens, so that prefixes, duplicates and sequences inside others are common.
SEQUENCES = st.lists(st.lists(st.integers(0, 2), max_size=9), max_size=12)


def naive(sequences: list[list]) -> dict[tuple, int]:
    """Each distinct prefix and the number of sequences that pass through it."""
    counts: dict[tuple, int] = {}
    for sequence in sequences:
        for end in range(1, len(sequence) + 1):
            prefix = tuple(sequence[:end])
            counts[prefix] = counts.get(prefix, 0) + 1
    return counts


def prefix_of(trie: Trie, token: int) -> tuple:
    prefix: list[int] = []
    while token >= 0:
        prefix.append(int(trie.tokens_T[token]))
        token = int(trie.parent_T[token])
    return tuple(prefix[::-1])


@settings(max_examples=300)
@given(SEQUENCES, st.sampled_from([np.int32, np.int64, np.uint8]))
def test_every_prefix_is_there_once_with_its_paths_counted(sequences: list[list[int]], kind: type) -> None:
    trie = build_trie([np.array(sequence, kind) for sequence in sequences])
    wanted = naive(sequences)
    found = {prefix_of(trie, token): int(trie.count_T[token]) for token in range(len(trie.tokens_T))}
    assert found == wanted
    assert len(trie.tokens_T) == len(wanted)
    for index, sequence in enumerate(sequences):
        rows = trie.path(index)
        assert trie.tokens_T[rows].tolist() == sequence
        assert trie.position_T[rows].tolist() == list(range(len(sequence)))
        assert trie.length_P[index] == len(sequence)


@settings(max_examples=300)
@given(SEQUENCES)
def test_nodes_are_maximal_runs_in_depth_first_order(sequences: list[list[int]]) -> None:
    trie = build_trie([np.array(sequence, np.int32) for sequence in sequences])
    size = len(trie.tokens_T)
    children = np.bincount(trie.parent_T[trie.parent_T >= 0], minlength=size)
    for token in range(size):
        begins = token in set(trie.start_N.tolist())
        above = int(trie.parent_T[token])
        assert begins == (above < 0 or children[above] > 1)
        if not begins:
            assert above == token - 1
    assert trie.end_N.tolist() == [*trie.start_N[1:].tolist(), size][: len(trie.start_N)]
    for node in range(len(trie.start_N)):
        above, parent = int(trie.parent_T[trie.start_N[node]]), int(trie.parent_N[node])
        assert (above, parent) == (-1, -1) or above == trie.end_N[parent] - 1
        below = [t for t in range(size) if trie.start_N[node] in ancestors(trie, t)]
        assert trie.subtree_end_N[node] == max(below) + 1


def ancestors(trie: Trie, token: int) -> set[int]:
    seen = set()
    while token >= 0:
        seen.add(token)
        token = int(trie.parent_T[token])
    return seen


@settings(max_examples=150)
@given(st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=7), max_size=9))
def test_tokens_merge_only_under_equal_routes(sequences: list[list[tuple[int, int]]]) -> None:
    tokens = [np.array([token for token, _ in sequence], np.int32) for sequence in sequences]
    routes = [
        np.array([[[route, 3], [1, 2]] for _, route in sequence], np.uint8).reshape(-1, 2, 2)
        for sequence in sequences
    ]
    trie = build_trie(tokens, routes)
    assert len(trie.tokens_T) == len(naive(sequences))
    for index, sequence in enumerate(sequences):
        rows = trie.path(index)
        assert trie.tokens_T[rows].tolist() == [token for token, _ in sequence]
        if len(sequence):
            assert trie.routes_TLK is not None
            assert np.array_equal(trie.routes_TLK[rows], routes[index])


def test_a_hash_depends_on_every_byte_of_a_route() -> None:
    routes = np.random.default_rng(0).integers(0, 256, (1, 5, 3)).astype(np.uint8)
    hashes = {int(hash_routes(routes)[0])}
    for layer in range(5):
        for expert in range(3):
            for bit in range(8):
                other = routes.copy()
                other[0, layer, expert] ^= 1 << bit
                hashes.add(int(hash_routes(other)[0]))
    assert len(hashes) == 1 + 5 * 3 * 8


def test_routes_that_collide_under_a_seed_still_do_not_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    real = hash_routes
    monkeypatch.setattr(
        "training.trees.trie.hash_routes",
        lambda routes, seed: real(routes, seed) if seed else np.zeros(len(routes), np.uint64),
    )
    tokens = [np.array([1, 2], np.int32)] * 2
    routes = [np.array([[[0]], [[1]]], np.uint8), np.array([[[0]], [[2]]], np.uint8)]
    assert len(build_trie(tokens, routes).tokens_T) == 3


def test_the_named_workload_has_the_counted_tokens() -> None:
    """60 turns, prompt 200, 16 rollouts, 4 generated and 6 observed a turn, one sample a request."""
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, 1 << 30, 200)
    sequences = []
    for _ in range(16):
        episode = np.concatenate([prompt, rng.integers(0, 1 << 30, 60 * 10)])
        sequences += [episode[: 204 + 10 * turn] for turn in range(60)]
    trie = build_trie(sequences)
    assert (sum(map(len, sequences)), len(trie.tokens_T), len(trie.start_N)) == (479_040, 9_704, 17)


@pytest.mark.parametrize(
    ("sequences", "routes", "says"),
    [
        ([np.zeros((2, 2), np.int64)], None, "flat arrays"),
        ([np.array([0.5])], None, "flat arrays"),
        ([np.array([1])], [], "one for each"),
        ([np.array([1])], [np.zeros((2, 1, 1), np.uint8)], "layers, experts"),
        ([np.array([1])] * 2, [np.zeros((1, 1, 1), np.uint8), np.zeros((1, 2, 1), np.uint8)], "differ"),
    ],
)
def test_what_cannot_be_merged_is_said(sequences: list, routes: list | None, says: str) -> None:
    with pytest.raises(FactoryError, match=says):
        build_trie(sequences, routes)
