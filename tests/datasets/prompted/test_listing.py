"""Prompt files of three formats, and what they say of photos."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from datasets.prompted.listing import list_prompts
from segmenters.prompts import Prompt

if TYPE_CHECKING:
    from tests.datasets.prompted.conftest import Photos

ROWS: list[dict[str, Any]] = [
    {"photo": "b.png", "class": "ketchup", "points": [[18, 16.5], [50, 20]], "labels": [1, 0]},
    {"photo": "b.png", "class": "ketchup", "points": [[1, 2]], "split": None},
    {"photo": "a.png", "class": "egg tart", "split": "test", "group": "table 1", "box": [1, 2, 30.25, 40]},
    {"photo": "more/c.png", "class": "ketchup", "box": [1, 2, 3, 4], "points": [[2, 3]]},
]
CSV = """photo,class,points,labels,box,group,split
b.png,ketchup,18 16.5; 50 20,1; 0,,,
./b.png,ketchup,"1,2",,,,train

a.png, egg tart ,,,"1, 2, 30.25, 40",table 1,test
more/c.png,ketchup,2 3;,1,1 2 3 4,,
"""


def written(folder: Path, suffix: str) -> Path:
    path = folder / f"prompts{suffix}"
    if suffix == ".csv":
        path.write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    else:
        path.write_text(json.dumps(ROWS) if suffix == ".json" else yaml.safe_dump(ROWS))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json", ".yaml", ".yml"])
def test_every_format_says_the_same(photos: "Photos", suffix: str) -> None:
    listed, names = list_prompts(written(photos.root, suffix), photos.folder)
    assert names == ["ketchup", "egg tart"]
    assert [(one.split, one.stem, one.photo, one.group) for one in listed] == [
        ("test", "a", "a.png", "table 1"),
        ("train", "b", "b.png", "train/b"),
        ("train", "c", "more/c.png", "train/c"),
    ]
    assert [(o.class_name, o.prompt) for one in listed for o in one.objects] == [
        ("egg tart", Prompt(box=(1, 2, 30.25, 40))),
        ("ketchup", Prompt(((18, 16.5), (50, 20)), (1, 0))),
        ("ketchup", Prompt(((1, 2),), (1,))),
        ("ketchup", Prompt(((2, 3),), (1,), (1, 2, 3, 4))),
    ]
    where = ["line 5", "line 2", "line 3", "line 6"] if suffix == ".csv" else [f"entry {n}" for n in (3, 1, 2, 4)]
    assert [o.where for one in listed for o in one.objects] == where


def test_the_stamp_changes_with_photo_and_prompts(photos: "Photos") -> None:
    def stamp() -> list[int | str]:
        return list_prompts(photos.file, photos.folder)[0][1].stamp(photos.folder)

    photos.prompts("a.png,ketchup,,,,,8 6 28 26", "b.png,ketchup,,,18 16,,")
    first = stamp()
    photos.prompts("a.png,ketchup,,,,,1 1 2 2", "b.png,ketchup,,,18 16,1,")
    assert stamp() == first, "another photo's prompts, and a label that was the default"
    seen = [first]
    for row in ("b.png,ketchup,,,18 17,,", "b.png,chili,,,18 16,,", "b.png,ketchup,,,,,8 6 28 26"):
        photos.prompts("a.png,ketchup,,,,,8 6 28 26", row)
        seen.append(stamp())
    (photos.folder / "b.png").write_bytes(b"other")
    seen.append(stamp())
    assert len({str(one) for one in seen}) == 5
