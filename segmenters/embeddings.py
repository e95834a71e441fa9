"""Photos' embeddings: computed once, the last few kept in memory, and all of them in a folder when asked."""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from segmenters.segmenter import Photo
from utils.errors import ConfigError, DataError
from utils.files import write_bytes

_IN_MEMORY = 8  # 4 MB each at SAM's own size
_FORMAT = 1  # to be raised when the same facts give another embedding


class Embeddings:
    """Embeddings by photo; a photo that several threads ask for at once is encoded once.

    A file of the folder is trusted only where its checksum fits photo, facts and content; any other is deleted, and
    the embedding computed again.
    """

    def __init__(self, encode: Callable[[Photo], Tensor], facts: dict[str, str | int], folder: Path | None) -> None:
        """Keep what ``encode`` returns.

        Args:
            encode: photo, uint8 H×W×3, to a float32 tensor on the device where it is used; called by one thread at a
                time.
            facts: all that decides the embedding besides the photo.
            folder: where embeddings are kept as safetensors; made where it is missing. Null keeps them in memory.

        Raises:
            ConfigError: the folder cannot be made or written to.
        """
        self._encode = encode
        self._facts = json.dumps({"format": _FORMAT, **facts}, sort_keys=True)
        self._folder = folder
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()
        if folder is not None:
            _make_writable(folder)

    def of(self, photo: Photo, rounding: str = "") -> Tensor:
        """Return the embedding of a photo.

        Args:
            photo: uint8 H×W×3.
            rounding: how the device rounds at this moment: one more of the facts, which may change.

        Raises:
            DataError: what the folder has in its place cannot be read or removed.
        """
        key = _key(photo, f"{self._facts} {rounding}")
        with self._lock:
            embedding = self._kept.pop(key, None)
            if embedding is None:
                embedding = self._stored_or_new(photo, key)
            self._kept[key] = embedding
            while len(self._kept) > _IN_MEMORY:
                self._kept.popitem(last=False)
            return embedding

    def _stored_or_new(self, photo: Photo, key: str) -> Tensor:
        if self._folder is None:
            return self._encode(photo)
        path = self._folder / f"{key}.safetensors"
        if (stored := _read(path, key)) is not None:
            return stored
        embedding = self._encode(photo)
        kept = embedding.detach().cpu().contiguous()
        content = {"embedding": kept, "sha256": torch.tensor(list(_checksum(kept, key)), dtype=torch.uint8)}
        write_bytes(path, safetensors.torch.save(content))
        return embedding


def _key(photo: Photo, facts: str) -> str:
    digest = hashlib.sha256(f"{facts} {photo.shape} {photo.dtype}".encode())
    digest.update(np.ascontiguousarray(photo).data)
    return digest.hexdigest()


def _checksum(embedding: Tensor, key: str) -> bytes:
    digest = hashlib.sha256(f"{key} {tuple(embedding.shape)} {embedding.dtype}".encode())
    digest.update(embedding.numpy().data)
    return digest.digest()


def _read(path: Path, key: str) -> Tensor | None:
    """Return the embedding in a file, or nothing where there is none; a damaged file is deleted."""
    try:
        content = safetensors.torch.load(path.read_bytes())
        embedding: Tensor = content["embedding"]
        if _checksum(embedding, key) == bytes(content["sha256"].tolist()):
            return embedding
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from None
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError):
        pass
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(path, error) from None
    return None


def _unusable(path: Path, error: OSError) -> DataError:
    return DataError(f"segmenter.embeddings holds '{path}', which cannot be used: {error.strerror or error}; delete it")


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        allowed = os.access(folder, os.W_OK)
    except OSError as error:
        raise ConfigError(f"segmenter.embeddings '{folder}' cannot be made: {error.strerror}; give a folder") from None
    if not allowed:
        raise ConfigError(f"segmenter.embeddings '{folder}' cannot be written to; give a folder of your own")
