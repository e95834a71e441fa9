"""Archives and trees of pairs, checked: what ``doctor.py`` and ``preprocess_foodseg103.py --check`` share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.archive import PICTURE_FOLDER
from datasets.doctor.archive_check import ArchiveCheck, LookOptions
from datasets.doctor.findings import Finding, finding
from datasets.doctor.near_duplicates import require_bits
from datasets.doctor.report import Report, publish
from datasets.doctor.tree_check import TreeCheck
from datasets.preprocess_options import PreprocessOptions
from datasets.tree import RECORD_FILE, TreeRecord
from datasets.workers import StopSignals, available_cores
from utils.errors import ConfigError, DataError, InterruptedRunError


@dataclass(frozen=True)
class Examiner:
    """Looks at archives and trees; every file is decoded, none is written.

    Attributes:
        options: how it looks.
        workers: worker processes; None takes every core.

    Raises:
        ConfigError: near-duplicates cannot be looked for.
    """

    options: LookOptions
    workers: int | None = None

    def __post_init__(self) -> None:
        require_bits(self.options.near_duplicates)

    def archive(self, root: Path, stop: StopSignals) -> tuple[Report, ArchiveCheck]:
        """Check an archive; what a signal in ``stop`` leaves undone is missing."""
        check = ArchiveCheck(root, self.options)
        check.run(self.workers or available_cores(), stop)
        return Report(root, "archive", check.looked_at, check.findings), check

    def tree(self, root: Path, stop: StopSignals) -> tuple[Report, TreeCheck]:
        """Check a tree of pairs; what a signal in ``stop`` leaves undone is missing."""
        check = TreeCheck(root, self.options.near_duplicates, self.options.limit)
        check.run(self.workers or available_cores(), stop)
        return Report(root, "pairs", check.looked_at, check.findings), check


def check(options: PreprocessOptions, say: Callable[[str], None] = print) -> int:
    """Check the archive at ``src``, the tree at ``dst``, or both and between them; ``say`` takes the findings.

    Returns:
        Exit status by severity, as ``publish``.

    Raises:
        ConfigError: where neither is given.
        DataError: where one is not there at all.
        InterruptedRunError: where SIGINT or SIGTERM came.
    """
    if options.src is None and options.dst is None:
        raise ConfigError("--check needs --src ARCHIVE, --dst ROOT, or both")
    if options.dst is not None and (options.dst / PICTURE_FOLDER).is_dir():
        raise DataError(f"--dst {options.dst} is an archive, not a tree of pairs; check it with --src {options.dst}")
    examiner = Examiner(
        LookOptions(options.groups, options.mask_orientation, limit=options.pixel_limit), options.workers
    )
    reports: list[Report] = []
    archive = tree = None
    with StopSignals() as stop:
        if options.src is not None:
            report, archive = examiner.archive(options.src, stop)
            reports.append(report)
        if options.dst is not None and (archive is None or options.dst.exists()):
            report, tree = examiner.tree(options.dst.resolve(), stop)
            report.findings += _other_options(options)
            if archive is not None:
                report.findings += _stale(archive, tree)
            reports.append(report)
        elif options.dst is not None:
            say(f"{options.dst} does not exist; only the archive was checked")
        refuse_interrupted(stop)
    return publish(reports, say)


def refuse_interrupted(stop: StopSignals) -> None:
    """Raise an ``InterruptedRunError`` where a signal came: half a check must not look like a whole one."""
    if stop.number:
        raise InterruptedRunError("interrupted: the check is not finished", stop.number)


def _other_options(options: PreprocessOptions) -> list[Finding]:
    """Compare what was given on the command line with what the tree was made with."""
    assert options.dst is not None
    path = options.dst / RECORD_FILE
    if not path.is_file():
        return []
    try:
        record = TreeRecord.load(path)
    except DataError as error:
        what, _, fix = str(error).removeprefix(f"{path} ").partition("; ")
        return [finding("stale-tree", path, what, fix)]
    pairs = [(name, getattr(options, name), getattr(record, name)) for name in ("size", "format", "quality")]
    return [
        finding(
            "stale-tree",
            options.dst,
            f"was made with --{name} {present}, not {given}",
            f"preprocess again, or leave --{name} out",
        )
        for name, given, present in pairs
        if given is not None and given != present
    ]


def _stale(archive: ArchiveCheck, tree: TreeCheck) -> list[Finding]:
    """Find photos and masks of the tree that differ from the archive's; pairs of other archives are left alone."""
    changed: dict[Finding, None] = {}
    for row in tree.rows:
        now = archive.hashes.get((row.split, row.stem))
        if now is None:
            continue
        for what, before, after in zip(("photo", "mask"), (row.photo_sha256, row.mask_sha256), now, strict=True):
            if before != after:
                place = f"{tree.root}, the {what} of {row.split}/{row.stem}"
                text = "is not the one of which the tree was made"
                changed[finding("stale-tree", place, text, "preprocess again")] = None
    return list(changed)
