"""Intervals from resampled groups, against a loop that calls scikit-learn on the repeated rows."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from benchmarks.common import Result, in_turn, publish
from experiments.resampling import GroupTally, draw_groups

PAIRS, CLASSES, PHOTOS, RESAMPLES = 7700, 105, 2135, 10_000  # the test split of FoodSeg103 with two sauces
LOOPED = 5  # resamples of the loop; its time is multiplied by RESAMPLES / LOOPED


def predictions() -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Return labels N with a long tail of rare classes, logits N×C that are right now and then, and groups N."""
    generator = np.random.default_rng(0)
    share = np.arange(1, CLASSES + 1) ** -0.8
    truth = generator.choice(CLASSES, PAIRS, p=share / share.sum())
    logits = generator.normal(size=(PAIRS, CLASSES)).astype(np.float32)
    logits[np.arange(PAIRS), truth] += 2.5
    return truth, logits, generator.integers(0, PHOTOS, PAIRS)


def main(repeats: int = 3) -> None:
    """Print the ratio for the whole count of resamples; all six scores on our side, macro-F1 alone on the other."""
    truth, logits, groups = predictions()
    predicted = logits.argmax(axis=1)
    names, code = np.unique(groups, return_inverse=True)

    def vectorised() -> None:
        GroupTally.of(truth, logits, groups, (CLASSES - 2, CLASSES - 1)).samples(RESAMPLES, seed=0)

    def loop() -> None:
        for weights in draw_groups(names.size, 1, LOOPED, seed=0):
            for drawn in weights.T:
                rows = np.repeat(np.arange(PAIRS), drawn[code])
                f1_score(truth[rows], predicted[rows], average="macro", zero_division=0)

    ours, few = in_turn(vectorised, loop, repeats)
    result = Result(
        name=f"{RESAMPLES:,} resamples of {PAIRS:,} pairs × {CLASSES} classes in {names.size:,} groups",
        ours="six scores",
        baseline=f"loop of scikit-learn's macro-F1 (extrapolated from {LOOPED} resamples)",
        ours_seconds=ours,
        baseline_seconds=[seconds * RESAMPLES / LOOPED for seconds in few],
        target=10,
    )
    publish("bootstrap", [result], reads="no files: random scores")


if __name__ == "__main__":
    main()
