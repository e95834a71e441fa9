"""``--check``: every problem of an archive, of a tree, or of both and between them, in one list."""

from collections.abc import Callable

from datasets.archive import PICTURE_FOLDER
from datasets.check_archive import ArchiveCheck
from datasets.check_tree import TreeCheck
from datasets.preprocess import PreprocessOptions
from datasets.summary import shared_groups
from datasets.tree import RECORD_FILE, TreeRecord
from datasets.workers import StopSignals, available_cores
from utils.errors import ConfigError, DataError, InterruptedRunError, problem_list


def check(options: PreprocessOptions, say: Callable[[str], None] = print) -> None:
    """Check the archive at ``src``, the tree at ``dst``, or both; ``say`` takes notes and the final ``ok``.

    Every file is decoded. Nothing is written.

    Raises:
        ConfigError: where neither is given.
        DataError: with every problem at once.
        InterruptedRunError: where SIGINT or SIGTERM came.
    """
    if options.src is None and options.dst is None:
        raise ConfigError("--check needs --src ARCHIVE, --dst ROOT, or both")
    if options.dst is not None and (options.dst / PICTURE_FOLDER).is_dir():
        raise DataError(f"--dst {options.dst} is an archive, not a tree of pairs; check it with --src {options.dst}")
    workers = options.workers or available_cores()
    problems: list[str] = []
    done: list[str] = []
    archive = tree = None
    with StopSignals() as stop:
        if options.src is not None:
            archive = ArchiveCheck(options.src, options.groups)
            archive.run(options.mask_orientation, workers, stop)
            problems += archive.problems
            done.append(f"{len(archive.archive.photos)} photos with masks in {options.src}")
        if options.dst is not None and (archive is None or options.dst.exists()):
            tree = TreeCheck(options.dst.resolve())
            tree.run(workers, stop)
            tree.notes += shared_groups(tree.rows)
            problems += tree.problems + _other_options(options)
            done.append(f"{tree.pairs} pairs in {options.dst}")
        elif options.dst is not None:
            say(f"note: {options.dst} does not exist; only the archive was checked")
        if stop.number:
            raise InterruptedRunError("interrupted: the check is not finished", stop.number)
    for note in (archive.notes if archive else []) + (tree.notes if tree else []):
        say(f"note: {note}")
    if archive and tree:
        problems += _stale(archive, tree)
    if problems:
        raise DataError(problem_list("check", problems))
    say("ok: " + ", ".join(done))


def _other_options(options: PreprocessOptions) -> list[str]:
    """Compare what was given on the command line with what the tree was made with."""
    assert options.dst is not None
    path = options.dst / RECORD_FILE
    if not path.is_file():
        return []
    try:
        record = TreeRecord.load(path)
    except DataError as error:
        return [str(error)]
    pairs = [(name, getattr(options, name), getattr(record, name)) for name in ("size", "format", "quality")]
    return [
        f"{options.dst} was made with --{name} {present}, not {given}; preprocess again, or leave --{name} out"
        for name, given, present in pairs
        if given is not None and given != present
    ]


def _stale(archive: ArchiveCheck, tree: TreeCheck) -> list[str]:
    """Find photos and masks of the tree that differ from the archive's; pairs of other archives are left alone."""
    changed: dict[str, None] = {}
    for row in tree.rows:
        now = archive.hashes.get((row.split, row.stem))
        if now is None:
            continue
        for what, before, after in zip(("photo", "mask"), (row.photo_sha256, row.mask_sha256), now, strict=True):
            if before != after:
                changed[f"the {what} of {row.split}/{row.stem} is not the one of which the tree was made"] = None
    return [f"{problem}; preprocess again" for problem in changed]
