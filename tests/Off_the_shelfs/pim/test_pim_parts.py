"""Pyramid, classifiers, selector and combiner against slow formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from Off_the_shelfs.config import OffTheShelfConfig
from Off_the_shelfs.pim.classifiers import PositionClassifier
from Off_the_shelfs.pim.combiner import Combiner
from Off_the_shelfs.pim.config import PimConfig, PimLossConfig
from Off_the_shelfs.pim.levels import Level
from Off_the_shelfs.pim.pyramid import Pyramid
from Off_the_shelfs.pim.selector import rank_positions, resolve_counts, take
from utils.config import parse_config
from utils.errors import ConfigError

LEVELS = [Level(4, 6, 4), Level(6, 3, 2), Level(8, 3, 2)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def maps() -> list[Tensor]:
    return [torch.rand(2, level.channels, level.height, level.width) for level in LEVELS]


@pytest.mark.parametrize("upsample", ["interpolate", "dense"])
def test_every_level_carries_all_deeper_ones(upsample: str) -> None:
    pyramid, found = Pyramid(LEVELS, 5, upsample), maps()  # type: ignore[arg-type]
    tokens = pyramid(found)
    assert [tuple(each.shape) for each in tokens] == [(2, 24, 5), (2, 6, 5), (2, 6, 5)]
    sums: list[Tensor] = []
    for projection, level in zip(pyramid.projections, found, strict=True):
        first, second = projection.get_submodule("0"), projection.get_submodule("2")
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        hidden = torch.einsum("bchw,dc->bdhw", level, first.weight) + first.bias[:, None, None]
        sums.append(torch.einsum("bchw,dc->bdhw", hidden.relu(), second.weight) + second.bias[:, None, None])
    sums[1] = sums[1] + sums[2]  # as many positions: added as they are
    if upsample == "interpolate":
        lifted = F.interpolate(sums[1], (6, 4), mode="bilinear", align_corners=False)
    else:
        lift = pyramid.lifts[0]
        assert isinstance(lift, nn.Linear)
        assert tuple(lift.weight.shape) == (24, 6)
        lifted = (torch.einsum("bfs,ts->bft", sums[1].flatten(2), lift.weight) + lift.bias).view(2, 5, 6, 4)
        assert isinstance(pyramid.lifts[1], nn.Identity)
    sums[0] = sums[0] + lifted
    for got, expected in zip(tokens, sums, strict=True):
        torch.testing.assert_close(got, expected.flatten(2).transpose(1, 2))


def test_tokens_are_row_by_row() -> None:
    """An impulse in row r and column c of a map of w columns is in token r·w + c, and nowhere else."""
    pyramid = Pyramid([Level(2, 3, 5)], 2, "interpolate")
    for weight in pyramid.parameters():
        weight.data.copy_(torch.eye(2) if weight.dim() == 2 else torch.zeros(2))
    found = torch.zeros(1, 2, 3, 5)
    found[0, :, 1, 3] = torch.tensor([4.0, 7.0])
    (tokens,) = pyramid([found])
    assert tokens[0, 1 * 5 + 3].tolist() == [4.0, 7.0]
    assert tokens.count_nonzero() == 2


def test_a_dense_map_between_positions_has_the_size_of_the_published_ones() -> None:
    levels = [Level(1, side, side) for side in (48, 24, 12, 12)]
    counts = [sum(weight.numel() for weight in lift.parameters()) for lift in Pyramid(levels, 2, "dense").lifts]
    assert counts == [1_329_408, 83_520, 0]


def test_a_classifier_sees_one_position_and_trains_on_one_picture() -> None:
    classifier, tokens = PositionClassifier(5, 3), torch.rand(1, 6, 5)
    assert torch.isfinite(classifier(tokens)).all()
    classifier.eval()
    logits = classifier(tokens)
    tokens[0, 2] += 1.0
    changed = (classifier(tokens) != logits).any(dim=2)[0]
    assert changed.tolist() == [False, False, True, False, False, False]


def naive_choice(logits: Tensor, count: int) -> tuple[list[list[int]], list[list[int]]]:
    kept, dropped = [], []
    for picture in logits:
        scores = [max(F.softmax(row, dim=0).tolist()) for row in picture]
        order = sorted(range(len(scores)), key=lambda place: -scores[place])
        kept.append(order[:count])
        dropped.append(order[count:])
    return kept, dropped


@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_the_choice_is_that_of_a_loop_over_pictures(count: int) -> None:
    logits, values = torch.randn(4, 20, 5), torch.rand(4, 20, 3)
    order = rank_positions(logits)
    kept, dropped = naive_choice(logits, count)
    assert (order[:, :count].tolist(), order[:, count:].tolist()) == (kept, dropped)
    assert order.sort(dim=1).values.tolist() == [list(range(20))] * 4  # kept and dropped share all positions out
    taken = take(values, order[:, :count])
    assert taken.shape == (4, count, 3)
    for picture, places in enumerate(kept):
        assert torch.equal(taken[picture], values[picture, places])


def test_the_choice_follows_a_permutation_of_the_batch_and_passes_no_gradient() -> None:
    logits, shuffled = torch.randn(6, 20, 5, requires_grad=True), torch.randperm(6)
    order = rank_positions(logits)
    assert torch.equal(rank_positions(logits[shuffled]), order[shuffled])
    values = torch.rand(6, 20, 3, requires_grad=True)
    torch.autograd.backward(take(values, order[:, :4]).sum())
    assert logits.grad is None
    assert values.grad is not None
    kept = torch.zeros(6, 20).scatter(1, order[:, :4], 1.0)
    assert torch.equal(values.grad, kept[:, :, None].expand_as(values))


def test_positions_that_are_equally_sure_stay_in_their_order() -> None:
    assert rank_positions(torch.zeros(1, 9, 3)).tolist() == [list(range(9))]


def test_counts_are_numbers_or_fractions() -> None:
    swin = [Level(1, side, side) for side in (96, 48, 24, 12)]  # 384 px, strides 4 to 32
    assert resolve_counts(PimConfig(counts=0.2222), swin) == [2048, 512, 128, 32]
    assert resolve_counts(PimConfig(counts=[0.2222, 512, 0.0, 1.0]), swin) == [2048, 512, 0, 144]
    assert resolve_counts(PimConfig(counts=[32]), swin) == resolve_counts(PimConfig(counts=32), swin) == [32] * 4
    assert resolve_counts(PimConfig(counts=1, positions_per_joint=4), swin) == [1] * 4


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"pim\.counts is \['abc'\], but must be a whole number, a fraction .* list"):
        parse_config(OffTheShelfConfig, ["--model.backbone.pim.counts", "abc"], program="train", flags={})
    with pytest.raises(ConfigError, match=r"asks for 7 positions of level 2, which has 6 \(3×2\); lower it"):
        resolve_counts(PimConfig(counts=7), LEVELS)
    with pytest.raises(ConfigError, match=r"pim\.counts has 2 numbers for 3 levels"):
        resolve_counts(PimConfig(counts=[1, 2]), LEVELS)
    with pytest.raises(ConfigError, match=r"keeps 12 \+ 3 \+ 3 = 18 of the 24 \+ 6 \+ 6 positions, too few .* of 32;"):
        resolve_counts(PimConfig(counts=0.5), LEVELS)
    options = {"counts": [4, 6, 4], "positions_per_joint": 4}
    with pytest.raises(ConfigError, match=r"keeps 6 of the 6 positions of level 2, .* nothing trains its classifier"):
        resolve_counts(PimConfig(**options, loss=PimLossConfig(blocks=0)), LEVELS)  # type: ignore[arg-type]


@pytest.mark.parametrize("query_channels", ["one", "quarter"])
def test_the_combiner_is_the_graph_network_written_out(query_channels: str) -> None:
    combiner, kept = Combiner(12, 3, 8, query_channels), torch.randn(4, 12, 8)  # type: ignore[arg-type]
    with torch.no_grad():
        combiner.alpha.fill_(0.7)
        combiner.adjacency.normal_()  # not symmetric: its transpose would be another graph
    part = dict(combiner.named_parameters())

    def linear(name: str, values: Tensor, layout: str) -> Tensor:
        bias = part[f"{name}.bias"]
        return torch.einsum(layout, values, part[f"{name}.weight"]) + (bias[:, None] if layout[-1] == "j" else bias)

    joints = torch.einsum("btf,jt->bfj", kept, part["pool_ranks.weight"]) + part["pool_ranks.bias"]
    query, key = (linear(name, joints, "bfj,qf->bqj").mean(dim=1) for name in ("query", "key"))
    graph = part["adjacency"] + 0.7 * torch.tanh(query[:, :, None] - key[:, None, :])
    mixed = torch.einsum("bfr,brc->bfc", linear("mix", joints, "bfj,gf->bgj"), graph)
    # BatchNorm over pictures and joints, whose scale is 1 and shift 0 at first; no activation.
    centred = mixed - mixed.mean(dim=(0, 2), keepdim=True)
    mixed = centred / (mixed.var(dim=(0, 2), keepdim=True, unbiased=False) + 1e-5).sqrt()
    expected = torch.einsum("bfj,j->bf", mixed, part["pool_joints.weight"][0]) + part["pool_joints.bias"]
    torch.testing.assert_close(combiner(kept), expected, rtol=1e-4, atol=1e-5)


def test_at_first_the_graph_is_the_same_for_all_pictures_and_alpha_learns_before_what_it_weighs() -> None:
    combiner = Combiner(12, 3, 8, "quarter")
    kept = torch.randn(4, 12, 8)
    assert torch.equal(combiner.graph(torch.randn(4, 3, 8)), (0.01 + 0.01 * torch.eye(3)).expand(4, 3, 3))
    torch.autograd.backward(combiner(kept)[:, 0].sum())
    assert combiner.alpha.grad is not None
    assert combiner.alpha.grad.item() != 0
    for layer in (combiner.query, combiner.key):
        assert layer.weight.grad is not None
        assert not layer.weight.grad.any()


def test_the_order_of_the_kept_positions_matters_and_eval_is_deterministic() -> None:
    combiner, kept = Combiner(12, 3, 8, "one").eval(), torch.randn(4, 12, 8)
    assert torch.equal(combiner(kept), combiner(kept))
    assert not torch.allclose(combiner(kept), combiner(kept.flip(1)))


def test_the_mean_of_many_query_channels_is_one_channel() -> None:
    quarter, one = Combiner(12, 3, 8, "quarter"), Combiner(12, 3, 8, "one")
    state = quarter.state_dict()
    for name in ("query", "key"):
        for kind in ("weight", "bias"):
            state[f"{name}.{kind}"] = state[f"{name}.{kind}"].mean(dim=0, keepdim=True)
    one.load_state_dict(state)
    for combiner in (one, quarter):
        combiner.alpha.data.fill_(1.0)
    kept = torch.randn(4, 12, 8)
    torch.testing.assert_close(one(kept), quarter(kept))


def test_parameters_of_the_published_setting() -> None:
    """CUB: 2720 kept positions, 85 joints, width 1536, 200 classes: 4,090,317 with the classifier after it."""
    with torch.device("meta"):
        combiner, head = Combiner(2720, 2720 // 32, 1536, "quarter"), nn.Linear(1536, 200)
    assert combiner.n_joints == 85
    assert sum(weight.numel() for part in (combiner, head) for weight in part.parameters()) == 4_090_317
    assert math.isclose(0.2222 * 9216, 2048, abs_tol=0.5)
