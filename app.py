"""Click on the food, be told what it is and why: python app.py --run runs/…."""

from experiments.click.command import click_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    click_command(argv)


if __name__ == "__main__":
    run_script(main)
