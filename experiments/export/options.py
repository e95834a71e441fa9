"""What ``export.py`` is asked to do, and where its answer goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.prediction.description import EXPORT_FILE
from utils.checkpoints import WEIGHTS_FILE
from utils.errors import ConfigError, require

README_FILE = "README.md"
ONNX_FILE = "model.onnx"
ONNX_WEIGHTS_FILE = "model.onnx.data"
TIMM_CONFIG_FILE = "config.json"
# Where model.safetensors is timm's, ours lie beside it.
BESIDE_TIMM_FILE = "weights.safetensors"
MODULES = ("roi_backbone", "extra_roi_backbone")
# All that an export writes.
OWN_FILES = (EXPORT_FILE, WEIGHTS_FILE, BESIDE_TIMM_FILE, README_FILE, ONNX_FILE, ONNX_WEIGHTS_FILE, TIMM_CONFIG_FILE)
MODULE_FILES = (TIMM_CONFIG_FILE, WEIGHTS_FILE)
LARGEST_SIDE = 16_384

OnnxInput = Literal["float32", "uint8"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of ``export.py``.

    Attributes:
        run: folder of a finished run, or one that an earlier export wrote.
        out: folder to write.
        size: longer side in pixels to which photo and mask are resized before they are cut, 0 keeps the photo's; for
            a run that does not record it, and no other.
        overwrite: replace what an earlier export left in that folder.
        onnx: write model.onnx too, checked against PyTorch.
        onnx_input: ``float32`` takes normalised pictures, ``uint8`` pixels in 0..255 and normalises them itself.
        opset: version of ONNX's operators, at least 18.
        hub: ``timm`` writes what timm loads by itself: the whole model where it has one view, else its modules.
        push: ``USER/NAME`` on the hub of Hugging Face, to which the folder is uploaded.
        public: make the new repository public; it is private otherwise.
    """

    run: str | None = None
    out: str | None = None
    size: int | None = None
    overwrite: bool = False
    onnx: bool = False
    onnx_input: OnnxInput = "float32"
    opset: int = 18
    hub: Literal["timm"] | None = None
    push: str | None = None
    public: bool = False

    def __post_init__(self) -> None:
        require(18 <= self.opset <= 30, "opset", self.opset, "18 to 30")
        require(self.size is None or 0 <= self.size <= LARGEST_SIDE, "size", self.size, f"0 to {LARGEST_SIDE}")


def output_folder(options: ExportOptions) -> Path:
    """Return the folder that the export fills, checked before anything is read.

    Raises:
        ConfigError: none is named; it is not empty and may not be replaced.
    """
    if options.out is None:
        raise ConfigError("no folder is named; add --out FOLDER, where the exported model is written")
    folder = Path(options.out)
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder")
    found = sorted(path.name for path in folder.iterdir())
    if not found:
        return folder
    foreign = _foreign(folder, found)
    if EXPORT_FILE not in found or foreign:
        raise ConfigError(
            f"--out {folder} holds what no export wrote ({', '.join((foreign or found)[:3])}); name another folder"
        )
    if not options.overwrite:
        raise ConfigError(f"--out {folder} holds an earlier export; add --overwrite, or name another folder")
    return folder


def _foreign(folder: Path, found: list[str]) -> list[str]:
    """Return what in a folder no export wrote; its subfolders are looked into where all else is an export's."""
    foreign = [name for name in found if name not in (*OWN_FILES, *MODULES)]
    if foreign:
        return foreign
    odd = [name for name in found if (folder / name).is_dir() != (name in MODULES)]
    for module in MODULES:
        if (folder / module).is_dir():
            odd += [
                f"{module}/{path.name}"
                for path in sorted((folder / module).iterdir())
                if path.name not in MODULE_FILES or path.is_dir()
            ]
    return odd
