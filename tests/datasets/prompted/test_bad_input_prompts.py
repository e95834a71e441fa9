"""Prompts with mistakes, through the script that a user runs: every problem in one message, and no tree."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import preprocess_foodseg103
from tests.conftest import write_archive
from utils.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    from tests.datasets.prompted.conftest import Filler, Photos


def cut(photos: "Photos", *options: str, file: Path | None = None) -> None:
    """Run the script on the photos and a prompt file; the tree is beside them."""
    source = ["--prompts", str(file or photos.file), "--src", str(photos.folder)]
    preprocess_foodseg103.main([*source, "--dst", str(photos.root / "tree"), "--workers", "1", *options])


def refusal(photos: "Photos", *options: str, file: Path | None = None, error: type[UserError] = DataError) -> str:
    with pytest.raises(error) as caught:
        cut(photos, *options, file=file)
    assert not (photos.root / "tree").exists()
    return str(caught.value)


ROWS: list[tuple[str, str]] = [
    ("a.png,ketchup,,,18 x,,", "'points': '18 x' holds 'x', which is not a number of pixels"),
    ("a.png,ketchup,,,nan 4,,", "'nan', which is not a number"),
    ("a.png,ketchup,,,inf 4,,", "'inf', which is not a number"),
    ("a.png,ketchup,,,1e99 4,,", "'1e99'; coordinates are pixels from the photo's top-left corner, 0 to 1,000,000"),
    ("a.png,ketchup,,,-1 4,,", "'-1'; coordinates are pixels"),
    ("a.png,ketchup,,,18,,", "'18' is not points 'x y; x y' or [[x, y], …]"),
    ("a.png,ketchup,,,18 16,1; 2,", "'1; 2' is not labels"),
    ("a.png,ketchup,,,18 16; 3 3,1,", "2 points have 1 labels"),
    ("a.png,ketchup,,,18 16; 18.5 16.2,1; 0,", "pixel (18, 16) is said to lie both in and out"),
    ("a.png,ketchup,,,18 16,0,", "it has no point inside the object and no box"),
    ("a.png,ketchup,,,,,", "it has no point inside the object and no box"),
    ("a.png,ketchup,,,,,1 2 3", "'1 2 3' is not a box 'left top right bottom'"),
    ("a.png,ketchup,,,,,28 6 8 26", "box (28, 6, 8, 26) has no area"),
    ("a.png,ketchup,,,,,8 6 28 6", "box (8, 6, 28, 6) has no area"),
    ("a.png,ketchup,,,50 30,,8 6 28 26", "point (50, 30) lies in the object but outside of its box"),
    ("a.png,,,,,,8 6 28 26", "'class' is empty; fill it"),
    (",ketchup,,,,,8 6 28 26", "'photo' is empty; fill it"),
    ("a.png,../ketchup,,,,,8 6 28 26", "the class '../ketchup' cannot be a folder's name: it starts with a dot"),
    ("b.png,ketchup,../test,,,,8 6 28 26", "the split '../test' holds a slash"),
    ("../a.png,ketchup,,,,,8 6 28 26", "the photo '../a.png' starts with a dot"),
    ("/etc/passwd,ketchup,,,,,8 6 28 26", "the photo '/etc/passwd' starts with '/'"),
    ("more//c.png,ketchup,,,,,8 6 28 26", "the photo 'more//c.png' holds a '/' that no name follows"),
    ("a.png,..,,,,,8 6 28 26", "the class '..' cannot be a folder's name: it is made of dots and blanks alone"),
    ("A.png,ketchup,,,,,8 6 28 26", "photos/A.png does not exist; copy it there or remove the row"),
    ("a.png,ketchup,,,,8 6 28 26", "has 6 cells where the first line has 7"),
    ("b.png,Ketchup,,,,,8 6 28 26", "classes 'ketchup' and 'Ketchup' differ only by blanks, case or a slash"),
    ("b.png,ketchup,,a\x07b,,,8 6 28 26", "the group 'a\\x07b' cannot be printed"),
    ("more/a.png,ketchup,,,,,8 6 28 26", "more/a.png and a.png share the stem 'a' in train; rename one"),
]


@pytest.mark.parametrize(("row", "words"), ROWS)
def test_rows_that_cannot_be(photos: "Photos", row: str, words: str) -> None:
    photos.add("more/a.png")
    photos.prompts("a.png,ketchup,,,,,8 6 28 26", row)
    message = refusal(photos)
    assert message.startswith(f"prompts {photos.file}: ")
    assert message.count(str(photos.file)) == 1
    assert words in message
    assert len(message.splitlines()) == 1
    assert not (photos.root / ".tree.partial").exists()


def test_every_problem_of_a_file_at_once(photos: "Photos") -> None:
    photos.prompts(*(row for row, _ in ROWS[:25]), "a.png,ketchup,test,,,,1 1 2 2", "a.png,ketchup,,t,,,1 1 2 2")
    lines = refusal(photos).splitlines()
    assert lines[0] == f"prompts {photos.file}: 27 problems"
    found = [line.partition(". ")[2].partition(":")[0].split()[1] for line in lines[1:]]
    assert found == [str(number) for number in range(2, 29)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.csv", "", "line 1: the column 'photo' is missing; the column 'class' is missing"),
        ("p.csv", "photo,class\n", "it has no row"),
        ("p.csv", "photo,class,bx\n", "unknown column 'bx'; did you mean 'box'?"),
        ("p.csv", "photo,class,box,box\n", "the column 'box' is given twice"),
        ("p.csv", 'photo,class\n"a.png,x\n', "is not CSV"),
        ("p.csv", b"photo,class\n\xff", "is not UTF-8 text (at byte 12)"),
        ("p.json", "[", "no JSON"),
        ("p.json", "{}", "holds no list; write a list of objects"),
        ("p.json", "[]", "it has no row"),
        ("p.json", "[3]", "entry 1 is '3'; write a list of objects"),
        ("p.json", '[{"photo": "a.png", "photo": "b.png", "class": "x"}]', "the key 'photo' is given twice"),
        ("p.json", "[" * 100_000, "nested too deeply"),
        ("p.yaml", "- &a {photo: a.png}\n", "the anchor '&a' is refused"),
        ("p.yaml", "a: b", "holds no list"),
        ("p.txt", "photo,class\n", "must end in .csv, .json, .yaml, .yml"),
    ],
)
def test_files_that_are_none(photos: "Photos", name: str, text: str | bytes, words: str) -> None:
    path = photos.root / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refusal(photos, file=path)
    assert words in message
    assert str(path) in message
    assert len(message.splitlines()) == 1


def test_a_file_that_is_absent_and_one_that_is_too_large(photos: "Photos") -> None:
    assert "does not exist" in refusal(photos, file=photos.root / "none.csv")
    with photos.file.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    assert "more than 16,777,216 bytes" in refusal(photos)
    shutil.rmtree(photos.folder)
    assert "is not a folder; give the folder of the photos" in refusal(photos)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"points": [[1, True]]}, "'True', which is not a number"),
        ({"points": [[1, float("nan")]]}, "holds 'nan'; coordinates are pixels"),
        ({"points": [[1, 10**400]]}, "coordinates are pixels"),
        ({"points": [1, 2]}, "'[1, 2]' is not points"),
        ({"points": {"x": 1}}, "'{…}' is not points"),
        ({"points": [[1, 2]], "labels": [True]}, "'[True]' is not labels"),
        ({"points": [[1, 2]], "labels": []}, "1 points have 0 labels"),
        ({"box": [1, 2, 3, "4 5"]}, "'4 5', which is not a number"),
        ({"box": [1, 2, 3, 4], "class": 7}, "'class' is '7', not a text; put it in quotes"),
        ({"box": [1, 2, 3, 4], "boxes": []}, "unknown column 'boxes'; did you mean 'box'?"),
    ],
)
def test_entries_that_cannot_be(photos: "Photos", entry: dict[str, Any], words: str) -> None:
    path = photos.root / "p.json"
    path.write_text(json.dumps([{"photo": "a.png", "class": "ketchup"} | entry]))
    message = refusal(photos, file=path)
    assert f"prompts {path}: entry 1: " in message
    assert words in message


def test_a_photo_behind_a_link_that_leads_out(photos: "Photos", tmp_path: Path) -> None:
    shutil.move(photos.folder / "more", tmp_path / "elsewhere")
    (photos.folder / "more").symlink_to(tmp_path / "elsewhere")
    assert "is a link that leads out of" in refusal(photos)


def test_what_only_the_photos_tell_is_listed_and_the_others_are_kept(photos: "Photos", filler: "Filler") -> None:
    photos.add("d.png", "e.png", "f.png", "g.png")
    (photos.folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    Image.fromarray(np.full((1, 1, 3), 9, np.uint8)).save(photos.folder / "dot.png")
    Image.new("1", (4000, 3000)).save(photos.folder / "large.png")
    good = "a.png,ketchup,,,,,8 6 28 26"
    photos.prompts(
        good,
        "b.png,ketchup,,,,,8 6 65 26",
        "d.png,ketchup,,,64.5 3,,",
        "e.png,ketchup,,,18 16; 3 3,1; 0,",
        "f.png,ketchup,,,,,0 0 28 26",
        "broken.jpg,ketchup,,,,,8 6 28 26",
        "dot.png,ketchup,,,0.5 0.5,,",
        "large.png,ketchup,,,,,8 6 28 26",
    )
    lines = refusal(photos, "--max_megapixels", "10").splitlines()
    assert lines[0] == f"prompts {photos.file}: 7 problems"
    assert sorted(line.partition(". ")[2][:60] for line in lines[1:-1]) == sorted(
        text[:60]
        for text in (
            "line 3, b.png: box (8, 6, 65, 26) lies outside of the photo, which is 64×48 pixels",
            "line 4, d.png: point (64.5, 3) lies outside of the photo, which is 64×48 pixels (as",
            "line 5, e.png: the mask is empty, so there is no region of interest; prompt again, ",
            "line 6, f.png: the mask covers the whole photo, so nothing surrounds it; prompt ag",
            "line 8, dot.png: the mask covers the whole photo, so nothing surrounds it; prompt a",
            f"{photos.folder / 'broken.jpg'}: not a picture that Pillow can read",
            f"{photos.folder / 'large.png'}: the picture has 4000×3000 pixels",
        )
    )
    assert (photos.root / ".tree.partial" / "train" / "roi" / "ketchup" / "a.jpg").is_file()
    filler.calls.clear()
    photos.prompts(good, "b.png,ketchup,,,,,8 6 28 26")
    cut(photos)
    assert len(filler.calls) == 1, "a.png was finished before"


def test_grabcut_and_a_photo_of_one_pixel(photos: "Photos") -> None:
    Image.fromarray(np.full((1, 1, 3), 9, np.uint8)).save(photos.folder / "dot.png")
    photos.prompts("dot.png,ketchup,,,0.5 0.5,,")
    assert f"{photos.folder / 'dot.png'}: a photo of 1×1 pixels is too small for GrabCut" in refusal(photos)


def test_a_class_that_the_list_lacks(photos: "Photos") -> None:
    (photos.root / "category_id.txt").write_text("1 ketchup\n2 chili-paste\n")
    photos.prompts("a.png,ketchup,,,,,8 6 28 26", "a.png,chilipaste,,,,,8 6 28 26")
    message = refusal(photos, "--classes", str(photos.root / "category_id.txt"))
    assert "line 3: the class 'chilipaste' is not among those of --classes; did you mean 'chili-paste'?" in message
    assert "none.yaml does not exist" in refusal(photos, "--classes", str(photos.root / "none.yaml"))
    assert "none.txt is missing" in refusal(photos, "--classes", str(photos.root / "none.txt"))


def test_a_split_that_the_tree_lacks(photos: "Photos", filler: "Filler") -> None:  # noqa: ARG001  # it fills
    cut(photos)
    before = photos.files(photos.root / "tree")
    photos.prompts("a.png,mustard,validation,,,,8 6 28 26")
    with pytest.raises(DataError, match="the archive has a split 'validation', the tree only test, train"):
        cut(photos, "--append")
    assert photos.files(photos.root / "tree") == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--layout archive", "--layout archive writes one label map a photo, but prompted masks may overlap"),
        ("--groups groups.csv", "--groups is for archives; a prompt file has a column 'group' of its own"),
        ("--mask_orientation stored", "--mask_orientation is for masks; prompts are always those of the upright photo"),
        ("--check", "--check looks at archives and trees; leave the prompts out"),
        ("--prompts_from masks", "give either --prompts FILE or --prompts_from masks, not both"),
        ("--jitter 0.1", "--jitter is for --prompts_from masks"),
        ("--segmenter sma", "argument --segmenter/--segmenter.name: invalid choice: 'sma'"),
        ("--segmenter.checkpoint sam.pth", "segmenter.checkpoint is for SAM; add segmenter.name sam"),
        ("--segmenter.prompts_at_once 64", "segmenter.prompts_at_once is for SAM; add segmenter.name sam"),
        ("--segmenter sam --segmenter.working_side 256", "segmenter.working_side is for GrabCut; leave it out"),
        ("--segmenter.working_side 3", "segmenter.working_side is 3; it must be 16 to 4096 pixels"),
        ("--segmenter.chioce score", "unknown option '--segmenter.chioce'; did you mean '--segmenter.choice'"),
    ],
)
def test_options_that_do_not_go_together(photos: "Photos", options: str, words: str) -> None:
    assert words in refusal(photos, *options.split(), error=ConfigError)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--segmenter sam", "--segmenter is for masks from prompts; add --prompts FILE or --prompts_from masks"),
        ("--classes c.txt", "--classes is for masks from prompts"),
        ("--seed 1", "--seed is for masks from prompts"),
        ("--prompts_from masks --classes c.txt", "--classes is for --prompts; with --prompts_from masks the archive"),
        ("--prompts_from masks --points 3", "--points is for --prompt_kind points, not box"),
        ("--prompts_from masks --prompt_kind points --points 0", "--points is 0; it must be 1 to 256"),
        ("--prompts_from masks --jitter nan", "--jitter is nan; it must be 0 to 1"),
        ("--prompts_from masks --seed -1", "--seed is -1; it must be 0 to 2147483647"),
    ],
)
def test_options_of_an_archive(tmp_path: Path, options: str, words: str) -> None:
    archive = write_archive(tmp_path / "archive", {"train": 1})
    with pytest.raises(ConfigError) as caught:
        preprocess_foodseg103.main(["--src", str(archive), "--dst", str(tmp_path / "tree"), *options.split()])
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
