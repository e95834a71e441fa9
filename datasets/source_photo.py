"""A photo that is to be cut, wherever its masks come from."""

from pathlib import Path
from typing import Protocol


class SourcePhoto(Protocol):
    """A photo whose masks are in files, or are found from prompts."""

    @property
    def split(self) -> str:
        """Name of the split."""
        ...

    @property
    def stem(self) -> str:
        """Name of the photo, unique within its split."""
        ...

    @property
    def photo(self) -> str:
        """Path of the photo inside its source, with ``/``."""
        ...

    @property
    def group(self) -> str:
        """Name shared by photos that are not independent."""
        ...

    def stamp(self, root: Path) -> list[int | str]:
        """Return what changes with what the photo's cut-outs are made of, in a source at ``root``."""
        ...
