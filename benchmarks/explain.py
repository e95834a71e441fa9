"""Maps of both modules against the bare library on each module alone; memory over a long gallery."""

import contextlib
import copy
import io
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from benchmarks.common import Recorded, Result, in_turn, publish
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from experiments.explanation.gallery import explain_runs
from experiments.explanation.maps import explaining
from experiments.explanation.measures import enlarge, one_scale
from experiments.fit import fit
from experiments.kinds import RVERNET
from experiments.runs import load_index, read_runs
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.feature_maps import find_spatial_layer
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from RveRNets.model import build_rvernet
from utils.config import parse_config
from utils.data_sections import DataConfig

CPU = torch.device("cpu")
CLASSES, REPEATS = 11, 5
CASES = (("mobilenetv2_035", 128, 16), ("deit_tiny_distilled_patch16_224", 224, 4))
PAIRS, WARM_UP = 500, 100
MOST_GROWTH_MB = 50.0


def compare(name: str, side: int, pairs: int) -> Result:
    """Time both modules' maps, scaled and at the size of their views, on one batch.

    The baseline is the library as its manual has it, on a network of one input: for each view its backbone with a
    linear head, the same layer, the same pictures, and the maps at the size of the picture.
    """
    backbone = BackboneConfig(name=name, pretrained=False)
    config = RveRNetConfig(
        model=RveRNetModelConfig(roi_backbone=backbone, extra_roi_backbone=backbone),
        data=DataConfig(image_size=side),
    )
    model = build_rvernet(config.model, config.data, CLASSES, initialise=False).eval()
    views = {view: torch.randn(pairs, 3, side, side) for view in model.backbones}
    target = torch.zeros(pairs, dtype=torch.int64)
    alone = {}
    for view, module in model.backbones.items():
        module = copy.deepcopy(module)
        network = nn.Sequential(module, nn.Linear(module.num_features, CLASSES)).eval()
        alone[view] = network, find_spatial_layer(module.model, side, side)

    def bare() -> None:
        for view, (network, layer) in alone.items():
            with GradCAM(network, [layer.module], reshape_transform=layer.to_map) as cam:
                cam(views[view], [ClassifierOutputTarget(0)] * pairs)

    with explaining(model) as explainer:

        def ours() -> None:
            for view, values in one_scale(explainer.explain(views, target).maps).items():
                enlarge(values, views[view].shape[-1])

        ours_seconds, bare_seconds = in_turn(ours, bare, REPEATS)
    title = f"maps of two {name}, {pairs} pairs of {side} px"
    return Result(title, "ours", "the bare library on each module", ours_seconds, bare_seconds, target=0.8)


def memory(folder: Path) -> Recorded:
    """Explain many pairs of a small trained run; return how much the largest memory of this process grew."""
    archive, root, run = folder / "archive", folder / "pairs", folder / "run"
    generate_plates(PlatesConfig(photos=60), archive)
    preprocess(PreprocessOptions(src=archive, dst=root, size=64, format="png"), say=lambda _line: None)
    argv = ["--config", "RveRNets/train_cfgs/tiny_cpu.yaml", "--data.root", str(root), "--run.dir", str(run)]
    config, _ = parse_config(RveRNetConfig, [*argv, "--train.epochs", "1"], program="benchmark", flags={})
    with contextlib.redirect_stdout(io.StringIO()):
        fit(RVERNET, config)
    records = read_runs([run])
    index = load_index(records[0])
    peaks = []
    for name, pairs in (("warm_up", WARM_UP), ("long", PAIRS)):
        explain_runs(records, index, np.resize(np.arange(len(index)), pairs).tolist(), folder / name, device=CPU)
        peaks.append(_peak_mb())
    return Recorded(
        "memory of a gallery: more at the peak for a long one",
        peaks[1] - peaks[0],
        "MB",
        target=MOST_GROWTH_MB,
        note=f"{PAIRS:,} pairs less {WARM_UP} ({peaks[0]:.0f} MB)",
        reads="64 px PNG pairs of generated plates",
    )


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def main() -> None:
    """Run the benchmark."""
    results = [compare(*case) for case in CASES]
    with tempfile.TemporaryDirectory() as folder:
        grown = memory(Path(folder))
    publish("explain", [*results, grown], reads="maps read no files: random tensors on both sides")


if __name__ == "__main__":
    main()
