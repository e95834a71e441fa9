"""Photos and what people say of the objects in them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from segmenters.prompts import Prompt


@dataclass(frozen=True, slots=True)
class PromptedObject:
    """One object of a photo.

    Attributes:
        class_name: its class.
        prompt: what is said of it.
        where: where that stands, for messages, such as ``line 7``.
    """

    class_name: str
    prompt: Prompt
    where: str


@dataclass(frozen=True, slots=True)
class PromptedPhoto:
    """One photo with its prompts.

    Attributes:
        split: name of the split.
        stem: file name without suffix; unique within a split.
        photo: path inside the folder of photos, with ``/``.
        group: name shared by photos that are not independent.
        objects: in the order of the file.
    """

    split: str
    stem: str
    photo: str
    group: str
    objects: tuple[PromptedObject, ...]

    def stamp(self, root: Path) -> list[int | str]:
        """Return what changes with the photo's file or its prompts."""
        stat = (root / self.photo).stat()
        return [stat.st_size, stat.st_mtime_ns, self.prompts_sha256]

    @property
    def prompts_sha256(self) -> str:
        """SHA-256 of the classes and prompts of its objects."""
        listed = [[one.class_name, one.prompt.points, one.prompt.labels, one.prompt.box] for one in self.objects]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
