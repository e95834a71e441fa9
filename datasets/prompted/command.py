"""The options of ``preprocess_foodseg103.py`` that are about prompts."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, get_args

from datasets.prompted.derive import PROMPT_KINDS
from datasets.prompted.options import Derivation, PromptingOptions
from segmenters.options import SAM_MODELS, SEGMENTERS, SegmenterOptions, check_given
from segmenters.segmenter import CHOICES
from utils.errors import ConfigError
from utils.sections import Device, Precision

_SOURCES = ("prompts", "prompts_from", "classes")
_DERIVATION = {"prompt_kind": "kind", "points": "points", "jitter": "jitter", "seed": "seed"}
_SEGMENTER = "segmenter."


def add_options(parser: ArgumentParser) -> None:
    """Add what is about prompts and segmenters; none of it has a default, so that what was given can be told."""
    group = parser.add_argument_group("masks from prompts (docs/prompts.md)")
    add = group.add_argument
    add("--prompts", type=Path, metavar="FILE", help="CSV, JSON or YAML with photo, class, points, box; --src: photos")
    add("--classes", type=Path, metavar="FILE", help="refuse classes that this category_id.txt or classes.yaml lacks")
    add("--prompts_from", choices=("masks",), help="derive the prompts from the annotation of the archive at --src")
    add("--prompt_kind", choices=PROMPT_KINDS, help="derived: what each object gets (default: box)")
    add("--points", type=int, metavar="K", help="derived points: how many each object gets (default: 1)")
    add("--jitter", type=float, metavar="F", help="derived: part of the box's side or radius to move by (default: 0)")
    add("--seed", type=int, metavar="S", help="derived: of the draws (default: 0)")
    text = "grabcut needs no weights (default); sam needs a checkpoint"
    add("--segmenter", "--segmenter.name", dest="segmenter.name", choices=SEGMENTERS, help=text)
    add("--segmenter.checkpoint", metavar="FILE", help="SAM: its weights")
    add("--segmenter.model", choices=SAM_MODELS, help="SAM: size of the checkpoint (default: read from it)")
    add("--segmenter.choice", choices=CHOICES, help="which of several masks of one prompt (default: score)")
    add("--segmenter.working_side", type=int, metavar="PIXELS", help="GrabCut: longer side (default: 256)")
    add("--segmenter.prompts_at_once", type=int, metavar="N", help="SAM: prompts decoded together (default: 64)")
    add("--segmenter.embeddings", metavar="FOLDER", help="SAM: keep the photos' embeddings here")
    add("--segmenter.device", choices=get_args(Device), help="SAM: auto (default) takes a GPU where there is one")
    add("--segmenter.precision", choices=get_args(Precision), help="SAM: auto (default) is bf16 on a GPU that has it")


def take_options(options: dict[str, Any]) -> PromptingOptions | None:
    """Take what ``add_options`` added out of the options; None where masks are not found from prompts.

    Raises:
        ConfigError: for options that do not go together.
    """
    names = [name for name in options if name in (*_SOURCES, *_DERIVATION) or name.startswith(_SEGMENTER)]
    taken = {name: options.pop(name) for name in names}
    given = {name: value for name, value in taken.items() if value is not None}
    file, derives = given.get("prompts"), "prompts_from" in given
    if file is None and not derives:
        if given:
            raise ConfigError(
                f"--{next(iter(given)).removesuffix('.name')} is for masks from prompts; add --prompts FILE or "
                f"--prompts_from masks, or leave it out"
            )
        return None
    derivation = {field: given[name] for name, field in _DERIVATION.items() if name in given}
    if derivation and not derives:
        name = next(name for name in _DERIVATION if name in given)
        raise ConfigError(f"--{name} is for --prompts_from masks; the file of --prompts says what each object gets")
    segmenter = {name.removeprefix(_SEGMENTER): given[name] for name in given if name.startswith(_SEGMENTER)}
    answers = SegmenterOptions(**segmenter)
    check_given(answers.name, segmenter)
    return PromptingOptions(
        segmenter=answers,
        file=file,
        classes=given.get("classes"),
        derived=Derivation(**derivation) if derives else None,
    )
