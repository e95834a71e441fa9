"""What a model says of its pairs beside the logits, over a whole split."""

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from utils.batch import Batch
from utils.engine import Prepare
from utils.transfer import on_device


class Measured(Protocol):
    """A model that says more of a pair than its logits; ``Off_the_shelfs.model.ViewClassifier`` is one."""

    def measures(self, views: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """Return a number per pair, B of them, by name; the same names for every batch."""


@torch.inference_mode()
def compute_measures(
    model: Measured,
    batches: Iterable[Batch],
    prepare: Prepare,
    accelerator: Accelerator,
    n_pairs: int,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Return what a model measures of a split's pairs: float32 N by name in index order, gathered from all processes.

    ``model`` is not wrapped and in eval mode; ``batches`` is this process's share, as ``compute_logits`` takes it.
    """
    found: dict[str, Tensor] = {}
    for batch in on_device(batches, accelerator.device):
        with accelerator.autocast():
            numbers = model.measures(prepare(batch), batch.label)
        for name, values in numbers.items():
            column = found.setdefault(name, torch.zeros(n_pairs, device=accelerator.device))
            column[batch.index] = values.float()
        if on_batch is not None:
            on_batch(len(batch))
    # Names too, since a process without pairs has learned none.
    names = list(dict.fromkeys(name for one in gather_object([list(found)]) for name in one))
    if not names:
        return {}
    zeros = torch.zeros(n_pairs, device=accelerator.device)
    columns = accelerator.reduce(torch.stack([found.get(name, zeros) for name in names]), reduction="sum")
    return dict(zip(names, columns.cpu().numpy(), strict=True))
