"""The salience selector in evaluation: six views, and one of them classified, on the CPU.

In processor time of one thread, as other work on the machine would drown the differences. The baseline is what it
cannot do without, each timed alone: the classifier on one picture of its size, and the selector on the grey copies.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.common import Result, in_turn, publish
from Off_the_shelfs.build import build_off_the_shelf
from Off_the_shelfs.config import BackboneConfig, OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf
from Off_the_shelfs.salience.config import SalienceConfig
from Off_the_shelfs.salience.model import SalienceClassifier
from utils.batch import image_memory_format

CLASSES = 10


@dataclass(frozen=True)
class Case:
    """One classifier with its selector: sides of what they see, pictures in a batch, promised ratio to its parts."""

    backbone: str
    side: int
    crop_fraction: float
    grey_side: int
    pictures: int
    target: float | None = None


RESNET = Case("resnet18", 224, 2 / 3, 128, 8, target=0.85)  # that much of its time goes to the two networks
TINY = Case("test_efficientnet", 40, 0.625, 32, 50)


def build(case: Case, *, salience: bool) -> OffTheShelf:
    """Build the classifier of a case, with its selector or plain, in eval mode."""
    config = OffTheShelfModelConfig(backbone=BackboneConfig(name=case.backbone, pretrained=False))
    if salience:
        selector = SalienceConfig(crop_fraction=case.crop_fraction, grey_side=case.grey_side)
        config = OffTheShelfModelConfig(backbone=config.backbone, looks_at="salience", salience=selector)
    model = build_off_the_shelf(config, OneViewDataConfig(view="photo", image_size=case.side), CLASSES)
    return model.to(memory_format=image_memory_format(torch.device("cpu"))).eval()


def results(case: Case, repeats: int) -> list[Result]:
    """Measure a case: the whole against its parts, and against the plain classifier alone."""
    chooser, plain = build(case, salience=True), build(case, salience=False)
    assert isinstance(chooser, SalienceClassifier)
    source = chooser.view_specs["photo"].size
    pictures = torch.randn(case.pictures, 3, source, source).to(memory_format=torch.channels_last)
    whole = torch.randn(case.pictures, 3, case.side, case.side).to(memory_format=torch.channels_last)
    grey = chooser.grey_copies(pictures)

    def measured(
        name: str, ours: Callable[[], Tensor], *baseline: Callable[[], Tensor], words: str, target: float | None = None
    ) -> Result:
        def side() -> None:
            for part in baseline:
                part()

        times = in_turn(ours, side, repeats, clock=time.process_time)
        return Result(f"{title}: {name}", "six views, one chosen", words, *times, target=target)

    def chosen() -> Tensor:
        return answer(chooser, pictures)

    def classified() -> Tensor:
        return answer(plain, whole)

    def selected() -> Tensor:
        return chooser.salience(grey)

    title = f"{case.backbone}, {case.side} px, grey {case.grey_side} px, {case.pictures} pictures"
    rows = [
        measured("against its parts", chosen, classified, selected, words="classifier + selector", target=case.target),
        measured("against the classifier", chosen, classified, words="plain classifier"),
        measured("against every view", chosen, *[classified] * chooser.n_views, words="a pass for each view"),
    ]
    selector = in_turn(selected, chosen, repeats, clock=time.process_time)[0]
    return [*rows, Result(f"{title}: selector", "selector on grey copies", ours_seconds=selector)]


def answer(model: OffTheShelf, pictures: Tensor) -> Tensor:
    """Return a model's logits B×C in eval mode."""
    logits = model({"photo": pictures})
    assert isinstance(logits, Tensor)
    return logits


@torch.inference_mode()
def main(repeats: int = 9) -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [row for case in (RESNET, TINY) for row in results(case, repeats)]
    notes = [
        "seconds of one core's work",
        "beside classifier and selector, ours makes the grey copies and the reduced whole, and cuts the chosen part",
    ]
    publish("salience", rows, reads="nothing: random pixels in memory", notes=notes)


if __name__ == "__main__":
    main()
