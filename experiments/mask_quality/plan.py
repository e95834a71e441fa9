"""Everything that a comparison needs, read and checked before anything is segmented or scored."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.archive import Archive, ArchivePhoto, OptionNames, read_archive
from datasets.index import PairIndex
from datasets.picture_size import PixelLimit
from experiments.mask_quality.edits import Edit
from experiments.mask_quality.options import CompareOptions
from experiments.mask_quality.prompted import columns_of
from experiments.mask_quality.scored import Side, read_sides
from experiments.mask_quality.sweep import make_edits
from experiments.mask_quality.two_by_two import Matched, match_pairs, tree_names
from experiments.runs import load_index
from utils.errors import DataError, nearest

_ARCHIVE_LIMIT = 180.0


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        options: as they were given.
        folder: to be filled.
        archive: whose annotation prompted masks are compared with; None where that was not asked for.
        photos: of the archive.
        sides: the runs.
        matched: pairs of the trees; None where no tree was named.
        swept: by side and run, the pairs whose masks are edited; empty where no sweep was asked for.
        edits: of the sweep.
        notes: what the user should know of the data, one line each.
    """

    options: CompareOptions
    folder: Path
    archive: Archive | None = None
    photos: list[ArchivePhoto] = field(default_factory=list)
    sides: list[Side] = field(default_factory=list)
    matched: Matched | None = None
    swept: dict[str, dict[str, PairIndex]] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def limit(self) -> PixelLimit:
        """The largest picture of the archive that is decoded."""
        return PixelLimit(self.options.max_megapixels or _ARCHIVE_LIMIT)


def make_plan(options: CompareOptions) -> Plan:
    """Read archive, runs and pairs.

    Raises:
        ConfigError: a run is not there.
        DataError: the archive, a run or a tree cannot be used, or they do not fit each other.
    """
    archive, photos, notes = _photos(options) if options.src is not None else (None, [], [])
    sides = read_sides(options.run) if options.run else []
    trees = tree_names(options.trees)
    matched = match_pairs(sides, trees, options.test_split, options.max_megapixels) if options.crosses else None
    swept: dict[str, dict[str, PairIndex]] = {}
    edits: list[Edit] = []
    if options.sweep:
        edits = make_edits(options.edits, options.levels, options.seed)
        swept = {side.name: _pairs_to_edit(side, options) for side in sides}
        notes += [note for listed in swept.values() for index in listed.values() for note in index.notes]
    return Plan(options, options.folder, archive, photos, sides, matched, swept, edits, list(dict.fromkeys(notes)))


def _photos(options: CompareOptions) -> tuple[Archive, list[ArchivePhoto], list[str]]:
    groups = None if options.groups is None else Path(options.groups)
    archive = read_archive(Path(str(options.src)), groups, OptionNames())
    splits = sorted({photo.split for photo in archive.photos})
    for split in options.split:
        if split not in splits:
            hint = nearest(split, splits)
            raise DataError(f"--split {split}: {archive.root} has no such split{hint}; it has {', '.join(splits)}")
    chosen = [photo for photo in archive.photos if not options.split or photo.split in options.split]
    notes = list(archive.notes)
    if options.photos is not None and options.photos < len(chosen):
        notes.append(f"{options.photos:,} of {len(chosen):,} photos are compared, spread evenly over the archive")
        places = np.linspace(0, len(chosen), options.photos, endpoint=False).astype(int)
        chosen = [chosen[place] for place in places]
    return archive, chosen, notes


def _pairs_to_edit(side: Side, options: CompareOptions) -> dict[str, PairIndex]:
    root = options.trees[0] if options.trees else None
    listed = {
        record.name: load_index(record, root, options.test_split, max_megapixels=options.max_megapixels)
        for record in side.records
    }
    for index in listed.values():
        if not index.masked:
            raise DataError(f"{index.root} holds photos without masks, so none can be made worse; name a tree of pairs")
    return listed


def plan_lines(plan: Plan) -> list[str]:
    """Return what would be computed."""
    options = plan.options
    lines = [f"note: {note}" for note in plan.notes]
    if plan.archive is not None:
        lines.append(
            f"prompts  {len(plan.photos):,} photos of {plan.archive.root}, segmenter {options.segmenter.name}; "
            f"columns: {', '.join(columns_of(options.asks))}"
        )
    if plan.matched is not None:
        lines += [f"note: {note}" for note in plan.matched.notes]
        lines.append(
            f"trees    {len(plan.matched.index):,} pairs in all of {', '.join(plan.matched.trees)}; runs "
            f"{', '.join(f'{side.name} ({len(side.records)})' for side in plan.sides)}"
        )
    for name, indices in plan.swept.items():
        index = next(iter(indices.values()))
        passes = len(indices) * (len(plan.edits) + 1)
        lines.append(
            f"sweep    {name}: {len(plan.edits)} edits of {len(index):,} masks ({index.root}, split {index.split}), "
            f"{passes} passes over the pairs"
        )
    return lines
