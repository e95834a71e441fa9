"""What 26 thousand, 1 million and 100 million pairs cost: the tables of docs/scaling.md.

``python -m benchmarks.cost_model`` prints them. Every number is arithmetic on benchmarks/cost_constants.py and on the
counts of benchmarks/flops.py; a forward and a backward pass together count as three forward passes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from benchmarks.cost_constants import BACKBONES, GPUS, MODULE_PAIRS, SCALES, Constants, Gpu
from benchmarks.flops import BackboneCost, count
from utils.errors import ConfigError, DataError, run_script

C = Constants()
BYTES_PER_NUMBER = 2  # activations in bf16
BYTES_PER_GRADIENT = 4  # gradients in fp32
PASSES = 3  # a backward pass computes twice what the forward pass does
RESAMPLES = 2_000
MODULES = "modules (roi, extra-roi)"

Costs = Mapping[str, BackboneCost]
Row = Sequence[str]


@cache
def backbone_costs() -> Costs:
    """Count the paper's five backbones at 224 pixels."""
    return {label: count(name) for label, name in BACKBONES.items()}


def photos(pairs: float, c: Constants = C) -> float:
    """Photos that hold so many pairs, at FoodSeg103's co-occurrence."""
    return pairs / c.pairs_per_photo.value


def folder_bytes(pairs: float, c: Constants = C) -> float:
    """Bytes of folder pairs at 224 pixels with their manifest, two files a pair."""
    return pairs * (c.pair_bytes.value + c.manifest_bytes.value + 2 * c.slack_bytes.value)


def archive_bytes(pairs: float, c: Constants = C, *, small: bool) -> float:
    """Bytes of photos and masks, two files a photo: as they are, or made small to 224 pixels."""
    photo, mask = (c.small_photo_bytes, c.small_mask_bytes) if small else (c.photo_bytes, c.mask_bytes)
    return photos(pairs, c) * (photo.value + mask.value + 2 * c.slack_bytes.value)


def preprocessing_seconds(pairs: float, c: Constants = C) -> float:
    """Seconds of one core that cutting folder pairs takes."""
    return (photos(pairs, c) * c.cut_photo_ms.value + pairs * c.cut_pair_ms.value) / 1e3


def scan_seconds(pairs: float, c: Constants = C) -> float:
    """Seconds of one core that the first look at an archive takes."""
    return photos(pairs, c) * c.scan_photo_ms.value / 1e3


def start_seconds(pairs: float, c: Constants = C) -> float:
    """Seconds that listing folder pairs takes with their manifest."""
    return pairs * c.index_pair_us.value / 1e6


def index_bytes(pairs: float, c: Constants = C) -> float:
    """Bytes of memory that the list of pairs takes in each process."""
    return pairs * c.index_bytes.value


def pair_ms(source: str, c: Constants = C) -> float:
    """Milliseconds of one core that loading a pair takes: ``folders``, ``archive`` or ``grouped`` by photo."""
    photo, pair = c.archive_photo_ms.value, c.archive_pair_ms.value
    return {
        "folders": c.folder_pair_ms.value,
        "archive": photo + pair,
        "grouped": photo / c.pairs_per_photo.value + pair,
    }[source]


def training_seconds(cost: BackboneCost, gpu: Gpu) -> float:
    """Seconds of a GPU for one picture, forwards and back: bound by computing or by memory, whichever is slower."""
    compute = PASSES * cost.forward_flops / (C.utilisation.value * gpu.flops)
    memory = BYTES_PER_NUMBER * cost.step_elements / (C.bandwidth_share.value * gpu.bandwidth)
    return max(compute, memory)


def pairs_per_second(modules: tuple[str, str], gpu: Gpu, costs: Costs) -> float:
    """Training pairs per second of one GPU; the two modules run one after the other."""
    return 1 / sum(training_seconds(costs[name], gpu) for name in modules)


def gpu_hours(pairs: float, modules: tuple[str, str], gpu: Gpu, costs: Costs) -> float:
    """Hours of one GPU for the paper's epochs on the training share and one scoring of the rest."""
    share = C.train_share.value
    passes = C.epochs.value * share + (1 - share) / PASSES
    return pairs * passes / pairs_per_second(modules, gpu, costs) / 3600


def gradient_bytes(modules: tuple[str, str], costs: Costs) -> float:
    """Bytes of one copy of all gradients, without the head."""
    return BYTES_PER_GRADIENT * sum(costs[name].parameters for name in modules)


def ring_bytes(copy: float, gpus: int) -> float:
    """Bytes that each of N GPUs sends in a step to average gradients in a ring: 2 (N − 1) / N copies."""
    return 2 * (gpus - 1) / gpus * copy


def markdown(header: Row, rows: Sequence[Row]) -> str:
    """Return a table whose columns are aligned, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Row) -> str:
        first, *rest = [f"{cell:{'<' if not n else '>'}{widths[n]}}" for n, cell in enumerate(cells)]
        return f"| {' | '.join([first, *rest])} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([line(header), f"|{rule}|", *map(line, rows)])


def constants_table() -> str:
    """Every constant with its source, and the assumed rates of GPUs."""
    rows = [(c.name, number(c.value), c.unit, c.source) for c in vars(C).values()]
    for gpu in GPUS:
        rows.append((gpu.name, f"{gpu.flops / 1e12:.0f}", "10¹² dense bf16 operations/s", "its maker"))
        rows.append((f"{gpu.name}, memory", f"{gpu.bandwidth / 1e12:.2f}", "10¹² bytes/s", "its maker"))
    return markdown(("constant", "value", "unit", "source"), rows)


def sizes_table() -> str:
    """Storage and memory, by number of pairs."""
    kinds: dict[str, Callable[[float], str]] = {
        "folder pairs, 224 px": lambda n: size(folder_bytes(n)),
        "files of folder pairs": lambda n: amount(2 * n),
        "archive, photos as they are": lambda n: size(archive_bytes(n, small=False)),
        "archive, 224 px": lambda n: size(archive_bytes(n, small=True)),
        "files of an archive": lambda n: amount(2 * photos(n)),
        "manifest.csv": lambda n: size(n * C.manifest_bytes.value),
        "index in memory, each process": lambda n: size(index_bytes(n)),
        "logits of the test pairs, fp32": lambda n: size(n * (1 - C.train_share.value) * C.classes.value * 4),
    }
    return markdown(("", *SCALES), [(kind, *(text(n) for n in SCALES.values())) for kind, text in kinds.items()])


def core_time_table() -> str:
    """Time of one core, by number of pairs."""
    kinds: dict[str, Callable[[float], float]] = {
        "preprocessing to folder pairs": preprocessing_seconds,
        "first scan of an archive": scan_seconds,
        "start with a manifest": start_seconds,
        "loading each pair once, folders": lambda n: n * pair_ms("folders") / 1e3,
        "loading each pair once, archive": lambda n: n * pair_ms("archive") / 1e3,
        "loading each pair once, archive by photo": lambda n: n * pair_ms("grouped") / 1e3,
        f"intervals, {RESAMPLES:,} resamples": lambda n: (
            RESAMPLES * n * (1 - C.train_share.value) * C.bootstrap_ns.value / 1e9
        ),
    }
    return markdown(("", *SCALES), [(k, *(duration(of(n)) for n in SCALES.values())) for k, of in kinds.items()])


def backbone_table(costs: Costs) -> str:
    """What one picture costs each backbone."""
    header = (
        "backbone",
        "parameters",
        "forward, 10⁹ multiply-adds",
        "forward and back, 10⁹ operations",
        "memory traffic",
    )
    rows = [
        (
            label,
            f"{cost.parameters / 1e6:.1f} M",
            f"{cost.forward_flops / 2e9:.2f}",
            f"{PASSES * cost.forward_flops / 1e9:.1f}",
            size(BYTES_PER_NUMBER * cost.step_elements),
        )
        for label, cost in costs.items()
    ]
    return markdown(header, rows)


def gpu_table(gpu: Gpu, costs: Costs) -> str:
    """Training pairs per second of one GPU, and its time for the paper's whole protocol."""
    rows = []
    for modules in MODULE_PAIRS:
        times = [f"{gpu_hours(n, modules, gpu, costs):,.3g} h" for n in SCALES.values()]
        rows.append((", ".join(modules), f"{pairs_per_second(modules, gpu, costs):,.0f}", *times))
    return markdown((MODULES, "pairs/s", *SCALES), rows)


def loader_table(costs: Costs) -> str:
    """Cores that must load for each GPU, so that it never waits."""
    sources = {"folders": "folders", "archive": "archive", "grouped": "archive by photo"}
    header = (MODULES, *(f"{gpu.name}: {label}" for gpu in GPUS for label in sources.values()))
    rows = []
    for modules in MODULE_PAIRS:
        cores = [pairs_per_second(modules, gpu, costs) * pair_ms(source) / 1e3 for gpu in GPUS for source in sources]
        rows.append((", ".join(modules), *(f"{number:.1f}" for number in cores)))
    return markdown(header, rows)


def network_table(costs: Costs, batch: int = 50, counts: Sequence[int] = (2, 8, 64)) -> str:
    """What a GPU sends in a step, and how long that takes beside the step's computing."""
    gpu = GPUS[-1]
    header = (MODULES, *(f"{n} GPUs send each" for n in counts), "sending", f"step, {batch} pairs")
    rows = []
    for modules in MODULE_PAIRS:
        sent = [ring_bytes(gradient_bytes(modules, costs), n) for n in counts]
        step = batch / pairs_per_second(modules, gpu, costs)
        times = (f"{1e3 * seconds:.1f} ms" for seconds in (sent[-1] / C.link_rate.value, step))
        rows.append((", ".join(modules), *map(size, sent), *times))
    return markdown(header, rows)


def number(value: float) -> str:
    """Return a constant with at most four digits that matter."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def amount(value: float) -> str:
    """Return a count in thousands or millions."""
    return f"{value / 1e6:.3g} million" if value >= 1e6 else f"{value / 1e3:.3g} thousand"


def size(value: float) -> str:
    """Return bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def duration(seconds: float) -> str:
    """Return a time in its natural unit."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * length or unit == "s":
            return f"{seconds / length:,.3g} {unit}" if seconds / length < 1000 else f"{seconds / length:,.0f} {unit}"
    raise AssertionError


def tables() -> dict[str, str]:
    """Return every table of the document by its heading."""
    costs = backbone_costs()
    return {
        "Storage and memory": sizes_table(),
        "Time of one core": core_time_table(),
        "One picture through a backbone": backbone_table(costs),
        **{f"GPU time, {gpu.name}": gpu_table(gpu, costs) for gpu in GPUS},
        "Cores that load for one GPU": loader_table(costs),
        "Network per step": network_table(costs),
        "Constants": constants_table(),
    }


def rewritten(text: str) -> str:
    """Return a document with every table replaced by the code's, each under the heading that it has here.

    Raises:
        DataError: where a heading is missing.
    """
    for title, table in tables().items():
        before, heading, after = text.partition(f"### {title}\n\n")
        if not heading:
            raise DataError(f"the document has no heading '### {title}'")
        rest = after[after.index("\n\n") + 1 :] if after.startswith("|") else f"\n{after}"
        text = f"{before}{heading}{table}\n{rest}"
    return text


def main(arguments: list[str]) -> None:
    """Print every table, or put them into a document: ``--write docs/scaling.md``.

    Raises:
        ConfigError: where the arguments are others.
    """
    if not arguments:
        for title, table in tables().items():
            print(f"\n### {title}\n\n{table}")
    elif len(arguments) == 2 and arguments[0] == "--write":
        path = Path(arguments[1])
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        raise ConfigError(f"unknown arguments {' '.join(arguments)}; give none, or --write docs/scaling.md")


if __name__ == "__main__":
    run_script(main)
