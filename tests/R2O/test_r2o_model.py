"""One call of the model against a whole step in loops, and what it does where regions are absent."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from R2O.model import Branch, R2OModel
from tests.R2O.conftest import BuildModel, MakeInputs
from utils.batch import Batch

CELLS, LATTICE = 4, 8
Mask = list[list[float]]


def seen_in_view(mask: Mask, record: list[float]) -> Mask:
    """A mask of the photo in a view whose edges lie on the lattice and whose cells hold whole cells of it."""
    top, left, bottom, right = (round(part * LATTICE) for part in record[:4])
    high, wide = (bottom - top) // CELLS, (right - left) // CELLS
    found = [[0.0] * CELLS for _ in range(CELLS)]
    for row in range(CELLS):
        for column in range(CELLS):
            rows = range(top + row * high, top + (row + 1) * high)
            columns = range(left + column * wide, left + (column + 1) * wide)
            mean = sum(mask[y][x] for y in rows for x in columns) / (high * wide)
            found[row][CELLS - 1 - column if record[4] else column] = mean
    return found


def pooled(features: Tensor, mask: Mask) -> Tensor | None:
    """The mean of features D×h×w over a mask, or nothing where it is empty."""
    area = sum(map(sum, mask))
    if area == 0:
        return None
    total = torch.zeros(len(features))
    for y, row in enumerate(mask):
        for x, part in enumerate(row):
            total = total + part * features[:, y, x]
    return total / area


def slow_step(model: R2OModel, inputs: dict[str, Tensor], regions: list[list[Mask]]) -> tuple[Tensor, int]:
    """Loss and number of regions that count of one step, photo by photo and region by region."""
    views = [inputs["view_1"], inputs["view_2"]]
    online_maps = model.online.trunk(torch.cat(views))
    with torch.no_grad():
        for weight, new in zip(model.target.parameters(), model.online.parameters(), strict=True):
            weight.copy_(model.momentum * weight + (1 - model.momentum) * new)
        target_maps = model.target.trunk(torch.cat(views[::-1]))
    count = len(inputs["photo"])
    ours, theirs = [], []
    for direction in (0, 1):
        for photo in range(count):
            row = direction * count + photo
            for region in regions[photo]:
                masks = [seen_in_view(region, inputs["record"][photo, view].tolist()) for view in (0, 1)]
                mine, other = pooled(online_maps[row], masks[direction]), pooled(target_maps[row], masks[1 - direction])
                if mine is not None and other is not None:
                    ours.append(mine)
                    theirs.append(other)
    predicted = model.predictor(model.online.projector(torch.stack(ours)))
    with torch.no_grad():
        wanted = model.target.projector(torch.stack(theirs))
    total = torch.zeros(())
    for mine, other in zip(predicted, wanted, strict=True):
        total = total + 2 - 2 * (mine @ other) / (mine.norm() * other.norm())
    return total / len(ours), len(ours) // 2


def quarters() -> list[Mask]:
    """What the superpixels of the fixture are on the lattice."""
    half = LATTICE // 2
    spans = (range(half), range(half, LATTICE))
    return [
        [[float(y in rows and x in columns) for x in range(LATTICE)] for y in range(LATTICE)]
        for rows in spans
        for columns in spans
    ]


def union(first: Mask, second: Mask) -> Mask:
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(first, second, strict=True)]


def dim_top(inputs: dict[str, Tensor]) -> None:
    """Two plain colours per photo, so that no k-means could divide the superpixels otherwise than into halves."""
    inputs["photo"][:, :, :16], inputs["photo"][:, :, 16:] = -1.0, 1.0


@pytest.mark.parametrize("clusters", [None, 2, 1])
def test_a_step_is_what_loops_over_photos_and_regions_make_of_it(
    build_model: BuildModel, make_inputs: MakeInputs, clusters: int | None
) -> None:
    model, inputs = build_model(), make_inputs(3)
    dim_top(inputs)
    inputs["record"][0] = torch.tensor([[0.5, 0.0, 1.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0, 0.0]])
    one, two, three, four = quarters()
    top, bottom = union(one, two), union(three, four)
    regions = {None: [one, two, three, four], 2: [top, bottom], 1: [union(top, bottom)]}[clusters]
    model.set_step(clusters, 0.75)
    slow = copy.deepcopy(model)
    with torch.no_grad():
        if clusters is not None:
            slow.target.trunk.clustered(inputs["photo"])
    expected, counted = slow_step(slow, inputs, [regions] * 3)
    torch.autograd.backward(expected)
    answer = model(inputs)
    torch.autograd.backward(answer.losses.mean())
    torch.testing.assert_close(answer.losses, expected.detach().expand(3))
    assert answer.tallies["valid_regions"].item() == counted
    assert answer.tallies["regions"].item() == 3 * len(regions)
    assert answer.tallies["without_region"].item() == 0
    for (name, ours), theirs in zip(model.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), msg=name)
        if theirs.grad is not None:
            assert ours.grad is not None
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4, msg=name)
    for statistic, worked_out in zip(model.buffers(), slow.buffers(), strict=True):
        torch.testing.assert_close(statistic, worked_out)


def test_both_directions_count_alike(build_model: BuildModel, make_inputs: MakeInputs) -> None:
    model, inputs = build_model(), make_inputs()
    model.set_step(None, 1.0)
    swapped = inputs | {"view_1": inputs["view_2"], "view_2": inputs["view_1"], "record": inputs["record"].flip(1)}
    torch.testing.assert_close(model(inputs).losses, model(swapped).losses)


def run(model: R2OModel, inputs: dict[str, Tensor]) -> tuple[float, dict[str, float]]:
    model.zero_grad()
    answer = model(inputs)
    torch.autograd.backward(answer.losses.mean())
    return answer.losses[0].item(), {name: value.item() for name, value in answer.tallies.items()}


@pytest.mark.parametrize("rows", ["valid", "all"])
def test_what_one_view_lacks_counts_nothing_and_teaches_nothing(
    build_model: BuildModel, make_inputs: MakeInputs, rows: str
) -> None:
    inputs = make_inputs()
    inputs["record"][:, 1] = torch.tensor([0.0, 0.0, 1.0, 0.5, 0.0])  # the left half: quarters 0 and 2
    model = build_model(fidelity={"bn_rows": rows})
    maps: list[Tensor] = []
    model.online.trunk.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    # Without BatchNorm in the heads no row depends on another one.
    for head in (model.online.projector, model.target.projector, model.predictor):
        head.norm = nn.Identity()
    model.set_step(None, 1.0)
    answer = model(inputs)
    taught = torch.autograd.grad(answer.losses.mean(), maps[0])[0]
    assert answer.losses[0] > 0
    assert answer.tallies["valid_regions"] == 4
    by_column = taught.abs().sum(dim=(1, 2))
    assert (by_column[:2, 2:] == 0).all()
    assert (by_column[:2, :2] > 0).all()
    assert (by_column[2:] > 0).all()


def apart(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Views of opposite corners, which share no superpixel."""
    inputs["record"][:, 0] = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.0])
    inputs["record"][:, 1] = torch.tensor([0.5, 0.5, 1.0, 1.0, 1.0])
    return inputs


@pytest.mark.parametrize("fidelity", [{}, {"bn_rows": "all"}], ids=["valid", "all"])
def test_without_a_valid_region_the_loss_is_zero_and_every_gradient_too(
    build_model: BuildModel, make_inputs: MakeInputs, fidelity: dict[str, Any]
) -> None:
    model = build_model(fidelity=fidelity)
    before = {name: value.clone() for name, value in model.online.projector.named_buffers()}
    model.set_step(None, 0.9)
    loss, tallies = run(model, apart(make_inputs()))
    assert loss == 0.0
    assert tallies == {"regions": 8.0, "valid_regions": 0.0, "spread": 0.0, "without_region": 2.0}
    for name, tensor in model.named_parameters():
        if tensor.requires_grad:
            assert tensor.grad is not None, name
            assert not tensor.grad.any(), name
    if not fidelity:
        assert all(torch.equal(value, before[name]) for name, value in model.online.projector.named_buffers())


class SharedNorm(nn.SyncBatchNorm):
    """What BatchNorm over several processes does with no row of its own, which torch has for GPUs alone."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # its name there
        assert input.dtype == torch.float32  # as on every other process
        return input


@pytest.mark.parametrize(("elsewhere", "runs"), [(4, True), (0, False)])
def test_with_shared_statistics_heads_run_on_no_row_while_another_process_has_some(
    build_model: BuildModel, make_inputs: MakeInputs, monkeypatch: pytest.MonkeyPatch, elsewhere: int, runs: bool
) -> None:
    model = build_model()
    calls: list[int] = []
    for head in (model.online.projector, model.predictor, model.target.projector):
        head.norm = SharedNorm(head.get_buffer("norm.running_mean").numel())
        head.register_forward_hook(lambda _module, _inputs, output: calls.append(len(output)))
    model.target.requires_grad_(False)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda count: count.add_(elsewhere))
    model.set_step(None, 0.9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = model(apart(make_inputs()))
    torch.autograd.backward(answer.losses.mean())
    assert calls == [0, 0, 0] * runs
    assert answer.losses.tolist() == [0.0, 0.0]
    assert answer.tallies["spread"] == 0
    for name, tensor in model.named_parameters():
        if tensor.requires_grad:
            assert tensor.grad is not None, name
            assert not tensor.grad.any(), name


def test_features_beyond_fp16_do_not_make_nan_of_a_batch_without_a_region(
    build_model: BuildModel, make_inputs: MakeInputs
) -> None:
    model, inputs = build_model(), apart(make_inputs())
    inputs["view_1"][0] = math.inf
    model.set_step(None, 0.9)
    assert model(inputs).losses.tolist() == [0.0, 0.0]


def test_absent_regions_count_where_overlap_is_off(build_model: BuildModel, make_inputs: MakeInputs) -> None:
    model = build_model(fidelity={"bn_rows": "all"}, train={"overlap": False})
    model.set_step(None, 0.9)
    loss, tallies = run(model, apart(make_inputs()))
    assert 0 < loss < 4
    assert tallies["valid_regions"] == 0


def test_large_regions_weigh_more_where_they_shall(build_model: BuildModel, make_inputs: MakeInputs) -> None:
    inputs = make_inputs()
    inputs["record"][:, 1] = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0])
    inputs["record"][1, :, :4] = torch.tensor([0.0, 0.0, 0.5, 1.0])
    found = {}
    for by_area in (False, True):
        model = build_model(train={"weight_by_area": by_area})
        model.set_step(None, 0.9)
        found[by_area] = run(model, inputs)
    assert found[False][1] == found[True][1]
    assert found[False][0] != pytest.approx(found[True][0], abs=1e-4)


def test_a_step_in_bf16_is_finite_and_close(build_model: BuildModel, make_inputs: MakeInputs) -> None:
    losses = []
    for enabled in (False, True):
        model = build_model()
        model.set_step(None, 0.9)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            answer = model(make_inputs())
        torch.autograd.backward(answer.losses.mean())
        assert answer.losses.dtype == torch.float32
        assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in model.parameters())
        losses.append(answer.losses[0].item())
    assert losses[0] == pytest.approx(losses[1], abs=0.1)


def test_the_state_dict_keeps_its_keys_and_has_no_more_than_the_networks(
    build_model: BuildModel, make_inputs: MakeInputs
) -> None:
    model = build_model()
    keys = list(model.state_dict())
    model.set_step(4, 0.9)
    run(model, make_inputs())
    model.regions_of(make_inputs()["photo"], make_inputs()["superpixels"], 3)
    assert list(model.state_dict()) == keys
    fresh = build_model()
    fresh.load_state_dict(model.state_dict(), strict=True)
    assert {key.split(".")[0] for key in keys} == {"online", "predictor", "target"}
    assert isinstance(model.target, Branch)


def test_a_batch_is_normalised_picture_by_picture(build_model: BuildModel) -> None:
    pixels = {
        name: torch.full((1, 3, 32, 32), value, dtype=torch.uint8)
        for name, value in (("view_1", 0), ("view_2", 255), ("photo", 51))
    }
    extras = {"superpixels": torch.zeros(1, 32, 32, dtype=torch.int16), "record": torch.zeros(1, 2, 5)}
    none = torch.zeros(1, dtype=torch.int64)
    batch = Batch(views=pixels, label=none, index=none, content_box={}, flip={}, extras=extras)
    inputs = build_model().prepare(batch)
    for name, expected in (("view_1", -2.0), ("view_2", 2.0), ("photo", -1.2)):
        torch.testing.assert_close(inputs[name], torch.full((1, 3, 32, 32), expected))
    assert inputs["record"] is extras["record"]
    assert set(inputs) == set(pixels) | set(extras)
