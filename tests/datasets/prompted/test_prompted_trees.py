"""Trees made from prompts: files, tables, records; appended to, cut short, sharded, derived."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from datasets import photo_cutter
from datasets.classes import ClassMap
from datasets.doctor.archive_check import LookOptions
from datasets.doctor.check import Examiner
from datasets.index import PairIndex
from datasets.journal import Journal
from datasets.manifest import read_manifest
from datasets.mask_table import read_masks
from datasets.prompted.options import Derivation
from datasets.shards import Shard
from datasets.tree import TreeRecord
from datasets.workers import StopSignals
from segmenters.options import SegmenterOptions, open_segmenter
from tests.conftest import write_archive
from utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tests.datasets.prompted.conftest import Filler, Photos

RED, BLUE = (8, 6, 28, 26), (40, 16, 60, 36)
Box = tuple[int, int, int, int]


def roi(tree: Path, key: str) -> NDArray[np.bool_]:
    """Return where a stored roi is not black; the photos have no black pixel."""
    split, name, stem = key.split("/")
    stored = Image.open(tree / split / "roi" / name / f"{stem}.png")
    return np.asarray(np.asarray(stored).any(axis=2))


def of_box(*boxes: Box) -> NDArray[np.bool_]:
    mask = np.zeros((48, 64), dtype=bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def entries(tree: Path) -> list[dict[str, Any]]:
    archives: list[dict[str, Any]] = yaml.safe_load((tree / "preprocess.yaml").read_text())["archives"]
    return archives


def test_everything_that_a_tree_has(photos: "Photos", filler: "Filler", tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    lines = photos.preprocess(tree)
    assert lines[-1] == f"contact sheet: {tree / 'contact_sheet.png'}"
    classes = ClassMap.load(tree / "classes.yaml")
    assert classes.names == ("ketchup", "chili-paste")
    assert classes.ambiguous == ("ketchup", "chili-paste")
    rows = {"/".join(row.key): row for row in read_manifest(tree / "manifest.csv")}
    assert {key: (row.photo, row.group, row.mask_source) for key, row in rows.items()} == {
        "test/chili-paste/c": ("more/c.png", "test/c", "filler:0123"),
        "train/ketchup/a": ("a.png", "train/a", "filler:0123"),
        "train/ketchup/b": ("b.png", "table 1", "filler:0123"),
        "train/chili-paste/a": ("a.png", "train/a", "filler:0123"),
    }
    assert np.array_equal(roi(tree, "train/ketchup/a"), of_box(RED))
    assert np.array_equal(roi(tree, "train/chili-paste/a"), of_box(BLUE))
    assert np.array_equal(roi(tree, "train/ketchup/b"), of_box((16, 14, 21, 19)))
    scores = list(csv.reader((tree / "masks.csv").open()))
    assert scores == [
        ["split", "class", "stem", "prompts", "score", "area", "segmenter"],
        ["test", "chili-paste", "c", "1", f"{400 / 3072:.6f}", "400", "filler:0123"],
        ["train", "ketchup", "a", "1", f"{400 / 3072:.6f}", "400", "filler:0123"],
        ["train", "ketchup", "b", "1", f"{25 / 3072:.6f}", "25", "filler:0123"],
        ["train", "chili-paste", "a", "1", f"{400 / 3072:.6f}", "400", "filler:0123"],
    ]
    (entry,) = entries(tree)
    assert entry["prompts"] == photos.file.as_posix()
    assert entry["segmenter"] == {"name": "filler", "version": 1, "choice": "score"}
    assert "derived" not in entry
    assert sorted(filler.calls) == [1, 1, 2], "all prompts of a photo in one call"


@pytest.mark.usefixtures("filler")
def test_doctor_and_index_take_it(photos: "Photos", tmp_path: Path) -> None:
    photos.preprocess(tmp_path / "tree")
    with StopSignals() as stop:
        report, _ = Examiner(LookOptions(None, None, 0), 1).tree(tmp_path / "tree", stop)
    assert {found.code for found in report.findings if found.severity != "note"} <= {"few-pairs", "untested-class"}
    assert len(PairIndex.from_tree(tmp_path / "tree", "train")) == 3


@pytest.mark.usefixtures("filler")
def test_rows_of_one_class_are_united_and_classes_may_overlap(photos: "Photos", tmp_path: Path) -> None:
    photos.prompts("a.png,ketchup,,,,,8 6 28 26", "a.png,chili-paste,,,,,10 10 50 30", "a.png,ketchup,,,,,20 20 40 30")
    photos.preprocess(tmp_path / "tree")
    assert np.array_equal(roi(tmp_path / "tree", "train/ketchup/a"), of_box(RED, (20, 20, 40, 30)))
    assert np.array_equal(roi(tmp_path / "tree", "train/chili-paste/a"), of_box((10, 10, 50, 30)))
    ketchup = read_masks(tmp_path / "tree" / "masks.csv")[0]
    assert (ketchup.prompts, ketchup.area) == (2, 400 + 200 - 48)
    assert ketchup.score == pytest.approx(200 / 3072, abs=1e-6), "the lowest"


def test_grabcut_finds_the_squares(photos: "Photos", tmp_path: Path) -> None:
    photos.prompts("a.png,ketchup,,,,,6 4 30 28", "a.png,chili-paste,,,50 26; 20 12,1; 0,")
    photos.preprocess(tmp_path / "tree")
    for name, box in (("ketchup", RED), ("chili-paste", BLUE)):
        found, square = roi(tmp_path / "tree", f"train/{name}/a"), of_box(box)
        assert (found & square).sum() / (found | square).sum() > 0.9
    (entry,) = entries(tmp_path / "tree")
    assert entry["segmenter"]["name"] == "grabcut"


@pytest.mark.usefixtures("filler")
def test_appending_adds_only_the_classes_that_are_prompted(photos: "Photos", tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    classes = tmp_path / "category_id.txt"
    classes.write_text("0 background\n1 chili-paste\n2 mustard\n3 ketchup\n4 plate\n")
    photos.prompts("a.png,plate,,,,,8 6 28 26", "more/c.png,plate,test,,,,8 6 28 26")
    photos.preprocess(tree)
    before = photos.files(tree)
    photos.prompts("a.png,ketchup,,,,,40 16 60 36", "a.png,chili-paste,,,,,1 1 5 5")
    lines = photos.preprocess(tree, append=True, size=None, format=None, classes=classes)
    assert [line for line in lines if "new class" in line] == [
        "note: 'chili-paste' is a new class of the tree",
        "note: 'ketchup' is a new class of the tree",
    ]
    assert ClassMap.load(tree / "classes.yaml").names == ("plate", "chili-paste", "ketchup")
    after = photos.files(tree)
    assert len(read_masks(tree / "masks.csv")) == len(read_manifest(tree / "manifest.csv")) == 4
    assert all(after[path] == data for path, data in before.items() if path.endswith("a.png"))
    assert "is complete" in photos.preprocess(tree, append=True, size=None, format=None, classes=classes)[-1]
    assert photos.files(tree) == after
    photos.prompts("more/c.png,plaet,test,,,,8 6 28 26")
    lines = photos.preprocess(tree, append=True, size=None, format=None)
    assert "note: 'plaet' is a new class of the tree; did you mean 'plate'?" in lines


@pytest.mark.usefixtures("filler")
def test_a_new_tree_has_every_class_of_the_list_in_its_order(photos: "Photos", tmp_path: Path) -> None:
    (tmp_path / "category_id.txt").write_text("0 background\n1 chili-paste\n2 mustard\n3 ketchup\n")
    photos.preprocess(tmp_path / "tree", classes=tmp_path / "category_id.txt")
    assert ClassMap.load(tmp_path / "tree" / "classes.yaml").names == ("chili-paste", "mustard", "ketchup")
    photos.preprocess(tmp_path / "again", classes=tmp_path / "tree" / "classes.yaml")
    assert photos.files(tmp_path / "again")["manifest.csv"] == photos.files(tmp_path / "tree")["manifest.csv"]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stems of photos that are cut."""
    seen: list[str] = []
    cut_one = photo_cutter.PhotoCutter.__call__

    def call(self: photo_cutter.PhotoCutter, photo: Any) -> Any:  # noqa: ANN401  # passed on as it is
        seen.append(photo.stem)
        return cut_one(self, photo)

    monkeypatch.setattr(photo_cutter.PhotoCutter, "__call__", call)
    return seen


def kill_after(photos: int, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:  # noqa: ANN401  # a function
    real = Journal.add

    def add(self: Journal, *arguments: Any) -> None:  # noqa: ANN401  # passed on as they are
        if len(self.records) == photos:
            raise RuntimeError("power cut")
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", add)
        with pytest.raises(RuntimeError):
            run()


@pytest.mark.usefixtures("filler")
def test_a_run_cut_short_goes_on_to_the_same_bytes(
    photos: "Photos", watched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.preprocess(tmp_path / "whole")
    kill_after(2, monkeypatch, lambda: photos.preprocess(tmp_path / "cut"))
    watched.clear()
    photos.preprocess(tmp_path / "cut")
    assert watched == ["b"]
    assert photos.files(tmp_path / "cut") == photos.files(tmp_path / "whole")


def test_changed_prompts_cut_their_photo_again_and_changed_settings_are_refused(
    photos: "Photos", filler: "Filler", watched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(2, monkeypatch, lambda: photos.preprocess(tmp_path / "cut"))  # test/c and train/a are finished
    photos.prompts(
        "a.png,ketchup,,,,,8 6 28 26", "b.png,mustard,,,,,1 1 9 9", "more/c.png,chili-paste,test,,,,40 16 60 36"
    )
    filler.version = 2
    with pytest.raises(DataError, match="an unfinished run with another segmenter"):
        photos.preprocess(tmp_path / "cut")
    filler.version = 1
    watched.clear()
    photos.preprocess(tmp_path / "cut")
    assert watched == ["a", "b"]
    photos.preprocess(tmp_path / "whole")
    assert photos.files(tmp_path / "cut") == photos.files(tmp_path / "whole")


def test_shards_and_worker_processes_write_the_same_bytes(photos: "Photos", tmp_path: Path) -> None:
    photos.preprocess(tmp_path / "whole")
    photos.preprocess(tmp_path / "workers", workers=2)
    for number in (2, 1):
        photos.preprocess(tmp_path / "shards", shard=Shard(number, 2))
    whole = photos.files(tmp_path / "whole")
    assert photos.files(tmp_path / "workers") == whole
    assert photos.files(tmp_path / "shards") == whole


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "archive", {"train": 2, "test": 1})


@pytest.mark.usefixtures("filler")
def test_prompts_from_masks_give_the_keys_of_the_annotated_tree(
    photos: "Photos", archive: Path, tmp_path: Path
) -> None:
    from datasets.preprocess import PreprocessOptions, preprocess

    annotated = PreprocessOptions(src=archive, dst=tmp_path / "annotated", size=0, format="png", workers=1)
    preprocess(annotated, lambda _line: None)
    photos.preprocess(tmp_path / "boxes", src=archive, derived=Derivation())
    both = [tmp_path / "annotated", tmp_path / "boxes"]
    rows = [read_manifest(tree / "manifest.csv") for tree in both]
    assert [row.key for row in rows[0]] == [row.key for row in rows[1]]
    for row in rows[0]:  # each food is a square, so its box is its mask
        key = "/".join(row.key)
        assert np.array_equal(roi(both[0], key), roi(both[1], key))
    assert {row.mask_source for row in rows[1]} == {"filler:0123"}
    assert not {row.mask_sha256 for row in rows[0]} & {row.mask_sha256 for row in rows[1]}
    (entry,) = entries(tmp_path / "boxes")
    rules = {"version": 1, "least_part": 0.05, "most_objects": 64}
    assert entry["derived"] == {"kind": "box", "points": 1, "jitter": 0.0, "seed": 0} | rules
    with pytest.raises(DataError, match="other options"):
        photos.preprocess(tmp_path / "boxes", src=archive, derived=Derivation(kind="center"))


def test_what_the_segmenter_does_not_find_is_counted_and_named(
    photos: "Photos", filler: "Filler", archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(filler).segment
    first: list[object] = []

    def segment(self: "Filler", photo: Any, prompts: Any) -> Any:  # noqa: ANN401  # passed on as they are
        found = real(self, photo, prompts)
        if not first:
            first.append(found[0][0].mask)
            found[0][0].mask[:] = False
        return found

    monkeypatch.setattr(type(filler), "segment", segment)
    lines = photos.preprocess(tmp_path / "tree", src=archive, derived=Derivation(jitter=0.1, seed=3))
    (entry,) = entries(tmp_path / "tree")
    (key,) = entry["no_mask"]
    assert key.startswith("test/")
    assert not (tmp_path / "tree" / "test" / "roi" / key.split("/")[1]).exists()
    assert any(f"1 dropped because the segmenter found no mask ({key})" in line for line in lines)
    assert len(read_manifest(tmp_path / "tree" / "manifest.csv")) == 5


def test_records_without_prompts_stay_as_they_were(archive: Path, tmp_path: Path) -> None:
    from datasets.preprocess import PreprocessOptions, preprocess

    preprocess(PreprocessOptions(src=archive, dst=tmp_path / "tree", workers=1), lambda _line: None)
    (entry,) = entries(tmp_path / "tree")
    assert not {"prompts", "segmenter", "derived", "no_mask"} & set(entry)
    assert not (tmp_path / "tree" / "masks.csv").exists()
    assert TreeRecord.load(tmp_path / "tree" / "preprocess.yaml").archives[0].segmenter is None


def test_a_segmenter_with_weights_works_in_one_process(
    photos: "Photos", filler: "Filler", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.preprocess(tmp_path / "tree", workers=2)  # the filler cannot be sent, nor would its calls come back
    assert len(filler.calls) == 3
    monkeypatch.setattr("datasets.prompted.source.open_segmenter", open_segmenter)
    from datasets.preprocess_options import PreprocessOptions
    from datasets.prompted import source
    from datasets.prompted.options import PromptingOptions

    prompting = PromptingOptions(segmenter=SegmenterOptions(name="sam", checkpoint="x"), file=photos.file)
    with pytest.raises(ConfigError, match="--workers 2: SAM works in one process"):
        source.read_prompted(PreprocessOptions(src=photos.folder, prompting=prompting, workers=2))
