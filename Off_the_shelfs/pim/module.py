"""The plug-in module on a backbone (Chou, Lin and Kao 2022, arXiv 2202.03822)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone, Normalise, build_backbone
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.feature_maps import SpatialLayer, find_spatial_layer
from Off_the_shelfs.findings import Finding
from Off_the_shelfs.own_maps import NamedMap
from Off_the_shelfs.pim.checkpoint import read_pim_weights
from Off_the_shelfs.pim.classifiers import PositionClassifier
from Off_the_shelfs.pim.combiner import Combiner
from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.pim.levels import Level, check_saves_memory, find_taps, prune
from Off_the_shelfs.pim.losses import pim_losses
from Off_the_shelfs.pim.maps import PIM_METHODS, energy_maps, kept_maps, score_maps
from Off_the_shelfs.pim.measures import pim_measures
from Off_the_shelfs.pim.pyramid import Pyramid
from Off_the_shelfs.pim.selector import rank_positions, resolve_counts, take
from utils.batch import ViewName, ViewSpec
from utils.compilation import compile_errors
from utils.engine import Criterion
from utils.errors import ConfigError


@dataclass(frozen=True, eq=False)
class LevelFinding:
    """What was found on one level of B pictures.

    Attributes:
        logits: B×S×K of all positions, row by row.
        order: int64 B×S, positions from the most to the least confident.
        n_kept: how many of ``order``, from its start, are kept.
        grid: rows and columns, whose product is S.
    """

    logits: Tensor
    order: Tensor
    n_kept: int
    grid: tuple[int, int]

    @property
    def n_dropped(self) -> int:
        """Number of positions that are not kept."""
        return self.order.shape[1] - self.n_kept

    @property
    def kept_logits(self) -> Tensor:
        """Logits of the kept positions, B×n×K, by falling confidence."""
        return take(self.logits, self.order[:, : self.n_kept])

    @property
    def dropped_logits(self) -> Tensor:
        """Logits of the positions that are not kept, B×(S-n)×K, by falling confidence."""
        return take(self.logits, self.order[:, self.n_kept :])

    @property
    def kept_mask(self) -> Tensor:
        """Which positions are kept, bool B×h×w."""
        mask = torch.zeros_like(self.order, dtype=torch.bool)
        return mask.scatter(1, self.order[:, : self.n_kept], value=True).view(-1, *self.grid)


@dataclass(frozen=True, eq=False)
class PimFinding(Finding):
    """The combiner's features B×F, and what was found on each level, shallow to deep."""

    levels: list[LevelFinding]


class PlugIn(nn.Module):
    """From the maps of several levels to one vector by way of the positions that are worth it.

    Attributes:
        pyramid: brings the levels to one width.
        classifiers: one for each level.
        combiner: fuses the kept positions.
        counts: positions that each level keeps.
    """

    def __init__(self, levels: Sequence[Level], config: PimConfig, n_classes: int) -> None:
        super().__init__()
        self.counts = resolve_counts(config, levels)
        n_kept = sum(self.counts)
        self.pyramid = Pyramid(levels, config.width, config.upsample)
        self.classifiers = nn.ModuleList(PositionClassifier(config.width, n_classes) for _ in levels)
        self.combiner = Combiner(n_kept, n_kept // config.positions_per_joint, config.width, config.query_channels)

    def forward(self, maps: Sequence[Tensor]) -> PimFinding:
        """Return what is found in maps B×C×h×w, shallow to deep."""
        kept, found = [], []
        for tokens, classifier, count, grid in zip(
            self.pyramid(maps), self.classifiers, self.counts, [tuple(each.shape[-2:]) for each in maps], strict=True
        ):
            logits = classifier(tokens)
            order = rank_positions(logits)
            kept.append(take(tokens, order[:, :count]))
            found.append(LevelFinding(logits, order, count, (grid[0], grid[1])))
        return PimFinding(self.combiner(torch.cat(kept, dim=1)), found)


class PimBackbone(Backbone):
    """A timm model with the plug-in module: its features are the combiner's, without dropout and classifier.

    A frozen one keeps its timm model still; the plug-in module trains.

    Attributes:
        taps: where the maps are taken.
        levels: shapes of the maps for pictures of ``image_size``.
        plug_in: everything beside the timm model.
        pim: configuration of the plug-in module.
        head_weights: of the combiner's classifier, until ``fill_head`` gives them to a model's head; mostly empty.
    """

    has_own_losses = True

    def __init__(self, trunk: Backbone, config: BackboneConfig, n_classes: int) -> None:
        taps = find_taps(trunk.model, config.name, config.pim, trunk.image_size)
        levels = prune(trunk.model, config.name, taps, trunk.image_size)
        super().__init__(trunk.model, replace(config, features="pooled", pim=PimConfig()), trunk.image_size)
        self.source, self.origin, self.notes = trunk.source, trunk.origin, trunk.notes
        self.taps = taps
        self.levels = levels
        self.pim = config.pim
        self.plug_in = PlugIn(self.levels, config.pim, n_classes)
        self.num_features = config.pim.width
        self.head_weights: dict[str, Tensor] = {}
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Return the combiner's features B×F of normalised pictures B×3×H×W."""
        return self.find(x).features

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps B×C×h×w of the timm model, shallow to deep, of normalised pictures B×3×H×W."""
        with compile_errors(self), self._passing():
            return self.taps.maps(self.model, x)

    def find(self, x: Tensor) -> PimFinding:
        """Return the features of pictures B×3×H×W with what was found on each level."""
        found: PimFinding = self.plug_in(self.maps(x))
        return found

    @property
    def still(self) -> bool:
        """Never: the plug-in module trains."""
        return False

    @property
    def own_parts(self) -> list[nn.Module]:
        """The plug-in module."""
        return [self.plug_in]

    def own_losses(self, finding: PimFinding, label: Tensor, criterion: Criterion) -> Tensor:
        """Return the losses B of the levels; see ``pim_losses``."""
        return pim_losses(finding.levels, label, criterion, self.pim.loss)

    def own_measures(self, finding: PimFinding, logits: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Return what levels and ensembles say of B pairs; see ``pim_measures``."""
        return pim_measures(finding.levels, logits, label)

    map_methods = PIM_METHODS

    def own_maps(self, method: str, pictures: Tensor, target: Tensor) -> list[NamedMap]:
        """Return a map of each level: its activation energy, its scores of the class, or what it keeps."""
        if method == "energy":
            return energy_maps(self.maps(pictures))
        found = self.find(pictures)
        return score_maps(found.levels, target) if method == "score" else kept_maps(found.levels)

    def spatial_layer(self, least_cells: int = 1) -> SpatialLayer:
        """Find the last map of the timm model that the combiner's features depend on."""
        return find_spatial_layer(self.model, self.image_size, self.image_size, least_cells=least_cells, within=self)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen timm model stays in eval mode, the plug-in module does not."""
        super().train(mode)
        if hasattr(self, "plug_in"):
            self.plug_in.train(mode)
        return self

    def view_spec(self, image_size: int | None = None, normalise: Normalise = "backbone") -> ViewSpec:
        """Return what this backbone asks of its view; pictures of another size than it was built for are refused."""
        if image_size not in (None, self.image_size):
            raise ConfigError(
                f"the plug-in module on backbone '{self.name}' was built for pictures of {self.image_size} px, not "
                f"{image_size}: the positions that it keeps depend on it"
            )
        return super().view_spec(None, normalise)


def build_pim(
    config: BackboneConfig, *, role: ViewName, image_size: int | None, n_classes: int, initialise: bool = True
) -> PimBackbone:
    """Build a backbone with the plug-in module; arguments are those of ``build_module``.

    Raises:
        ConfigError: as ``build_backbone`` does; fewer than two classes; a backbone without maps of features; levels,
            counts or taps that do not fit it; compiling or gradient checkpointing where the maps do not have it.
    """
    if n_classes < 2:
        raise ConfigError(f"features: pim tells classes apart and needs at least 2; the data has {n_classes}")
    if config.compile is True:
        raise ConfigError(
            f"compile: true compiles a backbone as a whole, but features: pim takes maps from inside '{config.name}'; "
            f"set compile: false"
        )
    weights = read_pim_weights(config, role) if initialise and config.weights is not None else None
    trunk = build_backbone(
        replace(config, features="pooled", pim=PimConfig()),
        role=role,
        image_size=image_size,
        initialise=initialise and weights is None,
    )
    if weights is not None and not weights.pruned:
        weights.load_trunk(trunk, config)
    if config.grad_checkpointing:
        check_saves_memory(trunk.model, config.name)
    backbone = PimBackbone(trunk, config, n_classes)
    if weights is not None:
        weights.load_plug_in(backbone, config)
    return backbone
