"""A tree of pairs, checked file by file."""

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from datasets.check_pair import StoredPair, check_pair, nothing_to_set_up
from datasets.classes import CLASSES_FILE, ClassMap
from datasets.listing import VIEW_FOLDERS, Listing, folder_classes, list_split
from datasets.manifest import MANIFEST_FILE, ManifestRow, read_manifest
from datasets.summary import shared_photos
from datasets.tree import CONTACT_SHEET_FILE, RECORD_FILE, partial_folder
from datasets.workers import StopSignals, map_unordered
from utils.errors import DataError, nearest

TREE_FILES = (CLASSES_FILE, MANIFEST_FILE, RECORD_FILE, CONTACT_SHEET_FILE)
TRAIN_SPLIT = "train"


class TreeCheck:
    """Everything that is wrong with a tree.

    Attributes:
        root: the tree.
        problems: what is wrong, with the fix for each.
        notes: what is unusual.
        rows: the manifest's rows; empty where there is none.
        pairs: number of whole pairs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.rows: list[ManifestRow] = []
        self.pairs = 0
        if not root.is_dir():
            raise DataError(f"--dst {root} is not a folder; give the tree that preprocess_foodseg103.py wrote")

    def run(self, workers: int, stop: StopSignals) -> None:
        """Look at names, then at the manifest, then at every picture."""
        splits = self._splits()
        classes = self._classes(splits)
        if classes is None:
            return
        self._read_manifest()
        by_key = {row.key: row for row in self.rows}
        stored: list[StoredPair] = []
        for split in splits:
            listing = list_split(self.root, split, classes, frozenset())
            self.problems += listing.problems
            stored += self._stored(listing, by_key)
            if split == TRAIN_SPLIT:
                self._empty_classes(listing)
        self._rows_without_files(by_key, classes, splits)
        self.problems += shared_photos(self.rows)
        self.pairs = len(stored)
        self._decode(stored, workers, stop)

    def _splits(self) -> list[str]:
        splits = []
        for path in sorted(self.root.iterdir()):
            if path.name.startswith(".") or path.name in TREE_FILES:
                continue
            missing = [view for view in VIEW_FOLDERS if not (path / view).is_dir()]
            if not path.is_dir() or len(missing) == len(VIEW_FOLDERS):
                self.problems.append(
                    f"{path} is no split (a folder with roi/ and extra-roi/) and no known file; move it"
                )
            elif missing:
                self.problems.append(f"{path / missing[0]} is missing; restore it or preprocess again")
            else:
                splits.append(path.name)
        if not splits:
            self.problems.append(f"{self.root} has no split; a tree holds train/ and test/, with roi/ and extra-roi/")
        if partial_folder(self.root).exists():
            self.notes.append(f"{partial_folder(self.root)} is an unfinished run; run its command again or delete it")
        return splits

    def _classes(self, splits: list[str]) -> ClassMap | None:
        path = self.root / CLASSES_FILE
        try:
            if path.is_file():
                return ClassMap.load(path)
            classes = folder_classes(self.root, splits)
            self.notes.append(f"{path} is missing: the {len(classes)} folder names are the classes, in sorted order")
            return classes
        except DataError as error:
            self.problems.append(str(error))
            return None

    def _read_manifest(self) -> None:
        path = self.root / MANIFEST_FILE
        try:
            if path.is_file():
                self.rows = read_manifest(path)
            else:
                self.notes.append(f"{path} is missing: sizes, boxes and double photos are not checked")
        except DataError as error:
            self.problems.append(str(error))
        seen: set[tuple[str, str, str]] = set()
        for row in self.rows:
            if row.key in seen:
                self.problems.append(f"{path} has two rows for {'/'.join(row.key)}; remove one")
            seen.add(row.key)

    def _stored(self, listing: Listing, by_key: dict[tuple[str, str, str], ManifestRow]) -> Iterator[StoredPair]:
        for label, name in enumerate(listing.classes.names):
            for stem in sorted(listing.files[0][label].keys() & listing.files[1][label].keys()):
                paths = listing.paths(label, stem)
                row = by_key.get((listing.split, name, stem))
                if row is not None:
                    box = row.box_left, row.box_top, row.box_width, row.box_height
                    yield StoredPair(*paths, (row.content_width, row.content_height), box)
                    continue
                if self.rows:
                    self.problems.append(
                        f"{paths[0]} and its other half are not in {MANIFEST_FILE}; preprocess again or remove both"
                    )
                yield StoredPair(*paths)

    def _rows_without_files(
        self, by_key: dict[tuple[str, str, str], ManifestRow], classes: ClassMap, splits: list[str]
    ) -> None:
        path = self.root / MANIFEST_FILE
        folders = dict(zip(classes.names, classes.folders, strict=True))
        for name in sorted({row.class_name for row in self.rows} - folders.keys()):
            self.problems.append(f"{path} names the class '{name}', which {CLASSES_FILE} lacks{nearest(name, folders)}")
        listed = {
            (split, view, folder): {file.stem for file in (self.root / split / view / folder).glob("[!.]*")}
            for split in splits
            for view in VIEW_FOLDERS
            for folder in classes.folders
        }
        for split, name, stem in sorted(by_key):
            if name in folders and not any(
                stem in listed.get((split, view, folders[name]), ()) for view in VIEW_FOLDERS
            ):
                key = f"{split}/{name}/{stem}"
                self.problems.append(f"{path} has a row for {key}, but neither half exists; preprocess again")

    def _empty_classes(self, listing: Listing) -> None:
        for label, name in enumerate(listing.classes.names):
            if not listing.files[0][label].keys() & listing.files[1][label].keys():
                self.problems.append(
                    f"class '{name}' has no pair in {listing.split}; add photos, or leave it out with data.exclude"
                )

    def _decode(self, stored: list[StoredPair], workers: int, stop: StopSignals) -> None:
        results = map_unordered(
            check_pair,
            stored,
            workers=max(1, min(workers, len(stored) // 50)),
            setup=nothing_to_set_up,
            setup_arguments=(),
            stop=stop,
        )
        found: list[str] = []
        for problems in tqdm(results, total=len(stored), unit="pair", desc="checking", disable=None):
            found += problems
        self.problems += sorted(found)
