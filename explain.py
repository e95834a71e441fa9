"""Show what each module of a run looks at: python explain.py --run runs/…."""

from experiments.explanation.command import explain_command
from utils.errors import run_script


def main(argv: list[str]) -> None:
    """Run the script on its command line."""
    explain_command(argv)


if __name__ == "__main__":
    run_script(main)
