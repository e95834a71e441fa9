"""What ``convert_R2O.py`` does: pre-trained weights in, a file or folder that another library loads out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.output_folder import check_output
from Off_the_shelfs.backbones import Backbone, build_backbone
from Off_the_shelfs.config import BackboneConfig
from Off_the_shelfs.timm_folder import write_timm_folder
from Off_the_shelfs.weights import RUN_CONFIG, RUN_WEIGHTS, TIMM_CONFIG, read_weights
from R2O.layouts import check_shapes, pickled, shared_name, to_detectron2, to_torchvision
from R2O.released import Network, trunk_of
from utils.checkpoints import save_weights
from utils.config import parse_config
from utils.errors import ConfigError
from utils.files import whole_folder, write_atomic, write_bytes
from utils.processes import refuse_several
from utils.yaml_file import load_yaml

SCRIPT = "convert_R2O.py"
ENDINGS = {"torchvision": (".pth", ".safetensors"), "detectron2": (".pkl",)}
Layout = Literal["timm", "torchvision", "detectron2"]


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Options of ``convert_R2O.py``.

    Attributes:
        source: folder of a finished run of pretrain_R2O.py, a file with weights of it, or a checkpoint that the authors
            of R2O released.
        layout: ``timm`` writes a folder for timm and the train scripts; ``torchvision`` a file, which MMSegmentation
            reads too; ``detectron2`` its pickled file. The latter two are for ResNets.
        out: the folder or file; a file ends in .pth or .safetensors for torchvision, in .pkl for detectron2.
        network: the ``online`` network, which learned, or its ``target``, where the source holds both.
        overwrite: replace what an earlier call wrote there.
    """

    source: str | None = None
    layout: Layout = "timm"
    out: str | None = None
    network: Network = "online"
    overwrite: bool = False


@dataclass(frozen=True)
class _Trunk:
    """Tensors by timm's keys, timm name and side of the pictures where they are known, and what to call it."""

    tensors: dict[str, Tensor]
    backbone: str | None
    image_size: int | None
    title: str
    notes: list[str]


def convert_command(argv: list[str]) -> None:
    """Parse the command line of ``convert_R2O.py`` and run it."""
    options, _ = parse_config(ConvertOptions, argv, program=SCRIPT, flags={})
    refuse_several(SCRIPT)
    if options.source is None:
        raise ConfigError("no weights are named; add --source, a run's folder (run.dir) or a file")
    out = _target(options)
    trunk = _read(options.source, options.network)
    for note in trunk.notes:
        print(f"note: {note}")
    name = _write(trunk, options.layout, out)
    files = [out] if out.is_file() else list(out.iterdir())
    n_bytes = sum(path.stat().st_size for path in files)
    print(f"converted: {out} ({name}, layout of {options.layout}, {n_bytes / 1e6:,.1f} MB)")


def _target(options: ConvertOptions) -> Path:
    """Return where to write, checked before anything is read."""
    if options.out is None:
        kind = "a folder" if options.layout == "timm" else f"a file ending in {' or '.join(ENDINGS[options.layout])}"
        raise ConfigError(f"no place to write is named; add --out, {kind}")
    out = Path(options.out).expanduser()
    if options.layout == "timm":
        own = (TIMM_CONFIG, RUN_WEIGHTS)
        return check_output(out, own, (), "conversion", overwrite=options.overwrite)
    endings = ENDINGS[options.layout]
    if out.suffix not in endings:
        raise ConfigError(f"--out {out} must be a file ending in {' or '.join(endings)} for --layout {options.layout}")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a file")
    if out.exists() and out.resolve() == Path(str(options.source)).expanduser().resolve():
        raise ConfigError(f"--out {out} is the source itself; name another file")
    if out.exists() and not options.overwrite:
        raise ConfigError(f"--out {out} exists; add --overwrite, or name another file")
    return out


def _read(source: str, network: Network) -> _Trunk:
    path = Path(source).expanduser()
    if not path.exists():
        raise ConfigError(f"--source {source} does not exist; name a run's folder (run.dir), or a file with weights")
    weights = read_weights(source, "photo")
    title = f"--source {source}"
    return _Trunk(
        trunk_of(weights.tensors, network, title), weights.trained_as, _image_size(path), title, weights.notes
    )


def _image_size(path: Path) -> int | None:
    record = path / RUN_CONFIG
    data: Any = load_yaml(record).get("data") if record.is_file() else None
    size = data.get("image_size") if isinstance(data, dict) else None
    return size if isinstance(size, int) else None


def _write(trunk: _Trunk, layout: Layout, out: Path) -> str:
    """Write the weights, whole or not at all, and return the name of their network in that library."""
    if layout == "timm":
        backbone = _backbone(trunk)
        with whole_folder(out) as folder:
            write_timm_folder(backbone, backbone.view_spec(), folder)
        return backbone.name
    name = shared_name(trunk.tensors, trunk.backbone, trunk.title)
    if layout == "detectron2":
        content = pickled(to_detectron2(trunk.tensors, name, trunk.title))
        out.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(out, content)
        return name
    tensors = {key: tensor.contiguous().clone() for key, tensor in to_torchvision(trunk.tensors, name).items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".safetensors":
        save_weights(tensors, out)
    else:
        write_atomic(out, lambda temporary: torch.save(tensors, temporary))
    return name


def _backbone(trunk: _Trunk) -> Backbone:
    """Return the timm model with these weights, all of them."""
    name = trunk.backbone or _found_name(trunk)
    config = BackboneConfig(name=name, pretrained=False)
    backbone = build_backbone(config, role="photo", image_size=trunk.image_size, initialise=False)
    wanted = {key: tuple(tensor.shape) for key, tensor in backbone.model.state_dict().items()}
    check_shapes(trunk.tensors, wanted, name, trunk.title)
    backbone.model.load_state_dict(trunk.tensors)
    return backbone.eval()


def _found_name(trunk: _Trunk) -> str:
    try:
        return shared_name(trunk.tensors, None, trunk.title)
    except ConfigError:
        raise ConfigError(
            f"{trunk.title} does not say whose weights it holds, and no ResNet has such; name the run's folder instead "
            f"of a file in it"
        ) from None
