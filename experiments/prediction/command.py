"""What ``predict.py`` does: a model and photos in, a folder of answers out."""

import json
import re
import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from datasets.picture_size import PixelLimit
from datasets.workers import available_cores
from experiments.kinds import OFF_THE_SHELF
from experiments.prediction.ahead import Afterwards
from experiments.prediction.answers import Answer, Asker, Questions, answered
from experiments.prediction.description import EXPORT_FILE, Description, describe
from experiments.prediction.document import console_table, csv_text, region_entry
from experiments.prediction.drawing import Caption, draw_answers
from experiments.prediction.inputs import Inputs, find_inputs
from experiments.prediction.jobs import Way
from experiments.prediction.options import (
    CSV_FILE,
    JSON_FILE,
    MASKS,
    PICTURES,
    WEAK_SCORES,
    PredictOptions,
    output_folder,
)
from experiments.prediction.predictor import Predictor, load_predictor
from experiments.prediction.ready import holds_plain_pairs
from experiments.prediction.regions import OpenedPhoto, tiny_note
from segmenters.options import open_segmenter
from utils.config import parse_config
from utils.errors import ConfigError
from utils.files import whole_folder, write_text
from utils.names import portable_name
from utils.processes import refuse_several
from utils.provenance import describe_machine
from utils.run_directory import CONFIG_FILE

SCRIPT = "predict.py"
_MOST_WORKERS = 8


def predict_command(argv: list[str]) -> dict[str, Any]:
    """Parse the command line of ``predict.py``, predict, print a table and return the content of the JSON file."""
    refuse_several(SCRIPT)
    try:
        options, _ = parse_config(PredictOptions, argv, program=SCRIPT, flags={})
    except ConfigError as error:
        raise _in_pixels(error) from None
    started = time.perf_counter()
    document = predict(options)
    for note in document["notes"]:
        print(f"note: {note}")
    classes = f"among these {len(document['model']['classes'])} classes: {', '.join(document['model']['classes'][:12])}"
    print(f"{console_table(document['regions'])}")
    print(classes + ", …" * (len(document["model"]["classes"]) > 12))
    print(document["calibration"])
    count = f"{_counted(document['regions'], 'region')} of {_counted(document['photos'], 'photo')}"
    print(f"{count} in {time.perf_counter() - started:.1f} s: {document['folder']}")
    return document


def _in_pixels(error: ConfigError) -> ConfigError:
    """Say of coordinates that are no numbers what they look like; other errors stay as they are."""
    found = re.match(r'"?(point|negative|box)(\[\d+\])?"?: expected float(?: or null)?, but got (.*)', str(error))
    if found is None:
        return error
    wanted = "left,top,right,bottom" if found[1] == "box" else "x,y"
    example = "250,120,470,330" if found[1] == "box" else "320,215"
    return ConfigError(
        f"--{found[1]} holds {found[3]}, where numbers are wanted; give {wanted} in pixels, such as {example}"
    )


def _refuse_several_runs(folder: Path) -> None:
    """Name the runs that lie in a folder which is none itself."""
    if not folder.is_dir() or (folder / CONFIG_FILE).is_file() or (folder / EXPORT_FILE).is_file():
        return
    runs = sorted(path.parent for path in folder.glob(f"*/{CONFIG_FILE}"))
    if runs and not all(run.name.startswith("seed") for run in runs):
        listed = ", ".join(map(str, runs[:6])) + ", …" * (len(runs) > 6)
        raise ConfigError(f"--run {folder} is not the folder of a run, but holds some; name one of them: {listed}")


def _counted(things: Sized, what: str) -> str:
    return f"{len(things):,} {what}{'s' * (len(things) != 1)}"


def predict(options: PredictOptions) -> dict[str, Any]:
    """Answer every region of what options name, and write JSON, CSV and a picture of each photo.

    The folder appears whole, under its final name, when everything is written.

    Returns:
        The content of ``predictions.json``, and ``folder``, where it was written.

    Raises:
        ConfigError: options that cannot be used, or contradict each other or the model.
        DataError: a model, photos, masks, prompts or pairs that cannot be used; all of these inputs are named at once.
    """
    assert options.run is not None
    _refuse_several_runs(Path(options.run))
    description = describe(options.run)
    if options.what_if and description.kind is OFF_THE_SHELF:
        raise ConfigError(
            f"--what_if takes the context away, and {description.path} has a single view; leave it out, or name a "
            f"RveRNet"
        )
    workers = min(available_cores(), _MOST_WORKERS) if options.workers == "auto" else options.workers
    segmenter = cache(partial(open_segmenter, options.segmenter))  # loaded when every input has been checked
    way = Way(
        description.size,
        PixelLimit(options.max_megapixels),
        options.pictures,
        segmenter,
        options.segmenter.choice,
        weak_below=WEAK_SCORES[options.segmenter.name],
        masks_kept=options.masks,
    )
    inputs = find_inputs(options, description, way, workers)
    settings = segmenter().settings if inputs.segmented else None
    folder = output_folder(options)  # the last check: what is wrong with the inputs matters more
    predictor = load_predictor(options.run, device=options.device, precision=options.precision)
    if options.pairs is not None:  # they are cut already, and stay as large as they are
        predictor = replace(predictor, description=replace(predictor.description, size=0))
    with _own_parent(folder), whole_folder(folder) as unfinished:
        written = Writer(predictor, options, unfinished)
        written.answer(inputs, workers)
        document = _document(description, predictor, options, inputs, written, settings)
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
        write_text(unfinished / JSON_FILE, text + "\n")
        write_text(unfinished / CSV_FILE, csv_text(written.regions, options.top_k, predictor.views))
    return document | {"folder": str(folder)}


@dataclass(eq=False)
class Writer:
    """Answers photos, draws them and keeps what is written of them.

    Attributes:
        predictor: the model.
        options: what is asked.
        folder: for the pictures.
        photos: an entry of ``predictions.json`` for each photo.
        regions: one for each region.
        notes: what the user should know of single photos.
    """

    predictor: Predictor
    options: PredictOptions
    folder: Path

    def __post_init__(self) -> None:
        self.photos: list[dict[str, Any]] = []
        self.regions: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._names: set[str] = set()
        description = self.predictor.description
        self._caption = Caption(
            description.classes, self.options.top_k, description.name, calibration_text(description)
        )

    def answer(self, inputs: Inputs, workers: int) -> None:
        """Answer all inputs in order; threads draw what is answered."""
        options = self.options
        asker = Asker(self.predictor, Questions(options.what_if, options.maps, options.method), options.batch_size)
        if options.pictures:
            (self.folder / PICTURES).mkdir()
        if options.masks and inputs.segmented:
            (self.folder / MASKS).mkdir()
        with Afterwards(workers, 2 * workers) as afterwards:
            for photo, answers in answered(inputs.jobs, asker.ask, options.batch_size, workers):
                self._add(photo, answers, afterwards)

    def _add(self, photo: OpenedPhoto, answers: list[Answer], afterwards: Afterwards) -> None:
        self.notes += [*photo.notes, *tiny_note(photo)]
        picture, name = None, self._unused(photo.stem)
        if photo.shown is not None:
            picture = f"{PICTURES}/{name}.png"
            afterwards.do(partial(draw_answers, self.folder / picture, photo, answers, self._caption))
        width, height = photo.size
        self.photos.append({"photo": photo.name, "width": width, "height": height, "picture": picture})
        classes, top_k = self.predictor.classes, self.options.top_k
        for number, (region, answer) in enumerate(zip(photo.regions, answers, strict=True), start=1):
            mask = None
            if region.file is not None:
                mask = f"{MASKS}/{name}_{number}.png"
                afterwards.do(partial(_write_mask, self.folder / mask, region.file))
            self.regions.append(region_entry(photo, number, region, answer, classes, top_k) | {"mask": mask})

    def _unused(self, stem: str) -> str:
        """Return a file name that no other picture has, on systems that do not tell case either."""
        base = portable_name(stem) or "photo"
        name, number = base, 1
        while name.lower() in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name.lower())
        return name


def _write_mask(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def calibration_text(description: Description) -> str:
    """Return what the probabilities are, in one line."""
    if description.calibration.startswith("fitted"):
        return f"probabilities are softmax(logits / {description.temperature:.3g}), {description.calibration}"
    return f"probabilities are the plain softmax (temperature {description.calibration})"


def _fitted_here(description: Description, options: PredictOptions) -> list[str]:
    """Return a note where ready pairs are, or may be, those that the temperature was fitted on."""
    if options.pairs is None or not description.calibration.startswith("fitted"):
        return []
    splits, root = description.config.data.splits, Path(options.pairs)
    fitted_on = (
        splits.test if description.calibration.endswith("test pairs") else splits.train
    )  # of which validation is a part
    if holds_plain_pairs(root) or (options.split or splits.test) != fitted_on:
        return []
    own = root.resolve() == Path(description.config.data.root).resolve()
    which = "and these are the same" if own else "which may be the same as these"
    return [
        f"the temperature was {description.calibration}, {which}: their probabilities are better calibrated than those "
        f"of new photos will be"
    ]


def _document(
    description: Description,
    predictor: Predictor,
    options: PredictOptions,
    inputs: Inputs,
    written: Writer,
    settings: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "model": {
            "path": str(description.path),
            "name": description.name,
            "kind": description.kind.name,
            "views": predictor.views,
            "size": description.size,
            "classes": list(description.classes),
            "ambiguous": list(description.ambiguous),
        },
        "temperature": description.temperature,
        "calibration": calibration_text(description),
        "segmenter": settings,
        "options": asdict(options),
        "notes": [*description.notes, *_fitted_here(description, options), *inputs.notes, *written.notes],
        "photos": written.photos,
        "regions": written.regions,
        "environment": {"script": SCRIPT, **describe_machine(predictor.device.type)},
    }


@contextmanager
def _own_parent(folder: Path) -> Iterator[None]:
    """Remove an empty folder above ``folder`` again that did not exist before, where an error is raised."""
    existed = folder.parent.exists()
    try:
        yield
    except BaseException:
        if not existed:
            with suppress(OSError):
                folder.parent.rmdir()
        raise
