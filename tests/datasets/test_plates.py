import dataclasses
import io
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from datasets.plates import (
    CLASS_NAMES,
    COMPANIONS,
    SAUCES,
    Plate,
    PlatesConfig,
    draw_plate,
    generate_plates,
    plan_plate,
    with_own_companions,
)
from datasets.plates_draw import draw_food
from datasets.plates_plan import FOODS, PAIRS
from datasets.plates_scores import plate_law

ROOT = Path(__file__).parents[2]
MANY = 1000


@pytest.fixture(scope="module")
def plates() -> list[Plate]:
    return [plan_plate(PlatesConfig(photos=MANY, seed=5), index) for index in range(MANY)]


def bytes_of(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def as_jpeg(photo: NDArray[np.uint8]) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=95, subsampling=0)
    return Image.open(buffer)


def sigmas(count: int, total: int, p: float) -> float:
    return abs(count - total * p) / float(np.sqrt(total * p * (1 - p)))


# --- the archive -----------------------------------------------------------------------------------------------


def test_same_options_give_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        generate_plates(PlatesConfig(photos=8, seed=seed), tmp_path / name)
    first, again, other = (bytes_of(tmp_path / name) for name in "abc")
    assert first == again
    photos = [name for name in first if name.endswith(".jpg")]
    assert len(photos) == 8
    assert not [name for name in photos if first[name] == other.get(name)]


def test_a_photo_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    generate_plates(PlatesConfig(photos=4), tmp_path / "few")
    generate_plates(PlatesConfig(photos=10), tmp_path / "many")
    few, many = bytes_of(tmp_path / "few"), bytes_of(tmp_path / "many")
    pictures = {name for name in few if name.startswith("Images/")}
    assert len(pictures) == 8
    assert all(few[name] == many[name] for name in pictures)


def test_layout_is_that_of_foodseg103(tmp_path: Path) -> None:
    root = tmp_path / "new" / "archive"
    summary = generate_plates(PlatesConfig(photos=20), root)
    ids = dict(line.split("\t") for line in (root / "category_id.txt").read_text(encoding="utf-8").splitlines())
    assert list(ids.values()) == ["background", *CLASS_NAMES]
    assert list(ids) == [str(number) for number in range(11)]
    for split, expected in (("train", 14), ("test", 6)):
        listed = (root / "ImageSets" / f"{split}.txt").read_text(encoding="utf-8").split()
        assert len(listed) == expected
        assert listed == sorted(path.name for path in (root / "Images/img_dir" / split).iterdir())
        pairs: Counter[str] = Counter()
        for name in listed:
            with Image.open(root / "Images/img_dir" / split / name) as photo:
                mask = np.array(Image.open(root / "Images/ann_dir" / split / name.replace(".jpg", ".png")))
                assert photo.mode == "RGB"
                assert mask.shape == photo.size[::-1]
            pairs.update(ids[str(number)] for number in np.unique(mask) if number)
        assert {name: pairs[name] for name in CLASS_NAMES} == summary["splits"][split]["pairs"]
    assert yaml.safe_load((root / "plates.yaml").read_text(encoding="utf-8")) == summary


def test_nothing_is_left_of_an_archive_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.plates.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        generate_plates(PlatesConfig(photos=4), tmp_path / "archive")
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(Exception, match="is not an empty folder; delete it or choose another place"):
        generate_plates(PlatesConfig(photos=4), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_options_out_of_range_are_listed_together() -> None:
    with pytest.raises(Exception, match="3 problems") as caught:
        PlatesConfig(side=3, purity=float("nan"), imbalance=0.5)
    for part in ("side is 3, allowed is 64 to 1024", "purity is nan, allowed is 0 to 1", "imbalance is 0.5"):
        assert part in str(caught.value)
    with pytest.raises(Exception, match=r"photos is 3 .* which leaves a split empty"):
        PlatesConfig(photos=3)


def test_script_names_the_nearest_option_and_exits_2(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "make_plates.py"), "--dst", str(tmp_path / "a")]
    wrong = subprocess.run([*command, "--phtos", "4"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "error: unknown option '--phtos'; did you mean '--photos'?\n")
    right = subprocess.run([*command, "--photos", "4"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert right.returncode == 0, right.stderr
    assert "best reachable on roi: top1" in right.stdout
    assert (tmp_path / "a" / "plates.yaml").is_file()


# --- what lies on a plate --------------------------------------------------------------------------------------


def test_every_class_of_a_plate_is_seen_and_no_other() -> None:
    shares = []
    for side in (64, 96, 200):
        for index in range(30):
            plate = plan_plate(PlatesConfig(side=side), index)
            photo, mask = draw_plate(plate)
            assert photo.shape == (plate.height, plate.width, 3) == (*mask.shape, 3)
            pixels = {CLASS_NAMES[number - 1]: int((mask == number).sum()) for number in np.unique(mask) if number}
            assert pixels.keys() == set(plate.names)
            assert min(pixels.values()) >= 0.01 * mask.size
            shares += [count / mask.size for count in pixels.values()]
    assert 0.08 < np.median(shares) < 0.13  # FoodSeg103: 0.11


def test_photos_hold_as_many_classes_as_in_foodseg103(plates: list[Plate]) -> None:
    counts = [len(plate.names) for plate in plates]
    assert set(counts) == {2, 3, 4, 5}
    assert abs(np.mean(counts) - 3.65) < 4.5 * np.std(counts) / np.sqrt(MANY)
    assert all(len(set(plate.names)) == len(plate.names) for plate in plates)
    sizes = {(plate.width > plate.height, plate.width == plate.height) for plate in plates}
    assert sizes == {(True, False), (False, False), (False, True)}


def test_sauces_and_their_companions_follow_the_options(plates: list[Plate]) -> None:
    with_sauce = [plate for plate in plates if plate.sauce]
    names = Counter(plate.sauce.name for plate in with_sauce if plate.sauce)
    own = sum(with_own_companions(PlatesConfig(), plate) for plate in with_sauce)
    assert sigmas(len(with_sauce), MANY, 0.5) < 4.5
    assert sigmas(names["ketchup"], len(with_sauce), 0.5) < 4.5
    assert sigmas(own, len(with_sauce), 0.95) < 4.5
    for plate in with_sauce:
        sides = {sauce for sauce, pair in COMPANIONS["colour"].items() if set(pair) & set(plate.names)}
        assert len(sides) == 1, "a sauce stands beside exactly one set of companions"
    without = Counter(name for plate in plates if not plate.sauce for name in plate.names)
    assert (
        min(without[name] for pair in COMPANIONS["colour"].values() for name in pair)
        > 0.3 * (MANY - len(with_sauce)) / 2
    )


def test_companions_of_the_kind_twins_differ_in_texture_or_shape_alone() -> None:
    ketchup, chili = COMPANIONS["twins"]["ketchup"], COMPANIONS["twins"]["chili-paste"]
    assert sorted(FOODS[name][0] for name in ketchup) == sorted(FOODS[name][0] for name in chili)
    config = PlatesConfig(companions="twins", purity=1.0, sauce_share=1.0)
    some = [plan_plate(config, index) for index in range(60)]
    for plate in some:
        assert plate.sauce
        assert with_own_companions(config, plate)
        assert not set(COMPANIONS["twins"][SAUCES[1 - SAUCES.index(plate.sauce.name)]]) & set(plate.names)


def test_class_frequencies_agree_with_the_enumerated_law(plates: list[Plate]) -> None:
    law = plate_law(PlatesConfig())
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    counts = Counter(name for plate in plates for name in plate.names)
    for name in CLASS_NAMES:
        p = sum(weight for symbols, weight in law.items() if name in symbols.foods or name == symbols.sauce)
        assert sigmas(counts[name], MANY, p) < 4.5, name


def test_foods_are_dealt_to_places_whatever_their_class(plates: list[Plate]) -> None:
    """The radius of the hole says nothing of the class."""
    plain = [plate for plate in plates if not plate.sauce and len(plate.foods) == 4]
    radii = {name: [food.radius for plate in plain for food in plate.foods if food.name == name] for name in FOODS}
    everything = np.concatenate(list(radii.values()))
    for name, values in radii.items():
        error = everything.std() / np.sqrt(len(values))
        assert abs(np.mean(values) - everything.mean()) < 4.5 * error, name


# --- known cues ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("longer_side", [None, 64])
def test_companions_leave_no_trace_in_the_sauces_pixels(longer_side: int | None) -> None:
    """Purity 1 against 0: the same sauces, the other companions, and not one bit of difference inside the roi."""
    compared = 0
    for index in range(60):
        pair = [plan_plate(PlatesConfig(purity=purity, seed=2), index) for purity in (1.0, 0.0)]
        if pair[0].sauce is None:
            continue
        assert pair[0].sauce == pair[1].sauce
        assert set(pair[0].names) != set(pair[1].names)
        rois = []
        for plate in pair:
            photo, mask = draw_plate(plate)
            inside = mask == CLASS_NAMES.index(pair[0].sauce.name) + 1
            picture = as_jpeg(photo)
            if longer_side:
                scale = longer_side / max(picture.size)
                size = (round(picture.width * scale), round(picture.height * scale))
                picture = picture.resize(size, Image.Resampling.BICUBIC)
                inside = np.array(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST))
            rois.append(np.where(inside[..., None], np.array(picture), 0))
        assert rois[0].any()
        assert np.array_equal(rois[0], rois[1])
        compared += 1
    assert compared > 20


def test_the_sauces_name_changes_no_pixel() -> None:
    compared = 0
    for index in range(30):
        plate = plan_plate(PlatesConfig(), index)
        if plate.sauce is None:
            continue
        other = SAUCES[1 - SAUCES.index(plate.sauce.name)]
        swapped = dataclasses.replace(plate, sauce=dataclasses.replace(plate.sauce, name=other))
        (photo, mask), (photo_swapped, mask_swapped) = draw_plate(plate), draw_plate(swapped)
        assert np.array_equal(photo, photo_swapped)
        changed = mask != mask_swapped
        assert set(mask[changed]) == {CLASS_NAMES.index(plate.sauce.name) + 1}
        assert set(mask_swapped[changed]) == {CLASS_NAMES.index(other) + 1}
        compared += 1
    assert compared > 5


def test_sauces_own_cues_have_the_set_reliability() -> None:
    for reliability in (0.5, 0.9):
        config = PlatesConfig(sauce_texture=reliability, sauce_shape=1.5 - reliability, sauce_share=1.0)
        sauces = [plan_plate(config, index).sauce for index in range(400)]
        specked = sum(sauce.specked == (sauce.name == "chili-paste") for sauce in sauces if sauce)
        assert sigmas(specked, 400, reliability) < 4.5
        lobed = sum(sauce.lobed == (sauce.name == "chili-paste") for sauce in sauces if sauce)
        assert lobed == 400 if reliability == 0.5 else sigmas(lobed, 400, 0.6) < 4.5


def draw_alone(name: str, seed: int, radius: float = 30.0) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    canvas, free = np.zeros((120, 120, 3), np.float32), np.ones((120, 120), np.float32)
    return draw_food(canvas, free, FOODS[name], (60, 60, radius), 9.0, np.random.default_rng(seed))


def test_texture_twins_have_one_silhouette_and_one_mean_colour() -> None:
    for left, right in (pair for pair, cue in PAIRS.items() if cue == "texture"):
        differences = []
        for seed in range(12):
            (photo_l, mask_l), (photo_r, mask_r) = draw_alone(left, seed), draw_alone(right, seed)
            assert np.array_equal(mask_l, mask_r)
            assert not np.array_equal(photo_l, photo_r)
            differences.append(photo_l[mask_l].mean(0) - photo_r[mask_r].mean(0))
        assert np.abs(differences).mean() < 4.0, (left, right)


def test_shape_twins_have_one_area_and_one_mean_colour() -> None:
    for left, right in (pair for pair, cue in PAIRS.items() if cue == "shape"):
        for seed in range(12):
            (photo_l, mask_l), (photo_r, mask_r) = draw_alone(left, seed), draw_alone(right, seed)
            for mask in (mask_l, mask_r):
                assert abs(mask.sum() / (np.pi * 30**2) - 1) < 0.08
            overlap = (mask_l & mask_r).sum() / (mask_l | mask_r).sum()
            assert overlap < 0.8
            assert np.abs(photo_l[mask_l].mean(0) - photo_r[mask_r].mean(0)).max() < 6.0
