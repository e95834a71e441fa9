"""Options of ``preprocess_foodseg103.py``."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.archive import PHOTO_SUFFIXES, PICTURE_FOLDER
from datasets.cutouts import FORMATS, LOSSLESS_FORMATS, PictureFormat
from datasets.decode import MaskOrientation
from datasets.picture_size import PixelLimit
from datasets.shards import Shard
from datasets.tree import Layout
from utils.errors import ConfigError

if TYPE_CHECKING:  # its segmenters load OpenCV, which annotation does not need
    from datasets.prompted.options import PromptingOptions

ARCHIVE_FORMATS = tuple(name for name in FORMATS if f".{name}" in PHOTO_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    """Options of ``preprocess_foodseg103.py``.

    Attributes:
        src: folder of the archive; needed to preprocess.
        dst: folder of the tree; needed to preprocess.
        size: longer side of the pictures in pixels, 0 keeps the photo's; None: 224, or as the tree appended to.
        format: file format of cut-outs and photos; None: jpg, or as the tree appended to.
        quality: JPEG quality 1..100; None: 95, or as the tree appended to.
        min_area: smallest part of the photo that a class may cover, in [0, 1).
        groups: CSV file with the columns split, image, group; None makes each photo its own group.
        mask_orientation: which way masks lie that fit a turned photo both ways.
        ambiguous: names of the ambiguous classes; None: ketchup and chili-paste where they exist.
        append: add to the tree that is at ``dst``.
        layout: ``pairs`` writes cut-outs, ``archive`` photos and masks of ``size``; None: pairs.
        shard: the part of the photos to cut in this process, or None for all.
        workers: worker processes; None takes every core, or the shard's.
        prompting: how masks are found from prompts; None takes the archive's.
        max_megapixels: largest picture that is decoded, in million pixels; it changes no byte.
    """

    src: Path | None = None
    dst: Path | None = None
    size: int | None = None
    format: PictureFormat | None = None
    quality: int | None = None
    min_area: float = 0.0
    groups: Path | None = None
    mask_orientation: MaskOrientation | None = None
    ambiguous: tuple[str, ...] | None = None
    append: bool = False
    layout: Layout | None = None
    shard: Shard | None = None
    workers: int | None = None
    prompting: "PromptingOptions | None" = None
    max_megapixels: float = 180.0

    def __post_init__(self) -> None:
        if self.size is not None and not 0 <= self.size <= 16384:
            raise ConfigError(f"--size {self.size}: the longer side is 0 (as the photo) or 1..16384 pixels")
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"--format {self.format}: choose {', '.join(FORMATS)}")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"--quality {self.quality}: JPEG quality is 1..100")
        if self.quality is not None and self.format in LOSSLESS_FORMATS:
            raise ConfigError(f"--quality is for jpg; {self.format} is written without loss: leave --quality out")
        if not 0 <= self.min_area < 1:
            raise ConfigError(f"--min_area {self.min_area}: a part of the photo, at least 0 and below 1")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers {self.workers}: at least 1")
        if not 0 < self.max_megapixels < math.inf:
            raise ConfigError(f"--max_megapixels {self.max_megapixels}: million pixels, more than 0")
        if self.layout == "archive":
            self._check_archive_layout()
        if self.prompting is not None and self.prompting.file is not None:
            self._check_prompt_file()

    def _check_prompt_file(self) -> None:
        if self.groups is not None:
            raise ConfigError("--groups is for archives; a prompt file has a column 'group' of its own")
        if self.mask_orientation is not None:
            raise ConfigError("--mask_orientation is for masks; prompts are always those of the upright photo")

    def _check_archive_layout(self) -> None:
        if self.prompting is not None:
            raise ConfigError(
                "--layout archive writes one label map a photo, but prompted masks may overlap; leave it out, or "
                "leave the prompts out"
            )
        if self.format is not None and self.format not in ARCHIVE_FORMATS:
            raise ConfigError(
                f"--format {self.format}: the photos of an archive are {' or '.join(ARCHIVE_FORMATS)}; choose one of "
                f"them for --layout archive"
            )
        if self.append:
            raise ConfigError("--append adds pairs to a tree of pairs; --layout archive always writes a new archive")
        for name, given in (("min_area", self.min_area != 0), ("ambiguous", self.ambiguous is not None)):
            if given:
                raise ConfigError(
                    f"--{name} changes no photo and no mask; leave it out with --layout archive, and give "
                    f"data.archive.{name} where the archive is read"
                )

    @property
    def pixel_limit(self) -> PixelLimit:
        """The largest picture that is decoded."""
        return PixelLimit(self.max_megapixels)

    @property
    def source(self) -> Path:
        """The folder of the archive or the photos; a ``ConfigError`` where it was not given."""
        if self.src is None:
            raise ConfigError("--src is missing: the folder of the archive, as in --src ARCHIVE --dst ROOT")
        return self.src

    @property
    def target(self) -> Path:
        """The tree's folder, made absolute; a ``ConfigError`` where it was not given."""
        if self.dst is None:
            raise ConfigError("--dst is missing: the folder of the pairs, as in --src ARCHIVE --dst ROOT")
        target = self.dst.resolve()
        if not target.name:
            raise ConfigError(f"--dst {self.dst} is the top of the file system; name a folder of its own")
        if self.src is not None and target.is_relative_to((self.src / PICTURE_FOLDER).resolve()):
            raise ConfigError(f"--dst {self.dst} lies among the archive's photos; name a folder outside of it")
        return target
