"""Train the two-module network: python train_RveRNet.py --config=./RveRNets/train_cfgs/….yaml."""

from experiments.commands import train_command
from experiments.kinds import RVERNET
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    train_command(RVERNET, argv)


if __name__ == "__main__":
    run_script(main)
