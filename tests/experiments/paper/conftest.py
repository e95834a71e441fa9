"""A paper of one table of each kind, and a grid of three runs behind it, small enough to be trained in a test."""

from pathlib import Path

import pytest

TABLES = """
source: a paper
marks: the best is bold
data:
  classes: 105
  epochs: 30
  train_pairs: 18320
  test_pairs: 7769
  class_counts: {ketchup: [69, 38], chili paste: [72, 34]}
  excluded_classes: [blue berry]
aliases:
- [ketchup, tomato]
- [chili paste, spinach]
- [blue berry, blueberry]
tables:
- number: 2
  title: F1 & more_of 50 % {all}
  baselines: true
  columns:
  - {key: macro_f1, heading: "F1, all classes", measure: macro_f1, tested: true}
  - {key: ambiguous_f1, heading: "F1, foods", measure: ambiguous_f1, tested: true}
  rows:
  - {label: "ROI_only", run: roi_small, values: [0.3765, 0.5416]}
  - {label: "Both", run: small_small, values: [0.4424, 0.8286]}
  claims:
  - [small_small, roi_small]
  remarks:
  - {row: small_small, column: ambiguous_f1, compared: false, text: Larger than possible.}
- number: 8
  title: counts
  columns:
  - {key: kk, heading: "ketchup → ketchup", measure: count, cell: [ketchup, ketchup]}
  - {key: kk_excluded, heading: the same, measure: count, cell: [ketchup, ketchup], exclude: blue berry}
  - key: kk_change
    heading: difference
    measure: count
    cell: [ketchup, ketchup]
    exclude: blue berry
    change: from_excluded
    better: null
  rows:
  - {label: "ROI_only", run: roi_small, values: [22, 24, -2]}
- number: 11
  title: top-1
  columns:
  - {key: identity, heading: unchanged, measure: top1, tested: true}
  - {key: permute_both, heading: permuted, measure: top1, condition: [permute_all, permute_both]}
  - key: permute_both_change
    heading: change
    measure: top1
    condition: [permute_all, permute_both]
    change: from_identity
    tested: true
  rows:
  - {label: "Both", run: small_small, values: [52.066, 8.624, -43.442]}
figures:
- number: 3
  kind: overlap
  title: one right
  rows:
  - {label: both right and ROI wrong, right: [small_small], wrong: [roi_small], value: 530}
- number: 6
  kind: curve
  title: F1 after each epoch
  curves:
  - {label: ROI, run: roi_small}
remarks: [Figures 9 and 10 are missing.]
"""

GRID = """
tables: tables.yaml
seeds: [0]
recipes:
  tiny:
    off-the-shelf: {config: recipe.yaml, suite: %(suite)s}
    RveRNet: {config: recipe.yaml, suite: %(suite)s}
layers:
  off-the-shelf: "{run}.yaml"
  RveRNet: "{run}.yaml"
runs:
  roi_small: {kind: off-the-shelf, every_epoch: true, without: [blue berry], options: {data.view: roi}}
  small_small: {kind: RveRNet, options_for: {tiny: {model.hidden_width: 16}}}
stand_ins: {vit_base_patch16_224.augreg_in1k: test_resnet}
"""

RECIPE = """
data: {image_size: 32, workers: 0}
train: {epochs: 1, batch_size: 16, backbone_lr: 2.0e-3, head_lr: 2.0e-3, device: cpu}
eval: {resamples: 100}
"""

SUITE = """
seeds: [0, 1]
conditions:
  identity: {}
  permute_both: {perturbation: permute_patches, views: [roi, extra_roi], patch: 56}
"""


@pytest.fixture(scope="session")
def small_grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The grid's file; everything it names lies beside it."""
    folder = tmp_path_factory.mktemp("grid")
    backbone = "{name: vit_base_patch16_224.augreg_in1k, pretrained: false}"
    files = {
        "tables.yaml": TABLES,
        "grid.yaml": GRID % {"suite": folder / "suite.yaml"},
        "recipe.yaml": RECIPE,
        "suite.yaml": SUITE,
        "roi_small.yaml": f"model: {{backbone: {backbone}}}\n",
        "small_small.yaml": f"model: {{roi_backbone: {backbone}, extra_roi_backbone: {backbone}}}\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "grid.yaml"
