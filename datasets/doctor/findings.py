"""Findings: what is wrong with data or a run, how bad it is, and how to mend it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from utils.errors import ConfigError, nearest

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
# Severity and meaning of every code; docs/doctor.md has the fix for each.
CODES: dict[str, tuple[Severity, str]] = {
    "off-by-one-ids": ("error", "the ids of the masks are shifted by one against the class file"),
    "same-photo": ("error", "the same photo, byte for byte, in two splits"),
    "untrained-class": ("error", "a class without any training pair"),
    "missing-folder": ("error", "a folder of the layout is absent or empty"),
    "missing-partner": ("error", "a photo without mask, a mask without photo, or half a pair"),
    "missing-file": ("error", "a file that must be there is not"),
    "double-stem": ("error", "two files that would be one photo or pair"),
    "unsafe-name": ("error", "a name that cannot be that of a file on every system, or leaves its folder"),
    "outside-link": ("error", "a link that leads out of the folder"),
    "split-list": ("error", "a list of photos that does not fit the folder"),
    "groups-file": ("error", "a file of groups that does not fit the photos"),
    "class-file": ("error", "a class file that cannot be used"),
    "unknown-class": ("error", "a class that the class list lacks"),
    "unknown-id": ("error", "a mask holds ids that the class file lacks"),
    "not-a-mask": ("error", "a mask that holds no class ids"),
    "size-mismatch": ("error", "two files that belong together have different sizes"),
    "exif-orientation": ("error", "EXIF leaves open how photo and mask lie on each other"),
    "empty-file": ("error", "a file of 0 bytes"),
    "damaged-picture": ("error", "a picture that cannot be decoded"),
    "too-large": ("error", "a picture of more pixels than are decoded"),
    "unreadable-file": ("error", "a file that cannot be read, or is not the text it should be"),
    "foreign-file": ("error", "a file that does not belong into a tree of pairs"),
    "overlapping-pair": ("error", "roi and extra-roi are not the two sides of one mask"),
    "manifest-mismatch": ("error", "the manifest and the files of a tree disagree"),
    "stale-tree": ("error", "a tree that is older than its archive, or of other options"),
    "other-layout": ("error", "something else about the layout is wrong"),
    "damaged-run": ("error", "a file of a run is missing, damaged or contradicts another"),
    "changed-data": ("error", "the data are not those that a run was trained on"),
    "near-duplicate": ("warning", "two photos of different splits that look the same"),
    "two-classes": ("warning", "the same photo, byte for byte, in two classes of one split"),
    "shared-group": ("warning", "a group (such as one video) with photos in two splits"),
    "name-blanks-or-case": ("warning", "names that differ by blanks or case alone"),
    "empty-mask": ("warning", "a photo of which no class is marked, or a roi without pixels"),
    "whole-image-mask": ("warning", "one class covers the whole photo, so that its extra-roi is black"),
    "tiny-roi": ("warning", "a roi of fewer pixels than a backbone can tell apart"),
    "few-pairs": ("warning", "a class with too few test pairs for its score to mean much"),
    "untested-class": ("warning", "a class that is trained on and never scored"),
    "damaged-exif": ("warning", "an EXIF block that cannot be read; the photo is taken as upright"),
    "damaged-checkpoint": ("warning", "a checkpoint that cannot be continued from"),
    "leftovers": ("warning", "temporary files of a process that was killed"),
    "missing-data": ("warning", "the data of a run are not where they were"),
    "class-support": ("note", "fewest and most pairs of a class"),
    "exif-size": ("note", "masks that lie as their photos are stored, before EXIF turns them"),
    "crlf": ("note", "Windows line ends; they are read rightly"),
    "hidden-folder": ("note", "hidden files and folders; they are left aside"),
    "stray-files": ("note", "files that are neither photo nor mask; they are left aside"),
    "unlisted-photos": ("note", "photos that no list names; they are left out"),
    "unused-groups": ("note", "rows of a groups file that name no photo in use"),
    "background-name": ("note", "id 0 has a name of its own and is background all the same"),
    "no-manifest": ("note", "a tree without manifest or class file, of which less can be checked"),
    "unfinished": ("note", "an unfinished run that can go on"),
}
_SHOWN = 5  # findings of one code that get a line each
_EXAMPLES = 3
_PLACES_KEPT = 1000


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or unusual.

    Attributes:
        code: one of ``CODES``.
        severity: an ``error`` must be mended, a ``warning`` should be looked at, a ``note`` need not.
        where: file, folder, class or setting.
        what: what is wrong with it.
        fix: what to do about it.
        count: how many things of this kind it stands for.
        places: where they are, the first thousand; empty for one.
    """

    code: str
    severity: Severity
    where: str
    what: str
    fix: str = ""
    count: int = 1
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.severity} [{self.code}] {self.where}: {self.what}" + (f"; {self.fix}" if self.fix else "")


def finding(code: str, where: str | Path, what: str, fix: str = "", *, places: Sequence[str] = ()) -> Finding:
    """Return a finding with the severity of its code; ``places`` are what it stands for, if more than one."""
    return Finding(code, CODES[code][0], str(where), what, fix, max(1, len(places)), tuple(places[:_PLACES_KEPT]))


def check_codes(codes: Iterable[str], option: str, allowed: Sequence[str] | None = None) -> frozenset[str]:
    """Return a set of codes; a ``ConfigError`` names one that does not exist, or that is not among ``allowed``."""
    given = frozenset(codes)
    for code in sorted(given - CODES.keys()):
        raise ConfigError(f"{option}: no finding has the code '{code}'{nearest(code, CODES)} (docs/doctor.md has all)")
    for code in sorted(given.difference(given if allowed is None else allowed)):
        raise ConfigError(f"{option}: '{code}' cannot be accepted; allowed: {', '.join(allowed or ())}")
    return given


def accepted(findings: Iterable[Finding], codes: frozenset[str]) -> list[Finding]:
    """Return the findings with those of some codes made notes."""
    return [
        replace(one, severity="note", what=f"accepted: {one.what}") if one.code in codes else one for one in findings
    ]


def condensed(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, the worst first; many of one code become a single one."""
    by_code: dict[tuple[int, int], dict[Finding, None]] = {}
    order = {code: place for place, code in enumerate(CODES)}
    for one in findings:
        by_code.setdefault((SEVERITIES.index(one.severity), order[one.code]), {})[one] = None
    result: list[Finding] = []
    for _, same in sorted(by_code.items()):
        result += same if len(same) <= _SHOWN else [_together(list(same))]
    return result


def _together(same: list[Finding]) -> Finding:
    first = same[0]
    places = [place for one in same for place in (one.places or (one.where,))]
    count = sum(one.count for one in same)
    return replace(
        first,
        where=f"{count:,} places: {' | '.join(one.where for one in same[:_EXAMPLES])} | …",
        what=first.what + " (the first)" * (len({one.what for one in same}) > 1),
        fix=first.fix,
        count=count,
        places=tuple(places[:_PLACES_KEPT]),
    )


def counted(findings: Iterable[Finding]) -> str:
    """Return how many there are of each severity, as in ``1 error, 0 warnings, 2 notes``; each line counts once."""
    found = [one.severity for one in findings]
    numbers = [(found.count(severity), severity) for severity in SEVERITIES]
    return ", ".join(f"{number} {severity}{'s' * (number != 1)}" for number, severity in numbers)


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 2 where there is an error, 1 where there is a warning, else 0."""
    found = {one.severity for one in findings}
    return 2 if "error" in found else 1 if "warning" in found else 0


def some(names: Sequence[str]) -> str:
    """Return the first few of some names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
