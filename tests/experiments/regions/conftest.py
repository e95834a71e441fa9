"""Recipes so small that a comparison is trained in a test."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from experiments import confusion, figures, model_facts
from experiments.regions import grey_plots, plots

TRAIN = {"epochs": 1, "batch_size": 16, "device": "cpu", "precision": "fp32"}
BACKBONE = {"name": "test_efficientnet", "pretrained": False}


@pytest.fixture(scope="module", autouse=True)
def _quick_pictures_of_runs() -> Iterator[None]:
    """The curves and confusion of each run are tested elsewhere; the comparison's own plots are drawn."""

    def blank(path: Path, *_: object, **__: object) -> None:
        Image.new("RGB", (2, 2)).save(path)

    with pytest.MonkeyPatch.context() as patch:
        for module in (confusion, figures, model_facts):
            patch.setattr(module, "draw", blank)
        assert blank not in (vars(plots)["draw"], vars(grey_plots)["draw"])
        yield


@pytest.fixture(scope="session")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name recipes for pairs of 32 pixels: a classifier of 21, so that parts are two thirds."""
    folder = tmp_path_factory.mktemp("recipes")
    shared = {"data": {"image_size": 21, "workers": 0}, "train": TRAIN, "eval": {"resamples": 100}}
    pim = {"features": "pim", "pim": {"levels": [-4, -3], "width": 8, "counts": 0.5, "positions_per_joint": 4}}
    models = {
        "one_view": {"backbone": BACKBONE},
        "two_views": {"roi_backbone": BACKBONE, "extra_roi_backbone": BACKBONE, "hidden_width": 8},
        "pim": {"backbone": BACKBONE | pim, "dropout": 0.1},
        "salience": {"backbone": BACKBONE, "looks_at": "salience", "salience": {"grey_side": 16, "widths": [4, 4]}},
    }
    options = []
    for name, model in models.items():
        path: Path = folder / f"{name}.yaml"
        path.write_text(json.dumps({**shared, "model": model}))  # which is YAML too
        options += [f"--recipe.{name}", str(path)]
    return options


@pytest.fixture(scope="session")
def grey_recipes(recipes: list[str]) -> list[str]:
    """Those of the study of the grey copy."""
    return [part for i, part in enumerate(recipes) if recipes[i - i % 2] in ("--recipe.one_view", "--recipe.salience")]
