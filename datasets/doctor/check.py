"""Archives, pairs and class folders, checked: what ``doctor.py`` and ``preprocess_foodseg103.py --check`` share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.archive import PICTURE_FOLDER
from datasets.doctor.archive_check import ArchiveCheck, LookOptions
from datasets.doctor.counts import TRAIN_SPLIT
from datasets.doctor.folders_check import FoldersCheck
from datasets.doctor.near_duplicates import NEAR_BITS, require_bits
from datasets.doctor.report import Report, publish
from datasets.doctor.staleness import compare
from datasets.doctor.tree_check import TreeCheck
from datasets.preprocess_options import PreprocessOptions
from datasets.workers import StopSignals, available_cores
from utils.errors import ConfigError, DataError, InterruptedRunError


@dataclass(frozen=True)
class Examiner:
    """Looks at archives, trees and class folders; every file is decoded, none is written.

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
        check = TreeCheck(root, self.options.near_duplicates, self.options.limit, self.options.train_split)
        check.run(self.workers or available_cores(), stop)
        return Report(root, "pairs", check.looked_at, check.findings), check

    def folders(self, root: Path, stop: StopSignals) -> tuple[Report, FoldersCheck]:
        """Check class folders of photos; what a signal in ``stop`` leaves undone is missing."""
        check = FoldersCheck(root, self.options.near_duplicates, self.options.limit, self.options.train_split)
        check.run(self.workers or available_cores(), stop)
        return Report(root, "folders", check.looked_at, check.findings), check


def check(
    options: PreprocessOptions,
    say: Callable[[str], None] = print,
    *,
    near_duplicates: int = NEAR_BITS,
    train_split: str = TRAIN_SPLIT,
    accept: frozenset[str] = frozenset(),
) -> int:
    """Check the archive at ``src``, the tree at ``dst``, or both and between them.

    Args:
        options: of preprocessing; those that are given are compared with the tree's.
        say: takes the findings.
        near_duplicates: bits of 64 that may differ between photos that look the same; 0 looks for none.
        train_split: the split that is trained on.
        accept: codes of findings that become notes.

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
    look = LookOptions(options.groups, options.mask_orientation, near_duplicates, options.pixel_limit, train_split)
    examiner = Examiner(look, options.workers)
    reports: list[Report] = []
    archive = None
    with StopSignals() as stop:
        if options.src is not None:
            report, archive = examiner.archive(options.src, stop)
            reports.append(report)
        if options.dst is not None and (archive is None or options.dst.exists()):
            report, tree = examiner.tree(options.dst.resolve(), stop)
            report.findings += compare(options, archive, tree)
            reports.append(report)
        elif options.dst is not None:
            say(f"{options.dst} does not exist; only the archive was checked")
        refuse_interrupted(stop)
    return publish(reports, say, accept=accept)


def refuse_interrupted(stop: StopSignals) -> None:
    """Raise an ``InterruptedRunError`` where a signal came: half a check must not look like a whole one."""
    if stop.number:
        raise InterruptedRunError("interrupted: the check is not finished", stop.number)
