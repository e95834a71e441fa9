"""What a model can show of a picture beside class activation maps."""

from dataclasses import dataclass

from torch import Tensor

# Maps that some models have of their own, and what their values are.
OWN_METHODS = {
    "energy": "activation energy: the sum over channels of max(0, feature) of the backbone's map, from 0 at the "
    "picture's weakest place of a level to 1 at its strongest; it knows of no class",
    "score": "class score: the probability, 0 to 1, that a level's classifier gives to the class at each position",
    "kept": "kept positions: those that a level hands on to the combiner; it knows of no class",
}


@dataclass(frozen=True, eq=False)
class NamedMap:
    """A map of B pictures.

    Attributes:
        name: such as ``level_1``.
        values: float B×h×w in 0..1, over the whole picture; rows from the top.
    """

    name: str
    values: Tensor


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a picture of which a model looks at one.

    Attributes:
        boxes: float N×4: left, top, width and height of each part, as fractions of the view's side.
        probability: float B×N, how likely the choice was; rows add up to 1.
        chosen: int64 B, number of the part that was looked at.
        small: float B×N×g×g in 0..1, the grey copies that the choice was made from; null where it was made without.
    """

    boxes: Tensor
    probability: Tensor
    chosen: Tensor
    small: Tensor | None = None
