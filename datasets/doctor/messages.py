"""From the messages of the readers of archives and trees to findings."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.doctor.findings import Finding, finding

# A part of what is reported, and its code; the first that occurs decides.
ARCHIVE_MESSAGES = (
    ("is missing; it has one line", "class-file"),
    ("did you mean --src", "missing-folder"),
    ("an archive holds", "missing-folder"),
    ("has no split folder", "missing-folder"),
    ("has no counterpart", "missing-folder"),
    ("file; fill it or remove the split", "missing-folder"),
    ("copy it there or remove the line", "split-list"),
    ("is of another split", "split-list"),
    ("lists no photo", "split-list"),
    ("has no photo", "missing-partner"),
    ("has no mask", "missing-partner"),
    ("share the stem", "double-stem"),
    ("is a link that leads out", "outside-link"),
    ("; write the photo's name", "unsafe-name"),
    ("cannot be a folder's name", "unsafe-name"),
    (": the file name", "unsafe-name"),
    ("has two groups", "groups-file"),
    ("the group of", "groups-file"),
    ("has no row for", "groups-file"),
    ("split,image,group", "groups-file"),
    ("is not a UTF-8 CSV file", "groups-file"),
    ("differ only by blanks, case", "name-blanks-or-case"),
    ("is not 'id name'", "class-file"),
    ("give each its own id", "class-file"),
    ("names no class", "class-file"),
    ("is not a UTF-8 text file", "unreadable-file"),
    ("cannot be read (", "unreadable-file"),
    ("the file is empty", "empty-file"),
    ("not in category_id.txt", "unknown-id"),
    ("EXIF orientation of its own", "exif-orientation"),
    ("is turned by its EXIF block", "exif-orientation"),
    ("a mask has its photo's size", "size-mismatch"),
    ("the mask is a colour picture", "not-a-mask"),
    ("the mask has pixels of type", "not-a-mask"),
    ("damaged or cut short", "damaged-picture"),
    ("not a picture", "damaged-picture"),
    ("raise that limit", "too-large"),
    ("with 8 bits a channel", "damaged-picture"),
    ("neither photo nor mask", "stray-files"),
    ("are left out", "unlisted-photos"),
    ("name no photo in use", "unused-groups"),
    ("is taken as the background", "background-name"),
)
TREE_MESSAGES = (
    ("is a link that leads out", "outside-link"),
    ("holds a file called", "unsafe-name"),
    ("has no partner", "missing-partner"),
    ("lie in different class folders", "missing-partner"),
    ("share the stem", "double-stem"),
    ("has 0 bytes", "empty-file"),
    ("the file is empty", "empty-file"),
    ("is no class folder", "foreign-file"),
    ("is no picture (", "foreign-file"),
    ("not in the class list", "unknown-class"),
    ("differ only by blanks, case", "name-blanks-or-case"),
    ("is not a class file", "class-file"),
    ("the class list is empty", "class-file"),
    ("overlap in", "overlapping-pair"),
    ("reaches out of its box", "manifest-mismatch"),
    ("but the manifest says", "manifest-mismatch"),
    ("both halves have one size", "size-mismatch"),
    ("damaged or cut short", "damaged-picture"),
    ("not a picture", "damaged-picture"),
    ("raise that limit", "too-large"),
    ("with 8 bits a channel", "damaged-picture"),
    ("cannot be read (", "unreadable-file"),
    ("is not a record", "manifest-mismatch"),
    ("manifest.csv", "manifest-mismatch"),
)
_WHERE = re.compile(
    r"(?P<where>/.*?\.(?:jpe?g|png|webp|txt|csv|ya?ml|json)(?:, line \d+)?)(?::\s|\s)(?P<what>.*)", re.I
)


def from_message(message: str, root: Path, patterns: Sequence[tuple[str, str]], default: str) -> Finding:
    """Return the error that a message of a reader makes: ``where what; fix``.

    It is one whatever its code, since whoever reads the folder refuses it.

    Args:
        message: as the reader would report it.
        root: folder that is checked.
        patterns: (text of a message, code), the first that occurs decides.
        default: code of a message in which none occurs.
    """
    code = next((code for text, code in patterns if text in message), default)
    where, rest = str(root), message
    if message.startswith(where):
        match = _WHERE.fullmatch(message[len(where) :])
        if match:
            where, rest = where + match["where"], match["what"]
    what, _, fix = rest.partition("; ")
    return replace(finding(code, where, what, fix), severity="error")
