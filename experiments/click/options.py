"""What ``app.py`` is asked to do."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from segmenters.options import SegmenterOptions
from utils.errors import ConfigError, require, require_pixels
from utils.sections import Device, Precision

DEFAULT_RUN = "runs/demo/RveRNet"


@dataclass(frozen=True, kw_only=True)
class ClickOptions:
    """Options of ``app.py``.

    Attributes:
        run: folder of a finished run, or one that ``export.py`` wrote; null takes the demo's RveRNet.
        examples: folder of photos, or an archive, whose photos the page offers; null takes the demo's test plates.
        host: address on which the page is served; others than this computer reach it only where that is asked for.
        port: of the page.
        segmenter: what turns clicks into masks; GrabCut is offered always, SAM where its checkpoint is given.
        max_megapixels: largest photo that is decoded, in million pixels.
        device: ``auto`` takes a GPU where there is one.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
    """

    run: str | None = None
    examples: str | None = None
    host: str = "127.0.0.1"
    port: int = 7860
    segmenter: SegmenterOptions = field(default_factory=SegmenterOptions)
    max_megapixels: float = 60.0
    device: Device = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        require(1 <= self.port <= 65535, "port", self.port, "1 to 65535")
        require(bool(self.host.strip()), "host", repr(self.host), "an address, such as 127.0.0.1")
        require_pixels("max_megapixels", self.max_megapixels)


def run_folder(options: ClickOptions) -> Path:
    """Return the folder of the model, the demo's own where none is given.

    Raises:
        ConfigError: the demo's is wanted, and there is no demo.
    """
    folder = options.run or DEFAULT_RUN
    if folder == DEFAULT_RUN and not Path(folder).is_dir():
        raise ConfigError(f"there is no {DEFAULT_RUN}; run make demo first, or give a finished run with --run")
    return Path(folder)


def is_loopback(host: str) -> bool:
    """Return whether only this computer reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False
