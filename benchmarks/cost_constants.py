"""The numbers behind the cost model, each with where it comes from."""

from dataclasses import dataclass

COUNTED = "counted in the statistics of FoodSeg103"
PAPER = "the paper"
MEASURED = "measured, `python -m benchmarks.measure`"
FULL_SIZE = "measured, `python -m benchmarks full_size`"
ASSUMED = "assumed, not measured"


@dataclass(frozen=True)
class Constant:
    """One number: what it is, its unit, and its source."""

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Constants:
    """What the cost model needs. Bytes and times are those of 480×360 street photos at 224 pixels, one core."""

    pairs_per_photo: Constant = Constant("pairs per photo", 26_016 / 7_118, "pairs", COUNTED)
    train_share: Constant = Constant("share of pairs to train on", 18_320 / 26_089, "", PAPER)
    epochs: Constant = Constant("epochs", 30, "", PAPER)
    classes: Constant = Constant("classes", 105, "", PAPER)

    photo_bytes: Constant = Constant("photo as it is, JPEG", 49_538, "bytes per photo", MEASURED)
    mask_bytes: Constant = Constant("mask as it is, PNG", 5_192, "bytes per photo", MEASURED)
    small_photo_bytes: Constant = Constant("photo at 224 px, JPEG", 19_933, "bytes per photo", MEASURED)
    small_mask_bytes: Constant = Constant("mask at 224 px, PNG", 2_145, "bytes per photo", MEASURED)
    pair_bytes: Constant = Constant("both cut-outs at 224 px, JPEG", 23_945, "bytes per pair", MEASURED)
    manifest_bytes: Constant = Constant("manifest.csv", 259, "bytes per pair", MEASURED)
    slack_bytes: Constant = Constant("unused end of a file's last block", 2_048, "bytes per file", ASSUMED)

    cut_photo_ms: Constant = Constant("preprocessing, its part per photo", 4.0, "ms per photo", MEASURED)
    cut_pair_ms: Constant = Constant("preprocessing, its part per pair", 1.56, "ms per pair", MEASURED)
    scan_photo_ms: Constant = Constant("first scan of an archive", 1.32, "ms per photo", MEASURED)
    index_pair_us: Constant = Constant("start with a manifest", 39, "µs per pair", FULL_SIZE)
    index_bytes: Constant = Constant("index in memory", 77, "bytes per pair", FULL_SIZE)

    folder_pair_ms: Constant = Constant("loading a folder pair at 224 px", 1.16, "ms per pair", MEASURED)
    archive_photo_ms: Constant = Constant("loading from an archive at 224 px, its part per photo", 1.10, "ms", MEASURED)
    archive_pair_ms: Constant = Constant("loading from an archive at 224 px, its part per pair", 0.18, "ms", MEASURED)
    bootstrap_ns: Constant = Constant("six scores of a resample", 7.4, "ns per test pair", MEASURED)

    utilisation: Constant = Constant("matrix rate that training reaches", 0.40, "of the peak", ASSUMED)
    bandwidth_share: Constant = Constant("memory rate that training reaches", 0.70, "of the peak", ASSUMED)
    link_rate: Constant = Constant("network of a GPU, one direction", 25e9, "bytes/s (200 Gbit/s)", ASSUMED)


@dataclass(frozen=True)
class Gpu:
    """Peak rates as its maker prints them, dense: bf16 operations and bytes of memory per second."""

    name: str
    flops: float
    bandwidth: float


GPUS = (Gpu("A100", 312e12, 2.039e12), Gpu("H100", 989e12, 3.35e12))

BACKBONES = {
    "MobileNetV2": "mobilenetv2_100",
    "ViT-B/16": "vit_base_patch16_224",
    "DeiT-B": "deit_base_patch16_224",
    "DeiT-B distilled": "deit_base_distilled_patch16_224",
    "Mixer-B/16": "mixer_b16_224",
}
# ROI module, extra-ROI module (the paper's Tables 3, 11 and 12).
MODULE_PAIRS = (
    ("MobileNetV2", "MobileNetV2"),
    ("MobileNetV2", "ViT-B/16"),
    ("ViT-B/16", "ViT-B/16"),
    ("ViT-B/16", "MobileNetV2"),
    ("MobileNetV2", "DeiT-B distilled"),
    ("DeiT-B", "DeiT-B"),
    ("DeiT-B", "DeiT-B distilled"),
    ("DeiT-B distilled", "DeiT-B distilled"),
)
SCALES = {"26 thousand": 26_016, "1 million": 1_000_000, "100 million": 100_000_000}
