"""Near-duplicates found among distinct photos in which copies were planted."""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from datasets.doctor.near_duplicates import NEAR_BITS, MarkedPhoto, PhotoMark, mark_photo, near_duplicates, require_bits
from datasets.plates import PlatesConfig, generate_plates
from utils.errors import ConfigError

PLANTED = 40
PLATES = 200
SCENE = 900  # frames: half a minute
FRAME_STEP = 6  # of CamVid's frames: several seconds apart


def spoil(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Trim 1 to 3 % off each side, scale to 50 to 90 %, change brightness and contrast, encode at quality 40 to 90."""
    width, height = photo.size
    left, top, right, bottom = generator.uniform(0.01, 0.03, 4)
    kept = round(width * left), round(height * top), round(width * (1 - right)), round(height * (1 - bottom))
    copy = photo.crop(kept)
    scale = generator.uniform(0.5, 0.9)
    copy = copy.resize((round(copy.width * scale), round(copy.height * scale)), Image.Resampling.BICUBIC)
    copy = ImageEnhance.Brightness(copy).enhance(generator.uniform(0.9, 1.1))
    copy = ImageEnhance.Contrast(copy).enhance(generator.uniform(0.9, 1.1))
    data = io.BytesIO()
    copy.save(data, "JPEG", quality=int(generator.integers(40, 91)))
    return Image.open(data).convert("RGB")


def _one_scene(path: str, other: str) -> bool:
    """Say whether two files are the same, or frames of one video within ``SCENE`` of each other."""
    if path == other:
        return True
    matches = [re.fullmatch(r"(\w+)_f?(\d+)", Path(one).stem) for one in (path, other)]  # plates are mere numbers
    (video, frame), (other_video, other_frame) = (match.groups() if match else ("", "0") for match in matches)
    return bool(video) and video == other_video and abs(int(frame) - int(other_frame)) < SCENE


def planted_set(folder: Path, real_data: Path | None, bits: int = NEAR_BITS) -> dict[str, int]:
    """Plant copies of distinct photos in another split and look for them.

    Args:
        folder: an empty one, for generated plates.
        real_data: folder with CamVid, whose frames are added where it is there.
        bits: the threshold.

    Returns:
        ``distinct`` photos, ``planted`` copies, how many were ``found``, and ``false_alarms``: pairs that are neither
        photo and copy nor frames of one video less than half a minute apart, which often show one street.
    """
    generate_plates(PlatesConfig(photos=PLATES, test_share=0.3), folder / "plates")
    paths = sorted((folder / "plates" / "Images" / "img_dir").glob("*/*"))
    if real_data is not None:
        for split in ("train", "test"):
            paths += sorted((real_data / "camvid" / "Images" / "img_dir" / split).glob("*.jpg"))[::FRAME_STEP]
    generator = np.random.default_rng(5)
    chosen = {int(place) for place in generator.choice(len(paths), PLANTED, replace=False)}
    photos = []
    for place, path in enumerate(paths):
        photo = Image.open(path).convert("RGB")
        split = "train" if place in chosen or place % 3 else "test"
        photos.append(MarkedPhoto(split, str(path), str(place), mark_photo(photo)))
        if place in chosen:
            photos.append(MarkedPhoto("test", f"copy of {path}", f"copy {place}", mark_photo(spoil(photo, generator))))
    pairs = [sorted((pair.one.path, pair.other.path), key=len) for pair in near_duplicates(photos, bits)]
    found = sum(other == f"copy of {one}" for one, other in pairs)
    false = sum(not _one_scene(*(path.removeprefix("copy of ") for path in pair)) for pair in pairs)
    return {"distinct": len(paths), "planted": PLANTED, "found": found, "false_alarms": false}


def test_copies_are_found_and_different_photos_are_not_taken_for_them(
    tmp_path: Path, record_fact: Callable[..., None]
) -> None:
    given = os.environ.get("RVERNET_DATA")
    result = planted_set(tmp_path, Path(given) if given else None)
    record_fact("near duplicates", **result)
    assert result["found"] >= 0.95 * PLANTED
    assert result["false_alarms"] == 0


def test_each_pair_of_two_splits_once_the_nearest_first() -> None:
    generator = np.random.default_rng(0)
    base = int(generator.integers(2**62))
    thumb = generator.integers(0, 256, 192, dtype=np.uint8).tobytes()

    def photo(split: str, name: str, flipped: int, sha256: str = "") -> MarkedPhoto:
        return MarkedPhoto(split, name, sha256, PhotoMark(base ^ (2**flipped - 1), thumb))

    photos = [photo("train", "a", 0, "x"), photo("train", "twin of a", 0), photo("test", "b", 3), photo("val", "c", 6)]
    photos += [photo("test", "same bytes as a", 0, "x"), photo("test", "far", 30)]
    found = [(pair.one.path, pair.other.path, pair.bits) for pair in near_duplicates(photos, 6)]
    # Distances: |i - j| flipped bits. a and its byte-for-byte copy are same-photo, and pairs of one split do not count.
    assert found == [
        ("same bytes as a", "twin of a", 0),
        ("b", "a", 3),
        ("b", "c", 3),
        ("b", "twin of a", 3),
        ("a", "c", 6),
        ("same bytes as a", "c", 6),
        ("twin of a", "c", 6),
    ]
    assert near_duplicates(photos, 0) == []


@pytest.mark.parametrize("bits", [-1, 33])
def test_a_threshold_that_cannot_be(bits: int) -> None:
    with pytest.raises(
        ConfigError, match=r"^--near_duplicates is .*; it must be 0 \(look for none\) to 32 of 64 bits$"
    ):
        require_bits(bits)
