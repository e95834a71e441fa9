"""Train one backbone on one view: python train_Off-the-shelf.py --config=./Off_the_shelfs/train_cfgs/….yaml."""

from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    train_command(OFF_THE_SHELF, argv)


if __name__ == "__main__":
    run_script(main)
