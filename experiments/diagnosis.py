"""What is wrong with the pairs of a run, found before it starts without opening a picture."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from datasets.doctor import counts
from datasets.doctor.findings import Finding, accepted, check_codes, condensed, counted
from datasets.index import PairIndex
from datasets.manifest import read_columns
from experiments.kinds import Config
from experiments.loading import Splits
from utils.errors import DataError

# What training finds and can go on with; a class without a training pair cannot be trained.
_ACCEPTABLE = ("same-photo", "shared-group", "whole-image-mask", "tiny-roi", "few-pairs", "untested-class")
_COLUMNS = ("split", "stem", "class", "content_width", "content_height", "area_fraction", "photo_sha256")
_TRAIN, _VALIDATION, _TEST = "train", "validation", "test"
_PURPOSE = {_TRAIN: "to train", _VALIDATION: "for validation", _TEST: "to test"}


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: the worst first; those whose codes ``data.accept`` names are notes.
        lines: two for the user: what was looked at, and the most important finding.
    """

    findings: list[Finding]
    lines: tuple[str, str]


class _Place(NamedTuple):
    """Where a photo's first pair is: the part of the run, and the row of its pairs."""

    part: str
    pairs: PairIndex
    row: int


_Places = dict[tuple[str, str], _Place]


@dataclass
class _Recorded:
    """What is recorded about the pairs of a run.

    Attributes:
        hashes: of the photo, or of photo and mask together, by (split, stem).
        means: what was compared, in words.
        tiny: keys of the pairs whose roi has too few pixels.
        whole: keys of those whose roi is the whole photo.
    """

    hashes: dict[tuple[str, str], str] = field(default_factory=dict)
    means: str = "names and numbers (there is no manifest)"
    tiny: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)


def diagnose(splits: Splits, config: Config) -> Diagnosis:
    """Look at names, numbers and recorded hashes of the pairs of a run.

    Returns:
        What was found, without errors.

    Raises:
        ConfigError: ``data.accept`` names a code that does not exist, or that training cannot go on with.
        DataError: there are errors that ``data.accept`` does not name, such as one photo in training and test.
    """
    accept = check_codes(config.data.accept, "data.accept", _ACCEPTABLE)
    root = config.data.root
    every = {_TRAIN: splits.train, _VALIDATION: splits.validation, _TEST: splits.test}
    parts = {part: index for part, index in every.items() if index is not None}
    places: _Places = {}
    for part, index in parts.items():
        for row in range(len(index)):
            places.setdefault((index.split, index.photo_name(row)), _Place(part, index, row))
    recorded = _recorded(parts, places)
    findings = _shared(recorded.hashes, places)
    groups = (
        (_side(part), index.group_names[code]) for part, index in parts.items() for code in np.unique(index.group)
    )
    findings += counts.shared_groups(groups, root)
    findings += counts.class_support(_pairs(parts), splits.train.classes.names, root)
    findings += counts.whole_rois(recorded.whole, root)
    findings += counts.tiny_rois(recorded.tiny, root)
    findings = condensed(accepted(findings, accept))
    _refuse([one for one in findings if one.severity == "error"], root)
    return Diagnosis(findings, (_looked_at(parts, recorded.means), _worst(findings, accept)))


def _side(part: str) -> str:
    """Return the side of a run that a part is on: validation is cut off training, and decides in it."""
    return _TRAIN if part == _VALIDATION else part


def _shared(hashes: dict[tuple[str, str], str], places: _Places) -> list[Finding]:
    """Find photos on both sides of a run; between training and validation they are a warning."""
    times = Counter(hashes.values())
    photos = [
        counts.PhotoOf(place.part, str(place.pairs.paths(place.row)[0]), hashes[key])
        for key, place in places.items()
        if times[hashes.get(key, "")] > 1
    ]
    stored = any(place.pairs.archive is None for place in places.values())
    fix = counts.PAIRS_FIX if stored else "remove one of them, and its mask"
    if not any(place.pairs.masked for place in places.values()):
        fix = "remove one of them"
    found = counts.shared_photos((one._replace(split=_side(one.split)) for one in photos), None, fix=fix)
    within = (one for one in photos if one.split != _TEST)
    what = "are the same photo in training and validation, whose scores are too good then"
    fix = "remove one of them, or give both one group"
    return found + [replace(one, severity="warning") for one in counts.shared_photos(within, None, what, fix)]


def _pairs(parts: dict[str, PairIndex]) -> dict[str, Counter[str]]:
    """Return the pairs to train and to test, by class."""
    return {
        part: Counter(dict(zip(index.classes.names, index.class_counts().tolist(), strict=True)))
        for part, index in parts.items()
        if part != _VALIDATION
    }


def _recorded(parts: dict[str, PairIndex], places: _Places) -> _Recorded:
    """Read the rows of the manifests that belong to pairs of the run; the indices' hashes where there is none."""
    names = {name for index in parts.values() for name in index.classes.names}
    found = _Recorded()
    for path in sorted({index.manifest for index in parts.values() if index.manifest is not None}):
        every = read_columns(path, _COLUMNS, checked=True) if path.is_file() else []
        rows = [row for row in every if row[:2] in places and row[2] in names]
        if not rows:
            continue
        split, stem, name, width, height, area, sha256 = zip(*rows, strict=True)
        found.hashes |= zip(zip(split, stem, strict=True), sha256, strict=True)
        found.means = "names, numbers and recorded hashes"
        fraction = np.array(area, dtype=np.float64)
        size = np.array([width, height], dtype=np.float64)
        pixels = fraction * size.prod(axis=0) * (counts.MODEL_SIDE / size.max(axis=0)) ** 2
        found.tiny += [f"{split[row]}/{name[row]}/{stem[row]}" for row in np.flatnonzero(pixels < counts.TINY_PIXELS)]
        found.whole += [f"{split[row]}/{name[row]}/{stem[row]}" for row in np.flatnonzero(fraction == 1)]
    if not found.hashes:
        found.hashes = dict(_by_digest(places))
        if found.hashes:
            masked = any(index.masked for index in parts.values())
            what = "each photo together with its mask" if masked else "parts of each file"
            found.means = f"names, numbers and hashes of {what}"
    return found


def _by_digest(places: _Places) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield what stands for each photo and mask, where no manifest tells the photo's own hash."""
    for key, place in places.items():
        if place.pairs.source_digest is not None:
            yield key, place.pairs.source_digest[place.row].tobytes().hex()


def _refuse(errors: list[Finding], root: str) -> None:
    if not errors:
        return
    codes = list(dict.fromkeys(one.code for one in errors))
    first = [next(one for one in errors if one.code == code) for code in codes]
    what = " | ".join(f"[{one.code}] {one.where}: {one.what}; {one.fix}" for one in first)
    go_on = f". To go on anyway: --data.accept {','.join(codes)}" if set(codes) <= set(_ACCEPTABLE) else ""
    raise DataError(
        f"data.root {root}: {counted(errors).partition(',')[0]} would make the scores untrue: {what}. All findings: "
        f"doctor.py {root}{go_on}"
    )


def _looked_at(parts: dict[str, PairIndex], means: str) -> str:
    numbers = [f"{_number_of(index)} {_PURPOSE[part]}" for part, index in parts.items()]
    return f"data: {', '.join(numbers)}, {len(parts[_TRAIN].classes)} classes; checked by {means}"


def _number_of(index: PairIndex) -> str:
    pairs = f"{len(index):,} pairs of {len(set(index.stems)):,} photos"
    return pairs if index.masked else f"{len(index):,} photos without masks"


def _worst(findings: list[Finding], accept: frozenset[str]) -> str:
    found = [one for one in findings if one.code != "class-support"]
    found.sort(key=lambda one: one.code not in accept)  # what was accepted is said first
    if not found:
        return "data: nothing found"
    more = len(found) - 1
    return f"data: {found[0]}" + (f" (and {more} more: doctor.py says all)" if more else "")
