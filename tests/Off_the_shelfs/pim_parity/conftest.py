"""The plug-in module as published, in plain PyTorch from the tables of its description, and a Swin of a few numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from timm.models import swin_transformer
from torch import Tensor, nn

NAME = "swin_tiny_patch4_window7_224.ms_in1k"
SIDE, CLASSES, WIDTH = 64, 5, 12
PLACES = (64, 16, 4, 4)  # after each merging of patches, and at the end
CHANNELS = (16, 32, 64, 64)
COUNTS = (40, 10, 4, 2)


@pytest.fixture
def small_swin(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give timm's name of a Swin to one with a hundredth of its channels; return the name."""
    architecture = NAME.partition(".")[0]
    registry = cast(dict[str, Any], timm.models._registry._model_entrypoints)
    original = registry[architecture]

    def small(pretrained: bool = False, **options: Any) -> nn.Module:  # noqa: ANN401  # timm's own signature
        sizes = {"embed_dim": 8, "depths": (2, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 4, "num_classes": 7}
        return cast(nn.Module, original(pretrained=pretrained, **(sizes | options)))

    small.__module__ = swin_transformer.__name__
    monkeypatch.setitem(registry, architecture, small)
    return NAME


class Pyramid(nn.Module):
    """Projections of all levels, then sums from the deepest upwards through dense maps between positions."""

    def __init__(self) -> None:
        super().__init__()
        for number, channels in enumerate(CHANNELS, start=1):
            parts = nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, WIDTH)
            setattr(self, f"Proj_layer{number}", nn.Sequential(*parts))
        for number in range(4, 1, -1):
            here, above = PLACES[number - 1], PLACES[number - 2]
            setattr(self, f"Up_layer{number}", nn.Identity() if here == above else nn.Conv1d(here, above, 1))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        levels = [getattr(self, f"Proj_layer{number}")(level) for number, level in enumerate(maps, start=1)]
        for number in range(4, 1, -1):
            levels[number - 2] = levels[number - 2] + getattr(self, f"Up_layer{number}")(levels[number - 1])
        return levels


class Combiner(nn.Module):
    """The graph of joints; every product is written out."""

    def __init__(self, positions: int, joints: int) -> None:
        super().__init__()
        self.param_pool0 = nn.Linear(positions, joints)
        self.adj1 = nn.Parameter(torch.full((joints, joints), 0.01) + 0.01 * torch.eye(joints))
        self.alpha1 = nn.Parameter(torch.zeros(1))
        self.conv_q1 = nn.Conv1d(WIDTH, WIDTH // 4, 1)
        self.conv_k1 = nn.Conv1d(WIDTH, WIDTH // 4, 1)
        self.conv1 = nn.Conv1d(WIDTH, WIDTH, 1)
        self.batch_norm1 = nn.BatchNorm1d(WIDTH)
        self.param_pool1 = nn.Linear(joints, 1)
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, kept: Tensor) -> Tensor:
        joints = self.param_pool0(kept.transpose(1, 2))
        query, key = self.conv_q1(joints).mean(dim=1), self.conv_k1(joints).mean(dim=1)
        adjacency = self.adj1 + self.alpha1 * torch.tanh(query[:, :, None] - key[:, None, :])
        joints = self.batch_norm1(torch.einsum("bfr,brc->bfc", self.conv1(joints), adjacency))
        return cast(Tensor, self.classifier(self.param_pool1(joints).flatten(1)))


@dataclass
class Answers:
    """What the published module says of B pictures; lists go from shallow to deep."""

    combiner: Tensor
    levels: list[Tensor] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)
    dropped: list[Tensor] = field(default_factory=list)


class Published(nn.Module):
    """Swin, pyramid, classifiers of positions, a selector that loops over pictures, combiner."""

    def __init__(self, counts: tuple[int, ...] = COUNTS, per_joint: int = 8) -> None:
        super().__init__()
        self.counts = counts
        self.backbone = timm.create_model(NAME, img_size=SIDE)
        self.fpn = Pyramid()
        for number in range(1, 5):
            parts = nn.Conv1d(WIDTH, WIDTH, 1), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Conv1d(WIDTH, CLASSES, 1)
            setattr(self, f"fpn_classifier_layer{number}", nn.Sequential(*parts))
        self.combiner = Combiner(sum(counts), sum(counts) // per_joint)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """Run the stages by hand; a level is what leaves the merging behind a stage."""
        swin = cast(Any, self.backbone)
        x, levels = swin.patch_embed(pictures), []
        for number, stage in enumerate(swin.layers):
            x = stage.downsample(x)
            levels += [x.flatten(1, 2)] if number else []
            x = stage.blocks(x)
        return [*levels, x.flatten(1, 2)]

    def forward(self, pictures: Tensor) -> Answers:
        levels = self.fpn(self.maps(pictures))
        answers, features = Answers(torch.empty(0)), []
        for number, (level, count) in enumerate(zip(levels, self.counts, strict=True), start=1):
            logits = getattr(self, f"fpn_classifier_layer{number}")(level.transpose(1, 2)).transpose(1, 2)
            ranks = [one.softmax(dim=-1).amax(dim=-1).sort(descending=True).indices for one in logits]
            features.append(torch.stack([one[rank[:count]] for one, rank in zip(level, ranks, strict=True)]))
            answers.kept.append(torch.stack([one[rank[:count]] for one, rank in zip(logits, ranks, strict=True)]))
            answers.dropped.append(torch.stack([one[rank[count:]] for one, rank in zip(logits, ranks, strict=True)]))
            answers.levels.append(logits)
        answers.combiner = self.combiner(torch.cat(features, dim=1))
        return answers


def published_keys(network: Published) -> dict[str, Tensor]:
    """Return the state dict under timm 0.4.12's names of a Swin: merging at a stage's end, tables, a bare head."""
    tensors = {}
    for key, tensor in network.state_dict().items():
        for number in (1, 2, 3):
            key = key.replace(f"layers.{number}.downsample.", f"layers.{number - 1}.DOWN.")
        tensors[key.replace("DOWN", "downsample").replace("head.fc.", "head.")] = tensor
    table = torch.zeros(16, 16, dtype=torch.int64)
    tensors["backbone.layers.0.blocks.0.attn.relative_position_index"] = table
    tensors["backbone.layers.0.blocks.1.attn_mask"] = torch.zeros(16, 16, 16)
    return tensors


@pytest.fixture
def published(small_swin: str) -> Callable[..., Published]:
    """Build the published module in eval mode with weights, statistics and adjacency drawn at random."""
    del small_swin

    def build(**options: Any) -> Published:  # noqa: ANN401
        torch.manual_seed(3)
        network = Published(**options)
        for key, tensor in network.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and "backbone" not in key:
                tensor.normal_(0, 0.3)
        return network.eval()

    return build


@pytest.fixture
def save(tmp_path: Path) -> Callable[[dict[str, Tensor]], str]:
    """Write tensors as the training writes its checkpoint: model, optimiser, epoch."""

    def write(tensors: dict[str, Tensor]) -> str:
        file = tmp_path / "best.pt"
        torch.save({"model": tensors, "optimizer": {"state": {}, "param_groups": [{"lr": 5e-4}]}, "epoch": 49}, file)
        return str(file)

    return write


@pytest.fixture
def tensors_of() -> Callable[[Published], dict[str, Tensor]]:
    return published_keys
