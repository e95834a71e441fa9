"""From a click to what the page shows: GrabCut, the demo's model, and the answer as HTML, on the program's side."""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import Recorded, publish
from datasets.picture_size import PixelLimit
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from experiments.click.answer import Answerer
from experiments.click.examples import find_examples
from experiments.click.panels import answer_panel, maps_panel
from experiments.click.pictures import mask_url
from experiments.click.state import Ask, Session
from experiments.fit import fit
from experiments.kinds import RVERNET
from experiments.prediction.predictor import load_predictor
from RveRNets.config import RveRNetConfig
from segmenters.grabcut import GrabCut
from segmenters.prompts import Prompt
from utils.config import parse_config

CLICKS = 5
MOST_SECONDS = 1.0
LARGE = (4000, 3000)  # pixels of a telephone's photo


def make_answerer(folder: Path) -> Answerer:
    """Train the demo's model for one epoch on a few plates and put it behind GrabCut."""
    archive, root, run = folder / "archive", folder / "pairs", folder / "run"
    generate_plates(PlatesConfig(photos=30), archive)
    preprocess(PreprocessOptions(src=archive, dst=root, size=64, format="png"), say=lambda _line: None)
    argv = ["--config", "RveRNets/train_cfgs/tiny_cpu.yaml", "--data.root", str(root), "--run.dir", str(run)]
    config, _ = parse_config(RveRNetConfig, [*argv, "--train.epochs", "1"], program="benchmark", flags={})
    with contextlib.redirect_stdout(io.StringIO()):
        fit(RVERNET, config)
    predictor = load_predictor(run, device="cpu")
    limit = PixelLimit()
    return Answerer(predictor, {"grabcut": GrabCut()}, find_examples(None, run, predictor.classes, limit), limit=limit)


def large_photo(answerer: Answerer) -> Session:
    """Open a photo as large as a telephone's."""
    buffer = io.BytesIO()
    Image.fromarray(answerer.examples[0].photo).resize(LARGE).save(buffer, "JPEG")
    return answerer.open_file(Session(), buffer.getvalue(), "large.jpg")


def seconds_of(session: Session, work: Callable[[Session, Ask], object]) -> list[float]:
    """Time the work of clicks at different places of the open photo, after one that is not timed."""
    assert session.photo is not None
    height, width = session.photo.shape[:2]
    places = np.random.default_rng(0).uniform(0.2, 0.8, (CLICKS + 1, 2))
    times = []
    for x, y in places.tolist():
        ask = Ask(session.key, Prompt(((x * width, y * height),), (1,)), context="example 1")
        started = time.perf_counter()
        work(session, ask)
        times.append(time.perf_counter() - started)
    return times[1:]


def main() -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        answerer = make_answerer(Path(folder))
        predictor = answerer.predictor

        def answered(session: Session, ask: Ask) -> Session:
            after, answer = answerer.answer(session, ask)
            mask_url(answer.mask)
            answer_panel(answer, predictor)
            return after

        def mapped(session: Session, ask: Ask) -> None:
            maps_panel(answerer.maps(answered(session, ask)), "food")

        plate, large = answerer.start(), large_photo(answerer)
        cases = (
            ("a click on a plate of 96 px", plate, answered, MOST_SECONDS),
            ("a click on a photo of 12 megapixels", large, answered, MOST_SECONDS),
            ("the same with the maps, which follow", large, mapped, None),
        )
        rows = []
        for name, session, work, target in cases:
            times = seconds_of(session, work)
            note = f"median of {CLICKS}, slowest {max(times):.2f} s"
            rows.append(Recorded(name, statistics.median(times), "s", target, note=note))
    publish("click", rows, notes=["without the browser and the way to it, which take about 0.1 s on one computer"])


if __name__ == "__main__":
    main()
