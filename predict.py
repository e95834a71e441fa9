"""Say what regions of photos show: python predict.py --run DIR --photo FILE --point X,Y."""

from experiments.prediction.command import predict_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    predict_command(argv)


if __name__ == "__main__":
    run_script(main)
