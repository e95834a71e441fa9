"""Generate an archive of plates with known cues.

python make_plates.py --dst plates --photos 700 --seed 0 --side 96 --purity 0.95
"""

from dataclasses import dataclass, fields
from pathlib import Path

from datasets.plates import PLATES_FILE, PlatesConfig, generate_plates
from utils.config import parse_config
from utils.errors import ConfigError, run_script


@dataclass(frozen=True, kw_only=True)
class _Options(PlatesConfig):
    __doc__ = f"{PlatesConfig.__doc__}    dst: folder of the archive, absent or empty.\n    "

    dst: str = ""


def main(argv: list[str]) -> None:
    """Parse the command line, write the archive and say where the best reachable scores are."""
    options, _ = parse_config(_Options, argv, program="make_plates.py", flags={})
    if not options.dst:
        raise ConfigError("--dst is missing: the folder of the archive, absent or empty, as in --dst plates")
    config = PlatesConfig(**{field.name: getattr(options, field.name) for field in fields(PlatesConfig)})
    root = Path(options.dst)
    summary = generate_plates(config, root, progress=True)
    for split, counts in summary["splits"].items():
        print(f"{split}: {counts['photos']} photos, {sum(counts['pairs'].values())} pairs")
    for view, scores in summary["best_reachable"].items():
        print(f"best reachable on {view}: " + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()))
    print(f"cues, classes and scores: {root / PLATES_FILE}")


if __name__ == "__main__":
    run_script(main)
