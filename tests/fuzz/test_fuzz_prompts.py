"""Prompt files: used, or every problem is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import strategies as st
from PIL import Image

from datasets.mask_table import COLUMNS, read_masks
from datasets.prompted.listing import list_prompts
from tests.fuzz.conftest import Fuzz, Told
from tests.fuzz.mutations import mutated
from utils.names import name_problem

_ROWS = [
    {"photo": "a.png", "class": "ketchup", "points": [[3, 4], [5.5, 6]], "labels": [1, 0], "box": [1, 2, 30, 20]},
    {"photo": "more/b.png", "class": "egg tart", "split": "test", "group": "table 1", "box": [1, 2, 30, 20]},
    {"photo": "a.png", "class": "ketchup", "points": [[9, 9]]},
]
_CSV = (
    "photo,class,split,group,points,labels,box\n"
    "a.png,ketchup,,,3 4; 5.5 6,1; 0,1 2 30 20\n"
    'more/b.png,egg tart,test,table 1,,,"1, 2, 30, 20"\n'
    "a.png,ketchup,train,,9 9,,\n"
)
_FILES = {".csv": _CSV, ".json": json.dumps(_ROWS, indent=1), ".yaml": yaml.safe_dump(_ROWS)}


@pytest.mark.parametrize("suffix", list(_FILES))
def test_prompt_files(suffix: str, fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    photos, path = tmp_path / "photos", tmp_path / f"prompts{suffix}"
    for name in ("a.png", "more/b.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(photos / name)

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        found = told(lambda: list_prompts(path, photos), path, several=True)
        if found is None:
            return False
        listed, names = found
        assert listed
        assert {one.class_name for photo in listed for one in photo.objects} <= set(names)
        for photo in listed:
            assert (photos / photo.photo).is_file()
            assert all(name_problem(name) is None for name in (photo.split, photo.stem))
            for one in photo.objects:
                assert one.prompt.problems(1_000_000, 1_000_000) == []
        return True

    fuzz(f"prompts{suffix}", mutated(st.just(_FILES[suffix].encode())), check, 60)


def test_tables_of_masks(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / "masks.csv"

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        rows = told(lambda: read_masks(path), path)
        return rows is not None

    text = ",".join(COLUMNS) + "\ntrain,ketchup,a,1,0.907265,499890,grabcut\ntest,egg tart,b,2,-0.5,9,sam_vit_b:01\n"
    fuzz("masks.csv", mutated(st.just(text.encode())), check, 60)
