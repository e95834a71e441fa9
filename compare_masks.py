"""Are prompted masks as good as annotation: python compare_masks.py --src ARCHIVE."""

from experiments.mask_quality.command import compare_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    compare_command(argv)


if __name__ == "__main__":
    run_script(main)
