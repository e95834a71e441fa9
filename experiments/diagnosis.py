"""What is wrong with the pairs of a run, found before it starts without opening a picture."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from datasets.doctor import counts
from datasets.doctor.findings import Finding, accepted, check_codes, condensed, counted
from datasets.index import PairIndex
from datasets.manifest import read_columns
from experiments.kinds import Config
from experiments.loading import Splits
from utils.errors import DataError

_COLUMNS = ("split", "stem", "class", "photo", "content_width", "content_height", "area_fraction", "photo_sha256")


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: the worst first; those whose codes ``data.accept`` names are notes.
        lines: two for the user: what was looked at, and the most important finding.
    """

    findings: list[Finding]
    lines: tuple[str, str]


@dataclass
class _Recorded:
    """What the manifests add to the pairs of a run.

    Attributes:
        photos: of training (with validation) and test, by content.
        tiny: keys of the pairs whose roi has too few pixels.
        whole: keys of those whose roi is the whole photo.
    """

    photos: list[counts.PhotoOf] = field(default_factory=list)
    tiny: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)


def diagnose(splits: Splits, config: Config) -> Diagnosis:
    """Look at names, numbers and recorded hashes of the pairs of a run.

    Returns:
        What was found, without errors.

    Raises:
        ConfigError: ``data.accept`` names a code that does not exist.
        DataError: there are errors that ``data.accept`` does not name, such as one photo in training and test.
    """
    accept = check_codes(config.data.accept, "data.accept")
    root = config.data.root
    parts = {"train": [index for index in (splits.train, splits.validation) if index is not None]}
    parts["test"] = [splits.test]
    recorded = _recorded(parts)
    findings = counts.shared_photos(recorded.photos or _by_digest(parts), root)
    groups = ((part, index.group_names[code]) for part, index in _each(parts) for code in set(index.group.tolist()))
    findings += counts.shared_groups(groups, root)
    findings += counts.class_support(_pairs(parts), splits.train.classes.names, root)
    findings += counts.whole_rois(recorded.whole, root)
    findings += counts.tiny_rois(recorded.tiny, root)
    findings = condensed(accepted(findings, accept))
    _refuse([one for one in findings if one.severity == "error"], root)
    return Diagnosis(findings, (_looked_at(splits, parts, hashes=bool(recorded.photos)), _worst(findings, accept)))


def _each(parts: dict[str, list[PairIndex]]) -> Iterator[tuple[str, PairIndex]]:
    return ((part, index) for part, indices in parts.items() for index in indices)


def _pairs(parts: dict[str, list[PairIndex]]) -> dict[str, Counter[str]]:
    pairs = {part: Counter[str]() for part in parts}
    for part, index in _each(parts):
        pairs[part].update(dict(zip(index.classes.names, index.class_counts().tolist(), strict=True)))
    return pairs


def _recorded(parts: dict[str, list[PairIndex]]) -> _Recorded:
    """Read the rows of the manifests that belong to pairs of the run; nothing where there is no manifest."""
    part_of = {(index.split, stem): part for part, index in _each(parts) for stem in set(index.stems)}
    names = {name for _, index in _each(parts) for name in index.classes.names}
    found = _Recorded()
    for path in sorted({index.manifest for _, index in _each(parts) if index.manifest is not None}):
        every = read_columns(path, _COLUMNS) if path.is_file() else []
        rows = [row for row in every if row[:2] in part_of and row[2] in names]
        if not rows:
            continue
        split, stem, name, photo, width, height, area, sha256 = zip(*rows, strict=True)
        part = map(part_of.__getitem__, zip(split, stem, strict=True))
        found.photos += [counts.PhotoOf(*one) for one in dict.fromkeys(zip(part, photo, sha256, strict=True))]
        fraction = np.array(area, dtype=np.float64)
        size = np.array([width, height], dtype=np.float64)
        pixels = fraction * size.prod(axis=0) * (counts.MODEL_SIDE / size.max(axis=0)) ** 2
        found.tiny += [f"{split[row]}/{name[row]}/{stem[row]}" for row in np.flatnonzero(pixels < counts.TINY_PIXELS)]
        found.whole += [f"{split[row]}/{name[row]}/{stem[row]}" for row in np.flatnonzero(fraction == 1)]
    return found


def _by_digest(parts: dict[str, list[PairIndex]]) -> Iterator[counts.PhotoOf]:
    """Yield each pair with what stands for its photo and mask, where no manifest tells the photo's own hash."""
    for part, index in _each(parts):
        if index.source_digest is not None:
            for row, digest in enumerate(index.source_digest):
                yield counts.PhotoOf(part, index.draw_key(row), digest.tobytes().hex())


def _refuse(errors: list[Finding], root: str) -> None:
    if not errors:
        return
    codes = list(dict.fromkeys(one.code for one in errors))
    first = [next(one for one in errors if one.code == code) for code in codes]
    what = " | ".join(f"[{one.code}] {one.where}: {one.what}; {one.fix}" for one in first)
    raise DataError(
        f"data.root {root}: {counted(errors).partition(',')[0]} would make the scores untrue: {what}. All findings: "
        f"doctor.py {root}. To go on anyway: --data.accept {','.join(codes)}"
    )


def _looked_at(splits: Splits, parts: dict[str, list[PairIndex]], *, hashes: bool) -> str:
    numbers = []
    for part, indices in parts.items():
        pairs = sum(len(index) for index in indices)
        photos = len({(index.split, stem) for index in indices for stem in index.stems})
        numbers.append(f"{pairs:,} pairs of {photos:,} photos to {part}")
    means = "names, numbers and recorded hashes" if hashes else "names and numbers (there is no manifest)"
    return f"data: {', '.join(numbers)}, {len(splits.train.classes)} classes; checked by {means}"


def _worst(findings: list[Finding], accept: frozenset[str]) -> str:
    found = [one for one in findings if one.code != "class-support"]
    found.sort(key=lambda one: one.code not in accept)  # what was accepted is said first
    if not found:
        return "data: nothing found"
    more = len(found) - 1
    return f"data: {found[0]}" + (f" (and {more} more: doctor.py says all)" if more else "")
