"""Pre-train a backbone on photos without labels: python pretrain_R2O.py --config=./R2O/train_cfgs/….yaml."""

from experiments.pretraining.command import pretrain_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    pretrain_command(argv)


if __name__ == "__main__":
    run_script(main)
