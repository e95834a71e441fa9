"""Class files, split lists, groups, manifests, records and kept scans: used, or one line says what is wrong."""

import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st

from datasets.archive import scan_archive
from datasets.archive_cache import cache_folder
from datasets.archive_index import index_archive
from datasets.class_file import load_class_file
from datasets.classes import ClassMap
from datasets.index import PairIndex
from datasets.manifest import COLUMNS, read_columns, read_manifest
from datasets.preprocess import PreprocessOptions, preprocess
from datasets.tree import ArchiveRecord, TreeRecord
from tests.fuzz.conftest import Fuzz, Told
from tests.fuzz.mutations import mutated
from utils.data_sections import ArchiveConfig
from utils.errors import DataError
from utils.names import name_problem


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small archive and the lossless tree of it."""
    from tests.conftest import write_archive

    folder = tmp_path_factory.mktemp("sources")
    archive = write_archive(folder / "archive", {"train": 4, "test": 2})
    preprocess(PreprocessOptions(src=archive, dst=folder / "tree", format="png", workers=1), say=lambda _line: None)
    return folder


def inside(names: tuple[str, ...]) -> bool:
    return all(name_problem(name) is None for name in names)


def test_class_files(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / "category_id.txt"

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        found = told(lambda: load_class_file(path), path)
        if found is None:
            return False
        assert found
        assert 0 not in found
        assert list(found) == sorted(found)
        assert inside(ClassMap.from_names(found.values()).folders)
        return True

    valid = [b"0\tbackground\n1\tcandy\n2\tegg tart\n", b"1 a\r\n2 b\r\n", "0 background\n1 crème brûlée\n".encode()]
    fuzz("category_id.txt", mutated(st.sampled_from(valid)), check, 150)


def test_class_lists(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        found = told(lambda: ClassMap.load(path), path)
        if found is None:
            return False
        assert inside(found.folders)
        assert len(set(found.names)) == len(found.folders) > 0
        assert set(found.ambiguous) <= set(found.names)
        found.save(path)
        assert ClassMap.load(path) == found
        return True

    ClassMap.from_names(["rice", "egg tart"], ["rice"], {"rice": "g", "egg tart": "h"}).save(path)
    fuzz("classes.yaml", mutated(st.just(path.read_bytes())), check, 100)


def test_records_of_trees(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / "preprocess.yaml"

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        found = told(lambda: TreeRecord.load(path), path)
        if found is None:
            return False
        assert found.format in ("jpg", "png", "webp")
        found.save(path)
        assert TreeRecord.load(path) == found
        return True

    TreeRecord(224, "jpg", 95, [ArchiveRecord("a", "0f", None, 0.0, None, ["x"], {"train": 3})]).save(path)
    fuzz("preprocess.yaml", mutated(st.just(path.read_bytes())), check, 80)


@pytest.mark.parametrize("place", ["ImageSets/train.txt", "category_id.txt", "groups.csv"])
def test_lists_of_archives(place: str, sources: Path, fuzz: Fuzz, tmp_path: Path) -> None:
    root = Path(shutil.copytree(sources / "archive", tmp_path / "archive"))
    rows = [
        f"{split},photo_{n:03d}.png,day {n}\n" for split, count in (("train", 4), ("test", 2)) for n in range(count)
    ]
    (root / "groups.csv").write_text("split,image,group\n" + "".join(rows))

    def check(data: bytes) -> bool:
        (root / place).write_bytes(data)
        archive, problems = scan_archive(root, root / "groups.csv")
        assert not [
            text for text in problems if not text.strip() or len(text.splitlines()) > 1 or str(root) not in text
        ]
        if problems:
            DataError("\n".join(problems))
            return False
        assert inside(tuple(name for photo in archive.photos for name in (photo.split, photo.stem)))
        assert all((root / path).is_file() for photo in archive.photos for path in (photo.photo, photo.mask))
        return True

    fuzz(place, mutated(st.just((root / place).read_bytes())), check, 80)


def test_manifests(sources: Path, fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(sources / "tree", tmp_path / "tree"))
    path = tree / "manifest.csv"
    known = len(PairIndex.from_tree(tree, "train"))

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        rows = told(lambda: read_manifest(path), path)
        columns = told(lambda: read_columns(path, COLUMNS), path)
        assert rows is None or len(rows) == len(columns)
        index = told(lambda: PairIndex.from_tree(tree, "train"), path, tree, several=True)
        if index is None:
            return False
        assert len(index) == known
        assert index.size.min() > 0
        return True

    fuzz("manifest.csv", mutated(st.just(path.read_bytes())), check, 100)


@pytest.mark.parametrize("name", ["scan.json", "manifest.csv"])
def test_kept_scans(
    name: str, sources: Path, fuzz: Fuzz, told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RVERNET_CACHE", str(tmp_path / "cache"))

    def read() -> PairIndex:
        return index_archive(sources / "archive", "train", ArchiveConfig())

    fresh = read().fingerprint()
    (path,) = cache_folder().rglob(name)
    kept = path.read_bytes()
    whole = {file: file.read_bytes() for file in path.parent.iterdir()}

    def check(data: bytes) -> bool:
        for file, content in whole.items():
            file.write_bytes(content)
        path.write_bytes(data)
        index = told(read, path)
        assert index is not None, "a kept scan is never more than a help"
        assert index.fingerprint() == fresh
        return path.read_bytes() == data

    fuzz(f"kept {name}", mutated(st.just(kept)), check, 25)
