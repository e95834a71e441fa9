"""What a perturbation destroys on generated plates, where it is known which cue decides which class."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from datasets.index import PairIndex
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from experiments.fit import fit
from experiments.kinds import RVERNET
from experiments.robustness.run import SuiteOutcome, run_suite
from experiments.robustness.suite import load_suite
from experiments.runs import load_index, read_runs
from utils.config import parse_config
from utils.devices import make_accelerator

SUITES = Path(__file__).parents[3] / "configs/suites"
# Twins by texture, known from their own pixels; the sauces are known by their companions alone. The other six foods
# lie on the plates as companions and are not asked for, and most plates show a sauce, so that seconds of training
# suffice.
FOODS, SAUCES = ("french fries", "fried meat"), ("ketchup", "chili-paste")
NOT_ASKED = "octopus,sashimi,kiwi,cucumber,pepper,seaweed"

Outcomes = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def truth(soak: bool, tmp_path_factory: pytest.TempPathFactory) -> tuple[PairIndex, Outcomes]:
    """The predictions of a RveRNet trained on plates in which companions are always right, unchanged and perturbed."""
    if not soak:
        pytest.skip("with --soak; make demo checks the same claims on more plates")
    folder = tmp_path_factory.mktemp("plates")
    generate_plates(PlatesConfig(photos=220, purity=1.0, sauce_share=0.8, test_share=0.25), folder / "archive")
    preprocess(
        PreprocessOptions(src=folder / "archive", dst=folder / "pairs", size=64, format="png", workers=1),
        say=lambda _line: None,
    )
    argv = [
        "--config",
        "RveRNets/train_cfgs/tiny_cpu.yaml",
        "--data.root",
        str(folder / "pairs"),
        "--data.workers",
        "0",
    ]
    argv += ["--data.exclude", NOT_ASKED, "--run.dir", str(folder / "run"), "--train.epochs", "5"]
    argv += ["--train.batch_size", "20", "--train.backbone_lr", "4e-3", "--train.head_lr", "4e-3"]
    config, _ = parse_config(RVERNET.config_class, argv, program=RVERNET.script, flags={})
    fit(RVERNET, config)
    record = read_runs([folder / "run"])[0]
    index = load_index(record)
    accelerator = make_accelerator(record.config.train)
    model = record.load_model(accelerator.device)
    logits: Outcomes = {}
    for suite in ("paper", "ablate"):
        outcome: SuiteOutcome = run_suite(record, model, index, load_suite(SUITES / f"{suite}.yaml"), accelerator)
        logits |= outcome.logits
    return index, logits


def mean_f1(truth: tuple[PairIndex, Outcomes], condition: str, names: tuple[str, ...]) -> float:
    """The mean over perturbation seeds of the mean F1 of some classes."""
    index, logits = truth
    labels = [index.classes.index(name) for name in names]
    return float(
        np.mean([f1_score(index.label, one.argmax(1), labels=labels, average="macro") for one in logits[condition]])
    )


def test_the_network_learned_both_kinds_of_classes(truth: tuple[PairIndex, Outcomes]) -> None:
    assert mean_f1(truth, "identity", FOODS) > 0.8
    assert mean_f1(truth, "identity", SAUCES) > 0.8


def test_blank_surroundings_destroy_exactly_the_ambiguous_classes(truth: tuple[PairIndex, Outcomes]) -> None:
    assert mean_f1(truth, "blank_extra_roi", SAUCES) < 0.55, "nothing is left that could tell the sauces apart"
    assert mean_f1(truth, "blank_extra_roi", FOODS) > mean_f1(truth, "identity", FOODS) - 0.1


def test_shuffled_surroundings_harm_exactly_the_ambiguous_classes(truth: tuple[PairIndex, Outcomes]) -> None:
    sauces = mean_f1(truth, "identity", SAUCES) - mean_f1(truth, "permute_extra_roi", SAUCES)
    foods = mean_f1(truth, "identity", FOODS) - mean_f1(truth, "permute_extra_roi", FOODS)
    assert sauces > 0.05, "outlines of the companions are gone, their colours are not"
    assert abs(foods) < 0.05


def test_a_shuffled_roi_destroys_exactly_the_texture_classes(truth: tuple[PairIndex, Outcomes]) -> None:
    foods = mean_f1(truth, "identity", FOODS) - mean_f1(truth, "permute_roi", FOODS)
    sauces = mean_f1(truth, "identity", SAUCES) - mean_f1(truth, "permute_roi", SAUCES)
    assert foods > 0.2
    assert abs(sauces) < 0.1


def test_a_blank_roi_leaves_the_companions_to_speak(truth: tuple[PairIndex, Outcomes]) -> None:
    """The sauces' recall stays: what remains is which sauce it would be, not whether it is one."""
    index, logits = truth
    predicted = logits["blank_roi"][0].argmax(1)
    members = np.isin(index.label, [index.classes.index(name) for name in SAUCES])
    assert (predicted[members] == index.label[members]).mean() > 0.8
    assert mean_f1(truth, "blank_roi", FOODS) < 0.3
