"""Which pair is a photo's largest, what can be reached without the mask, and the tree of the largest regions."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.index import PairIndex
from experiments.loading import Splits
from experiments.regions.facts import lossy_notes
from experiments.regions.largest import best_reachable, choose_largest, largest_rows, region_areas, write_largest_tree
from utils.errors import ConfigError, DataError

# Of each photo: side of the region of each class, in a picture of 8 pixels.
TRAIN = {"p1": {"bean": 4, "corn": 3}, "p2": {"corn": 5, "dill": 2}, "p3": {"bean": 2, "corn": 6, "dill": 3}}
TEST = {"q1": {"bean": 2, "corn": 3}, "q2": {"dill": 5, "bean": 4}}


def write_tree(root: Path, splits: dict[str, dict[str, dict[str, int]]]) -> Splits:
    for split, photos in splits.items():
        for stem, regions in photos.items():
            for name, side in regions.items():
                photo = np.full((8, 8, 3), 100, np.uint8)
                mask = np.zeros((8, 8, 1), bool)
                mask[:side, :side] = True
                for view, pixels in (("roi", photo * mask), ("extra-roi", photo * ~mask)):
                    folder = root / split / view / name
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(folder / f"{stem}.png")
    train, test = (PairIndex.from_tree(root, split) for split in splits)
    return Splits(train, None, test)


def keys(index: PairIndex) -> list[str]:
    return ["/".join(index.key(row)[1:]) for row in range(len(index))]


def test_one_answer_per_photo_is_right_for_its_most_frequent_class() -> None:
    # Photo 0: classes 1, 1, 2 -> 2 right; photo 1: 0, 3 -> 1; photo 2: 4 -> 1. Four of six.
    photo = np.array([0, 0, 1, 1, 0, 2])
    label = np.array([1, 1, 0, 3, 2, 4], dtype=np.int16)
    assert best_reachable(photo, label) == pytest.approx(4 / 6)


def test_the_largest_region_of_each_photo_wins_and_the_first_of_equal_ones() -> None:
    photo = np.array([7, 3, 7, 3, 5])
    area = np.array([0.2, 0.1, 0.3, 0.1, 0.05])
    assert largest_rows(photo, area) == [1, 2, 4]


def test_classes_that_are_never_the_largest_are_left_out_and_said(tmp_path: Path) -> None:
    chosen = choose_largest(write_tree(tmp_path, {"train": TRAIN, "test": TEST}))
    assert keys(chosen.train) == ["bean/p1", "corn/p2", "corn/p3"]
    assert keys(chosen.test) == ["corn/q1"]  # dill is the largest of q2
    assert chosen.train.classes.names == ("bean", "corn")
    assert len(chosen.notes) == 1
    assert "left out: dill (1 test photos" in chosen.notes[0]


def test_the_tree_of_largest_regions_reads_as_any_other_and_is_made_once(tmp_path: Path) -> None:
    splits = write_tree(tmp_path / "pairs", {"train": TRAIN, "test": TEST})
    notes = write_largest_tree(splits, tmp_path / "largest")
    assert keys(PairIndex.from_tree(tmp_path / "largest", "train")) == ["bean/p1", "corn/p2", "corn/p3"]
    before = (tmp_path / "largest" / "made_from.json").stat().st_mtime_ns
    assert write_largest_tree(splits, tmp_path / "largest") == notes
    assert (tmp_path / "largest" / "made_from.json").stat().st_mtime_ns == before


def test_sizes_come_from_the_manifest_where_there_is_one(pair_tree: Path, tmp_path: Path) -> None:
    manifest = (pair_tree / "manifest.csv").read_text()
    lines = [line.split(",") for line in manifest.splitlines()]
    area, stem = lines[0].index("area_fraction"), lines[0].index("stem")
    by_photo: dict[tuple[str, str], float] = {}
    for line in lines[1:]:
        place = (line[0], line[stem])
        by_photo[place] = max(by_photo.get(place, 0.0), float(line[area]))
    splits = Splits(PairIndex.from_tree(pair_tree, "train"), None, PairIndex.from_tree(pair_tree, "test"))
    write_largest_tree(splits, tmp_path / "largest")
    kept = [line.split(",") for line in (tmp_path / "largest" / "manifest.csv").read_text().splitlines()[1:]]
    assert {(line[0], line[stem]): float(line[area]) for line in kept} == by_photo
    assert len(kept) == len(by_photo) == 34
    assert len(PairIndex.from_tree(tmp_path / "largest", "test")) == 10


def test_a_tree_made_from_other_pairs_is_refused(tmp_path: Path) -> None:
    write_largest_tree(write_tree(tmp_path / "pairs", {"train": TRAIN, "test": TEST}), tmp_path / "largest")
    other = write_tree(tmp_path / "other", {"train": TRAIN, "test": {"q1": {"bean": 2, "corn": 3}}})
    with pytest.raises(ConfigError, match=r"was made from other pairs than those of .*other; delete it"):
        write_largest_tree(other, tmp_path / "largest")


def test_groups_and_formats_are_part_of_what_a_tree_was_made_from(tmp_path: Path) -> None:
    splits = write_tree(tmp_path / "pairs", {"train": TRAIN, "test": TEST})
    folder = tmp_path / "largest"
    write_largest_tree(splits, folder)
    one_group = dataclasses.replace(splits.train, group=np.zeros_like(splits.train.group), group_names=["all"])
    with pytest.raises(ConfigError, match="made from other pairs or groups"):
        write_largest_tree(Splits(one_group, None, splits.test), folder)
    jpeg = dataclasses.replace(splits.test, suffix_names=(".jpg",))
    with pytest.raises(ConfigError, match="made from other file formats"):
        write_largest_tree(Splits(splits.train, None, jpeg), folder)
    # A record of an earlier version has the pairs' fingerprint alone, and is taken.
    record = json.loads((folder / "made_from.json").read_text())
    (folder / "made_from.json").write_text(json.dumps({key: record[key] for key in ("fingerprint", "notes")}))
    assert write_largest_tree(Splits(one_group, None, jpeg), folder) == record["notes"]


def test_groups_of_the_manifest_are_those_of_the_tree(pair_tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "pairs"
    shutil.copytree(pair_tree, root)
    heading, *lines = (root / "manifest.csv").read_text().splitlines()
    place = heading.split(",").index("group")
    rows = [line.split(",") for line in lines]
    for row in rows:
        row[place] = f"{row[0]}-{sum(map(ord, row[2])) % 3}"
    (root / "manifest.csv").write_text("\n".join([heading, *map(",".join, rows)]) + "\n")
    write_largest_tree(
        Splits(PairIndex.from_tree(root, "train"), None, PairIndex.from_tree(root, "test")), tmp_path / "largest"
    )
    index = PairIndex.from_tree(tmp_path / "largest", "test")
    given = {(row[0], row[2]): row[place] for row in rows}
    found = {("test", stem): index.group_names[group] for stem, group in zip(index.stems, index.group, strict=True)}
    assert found == {key: name for key, name in given.items() if key[0] == "test"}


def test_deleting_the_tree_leaves_the_source_as_it_was(tmp_path: Path) -> None:
    splits = write_tree(tmp_path / "pairs", {"train": TRAIN, "test": TEST})
    files = [path for path in sorted((tmp_path / "pairs").rglob("*")) if path.is_file()]
    before = [(path.read_bytes(), path.stat().st_ino) for path in files]
    write_largest_tree(splits, tmp_path / "largest")
    assert (tmp_path / "largest").is_dir()
    shutil.rmtree(tmp_path / "largest")
    assert [(path.read_bytes(), path.stat().st_ino) for path in files] == before


@pytest.mark.parametrize(
    ("cell", "message"), [("large", "line 2: column 'area_fraction' holds"), ("nan", "is nan; it")]
)
def test_an_area_that_is_no_part_is_refused_with_its_file(
    cell: str, message: str, pair_tree: Path, tmp_path: Path
) -> None:
    shutil.copytree(pair_tree, tmp_path / "pairs")
    path = tmp_path / "pairs" / "manifest.csv"
    heading, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[heading.split(",").index("area_fraction")] = cell
    path.write_text("\n".join([heading, ",".join(cells), *rest]) + "\n")
    with pytest.raises(DataError, match=f"manifest.csv.*{message}"):
        region_areas(PairIndex.from_tree(tmp_path / "pairs", cells[0]))


def test_jpeg_pairs_are_said_to_give_the_mask_away(tmp_path: Path) -> None:
    splits = write_tree(tmp_path, {"train": TRAIN, "test": TEST})
    assert lossy_notes(splits) == []
    jpeg = dataclasses.replace(splits.test, suffix_names=(".JPG",))
    (note,) = lossy_notes(Splits(splits.train, None, jpeg))
    assert "can give the mask away" in note
    assert "--format png" in note
    assert lossy_notes(Splits(dataclasses.replace(jpeg, masked=False), None, jpeg)) == []


def test_a_single_class_that_is_always_the_largest_is_refused(tmp_path: Path) -> None:
    photos = {"p1": {"bean": 4, "corn": 3}, "p2": {"bean": 4, "corn": 2}}
    splits = write_tree(tmp_path / "pairs", {"train": photos, "test": photos})
    with pytest.raises(DataError, match="always of one class"):
        write_largest_tree(splits, tmp_path / "largest")
    assert not (tmp_path / "largest").exists()
