"""Maps of features of every family of backbones: shapes, order of positions, and what is left of the model."""

from typing import Any
from unittest.mock import Mock

import pytest
import timm
import torch
from torch import nn

from Off_the_shelfs.pictures import check_input
from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.pim.levels import Level, find_taps, level_shapes, prune
from Off_the_shelfs.pim.module import PlugIn
from utils.errors import ConfigError

SMALL_SWIN: dict[str, Any] = {"img_size": 64, "embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
SWIN = ("swin_tiny_patch4_window7_224", SMALL_SWIN)
SWIN2 = ("swinv2_cr_tiny_224", SMALL_SWIN | {"window_size": 2})
VIT = ("test_vit", {"img_size": 64})


def create(name: str, **options: Any) -> nn.Module:  # noqa: ANN401  # passed on to timm
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=0, **options)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "options", "levels", "expected"),
    [
        ("test_efficientnet", {}, None, [(24, 16), (32, 8), (48, 4), (64, 2)]),  # timm's strides 4 to 32
        ("test_efficientnet", {}, [0, 1, 2, 3, 4], [(16, 32), (24, 16), (32, 8), (48, 4), (64, 2)]),
        ("test_resnet", {}, [-2, -1], [(192, 4), (96, 2)]),
        ("test_vit", {"img_size": 64}, None, [(64, 4)] * 4),  # 6 blocks of patches of 16 px; no class token
        ("test_vit", {"img_size": 64}, [1, -1], [(64, 4)] * 2),
        (*SWIN, None, [(16, 16), (32, 8), (64, 4), (128, 2)]),
        (*SWIN2, None, [(16, 16), (32, 8), (64, 4), (128, 2)]),
    ],
)
def test_maps_have_the_shapes_of_their_levels(
    name: str, options: dict[str, Any], levels: list[int] | None, expected: list[tuple[int, int]]
) -> None:
    model = create(name, **options)
    taps = find_taps(model, name, PimConfig(levels=levels), 64)
    found = level_shapes(model, name, taps, 64)
    assert found == [Level(channels, side, side) for channels, side in expected]
    maps = taps.maps(model, torch.rand(2, 3, 64, 64))
    assert [tuple(each.shape) for each in maps] == [(2, each.channels, each.height, each.width) for each in found]


@pytest.mark.parametrize(("name", "options"), [SWIN, SWIN2])
def test_merged_taps_are_what_the_next_stage_begins_with(name: str, options: dict[str, Any]) -> None:
    model = create(name, **options)
    taps = find_taps(model, name, PimConfig(taps="merged"), 64)
    picture = torch.rand(2, 3, 64, 64)
    maps = taps.maps(model, picture)
    assert [(each.shape[1], each.shape[2]) for each in maps] == [(32, 8), (64, 4), (128, 2), (128, 2)]
    stages = model.layers if hasattr(model, "layers") else model.stages
    assert isinstance(stages, nn.Sequential)
    with torch.no_grad():
        outputs = model.forward_intermediates(picture, intermediates_only=True)  # type: ignore[operator]
        for merged, stage, before in zip(maps, list(stages)[1:], outputs, strict=False):
            expected = stage.downsample(before.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[operator]
            torch.testing.assert_close(merged, expected)
    torch.testing.assert_close(maps[-1], outputs[-1])
    chosen = find_taps(model, name, PimConfig(taps="merged", levels=[0, 1]), 64)
    prune(model, name, chosen, 64)
    assert len(model.layers if hasattr(model, "layers") else model.stages) == 3  # type: ignore[arg-type]
    for pruned, whole in zip(chosen.maps(model, picture), maps, strict=False):
        torch.testing.assert_close(pruned, whole)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_efficientnet", {}),
        ("test_resnet", {}),
        ("test_vit", {"img_size": 64}),
        SWIN,
    ],
)
def test_pruning_changes_no_map_and_leaves_no_weight_without_a_gradient(name: str, options: dict[str, Any]) -> None:
    model = create(name, **options)
    before = sum(weight.numel() for weight in model.parameters())
    picture = torch.rand(2, 3, 64, 64)
    taps = find_taps(model, name, PimConfig(levels=[0, 2]), 64)
    with torch.no_grad():
        whole = taps.maps(model, picture)
    levels = prune(model, name, taps, 64)
    assert sum(weight.numel() for weight in model.parameters()) < before
    maps = taps.maps(model, picture)
    for left, right in zip(maps, whole, strict=True):
        assert torch.equal(left, right)
    found = PlugIn(levels, PimConfig(width=8, counts=0.5, positions_per_joint=4), 3)(maps)
    torch.autograd.backward(
        torch.stack([found.features.sum(), *(each.logits.square().sum() for each in found.levels)]).sum()
    )
    trained = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
    assert [key for key, weight in trained.items() if weight.grad is None or not weight.grad.isfinite().all()] == []
    with torch.no_grad():
        assert torch.isfinite(model(picture)).all()  # what draws maps of explanations runs it as a whole


@pytest.mark.parametrize(("name", "options"), [("test_efficientnet", {}), ("test_vit", {"img_size": 64}), SWIN])
@pytest.mark.parametrize(("row", "column"), [(0, 1), (1, 0)])
def test_a_spot_in_the_picture_is_found_in_the_row_and_column_where_it_lies(
    name: str, options: dict[str, Any], row: int, column: int
) -> None:
    """A bright quarter changes the cells of its own quarter most, on each level: tokens are row by row."""
    model = create(name, **options)
    taps = find_taps(model, name, PimConfig(levels=[0, 1]), 64)
    plain = torch.zeros(1, 3, 64, 64)
    spotted = plain.clone()
    spotted[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 1.0
    with torch.no_grad():
        for left, right in zip(taps.maps(model, plain), taps.maps(model, spotted), strict=True):
            side = left.shape[-1]
            changes = (left - right).abs().sum(1).flatten(1)[0].tolist()  # S numbers, row-major
            means = {
                (r, c): sum(
                    changes[y * side + x]
                    for y in range(r * side // 2, (r + 1) * side // 2)
                    for x in range(c * side // 2, (c + 1) * side // 2)
                )
                for r in (0, 1)
                for c in (0, 1)
            }
            assert max(means, key=means.__getitem__) == (row, column)


def test_bad_levels_and_taps_are_refused() -> None:
    model = create("test_resnet")
    for levels in ([5], [-6], [2, 1], [1, 1], [4, -1]):
        with pytest.raises(ConfigError, match=r"has 5 maps: numbers are 0 to 4, or -5 to -1 from the end") as caught:
            find_taps(model, "test_resnet", PimConfig(levels=levels), 64)
        assert f"pim.levels is {levels}" in str(caught.value)
    with pytest.raises(ConfigError, match=r"pim.taps: merged .* 'test_resnet' does not do \(Swin does\); use taps: st"):
        find_taps(model, "test_resnet", PimConfig(taps="merged"), 64)


def test_a_backbone_without_maps_is_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    with pytest.raises(ConfigError, match=r"backbone 'flat' gives no maps of features; choose a backbone with convol"):
        find_taps(flat, "flat", PimConfig(), 32)
    with pytest.raises(ConfigError, match=r"'test_vit' gives no maps of features of pictures of 50 px \(.*50"):
        find_taps(create("test_vit", img_size=64), "test_vit", PimConfig(), 50)


class SharedLayer(nn.Module):
    """One convolution under two names, as some of timm's models have their layers."""

    num_features = 3
    pretrained_cfg: dict[str, Any] = {"input_size": (3, 32, 32)}  # noqa: RUF012  # as timm has it

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = self.first

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.second(self.first(pictures)).mean(dim=(2, 3))
        return pooled

    def forward_intermediates(self, pictures: torch.Tensor, **_: object) -> list[torch.Tensor]:
        return [self.first(pictures), self.second(self.first(pictures))]


def test_a_look_at_shapes_leaves_layers_of_two_names_as_they_are() -> None:
    model = SharedLayer()
    check_input(model, "shared", 3, 32)
    assert level_shapes(model, "shared", None, 32) == [Level(3, 32, 32)] * 2
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}


class TwoBranches(nn.Module):
    """Maps are numbered branch by branch, and change their numbers where blocks are taken out."""

    def __init__(self, trouble: type[Exception] | None) -> None:
        super().__init__()
        self.trouble, self.norm = trouble, nn.BatchNorm2d(3)
        self.blocks = nn.ModuleList(nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 2, stride=2)]) for _ in "123")

    def forward_intermediates(
        self, pictures: torch.Tensor, indices: list[int] | None, **_: object
    ) -> list[torch.Tensor]:
        maps = [block[branch](pictures) for branch in (0, 1) for block in self.blocks]  # type: ignore[index]
        return maps if indices is None else [maps[index] for index in indices]

    def prune_intermediate_layers(self, indices: list[int], **_: object) -> None:
        self.norm = nn.Identity()  # type: ignore[assignment]
        self.blocks = self.blocks[: max(index % 3 for index in indices)]
        if self.trouble:
            raise self.trouble("no such layer")


@pytest.mark.parametrize("trouble", [None, NotImplementedError])
def test_a_model_that_cannot_be_pruned_stays_whole(trouble: type[Exception] | None) -> None:
    model = TwoBranches(trouble)
    taps = find_taps(model, "two", PimConfig(levels=[2, 3]), 8)
    before = model.state_dict().keys()
    assert prune(model, "two", taps, 8) == [Level(3, 8, 8), Level(3, 4, 4)]
    assert model.state_dict().keys() == before
    trained = {key for key, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {f"blocks.{place}.{kind}" for place in ("2.0", "0.1") for kind in ("weight", "bias")}


def test_a_lack_of_memory_is_no_lack_of_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TwoBranches(None)
    for error, told in ((torch.OutOfMemoryError("full"), torch.OutOfMemoryError), (TypeError("ours"), TypeError)):
        monkeypatch.setattr(model, "forward_intermediates", Mock(side_effect=error))
        with pytest.raises(told):
            level_shapes(model, "two", None, 8)
