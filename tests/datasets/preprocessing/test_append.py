from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml

from datasets import append
from datasets.classes import ClassMap
from datasets.manifest import read_manifest
from utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tests.datasets.preprocessing.conftest import ArchiveMaker

SAUCES = "0 background\n1 chili-paste\n2 ketchup\n3 pie\n"
LABELS = np.array([[1, 2], [3, 0]], np.uint8).repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def tree(archive: "ArchiveMaker", tmp_path: Path) -> Path:
    archive.small().preprocess(tmp_path / "tree", size=32, format="png")
    return tmp_path / "tree"


@pytest.fixture
def sauces(archive: "ArchiveMaker", tmp_path: Path) -> "ArchiveMaker":
    more = type(archive)(tmp_path / "sauces", SAUCES)
    more.add("train", "s1", LABELS)
    more.add("test", "s2", LABELS)
    return more


def test_new_classes_go_to_the_end(archive: "ArchiveMaker", tree: Path, sauces: "ArchiveMaker") -> None:
    before = archive.files(tree)
    sauces.preprocess(tree, append=True)
    classes = ClassMap.load(tree / "classes.yaml")
    assert classes.names == ("candy", "egg tart", "pie", "soup", "chili-paste", "ketchup")
    assert classes.ambiguous == ("chili-paste", "ketchup")
    rows = {row.key: row for row in read_manifest(tree / "manifest.csv")}
    added = {(split, name, stem) for split, stem in (("train", "s1"), ("test", "s2")) for name in classes.names[4:]}
    added |= {("train", "pie", "s1"), ("test", "pie", "s2")}
    assert len(rows) == 15 + 6
    assert added <= rows.keys()
    assert rows["train", "ketchup", "s1"].content_width == 32  # the tree's size and format, without being told
    after = archive.files(tree)
    changed = {"classes.yaml", "manifest.csv", "preprocess.yaml", "contact_sheet.png"}
    assert {path for path in before if after[path] != before[path]} == changed
    assert after.keys() - before.keys() == {
        f"{split}/{view}/{name}/{stem}.png" for split, name, stem in added for view in ("roi", "extra-roi")
    }
    sources = [entry["src"] for entry in yaml.safe_load(after["preprocess.yaml"])["archives"]]
    assert sources == [str(archive.root), str(sauces.root)]
    assert not (tree.parent / ".tree.partial").exists()


def test_a_second_append_of_the_same_archive_changes_nothing(
    archive: "ArchiveMaker", tree: Path, sauces: "ArchiveMaker"
) -> None:
    sauces.preprocess(tree, append=True)
    before = archive.files(tree)
    assert "is complete" in sauces.preprocess(tree, append=True)[-1]
    assert "is complete" in archive.preprocess(tree, size=32, format="png")[-1]
    assert archive.files(tree) == before


def test_every_clash_is_listed_and_the_tree_stays(archive: "ArchiveMaker", tree: Path, sauces: "ArchiveMaker") -> None:
    sauces.add("train", "a", LABELS)  # the tree has pie of train/a, and another photo of that name
    sauces.add("test", "e", np.full((4, 4), 3, np.uint8))
    before = archive.files(tree)
    with pytest.raises(DataError) as caught:
        sauces.preprocess(tree, append=True)
    lines = str(caught.value).splitlines()
    assert lines[0] == "--append: 3 problems"
    assert "test/pie/e is in the tree already; rename the photo and its mask" in lines[1]
    assert "train/pie/a is in the tree already" in lines[2]
    assert "img_dir/train/a.png has the name of another photo in the tree; rename it and its mask" in lines[3]
    assert archive.files(tree) == before


def test_a_split_that_the_tree_lacks_is_refused(tree: Path, sauces: "ArchiveMaker") -> None:
    sauces.add("val", "s3", LABELS)
    with pytest.raises(DataError, match=r"a split 'val', the tree only test, train; rename the archive's folders"):
        sauces.preprocess(tree, append=True)


def test_names_that_differ_by_case_are_refused(archive: "ArchiveMaker", tree: Path, sauces: "ArchiveMaker") -> None:
    sauces.class_file(SAUCES.replace("pie", "Pie"))
    before = archive.files(tree)
    with pytest.raises(DataError, match=r"classes 'pie' and 'Pie' differ only by blanks, case or a slash"):
        sauces.preprocess(tree, append=True)
    assert archive.files(tree) == before


def test_pairs_of_another_kind_are_refused(tree: Path, sauces: "ArchiveMaker") -> None:
    with pytest.raises(ConfigError, match=r"--size 64: the tree at .* has 32, and all its pairs are alike; leave"):
        sauces.preprocess(tree, append=True, size=64)
    with pytest.raises(ConfigError, match=r"--format jpg: the tree at .* has png"):
        sauces.preprocess(tree, append=True, format="jpg")


def test_there_must_be_a_tree(sauces: "ArchiveMaker", tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--append needs a complete tree at --dst .*, but preprocess\.yaml, cl"):
        sauces.preprocess(tmp_path / "nothing", append=True)


@pytest.mark.parametrize("moves", [0, 1, 7, 12, 15])
def test_an_append_killed_while_files_move_is_finished(
    archive: "ArchiveMaker",
    tree: Path,
    sauces: "ArchiveMaker",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moves: int,
) -> None:
    archive.preprocess(tmp_path / "whole", size=32, format="png")
    sauces.preprocess(tmp_path / "whole", append=True)
    real = Path.replace
    done: list[Path] = []

    def replace(self: Path, target: Path) -> Path:
        if tree in Path(target).parents and ".tmp" not in self.name:
            if len(done) == moves:
                raise RuntimeError("power cut")
            done.append(self)
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(RuntimeError):
            sauces.preprocess(tree, append=True)
    # 12 cut-outs, contact sheet, record and classes come before the manifest, which still is the old one.
    assert len(read_manifest(tree / "manifest.csv")) == 15
    lines = sauces.preprocess(tree, append=True)
    assert "was stopped while it moved its files; it is complete now" in lines[0]
    assert archive.files(tree) == archive.files(tmp_path / "whole")
    assert not (tmp_path / ".tree.partial").exists()


def test_the_manifest_is_replaced_last() -> None:
    assert append.METADATA_FILES[-2:] == ("classes.yaml", "manifest.csv")


def test_supercategories_end_where_a_new_class_has_none(tree: Path, sauces: "ArchiveMaker") -> None:
    assert ClassMap.load(tree / "classes.yaml").supercategories["pie"] == "main"
    sauces.class_file(SAUCES.replace("ketchup", "mustard"))
    lines = sauces.preprocess(tree, append=True)
    assert "supercategories: dropped, because mustard has none in FoodSeg103.yaml" in lines
    assert ClassMap.load(tree / "classes.yaml").supercategories == {}
