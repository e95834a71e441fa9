"""Where the weights of a backbone came from, down to the bytes of the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlparse

import timm
import torch

from Off_the_shelfs.weights import RUN_WEIGHTS, published_file
from utils.files import sha256


@dataclass(frozen=True)
class Origin:
    """Where initial weights came from.

    Attributes:
        kind: ``random``; ``hub`` and ``url`` for published weights; ``file`` and ``run`` for local ones.
        location: id on the hub, address or path; null for random weights.
        tag: timm's full name of published weights, null for others.
        file: the local file that they were read from; null where there is none, or none was found.
    """

    kind: Literal["random", "hub", "url", "file", "run"]
    location: str | None = None
    tag: str | None = None
    file: Path | None = None


class _Backbone(Protocol):
    name: str
    source: str
    origin: Origin


def published_origin(name: str) -> Origin:
    """Return the origin of published weights that have just been loaded; the network is not asked."""
    published = timm.get_pretrained_cfg(name)
    if published is None:
        return Origin("random")
    tag = f"{published.architecture}.{published.tag}" if published.tag else str(published.architecture)
    if published.hf_hub_id is not None:
        return Origin("hub", published.hf_hub_id, tag, published_file(name, published.hf_hub_id))
    address = str(published.url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(address).path).name
    return Origin("url", address, tag, file if file.is_file() else None)


def local_origin(location: str) -> Origin:
    """Return the origin of the weights of a file or a run directory."""
    path = Path(location).expanduser()
    if path.is_dir():
        return Origin("run", str(path), file=path / RUN_WEIGHTS)
    return Origin("file", str(path), file=path)


def describe_weights(backbones: Mapping[str, _Backbone]) -> dict[str, dict[str, Any]]:
    """Return by view the backbone's name and where its initial weights came from, ready for JSON.

    ``sha256`` and ``bytes`` are those of the file, null with a ``reason`` where there is none.
    """
    return {view: _describe(backbone) for view, backbone in backbones.items()}


def _describe(backbone: _Backbone) -> dict[str, Any]:
    origin = backbone.origin
    found: dict[str, Any] = {"name": backbone.name, "source": backbone.source, "kind": origin.kind}
    found |= {"location": origin.location, "tag": origin.tag, "file": None if origin.file is None else str(origin.file)}
    found |= {"bytes": None, "sha256": None, "reason": None}
    if origin.file is None:
        reason = "no file: random weights" if origin.kind == "random" else "the downloaded file was not found"
        return found | {"reason": reason}
    try:
        status = origin.file.stat()
        return found | {"bytes": status.st_size, "sha256": _hash_once(origin.file, status.st_size, status.st_mtime_ns)}
    except OSError as error:
        return found | {"reason": str(error)}


@cache
def _hash_once(path: Path, _size: int, _changed: int) -> str:
    """Hash a file once per process as long as it stays the same: two views often share their weights."""
    return sha256(path)
