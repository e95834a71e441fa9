"""The command behind ``explain.py``."""

from pathlib import Path
from typing import Any

import torch

from datasets.index import PairIndex
from experiments.explanation.gallery import PAGE_FILE, Settings, write_gallery
from experiments.explanation.options import ExplainOptions, output_folder
from experiments.explanation.page import table_of
from experiments.explanation.selection import select
from experiments.runs import RunRecord, load_index, read_runs
from utils.config import parse_config
from utils.devices import resolve_device
from utils.files import whole_folder
from utils.processes import refuse_several

FLAGS = {"overwrite": "Replace the explanations that the folder holds."}


def explain_command(argv: list[str]) -> dict[str, Any]:
    """Parse the command line of ``explain.py``, explain, print the means and return them.

    Raises:
        ConfigError: options that cannot be used.
        DataError: runs or data that cannot be used, or a selection that holds no pair.
    """
    refuse_several("explain.py")
    options, flags = parse_config(ExplainOptions, argv, program="explain.py", flags=FLAGS)
    records = read_runs(options.run)
    folder = output_folder(options, flags["overwrite"])
    device = torch.device(resolve_device(options.device, section=""))
    index = _common_index(options, records)
    sections, notes = select(options, records, index)
    settings = Settings(
        method=options.method,
        target=options.target,
        least_cells=options.least_cells,
        per_sheet=options.per_sheet,
        batch_size=options.batch_size,
    )
    with whole_folder(folder) as unfinished:
        summary = write_gallery(records, index, sections, unfinished, settings, device, notes)
    print(table_of(summary))
    for line in [*summary["alarms"], *summary["notes"]]:
        print(line)
    print(f"{summary['n_pairs']:,} pairs: {folder / PAGE_FILE}")
    return summary


def _common_index(options: ExplainOptions, records: list[RunRecord]) -> PairIndex:
    root = Path(options.data.root or records[0].config.data.root)
    split = options.data.split or records[0].config.data.splits.test
    excluded = list(dict.fromkeys(name for record in records for name in record.config.data.exclude))
    indices = [
        load_index(
            record, root, split, [name for name in excluded if name in record.classes], options.data.max_megapixels
        )
        for record in records
    ]
    return indices[0]
