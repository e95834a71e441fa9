"""Does pre-training help: python study_pretraining.py --data.root PAIRS --photos.root PHOTOS --out DIR."""

from experiments.pretraining.study.command import study_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    study_command(argv)


if __name__ == "__main__":
    run_script(main)
