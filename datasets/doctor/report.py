"""What is said about a folder: findings as lines for a person, and as JSON beside the folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datasets.doctor.findings import Finding, accepted, condensed, counted, exit_status
from utils.errors import ConfigError
from utils.files import write_text

REPORT_SUFFIX = ".doctor.json"


@dataclass
class Report:
    """The findings of one folder.

    Attributes:
        path: the folder.
        kind: what it is: ``archive``, ``pairs``, ``folders`` or ``run``.
        looked_at: what was checked, in words.
        findings: what there is to say.
    """

    path: Path
    kind: str
    looked_at: str
    findings: list[Finding] = field(default_factory=list)


def publish(
    reports: Sequence[Report],
    say: Callable[[str], None],
    *,
    json_file: Path | None = None,
    accept: frozenset[str] = frozenset(),
) -> int:
    """Say every finding, the worst first, and their numbers; write them as JSON.

    Args:
        reports: of different folders.
        say: takes a line for the user.
        json_file: one file for all; null writes ``<folder>.doctor.json`` beside each, where that can be written.
        accept: codes of findings that become notes.

    Returns:
        Exit status: 0 where nothing is worse than a note, 1 with a warning, 2 with an error.

    Raises:
        ConfigError: ``json_file`` cannot be written.
    """
    for report in reports:
        report.findings = condensed(accepted(report.findings, accept))
    lines = condensed([one for report in reports for one in report.findings])
    for one in lines:
        say(str(one))
    _write(reports, say, json_file)
    looked_at = "; ".join(f"{report.looked_at} in {report.path}" for report in reports)
    say(f"{counted(lines)} ({looked_at})")
    return exit_status(lines)


def _write(reports: Sequence[Report], say: Callable[[str], None], json_file: Path | None) -> None:
    if json_file is not None:
        try:
            write_text(json_file, _as_json(reports))
        except OSError as error:
            raise ConfigError(f"--json {json_file} cannot be written ({error.strerror}); name another file") from None
        return
    for report in reports:
        path = report_path(report.path)
        try:
            write_text(path, _as_json([report]))
        except OSError as error:
            say(f"{path} cannot be written ({error.strerror}); doctor.py --json FILE writes the findings elsewhere")


def report_path(folder: Path) -> Path:
    """Return where the findings of a folder are written: beside it."""
    folder = folder.resolve()  # "." has no name
    return folder.with_name(f"{folder.name or 'root'}{REPORT_SUFFIX}")


def _as_json(reports: Sequence[Report]) -> str:
    checked = [
        {
            "path": str(report.path),
            "kind": report.kind,
            "looked_at": report.looked_at,
            "findings": [asdict(one) for one in report.findings],
        }
        for report in reports
    ]
    status = exit_status([one for report in reports for one in report.findings])
    return json.dumps({"status": status, "checked": checked}, indent=2, ensure_ascii=False) + "\n"
