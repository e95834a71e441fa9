import csv
from dataclasses import fields, replace
from pathlib import Path

import pytest

from datasets.manifest import COLUMNS, ManifestRow, manifest_text, read_columns, read_manifest, write_manifest
from utils.errors import DataError

ROW = ManifestRow(
    "train", "egg tart", "b", "g, 1", "Images/img_dir/train/b.jpg", 480, 360, 224, 168, 0.25, 1, 2, 3, 4, "aa", "bb"
)
CLASSES = ("soup", "egg tart", "candy")


def _rows() -> list[ManifestRow]:
    return [
        replace(ROW, class_name=name, split=split, stem=stem, area_fraction=0.1234567)
        for split in ("train", "test")
        for name in ("candy", "egg tart", "soup")
        for stem in ("c", "a.b", 'quo"te')
    ]


def test_the_columns_are_the_documented_ones(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [ROW], CLASSES)
    assert path.read_bytes() == (
        b"split,class,stem,group,photo,width,height,content_width,content_height,area_fraction,"
        b"box_left,box_top,box_width,box_height,photo_sha256,mask_sha256,mask_source\n"
        b'train,egg tart,b,"g, 1",Images/img_dir/train/b.jpg,480,360,224,168,0.250000,1,2,3,4,aa,bb,annotation\n'
    )
    assert len(COLUMNS) == len(fields(ManifestRow))


def test_rows_stand_in_order_of_split_class_index_and_stem() -> None:
    text = manifest_text(_rows()[::-1], CLASSES)
    assert text == manifest_text(_rows(), CLASSES)
    keys = [(row["split"], row["class"], row["stem"]) for row in csv.DictReader(text.splitlines())]
    assert keys[:4] == [
        ("test", "soup", "a.b"),
        ("test", "soup", "c"),
        ("test", "soup", 'quo"te'),
        ("test", "egg tart", "a.b"),
    ]
    assert keys[-1] == ("train", "candy", 'quo"te')


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = [replace(row, area_fraction=round(row.area_fraction, 6)) for row in _rows()]
    write_manifest(path, rows, CLASSES)
    assert sorted(read_manifest(path), key=lambda row: row.key) == sorted(rows, key=lambda row: row.key)
    assert set(read_columns(path, ("stem",))) == {("c",), ("a.b",), ('quo"te',)}
    assert ("candy", "480", "train") in read_columns(path, ("class", "width", "split"))


def test_columns_in_another_order_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = list(csv.reader(manifest_text([ROW], CLASSES).splitlines()))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(row[::-1] for row in rows)
    assert read_manifest(path) == [ROW]
    assert read_columns(path, ("stem", "group")) == [("b", "g, 1")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mask_source", "mask_sauce", r"unknown column 'mask_sauce'; did you mean 'mask_source'"),
        (",mask_source", "", r"missing or repeated columns \(mask_source\)"),
        (",annotation", "", r"line 2: 16 cells where 17 are needed"),
        ("0.250000", "much", r"line 2: column 'area_fraction' holds 'much', not a number"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(manifest_text([ROW], CLASSES).replace(old, new))
    with pytest.raises(DataError, match=rf"manifest\.csv.*{message}"):
        read_manifest(path)


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv is missing; preprocess_foodseg103\.py writes it"):
        read_manifest(tmp_path / "manifest.csv")
    (tmp_path / "manifest.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"is not a UTF-8 CSV file"):
        read_columns(tmp_path / "manifest.csv", ("stem",))
