"""Superpixels of photos by SLIC, and what is kept of them on disk. Imports no torch."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic

from utils.errors import DataError, os_error_text
from utils.files import write_atomic
from utils.photo_sections import SuperpixelConfig

Superpixels = NDArray[np.int16]
_CHECK = 16  # bytes
_LEVEL = 6  # of zlib


@dataclass(frozen=True)
class Slic:
    """scikit-image's SLIC under some settings (Gokul et al. 2022, section 3).

    Attributes:
        segments: superpixels asked for.
        compactness: weight of nearness against likeness of colour.
        statistics: mean and deviation of the three channels in 0..1, by which the photo is normalised first; null
            takes the photo as it is.
    """

    segments: int
    compactness: float
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def divide(self, photo: NDArray[np.uint8]) -> Superpixels:
        """Return the superpixels of a photo (uint8 S×S×3): int16 S×S, labels from 0 without a gap."""
        values = photo.astype(np.float64) / 255
        if self.statistics is not None:
            mean, std = self.statistics
            values = (values - np.asarray(mean)) / np.asarray(std)
        labels = slic(values, n_segments=self.segments, compactness=self.compactness, start_label=0, channel_axis=-1)
        return contiguous(labels)

    @cached_property
    def settings(self) -> str:
        """Everything besides the photo that the superpixels depend on, as text."""
        versions = version("scikit-image"), version("numpy")
        return repr((self.segments, self.compactness, self.statistics, *versions))


def make_slic(config: SuperpixelConfig, slic_input: str, mean: Sequence[float], std: Sequence[float]) -> Slic:
    """Return the SLIC of a configuration; ``slic_input`` is ``rgb`` or ``normalised`` (by ``mean`` and ``std``)."""
    statistics = (tuple(map(float, mean)), tuple(map(float, std))) if slic_input == "normalised" else None
    return Slic(config.segments, config.compactness, statistics)


def contiguous(labels: NDArray[np.integer[Any]]) -> Superpixels:
    """Return labels (at least 0) renumbered from 0 without a gap, in their order, as int16."""
    present = np.bincount(labels.ravel()) > 0
    renumbered: Superpixels = (np.cumsum(present) - 1).astype(np.int16)[labels]
    return renumbered


class SuperpixelCache:
    """Superpixels on disk, one small file for each photo.

    A file is found by the pixels that SLIC was given and by its settings, so that nothing that is kept can be wrong
    for a photo: one that was changed has other pixels. A file that is damaged counts as none and is replaced. Several
    processes may read and write one folder.

    Args:
        folder: where they are; it is made when the first is kept.
        slic: makes those that are not there.
    """

    def __init__(self, folder: Path, slic: Slic) -> None:
        self.folder, self.slic = folder, slic

    def divide(self, photo: NDArray[np.uint8]) -> Superpixels:
        """Return what ``Slic.divide`` does.

        Raises:
            DataError: where a file cannot be written.
        """
        key = self._key(photo)
        path = self.folder / key[:2] / f"{key[2:]}.slic"
        labels = _read(path, key, photo.shape[:2])
        if labels is None:
            labels = self.slic.divide(photo)
            _write(path, key, labels)
        return labels

    def _key(self, photo: NDArray[np.uint8]) -> str:
        found = hashlib.blake2b(f"{self.slic.settings} {photo.shape}\n".encode(), digest_size=20)
        found.update(np.ascontiguousarray(photo).data)
        return found.hexdigest()


def _read(path: Path, key: str, shape: tuple[int, ...]) -> Superpixels | None:
    """Return the superpixels in a file; None where there is none, or another than was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    check, packed = data[:_CHECK], data[_CHECK:]
    if check != _check(key, packed):
        return None
    return np.frombuffer(zlib.decompress(packed), dtype="<i2").reshape(shape).astype(np.int16)  # a copy to write to


def _write(path: Path, key: str, labels: Superpixels) -> None:
    packed = zlib.compress(labels.astype("<i2").tobytes(), _LEVEL)

    def write(temporary: Path) -> None:
        temporary.write_bytes(_check(key, packed) + packed)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, write, durable=False)  # a file that a power cut left empty is found out
    except OSError as error:
        raise DataError(
            f"superpixels cannot be kept: {os_error_text(error)}; or set data.superpixels.cache_dir to another "
            f"folder, or data.superpixels.cache to never"
        ) from None


def _check(key: str, packed: bytes) -> bytes:
    return hashlib.blake2b(key.encode() + packed, digest_size=_CHECK).digest()
