"""Computes the scores of finished runs again and says whether they agree with what the runs recorded.

python verify.py runs/first runs/seeds

The hashes of a run's files; the test scores from predictions.csv; intervals and validation scores from logits.npz; the
test logits from the weights, with the run's own settings or those nearest to them here; the table of classes, the
selected epoch, the means over seeds. No interval and no validation logit comes from the weights. Changes nothing.
Exit status: 0 where all agree, 1 where something does not, 2 for a mistake in the command or data that cannot be read.
"""

import sys
from pathlib import Path

from experiments.verification.command import VerifyOptions, verify
from utils.arguments import Parser
from utils.errors import run_script


def _parser() -> Parser:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN", help="folder of a finished run, or of the runs of several seeds")
    add("--root", type=Path, metavar="DIR", help="pairs or archive to read (default: that which a run was trained on)")
    add("--scores_only", action="store_true", help="leave the model and the pairs alone; seconds instead of minutes")
    add("--json", type=Path, metavar="FILE", help="write what was found there as well")
    return parser


def main(arguments: list[str]) -> None:
    """Parse the command line, verify, and exit with 1 where something disagrees."""
    if not verify(VerifyOptions(**vars(_parser().read(arguments)))):
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
