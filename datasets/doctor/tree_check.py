"""A tree of pairs, checked file by file."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from datasets.classes import CLASSES_FILE, ClassMap
from datasets.doctor import counts, names
from datasets.doctor.findings import Finding, finding, some
from datasets.doctor.messages import TREE_MESSAGES, from_message
from datasets.doctor.near_duplicates import NEAR_BITS, MarkedPhoto
from datasets.doctor.pair_check import StoredPair, check_pair, start_checking
from datasets.listing import VIEW_FOLDERS, Listing, folder_classes, is_left_aside, list_split
from datasets.manifest import MANIFEST_FILE, ManifestRow, read_manifest
from datasets.picture_size import PREPROCESSING_LIMIT, PixelLimit
from datasets.tree import CONTACT_SHEET_FILE, MASKS_FILE, RECORD_FILE, TreeRecord, partial_folder
from datasets.workers import StopSignals, map_unordered
from utils.errors import DataError, nearest

TREE_FILES = (CLASSES_FILE, MANIFEST_FILE, RECORD_FILE, CONTACT_SHEET_FILE, MASKS_FILE)


class TreeCheck:
    """Everything that is wrong with a tree or unusual about it.

    Attributes:
        root: the tree.
        findings: what there is to say.
        rows: the manifest's rows; empty where there is none.
        pairs: number of whole pairs.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(
        self,
        root: Path,
        near_duplicates: int = NEAR_BITS,
        limit: PixelLimit = PREPROCESSING_LIMIT,
        train_split: str = counts.TRAIN_SPLIT,
    ) -> None:
        self.root, self.near_duplicates, self.limit, self.train_split = root, near_duplicates, limit, train_split
        self._present: dict[tuple[str, str, str], list[Path]] = {}  # rois of (split, stem, hash of the photo)
        self._groups: dict[tuple[str, str], None] = {}  # (split, group) of the pairs that are there
        self._has_classes = True
        self.findings: list[Finding] = []
        self.rows: list[ManifestRow] = []
        self.pairs = 0
        if not root.is_dir():
            raise DataError(f"--dst {root} is not a folder; give the tree that preprocess_foodseg103.py wrote")

    @property
    def looked_at(self) -> str:
        """What was checked, in words."""
        return f"{self.pairs:,} pairs" if self._has_classes else "no pair, since its classes cannot be made out,"

    def run(self, workers: int, stop: StopSignals) -> None:
        """Look at names, then at the manifest, then at every picture."""
        self.findings += names.windows_line_ends(
            self.root / name for name in (CLASSES_FILE, MANIFEST_FILE, RECORD_FILE)
        )
        self.findings += names.hidden_files(self.root)
        splits = self._splits()
        classes = self._classes(splits)
        if classes is None:
            self._has_classes = False
            return
        self._read_manifest()
        by_key = {row.key: row for row in self.rows}
        stored: list[StoredPair] = []
        pairs: dict[str, Counter[str]] = {}
        for split in splits:
            try:
                listing = list_split(self.root, split, classes, frozenset())
            except DataError as error:
                self.findings.append(self._found(str(error)))
                continue
            self.findings += [self._found(problem) for problem in listing.problems]
            stored += self._stored(listing, by_key)
            pairs[split] = Counter({name: len(_whole(listing, label)) for label, name in enumerate(classes.names)})
            self._spellings(listing)
        self._rows_without_files(by_key, classes, splits)
        self.pairs = len(stored)
        self._rows()
        self.findings += counts.class_support(pairs, classes.names, self.root, self.train_split)
        self._decode(stored, workers, stop)

    def _found(self, message: str) -> Finding:
        one = from_message(message, self.root, TREE_MESSAGES, "other-layout")
        if one.code == "unknown-class" and "did you mean" in one.fix:
            folder = Path(one.what.removeprefix("the folder ").partition(" is not in")[0]).name
            meant = one.fix.rpartition("did you mean ")[2].strip("'?")
            if names.spelling(folder) == names.spelling(meant):
                return replace(one, code="name-blanks-or-case")
        return one

    def _spellings(self, listing: Listing) -> None:
        for label, name in enumerate(listing.classes.names):
            folder = listing.folder(0, label)
            self.findings += names.alike_names(folder, listing.files[0][label], f"photos of '{name}'")
        self.findings += names.blank_names(self.root / listing.split, listing.classes.folders, "class folder")

    def _rows(self) -> None:
        """Say what the manifest and the record of a tree tell."""
        photos = [
            counts.PhotoOf(split, f"{self._name(rois[0])}{_more(len(rois) - 1)}", sha256)
            for (split, _, sha256), rois in self._present.items()
        ]
        self.findings += counts.shared_photos(photos, self.root, fix=counts.PAIRS_FIX)
        self.findings += counts.shared_groups(self._groups, self.root)
        try:
            record = TreeRecord.load(self.root / RECORD_FILE)
        except (OSError, DataError):  # not needed; preprocessing into the tree reports it
            return
        for archive in record.archives:
            for split, number in archive.photos_without_pair.items():
                if number:
                    what = f"{number:,} photos of {split} made no pair"
                    fix = f"look with --check --src {archive.src} why, if that is not meant"
                    self.findings.append(finding("empty-mask", self.root / RECORD_FILE, what, fix))

    def _splits(self) -> list[str]:
        splits = []
        for path in sorted(self.root.iterdir()):
            if is_left_aside(path.name) or path.name in TREE_FILES:
                continue
            missing = [view for view in VIEW_FOLDERS if not (path / view).is_dir()]
            if not path.is_dir() or len(missing) == len(VIEW_FOLDERS):
                what = "is no split (a folder with roi/ and extra-roi/) and no known file"
                self.findings.append(finding("foreign-file", path, what, "move it"))
            elif missing:
                fix = "restore it or preprocess again"
                self.findings.append(finding("missing-folder", path / missing[0], "is missing", fix))
            else:
                splits.append(path.name)
        if not splits:
            fix = "a tree holds train/ and test/, with roi/ and extra-roi/"
            self.findings.append(finding("missing-folder", self.root, "has no split", fix))
        if partial_folder(self.root).exists():
            partial = partial_folder(self.root)
            self.findings.append(
                finding("unfinished", partial, "is an unfinished run", "run its command again or delete it")
            )
        return splits

    def _classes(self, splits: list[str]) -> ClassMap | None:
        path = self.root / CLASSES_FILE
        try:
            if path.is_file():
                return ClassMap.load(path)
            classes = folder_classes(self.root, splits)
            what = f"is missing: the {len(classes)} folder names are the classes, in sorted order"
            self.findings.append(finding("no-manifest", path, what))
            return classes
        except DataError as error:
            self.findings.append(self._found(str(error)))
            return None

    def _read_manifest(self) -> None:
        path = self.root / MANIFEST_FILE
        try:
            if path.is_file():
                self.rows = read_manifest(path)
            else:
                what = "is missing: sizes, boxes, groups and double photos are not checked"
                self.findings.append(finding("no-manifest", path, what))
        except DataError as error:
            self.findings.append(self._found(str(error)))
        seen: set[tuple[str, str, str]] = set()
        for row in self.rows:
            if row.key in seen:
                where = f"{path}, row {'/'.join(row.key)}"
                self.findings.append(finding("manifest-mismatch", where, "is there twice", "remove one"))
            seen.add(row.key)

    def _stored(self, listing: Listing, by_key: dict[tuple[str, str, str], ManifestRow]) -> Iterator[StoredPair]:
        marked: set[str] = set()
        for label, name in enumerate(listing.classes.names):
            for stem in _whole(listing, label):
                paths = listing.paths(label, stem)
                row = by_key.get((listing.split, name, stem))
                size = box = area = None
                if row is not None:
                    self._present.setdefault((row.split, row.stem, row.photo_sha256), []).append(paths[0])
                    self._groups[row.split, row.group] = None
                    size = row.content_width, row.content_height
                    box = row.box_left, row.box_top, row.box_width, row.box_height
                    area = round(row.area_fraction * row.content_width * row.content_height)
                elif self.rows:
                    what = f"and its other half are not in {MANIFEST_FILE}"
                    fix = "preprocess again or remove both"
                    self.findings.append(finding("manifest-mismatch", paths[0], what, fix))
                yield StoredPair(*paths, size, box, area, bool(self.near_duplicates) and stem not in marked)
                marked.add(stem)

    def _rows_without_files(
        self, by_key: dict[tuple[str, str, str], ManifestRow], classes: ClassMap, splits: list[str]
    ) -> None:
        path = self.root / MANIFEST_FILE
        folders = dict(zip(classes.names, classes.folders, strict=True))
        for name in sorted({row.class_name for row in self.rows} - folders.keys()):
            what = f"names the class '{name}', which {CLASSES_FILE} lacks{nearest(name, folders)}"
            self.findings.append(finding("unknown-class", path, what, "add it there, or preprocess again"))
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
                where = f"{path}, row {split}/{name}/{stem}"
                self.findings.append(finding("manifest-mismatch", where, "has no files", "preprocess again"))

    def _decode(self, stored: list[StoredPair], workers: int, stop: StopSignals) -> None:
        results = map_unordered(
            check_pair,
            stored,
            workers=max(1, min(workers, len(stored) // 50)),
            setup=start_checking,
            setup_arguments=(self.limit,),
            stop=stop,
        )
        seen = list(tqdm(results, total=len(stored), unit="pair", desc="checking", disable=None))
        seen.sort(key=lambda one: one.pair.roi)
        self.findings += [self._found(problem) for one in seen for problem in one.problems]
        well = [one for one in seen if not one.problems]
        empty = [self._name(one.pair.roi) for one in well if one.empty]
        if empty:
            what, fix = f"{len(empty):,} rois show nothing: {some(empty)}", "mend the masks and preprocess again"
            self.findings.append(finding("empty-mask", self.root, what, fix, places=empty))
        whole = [self._name(one.pair.roi) for one in well if one.whole and not one.empty]
        self.findings += counts.whole_rois(whole, self.root)
        tiny = [self._name(one.pair.roi) for one in well if not one.empty and one.roi_pixels < counts.TINY_PIXELS]
        self.findings += counts.tiny_rois(tiny, self.root)
        hashes = {(row.split, row.stem): row.photo_sha256 for row in self.rows}
        marked = []
        for one in well:
            if one.mark is not None:
                name = self._name(one.pair.roi)
                split = name.partition("/")[0]
                marked.append(MarkedPhoto(split, name, hashes.get((split, one.pair.roi.stem), ""), one.mark))
        self.findings += counts.alike_photos(marked, self.near_duplicates, self.root)

    def _name(self, roi: Path) -> str:
        return roi.relative_to(self.root).as_posix()


def _more(pairs: int) -> str:
    return f" (and {pairs:,} more pair{'s' * (pairs > 1)} of it)" if pairs else ""


def _whole(listing: Listing, label: int) -> list[str]:
    """Return the stems of a class of which both halves are there."""
    return sorted(listing.files[0][label].keys() & listing.files[1][label].keys())
