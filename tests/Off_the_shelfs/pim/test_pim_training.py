"""The plug-in module learns, in both kinds of models, and its runs go on to the bytes of one that did not stop."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from torch import Tensor

from experiments import training
from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import TrainingAnswer
from Off_the_shelfs.pim.config import PimConfig, PimLossConfig
from RveRNets.config import RveRNetModelConfig
from RveRNets.model import RveRNet, build_rvernet
from utils.data_sections import DataConfig
from utils.errors import ConfigError

PLAIN = BackboneConfig(name="test_efficientnet", pretrained=False)
PIM = BackboneConfig(
    name="test_efficientnet",
    pretrained=False,
    features="pim",
    pim=PimConfig(width=16, counts=0.5, positions_per_joint=4),
)


def criterion(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits, label, reduction="none")


def two_classes(count: int) -> tuple[Tensor, Tensor]:
    """Noise with a spot somewhere, red in class 0 and green in class 1."""
    rng = np.random.default_rng(0)
    pictures, label = rng.normal(0.0, 0.3, (count, 3, 32, 32)), np.arange(count) % 2
    for picture, channel in zip(pictures, label, strict=True):
        top, left = rng.integers(0, 24, 2)
        picture[channel, top : top + 8, left : left + 8] += 3.0
    return torch.as_tensor(pictures, dtype=torch.float32), torch.as_tensor(label)


def test_twenty_pictures_of_two_classes_are_fitted_in_seconds() -> None:
    torch.manual_seed(0)
    config = OffTheShelfModelConfig(backbone=PIM, dropout=0.1)
    model = build_off_the_shelf(config, OneViewDataConfig(view="photo", image_size=32), n_classes=2)
    pictures, label = two_classes(20)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        model.train()
        loss = model.losses(model({"photo": pictures}), label, criterion).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        for layer in model.modules():  # as eval.recalibration_pairs does: statistics of the weights as they are
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.reset_running_stats()
                layer.momentum = None
        model.train()({"photo": pictures})
        assert torch.equal(model.eval()({"photo": pictures}).argmax(1), label)


def build_pair(**model: Any) -> RveRNet:  # noqa: ANN401  # fields of the configuration
    torch.manual_seed(0)
    fields: dict[str, Any] = {"roi_backbone": PIM, "extra_roi_backbone": PLAIN, "hidden_width": 8} | model
    config = RveRNetModelConfig(**fields)
    return build_rvernet(config, DataConfig(image_size=32), n_classes=3)


@pytest.mark.parametrize("tied", [False, True])
def test_a_module_of_rvernet_may_have_it(tied: bool) -> None:
    model = build_pair(tied=tied, extra_roi_backbone=PIM if tied else PLAIN).train()
    views, label = {"roi": torch.rand(4, 3, 32, 32), "extra_roi": torch.rand(4, 3, 32, 32)}, torch.arange(4) % 3
    answer = model(views)
    assert isinstance(answer, TrainingAnswer)
    losses = model.losses(answer, label, criterion)
    expected = criterion(answer.logits, label)
    for view in ("roi", "extra_roi") if tied else ("roi",):
        expected = expected + model.backbones[view].own_losses(answer.findings[view], label, criterion)
    torch.testing.assert_close(losses, expected)
    torch.autograd.backward(losses.sum())
    assert [key for key, weight in model.named_parameters() if weight.grad is None] == []
    plug_ins = [key for key in model.state_dict() if ".plug_in.combiner.alpha" in key]
    assert plug_ins == ["roi_backbone.plug_in.combiner.alpha"]
    measures = model.eval().measures(views, label)
    assert {name.partition("/")[0] for name in measures} == ({"roi", "extra_roi"} if tied else {"roi"})
    assert measures["roi/level_1/top1"].shape == (4,)
    # In eval mode the answer is the head on both features, and nothing else.
    torch.testing.assert_close(model(views), model.fuse(model.features(views)))
    assert model.state_dict()["head.1.weight"].shape[1] == 16 + (16 if tied else model.extra_roi_backbone.num_features)


def test_the_weight_of_the_logits_is_the_heads_in_rvernet() -> None:
    weighted = BackboneConfig(
        name="test_efficientnet", pretrained=False, features="pim", pim=PimConfig(loss=PimLossConfig(combiner=0.5))
    )
    with pytest.raises(ConfigError, match=r"model\.roi_backbone\.pim\.loss\.combiner is 0\.5"):
        build_pair(roi_backbone=weighted)


OPTIONS = [
    *("--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu", "--train.batch_size", "24"),
    *("--model.backbone.name", "test_efficientnet", "--model.backbone.pretrained", "false"),
    *("--model.backbone.features", "pim", "--model.backbone.pim.width", "16", "--model.dropout", "0.1"),
    *("--model.backbone.pim.positions_per_joint", "4", "--eval.resamples", "100", "--eval.recalibration_pairs", "24"),
    *("--train.epochs", "2", "--train.ema_decay", "0.5"),
]


def train(root: Path, run: Path, *options: str) -> None:
    train_command(OFF_THE_SHELF, ["--data.root", str(root), "--run.dir", str(run), *OPTIONS, *options])


def test_two_epochs_are_one_and_one_more(pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, halved = tmp_path / "straight", tmp_path / "halved"
    train(pair_tree, straight)
    original = training.TrainingLoop._train_epoch

    class Stopped(BaseException):
        pass

    def first_alone(self: training.TrainingLoop[Any, Any, Any]) -> Any:  # noqa: ANN401  # passed on as it is
        if self.progress.epoch == 1:
            raise Stopped
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingLoop, "_train_epoch", first_alone)
        with pytest.raises(Stopped):
            train(pair_tree, halved)
    train(pair_tree, halved, "--run.resume", "auto")
    for name in ("metrics.json", "predictions.csv", "model.safetensors"):
        assert (halved / name).read_bytes() == (straight / name).read_bytes(), name
    rows = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (straight, halved)]
    assert [row["lr_head"] for row in rows[0]] == [row["lr_head"] for row in rows[1]]
    names = load_file(straight / "model.safetensors").keys()
    assert "backbone.plug_in.combiner.adjacency" in names
    assert "backbone.plug_in.pyramid.projections.0.2.weight" in names
