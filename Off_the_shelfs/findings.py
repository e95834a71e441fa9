"""What a backbone gives beside its features."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Finding:
    """What a backbone found in B pictures: its features B×D, and in subclasses what its own losses need."""

    features: Tensor
