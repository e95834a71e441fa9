"""Every perturbation by name: its parameters with their ranges, and what it does to the pictures of one view."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from experiments.robustness import corruptions, released
from experiments.robustness.perturbations import REFERENCE_SIDE, content_kept, permute_patches, scaled, translate

Letterbox = Literal["run", "released"]
Number = float | int
Parameters = Mapping[str, Number]


@dataclass(frozen=True)
class Pictures:
    """One view of B pairs.

    Attributes:
        pixels: uint8 B×3×S×S, letterboxed, on any device.
        content_box: integer B×4 in the main memory: left, top, width, height of the content in pixels.
        keys: B keys of the pairs ("split/class/stem").
        view: name of the view.
        fill: grey value of the bars, 0..255.
        letterbox: ``run`` for the project's own transforms, ``released`` for those of the released code.
    """

    pixels: Tensor
    content_box: Tensor
    keys: Sequence[str]
    view: str
    fill: int
    letterbox: Letterbox = "run"

    @property
    def side(self) -> int:
        """S in pixels."""
        return self.pixels.shape[-1]


@dataclass(frozen=True)
class Parameter:
    """A number that a suite file gives.

    Attributes:
        low, high: smallest and largest value; ``high`` may be infinite.
        whole: only integers are meant.
        unit: in words; distances are written for pictures of 224 pixels.
        above: ``low`` itself is not allowed.
    """

    low: float
    high: float
    whole: bool
    unit: str
    above: bool = False

    def allows(self, value: object) -> bool:
        """Say whether a value from a file is of the right type and in range."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        return math.isfinite(value) and self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if math.isinf(self.high):
            return f"{kind} from {self.low:g} ({self.unit})"
        return f"{kind} {'above' if self.above else 'from'} {self.low:g} to {self.high:g} ({self.unit})"


@dataclass(frozen=True)
class Perturbation:
    """What can be done to a view.

    Attributes:
        parameters: by name.
        random: whether a seed matters.
        apply: takes pictures, the parameters in pixels (``in_pixels``) and a seed; returns the pixels and, float B in
            the main memory, the part of each picture's content that is still in the view.
        optional: parameters that may be left out, as long as one of them is given.
    """

    parameters: Mapping[str, Parameter]
    random: bool
    apply: Callable[[Pictures, Parameters, int], tuple[Tensor, Tensor]]
    optional: bool = False


def in_pixels(parameters: Parameters, side: int) -> dict[str, Number]:
    """Turn parameters as written for 224 pixels into those of a picture of ``side`` pixels.

    Whole distances are rounded and at least one pixel; percentages of the side become distances; a blur's deviation is
    scaled without rounding; what is no distance stays.
    """
    used: dict[str, Number] = {}
    for name, value in parameters.items():
        if name in ("patch", "dx", "dy"):
            used[name] = scaled(int(value), side)
        elif name in ("dx_percent", "dy_percent"):
            used[name.removesuffix("_percent")] = round(value * side / 100)
        elif name == "sigma":
            used[name] = value * side / REFERENCE_SIDE
        else:
            used[name] = value
    return used


def distances(parameters: Parameters, side: int) -> dict[str, float]:
    """Return those of the parameters that are lengths, in pixels of a picture of ``side`` pixels."""
    lengths = ("patch", "dx", "dy", "sigma")
    return {name: float(value) for name, value in in_pixels(parameters, side).items() if name in lengths}


def _permute(pictures: Pictures, parameters: Parameters, seed: int) -> tuple[Tensor, Tensor]:
    patch, box = int(parameters["patch"]), pictures.content_box
    if pictures.letterbox == "released":
        moved = released.released_permutation(pictures.pixels, box, patch, seed, pictures.keys, pictures.view)
    else:
        moved = permute_patches(pictures.pixels, box, patch, seed, pictures.keys)
    return moved, torch.ones(len(box))


def _translate(pictures: Pictures, parameters: Parameters, _seed: int) -> tuple[Tensor, Tensor]:
    dx, dy = int(parameters.get("dx", 0)), int(parameters.get("dy", 0))
    pixels, box, side = pictures.pixels, pictures.content_box, pictures.side
    if pictures.letterbox == "released":
        kept = released.released_content_kept(box, side, dx, dy)
        return released.released_translocation(pixels, box, dx, dy), kept
    return translate(pixels, dx, dy, pictures.fill), content_kept(box, side, dx, dy)


def _noise(pictures: Pictures, parameters: Parameters, seed: int) -> tuple[Tensor, Tensor]:
    box = pictures.content_box
    return corruptions.noise(pictures.pixels, box, parameters["sd"], seed, pictures.keys), torch.ones(len(box))


def _blur(pictures: Pictures, parameters: Parameters, _seed: int) -> tuple[Tensor, Tensor]:
    box = pictures.content_box
    return corruptions.blur(pictures.pixels, box, parameters["sigma"]), torch.ones(len(box))


def _jpeg(pictures: Pictures, parameters: Parameters, _seed: int) -> tuple[Tensor, Tensor]:
    box = pictures.content_box
    return corruptions.jpeg(pictures.pixels, box, int(parameters["quality"])), torch.ones(len(box))


def _brightness(pictures: Pictures, parameters: Parameters, _seed: int) -> tuple[Tensor, Tensor]:
    box = pictures.content_box
    return corruptions.brightness(pictures.pixels, box, parameters["factor"]), torch.ones(len(box))


def _blank(pictures: Pictures, _parameters: Parameters, _seed: int) -> tuple[Tensor, Tensor]:
    return corruptions.blank(pictures.pixels, pictures.content_box), torch.zeros(len(pictures.keys))


_AT_224 = "pixels of a picture of 224"
_DISTANCE = Parameter(-REFERENCE_SIDE, REFERENCE_SIDE, whole=True, unit=_AT_224)
_PERCENT = Parameter(-100, 100, whole=False, unit="percent of the side")
_MOVES = {"dx": _DISTANCE, "dy": _DISTANCE, "dx_percent": _PERCENT, "dy_percent": _PERCENT}
# Whether a patch is too large depends on the pictures; the run of a suite checks it.
_PATCH = Parameter(1, math.inf, whole=True, unit=_AT_224)
_SD = Parameter(0, 255, whole=False, unit="grey levels, 0 to 255", above=True)
_SIGMA = Parameter(0, REFERENCE_SIDE / 2, whole=False, unit=_AT_224, above=True)
_QUALITY = Parameter(1, 100, whole=True, unit="JPEG quality")
_FACTOR = Parameter(0, 10, whole=False, unit="1 changes nothing", above=True)

PERTURBATIONS: dict[str, Perturbation] = {
    "permute_patches": Perturbation({"patch": _PATCH}, random=True, apply=_permute),
    "translate": Perturbation(_MOVES, random=False, apply=_translate, optional=True),
    "noise": Perturbation({"sd": _SD}, random=True, apply=_noise),
    "blur": Perturbation({"sigma": _SIGMA}, random=False, apply=_blur),
    "jpeg": Perturbation({"quality": _QUALITY}, random=False, apply=_jpeg),
    "brightness": Perturbation({"factor": _FACTOR}, random=False, apply=_brightness),
    "blank": Perturbation({}, random=False, apply=_blank),
}
