"""What is said of prompted masks that have probably missed their object."""

import pytest

from datasets.manifest import ManifestRow
from datasets.summary import tiny_masks


def row(stem: str, fraction: float, source: str = "grabcut") -> ManifestRow:
    sizes = (100, 80, 100, 80)
    return ManifestRow(
        "train", "ketchup", stem, stem, f"{stem}.jpg", *sizes, fraction, 1, 1, 2, 2, "0" * 64, "1" * 64, source
    )


def test_masks_of_prompts_below_a_thousandth_are_named_and_those_of_annotation_are_not() -> None:
    rows = [row("a", 0.0009), row("b", 0.001), row("c", 0.0001, "annotation")]
    (line,) = tiny_masks(rows)
    assert line.startswith("note: 1 mask from a prompt covers less than 0.1 % of the photo: train/ketchup/a;")
    assert tiny_masks(rows[1:]) == []


@pytest.mark.parametrize(("count", "named"), [(5, 5), (7, 5)])
def test_at_most_five_are_named(count: int, named: int) -> None:
    (line,) = tiny_masks([row(f"p{number}", 0.0001) for number in range(count)])
    assert line.startswith(f"note: {count} masks from prompts cover")
    assert line.count("train/ketchup/") == named
    assert ("…" in line) == (count > 5)
