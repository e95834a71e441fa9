"""The network that is pre-trained: a timm model without classifier, seen as two maps of features."""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.pim.levels import Level, Taps, level_shapes, look
from Off_the_shelfs.weights import MismatchError
from R2O.config import R2OModelConfig
from utils.errors import ConfigError

_NAMED = 3  # parameters that a note lists


@dataclass(frozen=True)
class _LastMap(Taps):
    """What a timm model gives before its pooling, as maps.

    Attributes:
        grid: rows and columns of the map, by which tokens are laid out.
    """

    indices: tuple[int, ...] = ()
    grid: tuple[int, int] = (0, 0)

    def maps(self, model: nn.Module, pictures: Tensor) -> list[Tensor]:
        """Return one map B×D×h×w, or the model's own output where that is none."""
        features = cast(Any, model).forward_features(pictures)
        if not isinstance(features, Tensor):
            raise ConfigError(
                f"{type(model).__name__} gives no map of features but {type(features).__name__}; choose a backbone of "
                f"another family, such as resnet50"
            )
        if features.dim() == 3:
            return [self._laid_out(features, model)]
        return [features.permute(0, 3, 1, 2) if _channels_last(features, model) else features]

    def _laid_out(self, tokens: Tensor, model: nn.Module) -> Tensor:
        """Return tokens B×N×D without class and register tokens, which stand in front, on their grid."""
        cells = self.grid[0] * self.grid[1]
        beside = tokens.shape[1] - cells
        # Only some families say how many there are.
        if beside < 0 or beside != (getattr(model, "num_prefix_tokens", None) or beside):
            return tokens
        return tokens[:, beside:].mT.reshape(len(tokens), -1, *self.grid)


def _channels_last(features: Tensor, model: nn.Module) -> bool:
    if getattr(model, "output_fmt", None) == "NHWC":
        return True
    width: int = cast(Any, model).num_features
    return features.shape[3] == width != features.shape[1]


class Trunk(nn.Module):
    """A timm model whose last map is pooled over regions and one of whose earlier maps is clustered.

    Attributes:
        model: the timm model without classifier; its state dict is what a train script loads as ``weights``.
        name: its timm name.
        channels: D of the last map.
        cells: rows, and columns, of the last map.
        cluster_channels: C of the map that is clustered.
        mean, std: of the pictures that it takes, by channel, for pixels in 0..1.
        source: where the weights came from, in words.
        origin: the same with the file that they were read from.
        notes: what a user should know: keys that were let pass, parameters that are not trained.
    """

    def __init__(self, backbone: Backbone, cluster_stride: int) -> None:
        super().__init__()
        self.model, self.name = backbone.model, backbone.name
        self.source, self.origin, self.notes = backbone.source, backbone.origin, list(backbone.notes)
        spec = backbone.view_spec()
        self.mean, self.std = spec.mean, spec.std
        levels = level_shapes(self.model, self.name, None, spec.size)
        index = _cluster_level(self.model, self.name, levels, cluster_stride, spec.size)
        self._clustered = Taps((index,))
        self.cluster_channels = levels[index].channels
        self._last = _LastMap(grid=(levels[-1].height, levels[-1].width))
        reached, (last,) = look(self.model, self.name, self._last, spec.size)
        if last.height != last.width or last.height < 2:
            raise ConfigError(
                f"the last map of backbone '{self.name}' has {last.height}×{last.width} cells for pictures of "
                f"{spec.size} px, but regions need a square of at least 2×2; raise data.image_size, or choose a "
                f"backbone with smaller strides"
            )
        self.channels, self.cells = last.channels, last.height
        self._rest(reached)

    def _rest(self, reached: set[str]) -> None:
        """Take the gradient from what comes after the last map."""
        aside = [name for name, _ in self.model.named_parameters() if name not in reached]
        for name in aside:
            self.model.get_parameter(name).requires_grad = False
        if aside:
            shown = ", ".join(aside[:_NAMED]) + (", …" if len(aside) > _NAMED else "")
            self.notes.append(
                f"backbone {self.name}: {len(aside)} parameters come after its last map and are not trained: {shown}"
            )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the last map B×D×h×w of normalised pictures B×3×S×S, as it is before the model's pooling."""
        return self._last.maps(self.model, pictures)[0]

    def clustered(self, pictures: Tensor) -> Tensor:
        """Return the map B×C×h×w that is clustered, of normalised pictures B×3×S×S; what comes after it does not run.

        It is the deepest at ``cluster_stride`` before the model's last one.
        """
        return self._clustered.maps(self.model, pictures)[0]


def build_trunk(config: R2OModelConfig, image_size: int, *, initialise: bool = True) -> Trunk:
    """Build the trunk with its weights; random ones depend on torch's global seed alone.

    Args:
        config: backbone, weights, stride of the clusters' map.
        image_size: side of the pictures in pixels.
        initialise: False leaves random weights, for when a checkpoint is about to be loaded.

    Raises:
        ConfigError: as ``build_backbone``; the backbone gives no maps, none at ``cluster_stride`` before its last one,
            or a last one of a single cell.
    """
    wanted = BackboneConfig(name=config.backbone, pretrained=config.pretrained, weights=config.weights)
    try:
        backbone = build_backbone(wanted, role="photo", image_size=image_size, initialise=initialise)
    except MismatchError as error:
        raise ConfigError(f"{error.found}give weights of this model, or set model.backbone to theirs") from None
    if backbone.origin.kind == "random":
        _open_residual_branches(backbone.model)
    return Trunk(backbone, config.cluster_stride)


def _open_residual_branches(model: nn.Module) -> None:
    """Set scales to 1 that timm starts at 0, at the end of the residual branches of ResNets.

    The authors' ResNet starts from random weights by torchvision's rule, which has them at 1.
    """
    blocks = [part for part in model.modules() if hasattr(part, "zero_init_last")]
    for part in [child for block in blocks for child in block.children()]:
        scale = getattr(part, "weight", None)
        if isinstance(scale, nn.Parameter) and scale.ndim == 1:
            nn.init.ones_(scale)


def _cluster_level(model: nn.Module, name: str, levels: list[Level], stride: int, size: int) -> int:
    """Return the number of the deepest map at a stride before the last one."""
    strides = _strides(model, levels, size)
    fitting = [index for index, found in enumerate(strides[:-1]) if found == stride]
    if not fitting:
        offered = ", ".join(map(str, sorted(set(strides[:-1])))) or "none"
        raise ConfigError(
            f"model.cluster_stride is {stride}, but backbone '{name}' has no map at that stride before its last one; "
            f"it has maps at strides {offered}: set model.cluster_stride to one of them, or choose another backbone"
        )
    return fitting[-1]


def _strides(model: nn.Module, levels: list[Level], size: int) -> list[int]:
    """Return pixels per cell of each map, as timm states them; of maps without padding the shape tells less."""
    info = getattr(model, "feature_info", None)
    if isinstance(info, (list, tuple)) and len(info) == len(levels):
        return [int(entry["reduction"]) for entry in info]
    return [round(size / level.height) for level in levels]
