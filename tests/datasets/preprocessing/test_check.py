import io
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from datasets.cutouts import cut, encode
from datasets.doctor.check import check
from datasets.doctor.pair_check import StoredPair, check_pair
from datasets.preprocess import PreprocessOptions
from utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tests.datasets.preprocessing.conftest import ArchiveMaker

KNOWN = "0 background\n1 candy\n2 egg tart\n5 pie\n"  # without soup, which no photo has


def _check(**options: Any) -> tuple[int, list[str]]:  # noqa: ANN401  # any option of preprocess
    """Return the exit status and the lines, less the notes on the numbers of pairs."""
    lines: list[str] = []
    status = check(PreprocessOptions(workers=1, **options), lines.append)
    return status, [line for line in lines if "[class-support]" not in line]


def _problems(**options: Any) -> list[str]:  # noqa: ANN401  # any option of preprocess
    """Return the errors, which come first; warnings about the few pairs of small data are left out."""
    status, lines = _check(**options)
    errors = [line for line in lines if line.startswith("error [")]
    assert status == 2
    assert lines[: len(errors)] == errors
    assert lines[-1].startswith(f"{len(errors)} error")
    return errors


def _expect(found: list[str], wanted: list[str]) -> None:
    for pattern in wanted:
        assert sum(bool(re.search(pattern, line)) for line in found) == 1, (pattern, found)
    assert len(found) == len(wanted), found


@pytest.fixture
def good(archive: "ArchiveMaker") -> "ArchiveMaker":
    archive.class_file(KNOWN)
    return archive.small()


@pytest.mark.parametrize("picture_format", ["jpg", "png", "webp"])
def test_what_preprocessing_writes_has_no_error(good: "ArchiveMaker", tmp_path: Path, picture_format: str) -> None:
    good.preprocess(tmp_path / "tree", format=picture_format)
    status, lines = _check(src=good.root, dst=tmp_path / "tree")
    assert status == 1
    # Two test photos hold each of three classes: fewer than five pairs.
    few = "3 classes are tested with fewer than 5 pairs: candy (2), egg tart (2), pie (2)"
    assert [line.partition("; ")[0] for line in lines[:-1]] == [
        f"warning [few-pairs] {good.root}: {few}",
        f"warning [few-pairs] {tmp_path / 'tree'}: {few}",
    ]
    where = f"5 photos with masks in {good.root}; 15 pairs in {tmp_path / 'tree'}"
    assert lines[-1] == f"0 errors, 2 warnings, 4 notes ({where})"
    assert _check(src=good.root, dst=tmp_path / "none")[1][0] == f"{tmp_path / 'none'} does not exist; only the " + (
        "archive was checked"
    )


def test_every_problem_of_an_archive_at_once(good: "ArchiveMaker") -> None:
    good.add("train", "turned", good.blocks(4), orientation=3)
    data = good.photo_path("train", "d.png").read_bytes()
    good.photo_path("train", "d.png").write_bytes(data[: len(data) // 2])
    good.mask_path("test", "e.png").write_bytes(b"")
    Image.fromarray(np.full((24, 32), 9, np.uint8)).save(good.mask_path("train", "a.png"))
    good.mask_path("test", "alone.png").write_bytes(b"x")
    wanted = [
        r"ann_dir/test/alone\.png: has no photo",
        r"test/e\.png: the file is empty \(0 bytes\); copy it again",
        r"label id 9 is not in category_id\.txt; .* mend the mask; allowed: 0 \(background\) and 1\.\.2, 5$",
        r"train/d\.png: damaged or cut short",
        r"turned\.png: is turned by its EXIF block .*--mask_orientation stored",
    ]
    _expect(_problems(src=good.root), wanted)
    _expect(_problems(src=good.root, mask_orientation="upright"), wanted[:-1])


def test_a_photo_in_two_splits_and_a_class_without_one(archive: "ArchiveMaker", tmp_path: Path) -> None:
    archive.small()
    for kind in ("img_dir", "ann_dir"):
        folder = archive.root / "Images" / kind
        shutil.copy(folder / "train" / "d.png", folder / "test" / "copy.png")
    leak = r"\[same-photo\] .*test/copy\.png and .*train/d\.png: are the same photo in two splits; remove one"
    _expect(
        _problems(src=archive.root), [leak, r"\[untrained-class\] .*class 'soup': has no pair in train; add photos"]
    )
    lines = archive.preprocess(tmp_path / "tree")
    assert any(re.search(leak, line) for line in lines)
    leak = r"\[same-photo\] .*test/roi/.*/copy\.jpg .* and train/roi/.*/d\.jpg .*: are the same .*; remove it from"
    _expect(_problems(dst=tmp_path / "tree"), [leak, r"class 'soup': has no pair in train; .* with data\.exclude"])


def test_a_group_in_two_splits_is_a_warning(good: "ArchiveMaker", tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("split,image,group\ntrain,a,one\ntrain,b.c,two\ntrain,d,three\ntest,a,one\ntest,e,four\n")
    good.preprocess(tmp_path / "tree", groups=groups)
    status, lines = _check(src=good.root, dst=tmp_path / "tree", groups=groups)
    assert status == 1
    shared = [line for line in lines if line.startswith("warning [shared-group]")]
    assert len(shared) == 2  # of the archive, and of the tree's manifest
    assert all("1 group has photos in more than one split: one; move the photos" in line for line in shared)


def test_every_problem_of_a_tree_at_once(good: "ArchiveMaker", tmp_path: Path) -> None:
    root = tmp_path / "tree"
    good.preprocess(root, size=0, format="png")
    roi, extra_roi = root / "train" / "roi", root / "train" / "extra-roi"
    (extra_roi / "candy" / "a.png").unlink()  # half a pair
    for view in (roi, extra_roi):
        (view / "pie" / "a.png").unlink()  # a row without files
        shutil.copy(view / "candy" / "d.png", view / "candy" / "new.png")  # files without a row
        (view / "cnady").mkdir()
    data = (roi / "candy" / "b.c.png").read_bytes()
    (roi / "candy" / "b.c.png").write_bytes(data[: len(data) // 2])
    (roi / "candy" / "d.png").write_bytes(b"")
    (root / "notes.txt").write_text("x")
    (roi / "candy" / "notes.txt").write_text("x")
    Image.new("RGB", (5, 5), (9, 9, 9)).save(roi / "egg tart" / "a.png")  # another size
    shutil.copy(extra_roi / "egg tart" / "d.png", roi / "egg tart" / "d.png")  # overlap
    for view in (roi, extra_roi):  # both halves of another size
        Image.new("RGB", (5, 5), (9, 9, 9) if view == roi else (0, 0, 0)).save(view / "egg tart" / "b.c.png")
    for half in ("roi", "extra-roi"):  # the pair of another class: complementary, but not in the row's box
        shutil.copy(root / "test" / half / "candy" / "e.png", root / "test" / half / "pie" / "e.png")
    _expect(
        _problems(dst=root),
        [
            r"tree/notes\.txt: is no split \(a folder with roi/ and extra-roi/\) and no known file; move it",
            r"candy/notes\.txt: is no picture",
            r"roi/candy/a\.png: has no partner .*extra-roi/candy/a\.png",
            r"/roi/cnady is not in the class list; .*did you mean 'candy'",
            r"/extra-roi/cnady is not in the class list",
            r"manifest\.csv, row train/pie/a: has no files; preprocess again",
            r"new\.png: and its other half are not in manifest\.csv",
            r"roi/candy/b\.c\.png: damaged or cut short",
            r"roi/candy/d\.png: has 0 bytes",
            r"egg tart/a\.png: is 5×5 pixels, but .*extra-roi/egg tart/a\.png is 32×24; both halves have one size",
            r"egg tart/d\.png: and .*egg tart/d\.png overlap in [\d.]+ % of the pixels",
            r"egg tart/b\.c\.png: is 5×5 pixels, but the manifest says 32×24",
            r"pie/e\.png: reaches out of its box in the manifest",
        ],
    )


def test_a_tree_without_our_files_is_checked_by_its_folders(good: "ArchiveMaker", tmp_path: Path) -> None:
    root = tmp_path / "tree"
    good.preprocess(root)
    for name in ("manifest.csv", "classes.yaml", "preprocess.yaml", "contact_sheet.png"):
        (root / name).unlink()
    notes = _check(dst=root)[1][1:]
    assert "classes.yaml: is missing: the 3 folder names are the classes, in sorted order" in notes[0]
    assert "manifest.csv: is missing: sizes, boxes, groups and double photos are not checked" in notes[1]
    assert notes[2].endswith(f"(15 pairs in {root})")
    shutil.rmtree(root / "test" / "roi")
    (problem,) = _problems(dst=root)
    assert re.search(r"\[missing-folder\] .*test/roi: is missing; restore it or preprocess again", problem)


def test_a_tree_that_is_older_than_its_archive(good: "ArchiveMaker", tmp_path: Path) -> None:
    good.preprocess(tmp_path / "tree")
    good.add("train", "a", good.blocks(77))
    (problem,) = _problems(src=good.root, dst=tmp_path / "tree")
    assert problem.endswith(", the mask of train/a: is not the one of which the tree was made; preprocess again")


def test_photos_that_are_new_to_the_archive_or_gone_from_it(good: "ArchiveMaker", tmp_path: Path) -> None:
    good.preprocess(tmp_path / "tree")
    good.add("train", "new", good.blocks(78))
    for path in (good.photo_path("test", "e.png"), good.mask_path("test", "e.png")):
        path.rename(tmp_path / path.parent.parent.name)
    new, gone = _problems(src=good.root, dst=tmp_path / "tree")
    assert ": has no pair of 1 photo of the archive (0 when it was made): train/new; preprocess again" in new
    assert f": has pairs of 1 photo that {good.root} lacks: test/e; restore them, or preprocess again" in gone


def test_another_class_file_makes_a_tree_stale(good: "ArchiveMaker", tmp_path: Path) -> None:
    good.preprocess(tmp_path / "tree")
    good.class_file(KNOWN.replace("pie", "pies"))
    (problem,) = _problems(src=good.root, dst=tmp_path / "tree")
    assert f"was not made of {good.root} as it is now" in problem


def test_options_are_compared_with_the_tree(good: "ArchiveMaker", tmp_path: Path) -> None:
    good.preprocess(tmp_path / "tree", size=48)
    (problem,) = _problems(dst=tmp_path / "tree", size=64)
    assert problem.endswith(": was made with --size 48, not 64; preprocess again, or leave --size out")
    problems = _problems(dst=tmp_path / "tree", min_area=0.1, mask_orientation="stored", ambiguous=("pie",))
    assert [line.partition(": ")[2].partition(";")[0] for line in problems] == [
        "was made with --min_area 0.0, not 0.1",
        "was made without --mask_orientation, not with stored",
        "was made with --ambiguous ketchup,chili-paste, not pie",
    ]


def test_something_must_be_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--check needs --src ARCHIVE, --dst ROOT, or both"):
        _check()
    with pytest.raises(DataError, match=r"--dst .*none is not a folder; give the tree"):
        _check(dst=tmp_path / "none")


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_noise_is_no_overlap_but_a_wrong_pair_is(tmp_path: Path, quality: int) -> None:
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (64, 96, 3), dtype=np.uint8)  # noise rings most
    mask = generator.random((8, 12)).repeat(8, 0).repeat(8, 1) < 0.5
    roi, extra_roi = cut(photo, mask)
    for name, view in (("roi", roi), ("extra-roi", extra_roi), ("wrong", np.maximum(photo, 250))):
        (tmp_path / f"{name}.jpg").write_bytes(encode(view, "jpg", quality))
    assert check_pair(StoredPair(tmp_path / "roi.jpg", tmp_path / "extra-roi.jpg")).problems == []
    (problem,) = check_pair(StoredPair(tmp_path / "wrong.jpg", tmp_path / "extra-roi.jpg")).problems
    assert re.search(r"overlap in [\d.]+ % of the pixels; they are not the two sides of one mask", problem)


def test_one_pixel_of_overlap_counts_without_loss(tmp_path: Path) -> None:
    roi, extra_roi = cut(np.full((20, 20, 3), 7, np.uint8), np.arange(400).reshape(20, 20) % 3 == 0)
    for name, view in (("roi", roi), ("extra-roi", extra_roi)):
        Image.fromarray(view).save(tmp_path / f"{name}.png")
    pair = StoredPair(tmp_path / "roi.png", tmp_path / "extra-roi.png")
    assert check_pair(pair).problems == []
    extra_roi[0, 0] = 1
    buffer = io.BytesIO()
    Image.fromarray(extra_roi).save(buffer, "PNG")
    pair.extra_roi.write_bytes(buffer.getvalue())
    assert len(check_pair(pair).problems) == 1
