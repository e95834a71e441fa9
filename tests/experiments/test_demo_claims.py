from pathlib import Path

import pytest

from experiments.demo_claims import condition_claims, model_claims
from experiments.statistics import Comparison


def write_predictions(folder: Path, predicted: str) -> None:
    """One letter per pair; the truth is two each of the foods a and b and of the sauces k and c."""
    folder.mkdir()
    lines = [f"0,{truth},{answer}" for truth, answer in zip("aabbkkcc", predicted, strict=True)]
    (folder / "predictions.csv").write_text("\n".join(["seed,truth,prediction", *lines]) + "\n")


@pytest.mark.parametrize(
    ("blank", "shuffled", "held"),
    [
        ("aabbkkkk", "bbaakkcc", [True, True]),  # the sauces: F1 2/3 and 0; both foods 0
        ("aabbkkcc", "bbaakkcc", [False, True]),  # black surroundings change nothing
        ("aaaakkkk", "bbaakkcc", [False, True]),  # and harm a food too
        ("aabbkkkk", "aabbkkcc", [True, False]),  # shuffling changes nothing
        ("aabbkkkk", "kcbackck", [True, False]),  # and harms the sauces too
    ],
)
def test_conditions_must_destroy_exactly_what_they_should(
    tmp_path: Path, blank: str, shuffled: str, held: list[bool]
) -> None:
    for name, predicted in (("identity", "aabbkkcc"), ("blank_extra_roi", blank), ("permute_roi", shuffled)):
        write_predictions(tmp_path / name, predicted)
    claims = condition_claims(tmp_path, ["k", "c"])
    assert [claim.held for claim in claims] == held
    assert "1.000 to" in str(claims[0])


@pytest.mark.parametrize(
    ("coin", "ambiguous", "low", "held"),
    [
        (0.4, 0.9, 0.01, [True, True, True]),
        (0.6, 0.8, -0.01, [False, False, False]),
    ],
)
def test_claims_of_the_models(coin: float, ambiguous: float, low: float, held: list[bool]) -> None:
    scores: dict[str, dict[str, object]] = {
        "roi only": {"ambiguous_f1_ci": [coin, 0.7]},
        "RveRNet": {"ambiguous_f1": ambiguous},
    }
    claims = model_claims(scores, {"both": {"ambiguous_f1": 0.95}}, Comparison(0.9, 0.8, 0.1, [low, 0.2], 0.01))
    assert [claim.held for claim in claims] == held
    assert str(claims[0]).startswith("held: " if held[0] else "NOT HELD: ")
