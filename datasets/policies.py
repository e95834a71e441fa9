"""torchvision's augmentation policies with their geometric operations off.

A policy sees the photo alone. An operation that moves pixels would tear the photo from its mask, so each of them is
replaced by the identity; how often the policy picks it stays as published.
"""

from torchvision.transforms import v2

from utils.data_sections import POLICIES

GEOMETRIC_OPERATIONS = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})


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


def build_policy(name: str, magnitude: int) -> v2.Transform | None:
    """Return a policy for uint8 3×H×W photos by its configuration name; None for ``none``.

    Args:
        name: one of ``utils.data_sections.POLICIES``, which the configuration has checked.
        magnitude: strength of ``randaugment``, 0..30.
    """
    assert name in POLICIES
    match name:
        case "randaugment":
            return PhotoRandAugment(magnitude=magnitude)
        case "trivialaugment":
            return PhotoTrivialAugment()
        case "autoaugment":
            return PhotoAutoAugment()
        case "augmix":
            return PhotoAugMix()
        case _:
            return None
