"""What ``predict.py`` is asked to do, and where its answer goes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from datasets.decode import MaskOrientation
from experiments.explanation.maps import check_method
from experiments.output_folder import check_output
from experiments.prediction.description import EXPORT_FILE, HUB_PREFIX
from segmenters.options import SegmenterName, SegmenterOptions, check_idle
from segmenters.prompts import IN, OUT, Box, Prompt
from utils.errors import ConfigError, require, require_pixels
from utils.names import portable_name
from utils.sections import Device, Precision

JSON_FILE, CSV_FILE, PICTURES, MASKS = "predictions.json", "predictions.csv", "pictures", "masks"


class WeakScores(NamedTuple):
    """Scores below which a mask is marked: of prompts with points alone, and of those with a box."""

    points: float
    box: float


NO_WEAK_SCORES = WeakScores(0.0, 0.0)
# GrabCut's scores of clicks are lower than those of boxes that fit as well; SAM estimates an IoU.
WEAK_SCORES: dict[SegmenterName, WeakScores] = {"grabcut": WeakScores(0.3, 0.7), "sam": WeakScores(0.7, 0.7)}


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of ``predict.py``.

    Attributes:
        run: folder of a finished run, or one that ``export.py`` wrote.
        photo: a photo, or a folder of photos. Without prompts and mask, every segment is answered; of a model that
            looks at whole photos, each photo.
        prompts: file of prompts, one or several for each photo.
        point: x,y of a point inside the region of one photo, in pixels; several belong to one region.
        negative: x,y of a point outside of it.
        box: left,top,right,bottom around it.
        mask: picture of label ids in the photo's size, 0 outside of all regions; for a folder of photos a folder of
            masks with the same stems.
        mask_orientation: whether masks that fit a turned photo both ways lie on it as ``stored`` or ``upright``.
        pairs: tree of pairs, archive, class folders of photos, or a folder with roi/ and extra-roi/ of pictures.
        split: of the tree, archive or class folders; null takes the run's test split.
        segmenter: what finds regions.
        top_k: classes that are named for each region.
        maps: draw what each module looked at.
        method: of the maps, as for ``explain.py``.
        what_if: say what the answer becomes without context.
        pictures: draw an annotated picture of each photo.
        masks: write the mask of each region that the segmenter found, for ``mask`` of a later call.
        out: folder to write; null takes ``<run>/predictions/<name of the photo or folder>`` for a run, and
            ``predictions/<name>`` for an exported model, whose folder stays as it was written.
        overwrite: replace what an earlier prediction left in that folder.
        batch_size: pairs per forward pass, whichever photos they are of.
        workers: threads that decode, segment and draw; ``auto`` takes the processor cores, at most 8.
        device: ``auto`` takes a GPU where there is one.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
        max_megapixels: largest picture that is decoded, in million pixels.
    """

    run: str | None = None
    photo: str | None = None
    prompts: str | None = None
    point: list[float] = field(default_factory=list)
    negative: list[float] = field(default_factory=list)
    box: list[float] | None = None
    mask: str | None = None
    mask_orientation: MaskOrientation | None = None
    pairs: str | None = None
    split: str | None = None
    segmenter: SegmenterOptions = field(default_factory=SegmenterOptions)
    top_k: int = 5
    maps: bool = False
    method: str = "gradcam"
    what_if: bool = False
    pictures: bool = True
    masks: bool = True
    out: str | None = None
    overwrite: bool = False
    batch_size: int = 32
    workers: int | Literal["auto"] = "auto"
    device: Device = "auto"
    precision: Precision = "auto"
    max_megapixels: float = 100.0

    def __post_init__(self) -> None:
        check_idle(self.segmenter)
        check_method(self.method)
        require(self.top_k >= 1, "top_k", self.top_k, "at least 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.workers == "auto" or self.workers >= 1, "workers", self.workers, "'auto' or at least 1")
        require_pixels("max_megapixels", self.max_megapixels)
        for name, numbers in (("point", self.point), ("negative", self.negative)):
            if len(numbers) % 2:
                raise ConfigError(
                    f"--{name} has an odd count of numbers ({_listed(numbers)}); a point is x,y in pixels, such as "
                    f"320,215"
                )
        if self.box is not None and len(self.box) != 4:
            raise ConfigError(
                f"--box takes four numbers and not {len(self.box)} ({_listed(self.box)}); give left,top,right,bottom "
                f"in pixels, such as 250,120,470,330"
            )
        if self.negative and not self.point and self.box is None:
            raise ConfigError("--negative says only what the region is not; add --point or --box for what it is")
        self._check_together()

    @property
    def prompt(self) -> Prompt | None:
        """The prompt of the command line, None where there is none."""
        inside, outside = _points(self.point), _points(self.negative)
        if not inside and not outside and self.box is None:
            return None
        box: Box | None = None if self.box is None else (self.box[0], self.box[1], self.box[2], self.box[3])
        return Prompt((*inside, *outside), (IN,) * len(inside) + (OUT,) * len(outside), box)

    @property
    def region_options(self) -> str | None:
        """What is given that says where to look on a photo, as the user wrote it; null where nothing does."""
        given = {
            "--prompts": self.prompts is not None,
            "--point": bool(self.point),
            "--box": self.box is not None,
            "--mask": self.mask is not None,
        }
        return next((name for name, is_given in given.items() if is_given), None)

    def _check_together(self) -> None:
        """Refuse options that contradict each other."""
        if self.run is None:
            raise ConfigError("no run is named; add --run DIR, the folder of a finished run or one of export.py")
        if self.photo is None and self.pairs is None and self.prompts is None:
            raise ConfigError("nothing to predict is named; add --photo FILE_OR_FOLDER, or --pairs TREE")
        given = {
            "--prompts": self.prompts is not None,
            "--point, --negative or --box": self.prompt is not None,
            "--mask": self.mask is not None,
            "--pairs": self.pairs is not None,
        }
        ways = [name for name, is_given in given.items() if is_given]
        if len(ways) > 1:
            raise ConfigError(f"{ways[0]} and {ways[1]} both say what the regions are; give one of them")
        if self.pairs is not None and self.photo is not None:
            raise ConfigError("--pairs and --photo both say what is to be predicted; give one of them")
        if self.photo is None and self.mask is not None:
            raise ConfigError("--mask lies on a photo; add --photo")
        if self.photo is None and self.prompt is not None:
            raise ConfigError("--point, --negative and --box lie on a photo; add --photo")
        self._check_belonging()

    def _check_belonging(self) -> None:
        """Refuse options of another way than the one that is taken."""
        if self.split is not None and self.pairs is None:
            raise ConfigError("--split names a part of a tree of pairs; add --pairs, or leave it out")
        if self.mask_orientation is not None and self.mask is None:
            raise ConfigError("--mask_orientation says how masks lie; add --mask, or leave it out")
        has_regions = self.mask is not None or self.pairs is not None
        if has_regions and self.segmenter != SegmenterOptions():
            source = "--mask has" if self.mask is not None else "--pairs have"
            raise ConfigError(f"{source} regions already, so segmenter.* does nothing; leave it out")


def _listed(numbers: list[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _points(numbers: list[float]) -> tuple[tuple[float, float], ...]:
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def output_folder(options: PredictOptions) -> Path:
    """Return the folder to fill, checked before anything is computed.

    Raises:
        ConfigError: it is a file, holds what no prediction wrote, or an earlier one that may not be replaced.
    """
    folder = Path(options.out) if options.out is not None else _usual_folder(options)
    own = (JSON_FILE, CSV_FILE, PICTURES, MASKS)
    return check_output(folder, own, (PICTURES, MASKS), "prediction", overwrite=options.overwrite)


def _usual_folder(options: PredictOptions) -> Path:
    source = Path(str(options.photo or options.pairs or options.prompts))
    name = source.resolve().stem if source.is_file() else source.resolve().name
    run = Path(str(options.run))
    exported = str(options.run).startswith(HUB_PREFIX) or (run / EXPORT_FILE).is_file()
    return (Path() if exported else run) / "predictions" / (portable_name(name) or "photo")
