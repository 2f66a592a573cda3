"""The whole model: a tree is its paths, a depth of MTP is its definition, a past is the path before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_forests import grow
from torch import Tensor

from training.model.block import Rotation
from training.model.config import preset
from training.model.layout import Forest
from training.model.model import Hidden, Model, Past
from warehouse.errors import FactoryError

K = 3
CONFIG = preset("tiny").replace(vocab_size=97, mtp_depth=K, init_std=0.2)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(CONFIG, seed=1).double()


def depths(hidden: Hidden) -> list[Tensor]:
    return [hidden.trunk_TD, *hidden.mtp_TD]


@pytest.mark.parametrize("seed", range(6))
def test_a_tree_gives_the_states_gradients_and_counts_of_its_paths(model: Model, seed: int) -> None:
    tree = grow(seed, nodes=14, longest=[3, 30][seed % 2], roots=0.2)
    merged, apart = model.states(tree.forest), model.states(Forest.packed(tree.sequences))
    for ours, theirs in zip(depths(merged), depths(apart), strict=True):
        assert (ours[tree.packed_rows] - theirs).abs().max() <= 1e-12
    assert torch.equal(merged.expert_counts_LE, apart.expert_counts_LE)
    assert torch.equal(merged.routes_TLK[tree.packed_rows].sort(-1)[0], apart.routes_TLK.sort(-1)[0])

    weights = [torch.randn(x.shape, dtype=x.dtype) for x in depths(apart)]
    parameters = [p for n, p in model.named_parameters() if not n.startswith("head")]
    losses = (
        sum((x[tree.packed_rows] * w).sum() for x, w in zip(depths(merged), weights, strict=True)),
        sum((x * w).sum() for x, w in zip(depths(apart), weights, strict=True)),
    )
    found, wanted = (torch.autograd.grad(loss, parameters) for loss in losses)
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-12 * b.abs().max()


def test_mtp_is_its_definition_on_one_sequence(model: Model) -> None:
    """Depth k as DeepSeek-V3 writes it: state i of depth k from state i of depth k-1 and token i + k."""
    tokens = torch.from_numpy(np.random.default_rng(2).integers(0, 97, 40))
    hidden = model.states(Forest.packed([tokens]))
    state_TD = hidden.residuals_TD[0]
    for k in range(1, K + 1):
        module = model.depth(k)
        left = len(tokens) - k
        joined_TD = module.join(
            torch.cat(
                (module.token_norm(model.embedding(tokens[k:])), module.state_norm(state_TD[:left])), -1
            )
        )
        rotation = Rotation.of(CONFIG, torch.arange(left), torch.float64)
        state_TD, _, _ = module.block(joined_TD, Forest.packed([tokens[k:]]), rotation)
        assert (hidden.mtp_TD[k - 1][k:] - module.norm(state_TD)).abs().max() <= 1e-13
        assert not hidden.mtp_TD[k - 1][:k].any()
        assert (hidden.routes_TLK[:k, CONFIG.layers + k - 1] == -1).all()


@pytest.mark.parametrize("cut", [1, 2, 3, 20])
def test_a_path_computed_in_pieces_is_the_path(model: Model, cut: int) -> None:
    """Also where the piece before is shorter than the deepest MTP module looks."""
    tree = grow(4, nodes=10, longest=12, roots=0)
    sequence = np.arange(cut) % 97
    whole = Forest.packed([np.concatenate((sequence, s)) for s in tree.sequences])
    first = model.states(Forest.packed([sequence]))
    past = Past(first.keys, tuple(x[-1] for x in first.residuals_TD[:-1]))
    forest = tree.forest
    after = model.states(
        Forest.of_nodes(forest.tokens_T, forest.start_N, forest.end_N, forest.parent_N, past=cut),
        past,
    )
    apart = model.states(whole)
    rows = torch.nonzero(whole.position_T >= cut)[:, 0]
    for ours, theirs in zip(depths(after), depths(apart), strict=True):
        assert (ours[tree.packed_rows] - theirs[rows]).abs().max() <= 1e-12


def test_its_own_routes_replayed_change_nothing(model: Model) -> None:
    tree = grow(9, nodes=8, longest=15)
    forest = tree.forest
    live = model.states(forest)
    for routes_TLK in (live.routes_TLK, live.routes_TLK[:, : CONFIG.layers]):
        replayed = model.states(
            Forest.of_nodes(
                forest.tokens_T, forest.start_N, forest.end_N, forest.parent_N, forest.count_T, routes_TLK
            )
        )
        assert torch.equal(replayed.routes_TLK, live.routes_TLK)
        for ours, theirs in zip(depths(replayed), depths(live), strict=True):
            assert torch.equal(ours, theirs)


def test_replayed_routes_are_obeyed_at_every_layer(model: Model) -> None:
    tokens = np.arange(30)
    routes = np.random.default_rng(0).permuted(np.tile(np.arange(8), (30, CONFIG.layers, 1)), axis=-1)[
        ..., :2
    ]
    hidden = model.states(Forest.packed([tokens], [routes]))
    assert torch.equal(hidden.routes_TLK[:, : CONFIG.layers], torch.from_numpy(routes))


def test_nothing_is_cast_down() -> None:
    forest = grow(1, nodes=5, longest=9).forest
    for dtype, high in (
        (torch.float64, torch.float64),
        (torch.float32,) * 2,
        (torch.bfloat16, torch.float32),
    ):
        model = Model(CONFIG, seed=1).to(dtype)
        hidden = model.states(forest)
        assert {x.dtype for x in depths(hidden)} == {dtype}
        assert model.logits(hidden.trunk_TD).dtype == high


def test_bfloat16_is_near_float64() -> None:
    forest = grow(1, nodes=5, longest=9).forest
    wide, low = Model(CONFIG, seed=1).double(), Model(CONFIG, seed=1).bfloat16()
    routes = wide.states(forest).routes_TLK
    forest = Forest.of_nodes(forest.tokens_T, forest.start_N, forest.end_N, forest.parent_N, routes=routes)
    expected = wide.states(forest).trunk_TD
    assert (low.states(forest).trunk_TD.double() - expected).abs().max() < 0.1 * expected.abs().max()


def test_weights_are_drawn_from_their_seed() -> None:
    a, b, c = (Model(CONFIG, seed=seed) for seed in (1, 1, 2))
    for x, y, z in zip(a.parameters(), b.parameters(), c.parameters(), strict=True):
        assert torch.equal(x, y)
        assert x.dim() == 1 or not torch.equal(x, z)
    torch.testing.assert_close(a.blocks[0].experts.down.std(), torch.tensor(0.2), rtol=0.05, atol=0)


def test_a_tied_head_is_the_embedding() -> None:
    model = Model(CONFIG.replace(tied=True), seed=1)
    assert model.head is None
    rows = torch.randn(4, CONFIG.hidden)
    assert torch.equal(model.logits(rows), rows @ model.embedding.weight.T)


@pytest.mark.parametrize(
    ("forest", "sentence"),
    [
        (Forest.packed([[1, 97]]), "Token 97 is outside the model's vocabulary of 97"),
        (Forest.packed([[1, -3]]), "Token -3 is outside"),
        (Forest.packed([]), "holds no tokens"),
        (Forest.packed([[1, 2]], [np.zeros((2, 9, 2))]), "the model has 2 routers"),
    ],
)
def test_a_wrong_batch_is_one_sentence(model: Model, forest: Forest, sentence: str) -> None:
    with pytest.raises(FactoryError, match=sentence):
        model.states(forest)
