"""Backbones as folders that timm itself loads: ``config.json`` and ``model.safetensors``."""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone
from Off_the_shelfs.pictures import one_line
from utils.batch import ViewSpec
from utils.errors import ConfigError
from utils.files import write_text
from utils.json_file import read_json_object

TOLERANCE = 1e-4
_OF_PUBLISHED = ("tag", "license", "paper_ids", "paper_name", "notes", "origin_url")


def write_timm_folder(
    backbone: Backbone,
    spec: ViewSpec,
    folder: Path,
    classifier: nn.Linear | None = None,
    labels: Sequence[str] = (),
) -> None:
    """Write a folder for ``local-dir:`` and ``hf-hub:`` names of timm's factory.

    Args:
        backbone: in eval mode, on the CPU.
        spec: its pictures, of which timm's configuration tells its users.
        folder: is made where it is missing.
        classifier: linear layer on the pooled features; null writes the backbone alone.
        labels: names of the classifier's outputs.

    Raises:
        ConfigError: timm has no model that computes the same.
    """
    model = _whole(backbone, spec, classifier) if classifier is not None else deepcopy(backbone.model)
    model = model.to(memory_format=torch.contiguous_format).eval()
    published: dict[str, Any] = cast(Any, model).pretrained_cfg
    arguments = {"img_size": backbone.image_size} if published.get("fixed_input_size") else {}
    pictures = {
        "input_size": (3, spec.size, spec.size),
        "mean": spec.mean,
        "std": spec.std,
        "interpolation": spec.interpolation,
        "crop_pct": 1.0,
        "crop_mode": "border",
    }
    configuration: dict[str, Any] = {"pretrained_cfg": pictures}
    if labels:
        configuration["label_names"] = list(labels)
    save = cast(Callable[..., None], timm.models.save_for_hf)
    save(model, str(folder), model_config=configuration, model_args=arguments, safe_serialization=True)
    _tidy(folder)


def _tidy(folder: Path) -> None:
    """Take out what is said of timm's own weights, and let others read the file, which its library keeps private."""
    path = folder / "config.json"
    document = read_json_object(path)
    for key in _OF_PUBLISHED:
        document["pretrained_cfg"].pop(key, None)
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    (folder / "model.safetensors").chmod(path.stat().st_mode)


def _whole(backbone: Backbone, spec: ViewSpec, classifier: nn.Linear) -> nn.Module:
    """Return timm's own model with a classifier in the place of its own; the backbone is left as it is.

    A network with two classifiers, such as a distilled DeiT, averages them: both are the same one then.
    """
    if getattr(backbone.model, "num_classes", 0):
        raise ConfigError(
            f"--hub timm: the head sits on the ImageNet logits of {backbone.name} (features: logits), which no model "
            f"of timm does; leave --hub out, or train with features: pooled"
        )
    model = deepcopy(backbone.model)
    before = model.state_dict().keys()
    try:
        cast(Callable[[int], None], model.reset_classifier)(classifier.out_features)
        fresh = {key: tensor for key, tensor in model.state_dict(keep_vars=True).items() if key not in before}
        with torch.no_grad():
            for key, tensor in fresh.items():
                source = classifier.bias if key.endswith("bias") else classifier.weight
                tensor.copy_(source.view_as(tensor))
        difference = _difference(model.eval(), backbone, spec, classifier) if fresh else float("inf")
    except (RuntimeError, AttributeError, TypeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"--hub timm: the classifier of {backbone.name} is not one linear layer in timm ({one_line(error)}); "
            f"leave --hub out"
        ) from error
    if not difference <= TOLERANCE:
        raise ConfigError(
            f"--hub timm: timm's own {backbone.name} does something between the pooled features and its classifier, "
            f"so its logits would differ by {difference:.2g}; leave --hub out"
        )
    return model


def _difference(model: nn.Module, backbone: Backbone, spec: ViewSpec, classifier: nn.Linear) -> float:
    """Return the largest absolute difference of the logits of two random pictures."""
    pictures = torch.randn(2, 3, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours: Tensor = classifier(backbone(pictures))
        return float((cast(Tensor, model(pictures)) - ours).abs().max())
