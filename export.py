"""Let a trained model leave the project: python export.py --run runs/… --out FOLDER."""

from experiments.export.command import export_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    export_command(argv)


if __name__ == "__main__":
    run_script(main)
