"""torchvision's augmentation policies with their geometric operations off.

A policy sees the photo alone. An operation that moves pixels would tear the photo from its mask, so each of them is
replaced by the identity; how often the policy picks it stays as published.
"""

from torchvision.transforms import v2

from utils.errors import ConfigError, nearest
from utils.sections import AugmentConfig

POLICIES = ("none", "randaugment", "trivialaugment", "autoaugment", "augmix")
GEOMETRIC_OPERATIONS = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})
_MIXING_POLICIES = ("mixup", "cutmix")


class _InPlace:
    """Mixin: turns the operations that move pixels into the identity."""

    def _apply_image_or_video_transform(
        self, image: object, transform_id: str, *args: object, **options: object
    ) -> object:
        if transform_id in GEOMETRIC_OPERATIONS:
            return image
        return super()._apply_image_or_video_transform(image, transform_id, *args, **options)  # type: ignore[misc]  # the other base defines it


class PhotoRandAugment(_InPlace, v2.RandAugment):  # type: ignore[misc]  # torchvision has no types
    """RandAugment (Cubuk et al., 2020) without its geometric operations."""


class PhotoTrivialAugment(_InPlace, v2.TrivialAugmentWide):  # type: ignore[misc]  # torchvision has no types
    """TrivialAugment Wide (Müller and Hutter, 2021) without its geometric operations."""


class PhotoAutoAugment(_InPlace, v2.AutoAugment):  # type: ignore[misc]  # torchvision has no types
    """AutoAugment's ImageNet policy (Cubuk et al., 2019) without its geometric operations."""


class PhotoAugMix(_InPlace, v2.AugMix):  # type: ignore[misc]  # torchvision has no types
    """AugMix (Hendrycks et al., 2020) without its geometric operations."""


def build_policy(config: AugmentConfig) -> v2.Transform | None:
    """Return the policy of a configuration, for uint8 3×H×W photos; None for ``none``.

    Raises:
        ConfigError: where no policy has the name.
    """
    refuse_unknown_policy(config.policy)
    match config.policy:
        case "randaugment":
            return PhotoRandAugment(magnitude=config.policy_magnitude)
        case "trivialaugment":
            return PhotoTrivialAugment()
        case "autoaugment":
            return PhotoAutoAugment()
        case "augmix":
            return PhotoAugMix()
        case _:
            return None


def refuse_unknown_policy(name: str) -> None:
    """Raise a ``ConfigError`` unless ``data.augment.policy`` may have this value.

    mixup and cutmix are known and refused: they blend two photos, and no mask says which pixels of the blend are the
    region of interest.
    """
    if name.lower() in _MIXING_POLICIES:
        raise ConfigError(
            f"data.augment.policy: '{name}' cannot be used on pairs: it blends two photos, and the blend has no mask "
            f"that could be cut into roi and extra_roi; allowed: {', '.join(POLICIES)}"
        )
    if name not in POLICIES:
        raise ConfigError(
            f"data.augment.policy: '{name}' is not a policy; allowed: {', '.join(POLICIES)}{nearest(name, POLICIES)}"
        )


def check_augment(config: AugmentConfig) -> None:
    """Raise a ``ConfigError`` where a value of ``data.augment`` is out of its range (NaN included)."""
    refuse_unknown_policy(config.policy)
    ranges = (
        ("flip", config.flip, 0.0, 1.0),
        ("rotate_degrees", config.rotate_degrees, 0.0, 180.0),
        ("color_jitter", config.color_jitter, 0.0, 1.0),
        ("policy_magnitude", config.policy_magnitude, 0, 30),
    )
    for name, value, low, high in ranges:
        if not low <= value <= high:
            raise ConfigError(f"data.augment.{name} is {value}; allowed: {low:g} to {high:g}")
    if not 0.0 < config.min_crop_area <= 1.0:
        raise ConfigError(
            f"data.augment.min_crop_area is {config.min_crop_area}; allowed: above 0, up to 1 (1 turns cropping off)"
        )
    if config.flip_views not in ("joint", "separate"):
        raise ConfigError(f"data.augment.flip_views is '{config.flip_views}'; allowed: joint, separate")
