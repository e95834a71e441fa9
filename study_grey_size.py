"""How small may the selector's grey copy be: python study_grey_size.py --data.root PAIRS --grey 16,32,64 --out DIR."""

from experiments.regions.grey_command import grey_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    grey_command(argv)


if __name__ == "__main__":
    run_script(main)
