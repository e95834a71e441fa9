"""What the model returns for a batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class R2OAnswer:
    """Loss and measures of one batch of B photos.

    Attributes:
        losses: float32 B, B times the mean loss over the regions of the batch; 0..4.
        tallies: float32 scalars without gradients, each a sum over the B photos. ``regions``: different regions of a
            photo. ``valid_regions``: those present in both of its views. ``spread``: of the target's vectors, B times
            the same number; 1 for vectors without a preferred direction, 0 for equal ones, and 0 where
            ``without_region`` is B: that is where no region of the batch is present in both views; otherwise it is 0.
        logits: none; pictures have no class here.
    """

    losses: Tensor
    tallies: dict[str, Tensor]
    logits: None = None
