"""Does knowing the mask beat learning where to look: python compare_regions.py --data.root PAIRS --out DIR."""

from experiments.regions.command import regions_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    regions_command(argv)


if __name__ == "__main__":
    run_script(main)
