"""Small trees of pairs, made once per test session, the way to real data, and the record of what tests saw."""

import atexit
import gc
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from datasets.preprocess import PreprocessOptions, preprocess
from tests.server import Server
from utils.errors import ReportedError

if TYPE_CHECKING:
    from torch import nn

# Tests of bad input: under --record, the message of each is kept.
MESSAGE_FILES = ("test_bad_input*.py", "test_untrusted*.py", "test_doctor*.py", "test_*problems*.py")
# Parts of the paths of tests that look at figures.
DRAWN = (
    *("analysis/", "baselines/", "evaluation/", "explanation/", "mask_quality/", "regions/", "benchmarks/"),
    *(
        "pretraining/",  # a run serves the tests of several files
        "robustness/",
        "test_figures",
        "test_fit",
        "test_model_facts",
        "test_report",
    ),
)
SERVER = pytest.StashKey[Server]()
COLORS = {"tomato": (200, 40, 40), "spinach": (40, 160, 50), "blueberry": (50, 60, 190)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the long form of the tests of faults and of the fuzz")
    parser.addoption("--record", metavar="FOLDER", help="write what the tests saw to FOLDER, for docs/reliability.md")


def pytest_configure() -> None:
    """Draw figures where a test is about them; to render those of every run would take a sixth of all the time."""
    render = Figure.savefig

    def savefig(figure: Figure, target: Path, **options: Any) -> None:  # noqa: ANN401  # as in matplotlib
        if any(name in os.environ.get("PYTEST_CURRENT_TEST", "") for name in DRAWN):
            render(figure, target, **options)
        else:
            Image.new("RGB", (8, 8)).save(target, format="png")

    Figure.savefig = savefig  # type: ignore[assignment, method-assign]


def pytest_collection_finish() -> None:
    """Leave the libraries that are imported by now out of every later garbage collection: a second each."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries count at the end what was not given back


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the server of processes before any test has done anything."""
    if session.items and Path("/proc/self/fd").is_dir():
        server = session.config.stash[SERVER] = Server()
        session.config.add_cleanup(server.close)


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Server:
    """What starts scripts in processes that have everything imported."""
    if SERVER not in pytestconfig.stash:
        pytest.skip("processes are forked and faults are injected on Linux only")
    return pytestconfig.stash[SERVER]


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> bool:
    """Whether the long form of a test is asked for."""
    return bool(pytestconfig.getoption("--soak"))


@pytest.fixture(scope="session")
def record_fact(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Append one JSON line, a section and its facts, to the record; nothing without ``--record``."""
    base, folder = tmp_path_factory.getbasetemp(), pytestconfig.getoption("--record")
    record_folder = pytestconfig.invocation_params.dir / (folder or "")  # tests may change the current folder
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")

    def record(section: str, **facts: object) -> None:
        if folder:
            if "message" in facts:
                facts["message"] = _without_machine(str(facts["message"]), base)
            record_folder.mkdir(parents=True, exist_ok=True)
            with (record_folder / f"{worker}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"section": section, **facts}) + "\n")

    return record


@pytest.fixture(autouse=True)
def kept_message(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    record_fact: Callable[..., None],
) -> Iterator[None]:
    """Under ``--record``, keep the last message that a test of bad input made for a user."""
    path = Path(request.path)
    wanted = path.parent.name == "faults" or any(fnmatch(path.name, pattern) for pattern in MESSAGE_FILES)
    if not (wanted and request.config.getoption("--record")):
        yield
        return
    messages: list[str] = []
    original: Callable[..., None] = ReportedError.__init__

    def noted(error: ReportedError, *args: object) -> None:
        messages[:] = [str(arg) for arg in args[:1]] or messages
        original(error, *args)

    monkeypatch.setattr(ReportedError, "__init__", noted)
    yield
    if messages:
        record_fact("message", test=f"{path.stem}::{request.node.name}", message=messages[0])


def _without_machine(message: str, base: Path) -> str:
    """Return a message without what differs between machines and runs: folders of tests, process numbers."""
    for folder in {str(base), str(base.resolve())}:
        message = re.sub(re.escape(folder) + r"/[^/\s'\"]+", "ROOT", message)
    message = message.replace(f"{Path.cwd()}/", "")
    message = re.sub(r"\.\d+\.(tmp|unfinished|replaced)", r".N.\1", message)
    return re.sub(r"\b(process(?: id|es)?|pid) \d{2,}", r"\1 N", message)


def write_archive(folder: Path, photos: dict[str, int], seed: int = 0) -> Path:
    """Write a FoodSeg103 archive of three foods that differ by color; two foods on every photo."""
    rng = np.random.default_rng(seed)
    (folder / "ImageSets").mkdir(parents=True)
    names = list(COLORS)
    lines = ["0\tbackground", *(f"{i}\t{name}" for i, name in enumerate(names, start=1))]
    (folder / "category_id.txt").write_text("\n".join(lines) + "\n")
    for split, count in photos.items():
        images, masks = (folder / "Images" / kind / split for kind in ("img_dir", "ann_dir"))
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(90, 160, (36, 48, 3)).astype(np.uint8)
            labels = np.zeros((36, 48), dtype=np.uint8)
            for place, food in enumerate(rng.permutation(3)[:2]):
                top, left = int(rng.integers(2, 20)), 4 + 24 * place + int(rng.integers(0, 6))
                spot = (slice(top, top + 12), slice(left, left + 12))
                noise = rng.integers(-35, 36, (12, 12, 3))
                pixels[spot] = np.clip(np.array(COLORS[names[food]]) + noise, 1, 255).astype(np.uint8)
                labels[spot] = food + 1
            Image.fromarray(pixels).save(images / f"photo_{number:03d}.png")
            Image.fromarray(labels).save(masks / f"photo_{number:03d}.png")
        (folder / "ImageSets" / f"{split}.txt").write_text("".join(f"photo_{n:03d}\n" for n in range(count)))
    return folder


@pytest.fixture(scope="session", autouse=True)
def kept_scans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep scans of archives away from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVERNET_CACHE", str(tmp_path_factory.mktemp("kept_scans")))
        yield


@pytest.fixture(scope="session", autouse=True)
def plain_runs() -> Iterator[None]:
    """Let runs leave empty pictures, whose drawing would take half of a tiny run's time; ``test_fit.py`` draws them."""

    def blank(*arguments: object) -> None:
        Image.new("RGB", (4, 4)).save(str(arguments[-1]))

    with pytest.MonkeyPatch.context() as patch:
        if outcome := sys.modules.get("experiments.outcome"):
            for name in ("save_curves", "save_confusion"):
                patch.setattr(outcome, name, blank)
        yield


@pytest.fixture(scope="session")
def pair_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lossless tree of 48 training and 20 test pairs of three classes, 32 pixels."""
    folder = tmp_path_factory.mktemp("data")
    archive = write_archive(folder / "archive", {"train": 24, "test": 10})
    options = PreprocessOptions(
        src=archive, dst=folder / "tree", size=32, format="png", ambiguous=("tomato", "spinach"), workers=1
    )
    preprocess(options, say=lambda _line: None)
    return folder / "tree"


@pytest.fixture(scope="session")
def tiny_runs(pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs of one epoch: ``both``, seeds 0 and 1 of two views; ``roi``, one view, validation split."""
    from experiments.commands import train_command  # here, since the tests of preprocessing need no torch
    from experiments.kinds import OFF_THE_SHELF, RVERNET

    folder = tmp_path_factory.mktemp("runs")
    shared = ["--data.root", str(pair_tree), "--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu"]
    shared += ["--train.epochs", "1", "--train.batch_size", "16", "--eval.resamples", "100"]
    two = ["--run.dir", str(folder / "both"), "--train.seeds", "0,1"]
    for view, name in (("roi", "test_efficientnet"), ("extra_roi", "test_vit")):
        two += [f"--model.{view}_backbone.name", name, f"--model.{view}_backbone.pretrained", "false"]
    train_command(RVERNET, [*shared, *two])
    one = ["--model.backbone.name", "test_efficientnet", "--model.backbone.pretrained", "false"]
    one += ["--data.validation_fraction", "0.3", "--run.dir", str(folder / "roi")]
    train_command(OFF_THE_SHELF, [*shared, *one])
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that ``RVERNET_DATA`` names."""
    folder = os.environ.get("RVERNET_DATA")
    if not folder:
        pytest.skip("RVERNET_DATA is not set: no real data to test on")
    return Path(folder)


@pytest.fixture(scope="session")
def small_sam_network() -> "nn.Module":
    """A Sam of ``segment_anything.modeling`` with 3 blocks for 128 pixels, its weights random; do not change it.

    Weights are scaled so that masks differ by prompt, have clear borders, and leave neither nothing nor all.
    """
    import torch  # here, since the tests of preprocessing need no torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        network = Sam(
            ImageEncoderViT(
                img_size=128, patch_size=16, embed_dim=32, depth=3, num_heads=2, mlp_ratio=2, out_chans=32,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=3,
                global_attn_indexes=(2,),
            ),
            PromptEncoder(32, (8, 8), (128, 128), mask_in_chans=8),
            MaskDecoder(
                transformer_dim=32, transformer=TwoWayTransformer(2, 32, 8, 64), iou_head_depth=3,
                iou_head_hidden_dim=32,
            ),
        ).eval()  # fmt: skip
        for name, weight in network.image_encoder.named_parameters():
            if "pos" in name:  # zero to begin with
                weight.normal_(0, 0.2 if "rel_pos" in name else 0.1)
        for name, weight in network.mask_decoder.transformer.named_parameters():
            if name.endswith("_proj.weight"):
                weight.mul_(4)
        for layers in network.mask_decoder.output_hypernetworks_mlps:
            layers.layers[-1].weight.mul_(3000)
            layers.layers[-1].bias.mul_(3000)
        network.mask_decoder.iou_prediction_head.layers[-1].bias.fill_(0.92)
    made: nn.Module = network
    return made


@pytest.fixture(scope="session")
def small_sam(small_sam_network: "nn.Module", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small SAM, for ``segmenter.checkpoint``; its size is none of the published ones."""
    import torch

    path: Path = tmp_path_factory.mktemp("sam") / "small_sam.pth"
    torch.save(small_sam_network.state_dict(), path)
    return path
