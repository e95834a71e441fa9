"""BatchNorm statistics as a plain average over many batches, in place of the running average of the last few."""

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils.batch import Batch
from utils.engine import Prepare
from utils.transfer import on_device


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Batch], prepare: Prepare, accelerator: Accelerator) -> None:
    """Recompute the statistics of a model's BatchNorm layers; frozen modules keep theirs, weights do not change.

    Cut-outs are mostly black and their few bright batches pull the running average about, so that scores swing from
    epoch to epoch (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3, describe the cure). Dropout
    and stochastic depth are off meanwhile.
    """
    model.train()
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    model.eval()
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a plain average
        layer.train()
    for batch in on_device(batches, accelerator.device):
        with accelerator.autocast():
            model(prepare(batch))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.eval()
