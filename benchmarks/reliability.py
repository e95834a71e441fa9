"""The record of the long tests, and docs/reliability.md made of it.

``make soak`` runs the long tests of faults and of bad input with ``--record`` and then

    python -m benchmarks.reliability --from build/soak --write

which gathers what they noted in docs/reliability.json and renders docs/reliability.md from it. With
``--messages-only`` the messages alone are replaced (``make messages``). Nothing in the document is written by hand but
its sentences.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.reliability_page import render
from utils.errors import ConfigError, DataError, run_script
from utils.files import write_text

DOCS = Path("docs")
RECORD, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"
# Numbers from benchmarks, by file in build/benchmarks.
FROM_BENCHMARKS = ("checkpoints",)

Record = dict[str, Any]


def gather(folder: Path) -> dict[str, list[Record]]:
    """Return what the tests noted, by section, in an order that does not depend on which ended first.

    Raises:
        DataError: the folder holds no notes.
    """
    sections: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            fact = json.loads(line)
            sections.setdefault(fact.pop("section"), []).append(json.dumps(fact, sort_keys=True))
    if not sections:
        raise DataError(f"{folder} holds no notes of tests; make them with: make soak")
    return {name: [json.loads(fact) for fact in sorted(facts)] for name, facts in sorted(sections.items())}


def benchmark_rows(names: Iterable[str]) -> list[Record]:
    """Return the rows that benchmarks published, of those that have run."""
    rows: list[Record] = []
    for name in names:
        path = common.OUT / f"{name}.json"
        if path.is_file():
            document = json.loads(path.read_text(encoding="utf-8"))
            keys = ("name", "measured", "target_text", "note")
            rows += [{key: row.get(key, "") for key in keys} for row in document["results"]]
    return rows


def new_record(folder: Path) -> Record:
    """Return the whole record of a soak."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": common.machine().split(", load")[0],
        "sections": gather(folder),
        "benchmarks": benchmark_rows(FROM_BENCHMARKS),
    }


def with_messages(record: Mapping[str, Any], folder: Path) -> Record:
    """Return a record in which the messages alone are new."""
    sections = dict(record["sections"]) | {"message": gather(folder).get("message", [])}
    return {**record, "sections": sections}


def main(arguments: list[str]) -> None:
    """Make the record and the page, or print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, help="folder of the tests' notes; null renders the record")
    parser.add_argument("--messages-only", action="store_true", help="replace the messages, keep the rest")
    parser.add_argument("--write", action="store_true", help="write both files; else the page is printed")
    options = parser.parse_args(arguments)
    if options.folder is None or options.messages_only:
        if not RECORD.is_file():
            raise ConfigError(f"{RECORD} does not exist; make it with: make soak")
        record = json.loads(RECORD.read_text(encoding="utf-8"))
        if options.folder is not None:
            record = with_messages(record, options.folder)
    else:
        record = new_record(options.folder)
    if not options.write:
        print(render(record))
        return
    write_text(RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    write_text(PAGE, render(record))
    print(f"{RECORD}, {PAGE}")


if __name__ == "__main__":
    run_script(main)
