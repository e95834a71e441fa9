"""Configuration of the salience selector."""

import math
from dataclasses import dataclass, field
from typing import Literal

from utils.errors import ConfigError, require

MOST_CROPS = 64


@dataclass(frozen=True, kw_only=True)
class SalienceConfig:
    """Which parts of a picture there are, and how one of them is chosen.

    What describes the selector and its training (``grey_side`` to ``temperature_end``) is read where ``choose`` is
    ``learned``; the controls may carry it, so that they differ from the model beside them in one word. The classifier
    sees squares of ``data.image_size``; the picture is loaded with sides of that over ``crop_fraction``.

    Attributes:
        choose: ``learned`` by the selector; or a control: the ``whole`` picture always, or a ``random`` part.
        crops: parts beside the whole picture: 1 (centre), 5 (four corners and the centre), or a square number from 4
            (a grid of overlapping parts).
        crop_fraction: side of a part over the picture's side, in (0, 1).
        grey_side: side in pixels of the grey copy of each part that the selector sees.
        widths: channels of the selector's convolutions.
        readout: of the last convolution's map: ``flatten``, or the ``average`` over positions, which leaves the number
            of weights independent of ``grey_side``.
        training_weights: ``straight_through`` trains on one part (hard samples, soft gradient); ``soft`` on a blend.
        temperature_start: of the Gumbel-softmax at the first step of training.
        temperature_end: at the last step; it falls geometrically in between.
        balance: weight of a term that keeps the parts equally used on average; 0 for none, as it must be for the
            controls.
        class_map: YAML file from the data's class names to the outputs of a pretrained classifier, which then stays as
            it is; needs ``backbone.features: logits`` and ``backbone.frozen: true``. Null trains a head.
    """

    choose: Literal["learned", "whole", "random"] = "learned"
    crops: int = 5
    crop_fraction: float = 2 / 3
    grey_side: int = 128
    widths: list[int] = field(default_factory=lambda: [16, 32, 64])
    readout: Literal["flatten", "average"] = "flatten"
    training_weights: Literal["straight_through", "soft"] = "straight_through"
    temperature_start: float = 2.0
    temperature_end: float = 0.5
    balance: float = 0.0
    class_map: str | None = None

    def __post_init__(self) -> None:
        square = self.crops >= 4 and math.isqrt(self.crops) ** 2 == self.crops
        fits = self.crops in (1, 5) or (square and self.crops <= MOST_CROPS)
        require(fits, "model.salience.crops", self.crops, f"1, 5, or a square number from 4 to {MOST_CROPS}")
        fraction = self.crop_fraction
        require(0 < fraction < 1, "model.salience.crop_fraction", fraction, "above 0 and below 1, such as 0.6667")
        require(self.grey_side >= 1, "model.salience.grey_side", self.grey_side, "at least 1 pixel")
        widths = self.widths
        require(bool(widths) and min(widths) >= 1, "model.salience.widths", widths, "numbers from 1, at least one")
        for key in ("temperature_start", "temperature_end"):
            value = getattr(self, key)
            require(math.isfinite(value) and value > 0, f"model.salience.{key}", value, "a finite number above 0")
        require(
            math.isfinite(self.balance) and self.balance >= 0,
            "model.salience.balance",
            self.balance,
            "a finite number, at least 0",
        )
        if self.balance and self.choose != "learned":
            raise ConfigError(
                f"model.salience.balance is {self.balance:g}, but where model.salience.choose is {self.choose} nobody "
                f"learns to choose; set the balance to 0, or choose learned"
            )
