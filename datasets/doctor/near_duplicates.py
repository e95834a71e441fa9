"""Photos that look the same although their bytes differ: scaled, re-encoded, trimmed, or neighbours in a video."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from utils.errors import ConfigError

# Of 701 video frames and 1,500 generated plates, each trimmed by 1 to 3 % a side, scaled to 50 to 90 %, changed by up
# to 10 % in brightness and contrast and re-encoded at quality 40 to 90, all frames and 97.8 % of the plates stay within
# both bounds; none of 1.3 million pairs of different scenes does. By the first bound alone 2,700 of them would at 14
# bits, and at 8 bits, where 20 would, 2 % of the frames and 25 % of the plates would be lost.
NEAR_BITS = 14
_LIKENESS = 0.92
_EQUALISED = 64  # side in pixels at which a photo's brightness is spread evenly
_THUMB = 8
_CHUNK = 512


@dataclass(frozen=True)
class PhotoMark:
    """What a photo looks like: 64 bits of its low frequencies (pHash), and 8×8×3 colours, equalised, 0..255."""

    bits: int
    thumb: bytes


@dataclass(frozen=True)
class MarkedPhoto:
    """A photo's split, its path for the user, its content's hash ("" where not known) and its mark."""

    split: str
    path: str
    sha256: str
    mark: PhotoMark


@dataclass(frozen=True)
class NearPair:
    """Two photos of different splits that look the same, and how many of 64 bits differ."""

    one: MarkedPhoto
    other: MarkedPhoto
    bits: int


def require_bits(bits: int, option: str = "--near_duplicates") -> None:
    """Raise a ``ConfigError`` unless ``bits`` can be a distance and, above 0, the package for it is there."""
    if not 0 <= bits <= 32:
        raise ConfigError(f"{option} is {bits}; it must be 0 (look for none) to 32 of 64 bits")
    if bits == 0:
        return
    try:
        import imagehash  # noqa: F401  # loaded where it is used: it needs scipy, which nothing else here does
    except ImportError:
        raise ConfigError(
            f"the package ImageHash is missing, which looks for near-duplicates; install requirements.txt, or give "
            f"{option} 0"
        ) from None


def mark_photo(photo: Image.Image) -> PhotoMark:
    """Return the mark of an upright RGB photo."""
    import imagehash

    bits = imagehash.phash(photo).hash.ravel()
    # Equalised, or a bright sky would outweigh all that is below it.
    small = ImageOps.equalize(photo.resize((_EQUALISED, _EQUALISED), Image.Resampling.BOX))
    small = small.resize((_THUMB, _THUMB), Image.Resampling.BOX)
    return PhotoMark(int.from_bytes(np.packbits(bits).tobytes(), "big"), small.tobytes())


def near_duplicates(photos: Sequence[MarkedPhoto], bits: int) -> list[NearPair]:
    """Return the pairs of photos from different splits that look the same, each once, the nearest first.

    Args:
        photos: of all splits.
        bits: how many of the 64 bits may differ; 0 finds nothing. Colours must be alike as well. Photos with one
            content are left out, since they are not near but the same.
    """
    if bits == 0:
        return []
    by_split: dict[str, list[MarkedPhoto]] = {}
    for photo in photos:
        by_split.setdefault(photo.split, []).append(photo)
    found = [
        pair
        for one, other in combinations(sorted(by_split), 2)
        for pair in _between(by_split[one], by_split[other], bits)
    ]
    return sorted(found, key=lambda pair: (pair.bits, pair.one.path, pair.other.path))


def _between(some: list[MarkedPhoto], others: list[MarkedPhoto], bits: int) -> list[NearPair]:
    hashes, other_hashes = (np.array([p.mark.bits for p in photos], dtype=np.uint64) for photos in (some, others))
    colours, other_colours = _colours(some), _colours(others)
    found = []
    for start in range(0, len(some), _CHUNK):
        distance = np.bitwise_count(hashes[start : start + _CHUNK, None] ^ other_hashes)
        likeness = colours[start : start + _CHUNK] @ other_colours.T
        for row, column in zip(*np.nonzero((distance <= bits) & (likeness >= _LIKENESS)), strict=True):
            one, other = some[start + row], others[column]
            if not one.sha256 or one.sha256 != other.sha256:
                found.append(NearPair(one, other, int(distance[row, column])))
    return found


def _colours(photos: list[MarkedPhoto]) -> NDArray[np.float32]:
    """Return unit vectors whose product is the correlation of two thumbnails; zeros for a photo of one colour."""
    pixels = np.frombuffer(b"".join(photo.mark.thumb for photo in photos), np.uint8)
    centred = pixels.reshape(len(photos), -1, 3).astype(np.float32)
    centred = (centred - centred.mean(axis=1, keepdims=True)).reshape(len(photos), -1)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    vectors: NDArray[np.float32] = centred / np.maximum(length, 1e-6)
    return vectors
