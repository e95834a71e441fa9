"""A classifier of the part of a picture that a selector chooses, after Li's salience selector for timm."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.findings import Finding
from Off_the_shelfs.model import OffTheShelf, TrainingAnswer
from Off_the_shelfs.own_maps import Parts
from Off_the_shelfs.salience.choice import drawn_from_content, imbalance, is_chosen, noisy_weights, temperature_at
from Off_the_shelfs.salience.class_map import ClassSelection, check_class_map
from Off_the_shelfs.salience.config import SalienceConfig
from Off_the_shelfs.salience.selector import SalienceNet
from Off_the_shelfs.salience.views import (
    blend,
    colour_view,
    crop_corners,
    grey_copies,
    luminance,
    pick,
    source_side,
)
from utils.batch import ViewName, ViewSpec
from utils.engine import Criterion
from utils.errors import ConfigError

_ADVICE = "use larger pictures, a smaller data.image_size, or a larger model.salience.crop_fraction"


@dataclass(frozen=True, eq=False)
class Look:
    """What was looked at in B pictures.

    Attributes:
        picture: B×3×S×S, what the classifier sees.
        choice: int64 B, the view of the largest weight; 0 is the whole picture.
        logits: B×V of the selector; null where it is not asked.
    """

    picture: Tensor
    choice: Tensor
    logits: Tensor | None


@dataclass(frozen=True, eq=False)
class SalienceFinding(Finding):
    """The features B×D of what was looked at, and the selector's logits B×V."""

    logits: Tensor


class SalienceClassifier(OffTheShelf):
    """One backbone and one head on one view of a picture: the whole, or the part that a selector chooses.

    In training what is classified is the sum of the views with the weights of a Gumbel-softmax, so that the selector
    learns from the classifier's loss alone; else the view of the largest logit, in one pass, without any noise.

    Args:
        backbone: for pictures of S pixels.
        view: which picture of a pair is looked at.
        view_spec: how that is loaded, at side R, from which the views are cut.
        n_classes: of the head.
        dropout: of the head.
        config: the views and how they are chosen.

    Attributes:
        corners: where views 1..N lie in a picture of R pixels; ``places`` has them on the device.
        side: S in pixels.
        selector: null where nothing is learned.
        temperature: float32, of the Gumbel-softmax; goes with the weights, as the counts do.
        chosen: int64 V, how often each view was chosen in this epoch's training so far.
    """

    places: Tensor
    temperature: Tensor
    chosen: Tensor

    def __init__(
        self,
        backbone: Backbone,
        view: ViewName,
        view_spec: ViewSpec,
        n_classes: int,
        dropout: float,
        config: SalienceConfig,
    ) -> None:
        super().__init__(backbone, view, view_spec, n_classes, dropout)
        self.config, self.side = config, backbone.image_size
        self.chooses_part = config.choose != "whole"
        self.corners = crop_corners(view_spec.size, self.side, config.crops)
        self.selector: SalienceNet | None = None
        if config.choose == "learned":
            self.selector = SalienceNet(config.grey_side, config.widths, config.readout)
        self.register_buffer("places", torch.tensor([(0, 0), *self.corners]), persistent=False)
        self.register_buffer("temperature", torch.tensor(config.temperature_start))
        self.register_buffer("chosen", torch.zeros(self.n_views, dtype=torch.int64))
        if config.class_map is not None:
            self.head = ClassSelection(n_classes, backbone.num_features, config.class_map)

    def take_classes(self, names: Sequence[str]) -> None:
        """Read the class map, if there is one, for classes in the order of the logits.

        Raises:
            ConfigError: the class map does not fit the classes or the classifier.
        """
        if isinstance(self.head, ClassSelection):
            self.head.take_classes(names)

    @property
    def is_plain(self) -> bool:
        """Never: it takes larger pictures than its backbone."""
        return False

    @property
    def n_views(self) -> int:
        """V, the whole picture included."""
        return 1 + len(self.corners)

    @property
    def still(self) -> bool:
        """Whether the features of a picture stay the same throughout training; whoever chooses may choose otherwise."""
        return self.config.choose == "whole" and super().still

    @property
    def head_parts(self) -> nn.Module:
        """What trains at the head's rate: the head and the selector."""
        return self.head if self.selector is None else nn.ModuleList([super().head_parts, self.selector])

    def grey_copies(self, pictures: Tensor) -> Tensor:
        """Return the grey copies B×V×1×D×D, 0..1, of all views of normalised pictures B×3×R×R."""
        spec = self.view_specs[self.view]
        return grey_copies(luminance(pictures, spec.mean, spec.std), self.corners, self.side, self.config.grey_side)

    def salience(self, grey: Tensor) -> Tensor:
        """Return the selector's logits B×V of grey copies B×V×1×D×D."""
        assert self.selector is not None
        return cast(Tensor, self.selector(grey.flatten(0, 1))).view(grey.shape[:2])

    def colour_view(self, pictures: Tensor, number: int) -> Tensor:
        """Return one view B×3×S×S, 0 for the whole, of normalised pictures B×3×R×R."""
        return colour_view(pictures, number, self.corners, self.side)

    def look(self, pictures: Tensor) -> Look:
        """Choose what to look at in normalised pictures B×3×R×R; random in train mode, and only there.

        A ``random`` control chooses by the picture's content in eval mode.
        """
        logits = self._asked(pictures)
        if self.training and logits is not None:
            hard = self.config.training_weights == "straight_through"
            weights = noisy_weights(logits, self.temperature, hard=hard)
            choice = weights.detach().argmax(dim=1)
            return Look(blend(pictures, weights, self.corners, self.side), choice, logits)
        choice = self._choice(pictures, logits)
        if self.config.choose == "whole":
            return Look(self.colour_view(pictures, 0), choice, logits)
        return Look(pick(pictures, choice, self.places, self.side), choice, logits)

    def view_features(self, view: str, pictures: Tensor) -> Tensor:
        """Return the features B×D of what is chosen in normalised pictures B×3×R×R."""
        assert view == self.view
        return self._features(self.look(pictures))

    def forward(self, views: dict[str, Tensor]) -> Tensor | TrainingAnswer:
        """Return the logits B×C of normalised pictures B×3×R×R; in train mode with those of the selector if needed."""
        look = self.look(views[self.view])
        features = self._features(look)
        logits = self.fuse({self.view: features})
        if not (self.training and self.config.balance and look.logits is not None):
            return logits
        return TrainingAnswer(logits, {self.view: SalienceFinding(features, look.logits)})

    def losses(self, output: Any, label: Tensor, criterion: Criterion) -> Tensor:  # noqa: ANN401  # as its base has it
        """Return the losses B; with ``balance``, each with the imbalance of the whole micro-batch added."""
        if isinstance(output, Tensor):
            return criterion(output, label)
        term = imbalance(output.findings[self.view].logits)
        return criterion(output.logits, label) + self.config.balance * term

    def measures(self, views: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """Return, of B pairs, which view is chosen, and who is right: V passes of the classifier.

        ``view_v/share`` is 1 where view v is chosen. ``whole/top1`` is the whole picture's, ``oracle/top1`` that of
        whoever knows which view is classified rightly if any is, ``random/top1`` what a random choice may expect, and
        ``learned/top1`` the model's own.
        """
        pictures = views[self.view]
        choice = self._choice(pictures, self._asked(pictures))
        right = torch.stack([self._right(pictures, number, label) for number in range(self.n_views)], dim=1)
        measures = {f"view_{number}/share": (choice == number).float() for number in range(self.n_views)}
        measures |= {"whole/top1": right[:, 0], "random/top1": right.mean(dim=1), "oracle/top1": right.amax(dim=1)}
        if self.selector is not None:
            measures["learned/top1"] = right.gather(1, choice[:, None])[:, 0]
        return measures

    def parts(self, view: str, pictures: Tensor) -> Parts:
        """Return the views of normalised pictures B×3×R×R and which of them is looked at."""
        source = self.view_specs[view].size
        corners = [(corner.left, corner.top, self.side, self.side) for corner in self.corners]
        boxes = torch.tensor([(0, 0, source, source), *corners], device=pictures.device) / source
        if self.selector is None:
            probability = torch.full((pictures.shape[0], self.n_views), 1 / self.n_views, device=pictures.device)
            return Parts(boxes, probability, self._choice(pictures, None))
        grey = self.grey_copies(pictures)
        logits = self.salience(grey)
        return Parts(boxes, logits.float().softmax(dim=1), self._choice(pictures, logits), grey.squeeze(2))

    def set_progress(self, done: float) -> None:
        """Set the temperature for the part 0..1 of the training that is done."""
        config = self.config
        self.temperature.fill_(temperature_at(done, config.temperature_start, config.temperature_end))

    def epoch_facts(self) -> dict[str, Any]:
        """Return the share of each view among the choices since the last call, and the temperature last used.

        With several processes they are the main process's choices.
        """
        if self.config.choose == "whole":
            return {}
        counts = self.chosen.tolist()
        self.chosen.zero_()
        shares = [round(count / max(1, sum(counts)), 4) for count in counts]
        facts: dict[str, Any] = {"view_shares": shares}
        if self.selector is not None:
            facts["temperature"] = round(float(self.temperature), 4)
        return facts

    def _asked(self, pictures: Tensor) -> Tensor | None:
        """Return the selector's logits B×V, null where there is no selector."""
        return None if self.selector is None else self.salience(self.grey_copies(pictures))

    def _choice(self, pictures: Tensor, logits: Tensor | None) -> Tensor:
        """Return the view B of each picture where no gradient is asked for."""
        if logits is not None:
            return logits.argmax(dim=1)
        if self.config.choose == "whole":
            return torch.zeros(pictures.shape[0], dtype=torch.int64, device=pictures.device)
        if self.training:
            return torch.randint(0, self.n_views, (pictures.shape[0],), device=pictures.device)
        spec = self.view_specs[self.view]
        return drawn_from_content(pictures, spec.mean, spec.std, self.n_views)

    def _features(self, look: Look) -> Tensor:
        if self.training:
            self.chosen += is_chosen(look.choice, self.n_views).sum(dim=0)
        return cast(Tensor, self.backbone(look.picture))

    def _right(self, pictures: Tensor, number: int, label: Tensor) -> Tensor:
        logits = self.fuse({self.view: self.backbone(self.colour_view(pictures, number))})
        return (logits.argmax(dim=1) == label).float()


def build_salience(
    config: OffTheShelfModelConfig, data: OneViewDataConfig, n_classes: int, *, initialise: bool = True
) -> SalienceClassifier:
    """Build the classifier of the chosen part; arguments and errors beside these are those of ``build_off_the_shelf``.

    Raises:
        ConfigError: parts that are no smaller than the picture, grey copies that are larger than the parts or too
            small for the selector, a class map that cannot be used.
    """
    salience = config.salience
    check_class_map(config)
    backbone = build_backbone(config.backbone, role=data.view, image_size=data.image_size, initialise=initialise)
    side = backbone.image_size
    if salience.choose == "learned" and salience.grey_side > side:
        raise ConfigError(
            f"model.salience.grey_side is {salience.grey_side}, more than the {side} pixels of the parts "
            f"(data.image_size), so they would be enlarged; use at most {side}"
        )
    source = source_side(side, salience.crop_fraction)
    spec = dataclasses.replace(
        backbone.view_spec(data.image_size, data.normalise),
        size=source,
        least_side=source,
        too_small_advice=_ADVICE,
    )
    return SalienceClassifier(backbone, data.view, spec, n_classes, config.dropout, salience)
