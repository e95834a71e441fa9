"""Measures of a model that has none of its own: what the tests of runs and of several processes put in their place."""

import torch
from torch import Tensor

from Off_the_shelfs.model import ViewClassifier

OPTIONS = ["--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu", "--train.batch_size", "16"]
OPTIONS += ["--model.backbone.name", "test_vit", "--model.backbone.pretrained", "false", "--train.epochs", "1"]
OPTIONS += ["--eval.resamples", "100"]


def measures(model: ViewClassifier, views: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
    """Return whether the logits are right, whether the least of them would be, and the brightness of the picture."""
    logits = model.fuse(model.features(views))
    brightness = next(iter(views.values())).mean(dim=(1, 2, 3))
    found = {"most/top1": logits.argmax(dim=1) == label, "least/top1": logits.argmin(dim=1) == label}
    return found | {"picture/light": brightness}


class MeasuresLabels:
    """Measures the label of a pair, and its square."""

    def measures(self, views: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """Return both."""
        assert not views
        assert torch.is_inference_mode_enabled()
        return {"pair/label": label, "pair/square": label.double() ** 2}
