"""Photos and masks in the layout of FoodSeg103, or photos and prompts -> roi / extra-roi pairs.

python preprocess_foodseg103.py --src FoodSeg103 --dst dataset_root
python preprocess_foodseg103.py --prompts prompts.csv --src photos --dst dataset_root --append
python preprocess_foodseg103.py --prompts_from masks --prompt_kind box --segmenter grabcut --src FoodSeg103 --dst other
torchrun --nproc_per_node 4 preprocess_foodseg103.py --src FoodSeg103 --dst dataset_root
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets.cutouts import FORMATS
from datasets.doctor.check import check
from datasets.doctor.findings import check_codes
from datasets.preprocess import PreprocessOptions, preprocess
from datasets.shards import choose_shard
from datasets.tree import LAYOUTS
from utils.arguments import Parser
from utils.errors import ConfigError, run_script

_OF_CHECK = ("accept", "near_duplicates", "train_split")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parser() -> Parser:
    parser = Parser(__doc__)
    add = parser.add_argument
    add(
        "--src",
        type=Path,
        metavar="ARCHIVE",
        help="folder with Images/, category_id.txt and, if any, ImageSets/; or of photos",
    )
    add("--dst", type=Path, metavar="ROOT", help="folder of the result, made whole or not at all")
    add(
        "--layout", choices=LAYOUTS, help="pairs: a roi and an extra-roi per class (default); archive: photos and masks"
    )
    add("--size", type=int, metavar="PIXELS", help="longer side of the pictures; 0 keeps the photo's (default: 224)")
    add("--format", choices=FORMATS, help="format of the pictures; png and webp lose nothing (default: jpg)")
    add("--quality", type=int, metavar="1..100", help="JPEG quality (default: 95)")
    add("--min_area", type=float, default=0.0, metavar="F", help="leave out classes that cover a smaller part")
    add("--groups", type=Path, metavar="FILE", help="CSV with split,image,group: photos that belong together")
    add("--mask_orientation", choices=("stored", "upright"), help="how masks lie that fit a turned photo both ways")
    add("--ambiguous", type=_names, metavar="NAMES", help="comma-separated (default: ketchup,chili-paste, if there)")
    add(
        "--shard",
        metavar="K/N",
        help="cut part K of N; auto, the default under torchrun, a SLURM array or srun: as they say",
    )
    add(
        "--workers", type=int, metavar="N", help="worker processes (default: all cores, shared with other local shards)"
    )
    add("--max_megapixels", type=float, default=180.0, metavar="M", help="refuse larger pictures (default: 180)")
    add("--append", action="store_true", help="add the pairs and classes to the tree at --dst")
    add("--check", action="store_true", help="only look for problems in archive, tree or both (docs/doctor.md)")
    add("--accept", type=_names, metavar="CODES", help="with --check: comma-separated codes of findings that are fine")
    add("--near_duplicates", type=int, metavar="BITS", help="with --check: as of doctor.py; 0 looks for none")
    add("--train_split", metavar="NAME", help="with --check: the split that is trained on (default: train)")
    _of_prompts().add_options(parser)
    return parser


def _of_prompts() -> ModuleType:
    # Here, since each worker process imports this script, and OpenCV would take it a tenth of a second.
    from datasets.prompted import command

    return command


def _check_options(options: dict[str, Any], *, only_check: bool) -> dict[str, Any]:
    """Take what only --check has out of the options, as far as it is given."""
    taken = {name: options.pop(name) for name in _OF_CHECK}
    given = {name: value for name, value in taken.items() if value is not None}
    if given and not only_check:
        raise ConfigError(f"--{next(iter(given))} is for --check; add that or leave it out")
    if "accept" in given:
        given["accept"] = check_codes(given["accept"], "--accept")
    return given


def main(arguments: list[str]) -> None:
    """Parse the command line and preprocess or check."""
    options = vars(_parser().read(arguments))
    only_check, shard = options.pop("check"), options.pop("shard")
    of_check = _check_options(options, only_check=only_check)
    options["prompting"] = _of_prompts().take_options(options)
    if only_check and shard is not None:
        raise ConfigError("--check looks at all photos in one process; leave --shard out")
    if only_check and options["prompting"] is not None:
        raise ConfigError("--check looks at archives and trees; leave the prompts out, or check their tree: --dst ROOT")
    if only_check:
        sys.exit(check(PreprocessOptions(**options), **of_check))
    preprocess(PreprocessOptions(**options, shard=choose_shard(shard, os.environ)))


if __name__ == "__main__":
    run_script(main)
