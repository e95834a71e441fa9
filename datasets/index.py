"""The table of pairs: what there is, known without decoding a single image."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.classes import ClassMap
from datasets.decode import MaskOrientation
from datasets.listing import VIEW_FOLDERS
from datasets.manifest import MANIFEST_FILE
from datasets.picture_size import DATA_LIMIT, PixelLimit
from datasets.scan import ScannedPair, scan_split


@dataclass(frozen=True, eq=False)
class ArchivePhotos:
    """The P photos of an archive that the N pairs of an index are composed from.

    Attributes:
        photos: P paths of photos inside the archive, with ``/``.
        masks: P paths of their masks.
        row_photo: int32 N, position of each pair's photo in ``photos``.
        label_ids: label id in the masks by class name.
        size: longer side in pixels to which photo and mask are resized before they are cut; 0 keeps the photo's.
        mask_orientation: which way masks lie that fit a turned photo both ways.
        manifest: the kept manifest of the scan; None where it could not be kept.
    """

    photos: list[str]
    masks: list[str]
    row_photo: NDArray[np.int32]
    label_ids: dict[str, int]
    size: int = 0
    mask_orientation: MaskOrientation | None = None
    manifest: Path | None = None


@dataclass(frozen=True, eq=False)
class PairIndex:
    """N pairs of one split, sorted by class index and stem; about 100 bytes a pair, whatever the pictures' size.

    Attributes:
        root: the tree; ``root/split/{roi,extra-roi}/<class folder>/<stem><suffix>`` are its files. Or an archive, or
            the class folders of photos, ``root/split/<class folder>/<stem><suffix>``.
        split: folder name of the split.
        classes: ordered classes; labels are positions in it.
        label: int16 N, class index.
        stems: N photo stems; rows of one photo share the string. Photos without masks are told apart by class as well.
        group: int32 N, position in ``group_names``. Statistics and splits go by group.
        group_names: names of the groups; a photo ("split/stem", without masks "split/class folder/stem") unless the
            manifest says otherwise.
        size: int32 N×2, width and height of the cut-outs in pixels, as stored or as composed from an archive.
        suffix: uint8 N×2, position in ``suffix_names`` of the roi file and of the extra-roi file, of a photo without
            mask twice the same; 0 for an archive.
        suffix_names: file suffixes as they are spelled on disk.
        source_digest: uint8 N×16, digest of the manifest's photo and mask hashes, of a photo without mask of parts of
            its file; None for a tree without a manifest.
        notes: what the user should know, one line each (a tree without classes.yaml, ignored hidden files).
        archive: the photos and masks of an archive's pairs; None for pairs that are stored in folders.
        limit: the largest picture that is decoded.
        masked: false where rows are whole photos without masks.
    """

    root: Path
    split: str
    classes: ClassMap
    label: NDArray[np.int16]
    stems: list[str]
    group: NDArray[np.int32]
    group_names: list[str]
    size: NDArray[np.int32]
    suffix: NDArray[np.uint8]
    suffix_names: tuple[str, ...]
    source_digest: NDArray[np.uint8] | None = None
    notes: list[str] = field(default_factory=list)
    archive: ArchivePhotos | None = None
    limit: PixelLimit = DATA_LIMIT
    masked: bool = True

    @classmethod
    def from_tree(
        cls,
        root: Path,
        split: str,
        classes: ClassMap | None = None,
        *,
        exclude: Iterable[str] = (),
        require_every_class: bool = False,
    ) -> "PairIndex":
        """List one split of a tree and check it. Nothing is decoded.

        Sizes and groups come from ``manifest.csv``; without one, sizes come from the header of every file and each
        photo is a group. Classes come from ``classes``, else from ``classes.yaml``, else from the folder names in
        sorted order (said in ``notes``).

        Args:
            root: folder that holds the splits.
            split: folder name of the split, such as ``train``.
            classes: class list to use instead of the tree's own, such as a trained model's.
            exclude: class names to leave out; labels are positions in the remaining list.
            require_every_class: report a class without any pair, as the training split must.

        Raises:
            DataError: with every problem found: a missing partner, a size or class mismatch, a file that the
                manifest lacks or the reverse, two files for one stem, an empty file, an unknown class folder, an
                empty or absent folder, a single class, a class without a pair.
        """
        scanned = scan_split(root, split, classes, exclude=exclude, require_every_class=require_every_class)
        return cls.from_pairs(root, split, scanned.classes, scanned.pairs, scanned.notes)

    @classmethod
    def from_pairs(
        cls,
        root: Path,
        split: str,
        classes: ClassMap,
        pairs: list[ScannedPair],
        notes: list[str],
        archive: ArchivePhotos | None = None,
    ) -> "PairIndex":
        """Build the table of pairs that are sorted by class index and stem."""
        stems: dict[str, str] = {}
        groups: dict[str, int] = {}
        suffixes: dict[str, int] = {}
        digests = [pair.digest for pair in pairs]
        return cls(
            root=root,
            split=split,
            classes=classes,
            label=np.array([pair.label for pair in pairs], dtype=np.int16),
            stems=[stems.setdefault(pair.stem, pair.stem) for pair in pairs],
            group=np.array([groups.setdefault(pair.group, len(groups)) for pair in pairs], dtype=np.int32),
            group_names=list(groups),
            size=np.array([pair.size for pair in pairs], dtype=np.int32).reshape(-1, 2),
            suffix=np.array(
                [[suffixes.setdefault(name, len(suffixes)) for name in pair.suffixes] for pair in pairs],
                dtype=np.uint8,
            ).reshape(-1, 2),
            suffix_names=tuple(suffixes),
            source_digest=np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16) if all(digests) else None,
            notes=notes,
            archive=archive,
        )

    def __len__(self) -> int:
        return len(self.stems)

    def key(self, row: int) -> tuple[str, str, str]:
        """Return (split, class name, photo stem), which no other pair of the tree has."""
        return self.split, self.classes.names[self.label[row]], self.stems[row]

    def draw_key(self, row: int) -> str:
        """Return the key as "split/class/stem", the text that random draws depend on."""
        return "/".join(self.key(row))

    @property
    def manifest(self) -> Path | None:
        """The manifest with a row for each pair; the file of a tree may be absent. None for photos without masks."""
        if not self.masked:
            return None
        return self.root / MANIFEST_FILE if self.archive is None else self.archive.manifest

    def photo_codes(self) -> NDArray[np.int64]:
        """Return int64 N, equal for the pairs of one photo: the photo's place in the order in which rows name it."""
        if not self.masked:
            return np.arange(len(self), dtype=np.int64)
        codes: dict[str, int] = {}
        return np.array([codes.setdefault(stem, len(codes)) for stem in self.stems], dtype=np.int64)

    def photo_name(self, row: int) -> str:
        """Return what tells a row's photo from the split's others: its stem, and its class where there are no masks."""
        return self.stems[row] if self.masked else "/".join(self.key(row)[1:])

    def paths(self, row: int) -> tuple[Path, ...]:
        """Return the files that a row is read from.

        They are roi and extra-roi, the photo and the mask of an archive, or the one photo that has no mask.
        """
        if self.archive is not None:
            photo = self.archive.row_photo[row]
            return self.root / self.archive.photos[photo], self.root / self.archive.masks[photo]
        folder, stem = self.classes.folders[self.label[row]], self.stems[row]
        if not self.masked:
            return (Path(f"{self.root}/{self.split}/{folder}/{stem}{self.suffix_names[self.suffix[row, 0]]}"),)
        roi, extra_roi = (
            Path(f"{self.root}/{self.split}/{view}/{folder}/{stem}{self.suffix_names[code]}")
            for view, code in zip(VIEW_FOLDERS, self.suffix[row], strict=True)
        )
        return roi, extra_roi

    def subset(self, rows: NDArray[Any] | list[int]) -> "PairIndex":
        """Return an index of some rows (integer positions), in the order given; classes and group codes stay."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            label=self.label[chosen],
            stems=[self.stems[row] for row in chosen],
            group=self.group[chosen],
            size=self.size[chosen],
            suffix=self.suffix[chosen],
            source_digest=None if self.source_digest is None else self.source_digest[chosen],
            archive=self.archive and replace(self.archive, row_photo=self.archive.row_photo[chosen]),
        )

    def without(self, excluded: Iterable[str]) -> "PairIndex":
        """Return the index less some classes, by name; the remaining classes close ranks and are relabelled."""
        classes = self.classes.without(excluded)
        old_to_new = np.array([classes.names.index(n) if n in classes.names else -1 for n in self.classes.names])
        label = old_to_new[self.label]
        kept = self.subset(np.flatnonzero(label >= 0))
        return replace(kept, classes=classes, label=label[label >= 0].astype(np.int16))

    def class_counts(self) -> NDArray[np.int64]:
        """Return the number of pairs of each class: int64, one per class, 0 included."""
        return np.bincount(self.label, minlength=len(self.classes)).astype(np.int64)

    def fingerprint(self) -> str:
        """Return a SHA-256 (hexadecimal) over keys, sizes and, with a manifest, the sources' hashes.

        An archive and the lossless tree that preprocessing makes of it with the same options have the same one.
        """
        digest = hashlib.sha256()
        digest.update(self._key_bytes())
        digest.update(b"\0" + self.size.astype("<i4").tobytes())
        if self.source_digest is not None:
            digest.update(b"\0" + self.source_digest.tobytes())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """Return what ``datasets.changes.describe_change`` compares, small and ready for JSON.

        Keys: ``fingerprint``, ``pairs``, ``classes`` (pairs by name, in order), ``n_groups``, and a digest each of
        ``keys``, ``sizes``, ``sources`` (null without a manifest) and ``groups``, whatever their names.
        """
        first: dict[int, int] = {}
        groups = np.array([first.setdefault(code, row) for row, code in enumerate(self.group.tolist())], dtype="<i8")
        return {
            "fingerprint": self.fingerprint(),
            "pairs": len(self),
            "classes": dict(zip(self.classes.names, self.class_counts().tolist(), strict=True)),
            "n_groups": len(first),
            "keys": _digest(self._key_bytes()),
            "sizes": _digest(self.size.astype("<i4").tobytes()),
            "sources": None if self.source_digest is None else _digest(self.source_digest.tobytes()),
            "groups": _digest(groups.tobytes()),
        }

    def _key_bytes(self) -> bytes:
        return "\n".join(self.draw_key(row) for row in range(len(self))).encode("utf-8")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
