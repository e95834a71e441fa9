import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.journal import Journal
from datasets.preprocess import PreprocessOptions, preprocess

CLASS_FILE = "0\tbackground\r\n1\tcandy\r\n2\tegg tart\r\n5\tpie\r\n7\tsoup"
EXIF_ORIENTATION = 0x0112


@contextmanager
def stopped_after(photos: int) -> Iterator[None]:
    """Send this process a SIGTERM when a journal has that many photos."""
    real = Journal.add

    def add(self: Journal, *arguments: Any) -> None:  # noqa: ANN401  # passed on as they are
        real(self, *arguments)
        if len(self.records) == photos:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "add", add)
        yield


@pytest.fixture
def stop_after() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which preprocessing is stopped by a signal after some photos."""
    return stopped_after


class ArchiveMaker:
    """Writes small archives in the layout of FoodSeg103."""

    def __init__(self, root: Path, class_file: str = CLASS_FILE) -> None:
        self.root = root
        self.root.mkdir(parents=True, exist_ok=True)
        self.class_file(class_file)

    def class_file(self, text: str) -> None:
        (self.root / "category_id.txt").write_bytes(text.encode())

    def photo_path(self, split: str, name: str) -> Path:
        return self._path("img_dir", split, name)

    def mask_path(self, split: str, name: str) -> Path:
        return self._path("ann_dir", split, name)

    def list_file(self, split: str, text: str) -> None:
        path = self.root / "ImageSets" / f"{split}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())

    def add(
        self,
        split: str,
        stem: str,
        labels: NDArray[np.integer],
        *,
        suffix: str = ".png",
        photo: Image.Image | None = None,
        orientation: int | None = None,
    ) -> NDArray[np.uint8]:
        """Write a photo and its mask; returns the photo's pixels, none of which is black."""
        height, width = labels.shape
        seed = int.from_bytes(hashlib.sha256(f"{split}/{stem}".encode()).digest()[:4], "big")
        patches = np.random.default_rng(seed).integers(30, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        pixels = patches.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
        image = Image.fromarray(pixels) if photo is None else photo
        exif = Image.Exif()
        if orientation is not None:
            exif[EXIF_ORIENTATION] = orientation
        image.save(self.photo_path(split, stem + suffix), exif=exif)
        Image.fromarray(labels).save(self.mask_path(split, stem + ".png"))
        return pixels

    def small(self) -> "ArchiveMaker":
        """Three train photos and two test photos of three classes; class soup (id 7) occurs nowhere."""
        for split, stem, seed in (
            ("train", "a", 1),
            ("train", "b.c", 2),
            ("train", "d", 3),
            ("test", "a", 4),
            ("test", "e", 5),
        ):
            self.add(split, stem, self.blocks(seed))
        return self

    def preprocess(self, dst: Path, **options: Any) -> list[str]:  # noqa: ANN401  # any option of preprocess
        """Preprocess in this process unless told otherwise; returns the lines for the user."""
        lines: list[str] = []
        preprocess(PreprocessOptions(src=self.root, dst=dst, **({"workers": 1} | options)), lines.append)
        return lines

    @staticmethod
    def files(root: Path) -> dict[str, bytes]:
        """Return every file below a folder by its path."""
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    @staticmethod
    def blocks(seed: int, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
        """Return labels in 8×8 blocks of ids 0, 1, 2 and 5, each of which occurs."""
        ids = np.array([0, 1, 2, 5], np.uint8)[np.random.default_rng(seed).permutation(height * width // 64) % 4]
        return ids.reshape(height // 8, width // 8).repeat(8, axis=0).repeat(8, axis=1)

    def _path(self, kind: str, split: str, name: str) -> Path:
        path = self.root / "Images" / kind / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@pytest.fixture
def archive(tmp_path: Path) -> ArchiveMaker:
    return ArchiveMaker(tmp_path / "archive")
