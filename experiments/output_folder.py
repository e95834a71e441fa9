"""The folder that a command fills with its files and pictures, looked at before anything is computed."""

from collections.abc import Collection
from pathlib import Path

from utils.errors import ConfigError


def check_output(folder: Path, own: Collection[str], pictures: Collection[str], what: str, *, overwrite: bool) -> Path:
    """Return a folder that may be filled.

    Args:
        folder: as it was given or chosen; it need not exist.
        own: names of all that the command writes into it.
        pictures: those of them that are folders of PNG files.
        what: what the command writes, in the singular, for messages.
        overwrite: whether what an earlier call wrote may be replaced.

    Raises:
        ConfigError: it is a file, holds what the command did not write, or an earlier result that may not be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder")
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in found if name not in own]
    for inner in pictures:
        if (folder / inner).is_dir():
            foreign += [f"{inner}/{path.name}" for path in (folder / inner).iterdir() if path.suffix != ".png"]
    if foreign:
        raise ConfigError(
            f"--out {folder} is not empty and holds what no {what} wrote ({', '.join(foreign[:3])}); name another "
            f"folder"
        )
    if found and not overwrite:
        raise ConfigError(f"--out {folder} holds earlier {what}s; add --overwrite, or name another folder")
    return folder
