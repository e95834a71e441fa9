"""From options to the list of what is predicted, every input checked before anything large is loaded."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from datasets.listing import is_left_aside
from datasets.picture_size import PixelLimit
from experiments.prediction.description import Description
from experiments.prediction.jobs import Job, PhotoJob, Way
from experiments.prediction.options import PredictOptions
from experiments.prediction.prompt_file import read_prompt_file
from experiments.prediction.ready import holds_class_folders, holds_plain_pairs, plain_jobs, tree_jobs
from segmenters.options import SegmenterOptions
from utils.errors import ConfigError, DataError, nearest, problem_list

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is predicted, in order, what the user should know of it, and whether a segmenter finds the regions."""

    jobs: list[Job]
    notes: list[str] = field(default_factory=list)
    segmented: bool = False


def find_inputs(options: PredictOptions, description: Description, way: Way, workers: int) -> Inputs:
    """List and check everything that is to be predicted.

    Args:
        options: say what.
        description: of the model; its splits and its data section count for trees and archives.
        way: how photos are opened; its segmenter is not asked for yet.
        workers: threads that read headers.

    Raises:
        ConfigError: the photo, mask or folder that an option names is not there, or of the wrong kind; an option says
            where to look on the photo, and the model looks at all of it.
        DataError: with everything that is wrong with photos, masks and prompts.
    """
    if options.pairs is not None:
        inputs = _ready_pairs(options, description)
    else:
        inputs = _whole_photos(options, description, way) if description.whole_photos else _photos(options, way)
    with ThreadPoolExecutor(workers) as pool:
        problems = [problem for found in pool.map(lambda job: job.check(), inputs.jobs) for problem in found]
    refuse(problems)
    return inputs


def refuse(problems: Sequence[str]) -> None:
    """Raise a ``DataError`` with all problems, unless there is none."""
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError(problem_list("nothing is predicted", list(problems)))


def _ready_pairs(options: PredictOptions, description: Description) -> Inputs:
    assert options.pairs is not None
    root = Path(options.pairs)
    _require_existing("--pairs", root)
    if not root.is_dir():
        raise ConfigError(
            f"--pairs {root} is a file; name a tree of pairs, an archive, or a folder with roi/ and extra-roi/"
        )
    limit = PixelLimit(options.max_megapixels)
    if holds_plain_pairs(root):
        if holds_class_folders(root):
            raise ConfigError(f"--pairs {root} is one split; write --pairs {root.parent} --split {root.name}")
        if options.split is not None:
            raise ConfigError(f"--split {options.split}: {root} holds roi/ and extra-roi/ itself; leave --split out")
        return Inputs(list(plain_jobs(root, limit, options.pictures)))
    split = options.split or description.config.data.splits.test
    jobs, notes = tree_jobs(description.config, root, split, limit, options.pictures)
    return Inputs(list(jobs), notes)


def _whole_photos(options: PredictOptions, description: Description, way: Way) -> Inputs:
    if options.region_options or options.segmenter != SegmenterOptions():
        said = options.region_options or "segmenter.*"
        raise ConfigError(
            f"{said} would find a region, and {description.path} looks at the whole photo, whatever the region; leave "
            f"it out, or name a run with the view roi or extra_roi, or a RveRNet"
        )
    path = Path(str(options.photo))
    _require_existing("--photo", path)
    photos, notes = _photos_in(path) if path.is_dir() else ([path], [])
    notes.append("the model looks at whole photos: one answer for each, and no segmenter is asked")
    return Inputs([PhotoJob(photo, way, whole=True) for photo in photos], notes)


def _photos(options: PredictOptions, way: Way) -> Inputs:
    if options.prompts is not None:
        return _prompted(Path(options.prompts), options, way)
    assert options.photo is not None
    path = Path(options.photo)
    _require_existing("--photo", path)
    if path.is_dir():
        return _folder(options, path, way)
    mask = None if options.mask is None else Path(options.mask)
    if mask is not None:
        _require_existing("--mask", mask)
        if mask.is_dir():
            raise ConfigError(f"--mask {mask} is a folder and --photo {path} a single photo; name one mask file")
    prompts = None if options.prompt is None else [options.prompt]
    rough = _note_rough(options) if prompts is None and mask is None else []
    job = PhotoJob(path, way, prompts, mask=mask, mask_orientation=options.mask_orientation)
    return Inputs([job], rough, segmented=mask is None)


def _prompted(file: Path, options: PredictOptions, way: Way) -> Inputs:
    """Return the photos that a prompt file names: below the folder ``photo``, or below the file's own."""
    root, only = file.parent, None
    if options.photo is not None:
        root = Path(options.photo)
        _require_existing("--photo", root)
        if root.is_file():
            root, only = root.parent, root
    found = read_prompt_file(file, root)
    chosen = {photo: prompts for photo, prompts in found.items() if only is None or photo == only}
    if not chosen:
        raise DataError(f"{file} has no row for the photo {only}; add one, or leave --photo out")
    others = [path.name for path in found if path not in chosen]
    notes = _note_left_out(file, others, "other photo is named", "other photos are named")
    if only is None and options.photo is not None:
        without = [path.name for path in _files(root, PHOTO_SUFFIXES)[0] if path not in chosen]
        notes += _note_left_out(root, without, "photo has no prompt", "photos have no prompt")
    jobs = [PhotoJob(photo, way, of.prompts, of.names) for photo, of in chosen.items()]
    return Inputs(list(jobs), notes, segmented=True)


def _folder(options: PredictOptions, folder: Path, way: Way) -> Inputs:
    if options.prompt is not None:
        raise ConfigError(
            f"--point, --negative and --box are for a single photo, and --photo {folder} is a folder; put prompts of "
            f"several photos into a file: --prompts FILE"
        )
    photos, notes = _photos_in(folder)
    if options.mask is None:
        return Inputs([PhotoJob(path, way) for path in photos], [*notes, *_note_rough(options)], segmented=True)
    masks, mask_notes = _masks_of(photos, Path(options.mask), folder)
    jobs = [
        PhotoJob(path, way, mask=mask, mask_orientation=options.mask_orientation)
        for path, mask in zip(photos, masks, strict=True)
    ]
    return Inputs(list(jobs), [*notes, *mask_notes])


def _photos_in(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the photos of a folder, and a note on what else lies there."""
    photos, others = _files(folder, PHOTO_SUFFIXES)
    if not photos:
        raise DataError(f"--photo {folder} holds no photo ({', '.join(PHOTO_SUFFIXES)}); name the folder they lie in")
    return photos, _note_left_out(folder, [path.name for path in others], "entry is no photo", "entries are no photos")


def _masks_of(photos: Sequence[Path], folder: Path, photo_folder: Path) -> tuple[list[Path], list[str]]:
    """Return the mask of each photo: the file of its stem in a folder of masks."""
    _require_existing("--mask", folder)
    if not folder.is_dir():
        raise ConfigError(f"--mask {folder} is a file and --photo {photo_folder} a folder; name a folder of masks")
    by_stem: dict[str, Path] = {}
    problems = []
    for path in _files(folder, MASK_SUFFIXES)[0]:
        if path.stem in by_stem:
            problems.append(f"{path} and {by_stem[path.stem]} are masks of one photo; remove one")
        by_stem[path.stem] = path
    problems += [
        f"{path} has no mask {folder / path.stem}.png{nearest(path.stem, by_stem)}"
        for path in photos
        if path.stem not in by_stem
    ]
    stems = [path.stem for path in photos]
    problems += [f"{path} shares its mask with another photo" for path in photos if stems.count(path.stem) > 1]
    refuse(problems)
    unused = [path.name for stem, path in by_stem.items() if stem not in set(stems)]
    notes = _note_left_out(
        folder, unused, f"mask has no photo in {photo_folder}", f"masks have no photo in {photo_folder}"
    )
    return [by_stem[stem] for stem in stems], notes


def _files(folder: Path, suffixes: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return the files of a folder with such a suffix, by name, and whatever else lies there."""
    visible = [path for path in sorted(folder.iterdir()) if not is_left_aside(path.name)]
    fitting = [path for path in visible if path.suffix.lower() in suffixes and path.is_file()]
    wanted = set(fitting)
    return fitting, [path for path in visible if path not in wanted]


def _note_left_out(where: Path, names: Sequence[str], one: str, several: str) -> list[str]:
    """Return a note that names the first of what is left out; none where nothing is."""
    if not names:
        return []
    first = ", ".join(names[:3]) + ", …" * (len(names) > 3)
    text = f"1 {one} and is" if len(names) == 1 else f"{len(names)} {several} and are"
    return [f"{where}: {text} left out ({first})"]


def _note_rough(options: PredictOptions) -> list[str]:
    if options.segmenter.name != "grabcut":
        return []
    return ["GrabCut's segments of a photo without a prompt are rough; point at the food, or take segmenter.name sam"]


def _require_existing(option: str, path: Path) -> None:
    if not path.exists():
        siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"{option} {path} does not exist{nearest(path.name, siblings)}")
