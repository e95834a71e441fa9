"""Write pre-trained weights for other libraries: python convert_R2O.py --source runs/… --layout … --out …."""

from experiments.pretraining.convert import convert_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    convert_command(argv)


if __name__ == "__main__":
    run_script(main)
