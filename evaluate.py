"""Score finished runs under a suite of conditions: python evaluate.py --run DIR --suite paper."""

from experiments.evaluation.command import evaluate_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    evaluate_command(argv)


if __name__ == "__main__":
    run_script(main)
