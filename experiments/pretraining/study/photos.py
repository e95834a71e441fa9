"""Which of the photos to pre-train on belong to the pairs: those of the test split are refused."""

import hashlib
from pathlib import PurePosixPath

from datasets.index import PairIndex
from datasets.manifest import read_columns
from datasets.two_views.photos import PhotoIndex
from experiments.loading import Splits
from utils.errors import DataError

_SHOWN = 3


def check_photos(photos: PhotoIndex, splits: Splits) -> list[str]:
    """Return what the user should know of the photos.

    A photo is one of the test split's if it has the file name of one, without its ending, and, where the manifest of
    the pairs has the hash of that photo, the same content. Copies under other names are not looked for.

    Raises:
        DataError: photos of the test split are among them.
    """
    hashes = _photo_hashes(splits.test)
    found = []
    for row, name in enumerate(photos.names):
        stem = PurePosixPath(name).stem
        if stem in hashes and (hashes[stem] is None or hashes[stem] == _sha256(photos, row)):
            found.append(name)
    if found:
        more = ", …" if len(found) > _SHOWN else ""
        how = "" if hashes[PurePosixPath(found[0]).stem] else " (told by their names, since the pairs have no manifest)"
        raise DataError(
            f"{len(found)} of the {len(photos)} photos under {photos.root} are photos of the test split of "
            f"{splits.test.root}{how}: {', '.join(found[:_SHOWN])}{more}; pre-train on others: name the folder of the "
            f"training photos, or list them with --photos.subset"
        )
    own = {PurePosixPath(name).stem for name in photos.names}
    train = set(splits.train.stems)
    return [
        f"of {len(photos)} photos without labels, {len(own & train)} have the name of one of the {len(train)} photos "
        f"of the training pairs, none is a photo of the test pairs"
    ]


def _photo_hashes(index: PairIndex) -> dict[str, str | None]:
    """Return the photo's SHA-256 by stem, null where it is not recorded."""
    hashes: dict[str, str | None] = dict.fromkeys(index.stems)
    if index.manifest is None or not index.manifest.is_file():
        return hashes
    for split, stem, digest in read_columns(index.manifest, ("split", "stem", "photo_sha256")):
        if split == index.split and stem in hashes:
            hashes[stem] = digest
    return hashes


def _sha256(photos: PhotoIndex, row: int) -> str:
    with photos.path(row).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
