"""Findings that names, hashes and numbers give: photos and groups in several splits, classes and their pairs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.doctor.findings import Finding, finding, some
from datasets.doctor.near_duplicates import MarkedPhoto, near_duplicates

TRAIN_SPLIT = "train"
FEW_TEST_PAIRS = 5
# An 8×8 patch, a quarter of the smallest patch of a ViT-B/16; 26 of FoodSeg103's 26,016 pairs are smaller.
TINY_PIXELS = 64
MODEL_SIDE = 224
PAIRS_FIX = "remove it from one split of the archive and preprocess again, or remove its pairs and their manifest rows"


class PhotoOf(NamedTuple):
    """A photo: its split, its path for the user, and the SHA-256 of its file."""

    split: str
    path: str
    sha256: str


def shared_photos(
    photos: Iterable[PhotoOf],
    where: str | Path | None,
    what: str = "are the same photo in two splits",
    fix: str = "remove one of them",
) -> list[Finding]:
    """Return an error for each photo (by content) that occurs in more than one split.

    Args:
        photos: of all splits.
        where: folder that their paths are relative to; null where they stand for themselves.
        what: is wrong with two of them.
        fix: what to do about it.
    """
    folder = "" if where is None else f"{where}/"
    first: dict[str, PhotoOf] = {}
    found: dict[Finding, None] = {}
    for photo in photos:
        other = first.setdefault(photo.sha256, photo)
        if other.split != photo.split:
            found[finding("same-photo", f"{folder}{other.path} and {photo.path}", what, fix)] = None
    return list(found)


def photos_of_two_classes(photos: Iterable[PhotoOf], where: str | Path) -> list[Finding]:
    """Return a warning for each photo (by content) that lies in several class folders of one split.

    Args:
        photos: in class folders, ``<split>/<class>/<photo>`` relative to ``where``.
        where: folder that holds the splits.
    """
    alike: dict[tuple[str, str], dict[str, PhotoOf]] = {}
    for photo in photos:
        alike.setdefault((photo.split, photo.sha256), {}).setdefault(photo.path.split("/")[1], photo)
    return [
        finding(
            "two-classes",
            f"{where}/{' and '.join(photo.path for photo in of.values())}",
            "are the same photo in several classes",
            "keep it in the class that is right",
        )
        for of in alike.values()
        if len(of) > 1
    ]


def shared_groups(groups: Iterable[tuple[str, str]], where: str | Path) -> list[Finding]:
    """Return a warning where groups have photos in more than one split; ``groups`` are (split, group)."""
    splits: dict[str, set[str]] = {}
    for split, group in groups:
        splits.setdefault(group, set()).add(split)
    shared = sorted(group for group, found in splits.items() if len(found) > 1)
    if not shared:
        return []
    what = f"{_number(shared, 'group has', 'groups have')} photos in more than one split: {some(shared)}"
    fix = "move the photos of a group into one split, or scores are too good"
    return [finding("shared-group", where, what, fix, places=shared)]


def alike_photos(photos: Sequence[MarkedPhoto], bits: int, where: str | Path) -> list[Finding]:
    """Return a warning for each two photos of different splits that look the same within ``bits``."""
    return [
        finding(
            "near-duplicate",
            f"{where}/{pair.one.path} and {pair.other.path}",
            f"look the same ({pair.bits} of 64 bits differ)",
            "look at both; keep a scene in one split, or scores are too good",
        )
        for pair in near_duplicates(photos, bits)
    ]


def class_support(
    counts: Mapping[str, Mapping[str, int]], names: Sequence[str], where: str | Path, train_split: str = TRAIN_SPLIT
) -> list[Finding]:
    """Return what the numbers of pairs tell.

    Args:
        counts: pairs by split and class name; splits other than that of training are tested on.
        names: all classes.
        where: they are.
        train_split: the split that is trained on; without it classes are not compared, which is said.
    """
    found = [_least_and_most(split, of, names, where) for split, of in sorted(counts.items()) if any(of.values())]
    if train_split not in counts:
        what = f"has no split '{train_split}', only {', '.join(sorted(counts))}: classes were not compared"
        return [*found, finding("class-support", where, what, "name the one that is trained on with --train_split")]
    tests = [of for split, of in counts.items() if split != train_split]
    tested: Counter[str] = sum((Counter(of) for of in tests), Counter())
    found += _untrained(counts[train_split], tested, names, where, train_split)
    if tests:
        trained = [name for name in names if counts[train_split].get(name) and not tested[name]]
        found += _listed("untested-class", trained, "trained on and never tested", where)
    few = [f"{name} ({tested[name]})" for name in names if 0 < tested[name] < FEW_TEST_PAIRS]
    return found + _listed("few-pairs", few, f"tested with fewer than {FEW_TEST_PAIRS} pairs", where)


def _least_and_most(split: str, counts: Mapping[str, int], names: Sequence[str], where: str | Path) -> Finding:
    present = [name for name in names if counts.get(name)]
    least, most = min(present, key=lambda name: counts[name]), max(present, key=lambda name: counts[name])
    what = f"{split} has {sum(counts.values()):,} pairs of {len(present)} of {len(names)} classes"
    what += f": least {counts[least]:,} ({least}), most {counts[most]:,} ({most})"
    return finding("class-support", where, what)


def _untrained(
    trained: Mapping[str, int], tested: Mapping[str, int], names: Sequence[str], where: str | Path, split: str
) -> list[Finding]:
    fix = f"add photos to {split}, take it out of the class file, or leave it out with data.exclude"
    return [
        finding(
            "untrained-class",
            f"{where}, class '{name}'",
            f"has no pair in {split}" + (f", but {tested[name]:,} to test" * bool(tested[name])),
            fix,
        )
        for name in names
        if not trained.get(name)
    ]


def _listed(code: str, names: Sequence[str], what: str, where: str | Path) -> list[Finding]:
    if not names:
        return []
    fix = "add photos to test; a score of so few says little, and macro-F1 counts every class alike"
    return [
        finding(code, where, f"{_number(names, 'class is', 'classes are')} {what}: {some(names)}", fix, places=names)
    ]


def tiny_rois(places: Sequence[str], where: str | Path) -> list[Finding]:
    """Return a warning of the pairs whose roi has too few pixels at the size that a model sees."""
    if not places:
        return []
    number = _number(places, "pair has", "pairs have")
    what = f"{number} a roi of fewer than {TINY_PIXELS} pixels at {MODEL_SIDE}: {some(places)}"
    fix = "mend stray pixels of the masks, or leave small classes out with --min_area (data.archive.min_area)"
    return [finding("tiny-roi", where, what, fix, places=places)]


def whole_rois(places: Sequence[str], where: str | Path) -> list[Finding]:
    """Return a warning of the pairs whose roi is the whole photo."""
    if not places:
        return []
    what = f"{_number(places, 'roi is', 'rois are')} the whole photo, so that nothing is around: {some(places)}"
    return [finding("whole-image-mask", where, what, "mend the masks, or remove the photos", places=places)]


def empty_masks(places: Sequence[str], where: str | Path) -> list[Finding]:
    """Return a warning of the photos of which no class is marked."""
    if not places:
        return []
    what = f"{_number(places, 'mask marks', 'masks mark')} no class, so that no pair comes of the photo: {some(places)}"
    return [finding("empty-mask", where, what, "draw the masks, or remove the photos", places=places)]


def pixels_at_model(area: float, width: int, height: int) -> float:
    """Return how many pixels a roi has once the longer side of its picture is ``MODEL_SIDE``.

    Args:
        area: roi pixels of a picture of ``width`` × ``height`` pixels.
        width: of the picture.
        height: of the picture.
    """
    return area * (MODEL_SIDE / max(width, height, 1)) ** 2


def _number(of: Sequence[str], one: str, several: str) -> str:
    return f"{len(of):,} {one if len(of) == 1 else several}"
