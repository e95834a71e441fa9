"""Superpixels, and that what is kept of them changes no number."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.two_views.superpixels import Slic, SuperpixelCache, contiguous, make_slic
from utils.errors import DataError
from utils.photo_sections import SuperpixelConfig

# Processes are started from a copy of this one, in which other tests may have used threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
SLIC = Slic(segments=20, compactness=10.0)


def photo(number: int = 0, side: int = 48) -> NDArray[np.uint8]:
    small = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("statistics", [None, ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))])
def test_labels_run_from_0_without_a_gap_and_repeat(
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None,
) -> None:
    slic = replace(SLIC, statistics=statistics)
    labels = slic.divide(photo())
    assert labels.dtype == np.int16
    assert labels.shape == (48, 48)
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert 10 <= labels.max() + 1 <= 30
    assert np.array_equal(slic.divide(photo()), labels)


def test_areas_of_one_colour_are_not_mixed() -> None:
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[:, 40:] = (250, 200, 30)
    labels = SLIC.divide(picture)
    assert not set(labels[:, :40].ravel()) & set(labels[:, 40:].ravel())


@pytest.mark.parametrize("level", [0, 255])
def test_a_photo_of_one_colour_has_superpixels_too(level: int) -> None:
    labels = SLIC.divide(np.full((32, 32, 3), level, dtype=np.uint8))
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert Slic(1, 10.0).divide(photo()).max() == 0


def test_gaps_are_closed_in_order() -> None:
    assert contiguous(np.array([[7, 2], [2, 9]])).tolist() == [[1, 0], [0, 2]]


def test_the_normalised_photo_is_another_input() -> None:
    config = SuperpixelConfig(segments=20)
    rgb, normalised = (make_slic(config, name, (0.3, 0.5, 0.7), (0.1, 0.3, 0.2)) for name in ("rgb", "normalised"))
    assert rgb == SLIC
    assert normalised.statistics == ((0.3, 0.5, 0.7), (0.1, 0.3, 0.2))
    assert not np.array_equal(rgb.divide(photo()), normalised.divide(photo()))


def test_real_photos_have_about_as_many_superpixels_as_asked_for(real_data: Path) -> None:
    for path in sorted((real_data / "camvid" / "Images" / "img_dir" / "train").iterdir())[::200]:
        picture = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        labels = Slic(100, 10.0).divide(np.asarray(picture))
        sizes = np.bincount(labels.ravel())
        assert 21 <= len(sizes) <= 110
        assert sizes.min() > 100  # half of what an even division gives, but for rounding
        assert sizes.max() < 9000


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_is_what_slic_gives_and_saves_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, photos = SuperpixelCache(tmp_path / "a" / "b", SLIC), [photo(number) for number in range(3)]
    alone = [SLIC.divide(picture) for picture in photos]
    first = [cache.divide(picture) for picture in photos]
    monkeypatch.setattr(Slic, "divide", lambda *_: pytest.fail("computed again"))
    again = [SuperpixelCache(tmp_path / "a" / "b", SLIC).divide(picture) for picture in photos]
    for one, two, three in zip(alone, first, again, strict=True):
        assert one.dtype == two.dtype == three.dtype
        assert np.array_equal(one, two)
        assert np.array_equal(one, three)
    assert len(entries(tmp_path)) == 3
    assert max(path.stat().st_size for path in entries(tmp_path)) < 1000  # of 4608 bytes


def test_other_settings_and_other_pixels_are_other_entries(tmp_path: Path) -> None:
    others = [
        SLIC,
        replace(SLIC, segments=21),
        replace(SLIC, compactness=11.0),
        replace(SLIC, statistics=((0.0,) * 3, (1.0,) * 3)),
    ]
    for slic in others:
        SuperpixelCache(tmp_path, slic).divide(photo())
    changed = photo().copy()
    changed[-1, -1, -1] ^= 1
    SuperpixelCache(tmp_path, SLIC).divide(changed)
    SuperpixelCache(tmp_path, SLIC).divide(np.ascontiguousarray(photo().transpose(1, 0, 2)))
    assert len(entries(tmp_path)) == 6


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "exchanged"])
def test_a_damaged_entry_is_computed_again_and_replaced(tmp_path: Path, damage: str) -> None:
    cache = SuperpixelCache(tmp_path, SLIC)
    wanted = cache.divide(photo())
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    cache.divide(photo(1))
    (other,) = set(entries(tmp_path)) - {path}
    position = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:-1],
            "empty": b"",
            "bit": whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :],
            "exchanged": other.read_bytes(),
        }[damage]
    )
    assert np.array_equal(cache.divide(photo()), wanted)
    assert path.read_bytes() == whole


def divide_all(folder: Path, photos: list[NDArray[np.uint8]]) -> list[NDArray[np.int16]]:
    return [SuperpixelCache(folder, SLIC).divide(picture) for picture in photos]


def test_several_processes_keep_the_same_photos_at_once(tmp_path: Path) -> None:
    photos = [photo(number) for number in range(6)]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.starmap(divide_all, [(tmp_path, photos)] * 3, chunksize=1)
    for labels in found:
        for one, picture in zip(labels, photos, strict=True):
            assert np.array_equal(one, SLIC.divide(picture))
    assert [path.suffix for path in entries(tmp_path)] == [".slic"] * 6  # and nothing unfinished


def test_a_folder_that_cannot_be_written_stops_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot be kept: .*file.*; or set data\.superpixels\.cache_dir"):
        SuperpixelCache(tmp_path / "file", SLIC).divide(photo())
