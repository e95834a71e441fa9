"""SAM's weights: read from a local file, checked, and put into the network that their shapes describe."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from utils.errors import ConfigError, DataError
from utils.files import sha256
from utils.names import shown

FILES = {"vit_b": "sam_vit_b_01ec64.pth", "vit_l": "sam_vit_l_0b3195.pth", "vit_h": "sam_vit_h_4b8939.pth"}
_PAGE = "https://github.com/facebookresearch/segment-anything#model-checkpoints"
_BY_FILE = ", ".join(f"{name}: {file}" for name, file in FILES.items())
WHERE = f"the files are {_BY_FILE}, from 'Model Checkpoints' on {_PAGE}"
_NAMES = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}  # by width and blocks of the encoder
_ZIP = b"PK\x03\x04"
_WRAPPERS = ("model", "state_dict")  # under which training scripts keep the weights

# No shape tells these; they are the same in all that was published.
_DECODER_HEADS = 8
_NORM_EPSILON = 1e-6
_PIXEL_MEAN, _PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SamShape:
    """The sizes of a SAM.

    Attributes:
        image_size: side in pixels of the square that the encoder takes.
        patch_size: side in pixels of one token of it.
        width, depth, heads, mlp_ratio: of the encoder's blocks.
        window: side in tokens of the windows in which most blocks attend; 0 where none does.
        global_blocks: the blocks that attend to the whole picture.
        channels: of the embedding, and width of the decoder.
        mask_channels: of the convolutions on mask prompts.
        masks: candidates for an ambiguous prompt.
        decoder_depth, decoder_mlp: blocks of the decoder, and the width of their hidden layer.
        iou_depth, iou_width: layers of the head that predicts a mask's IoU, and their width.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float
    window: int
    global_blocks: tuple[int, ...]
    channels: int
    mask_channels: int
    masks: int
    decoder_depth: int
    decoder_mlp: int
    iou_depth: int
    iou_width: int

    @property
    def name(self) -> str:
        """``vit_b``, ``vit_l`` or ``vit_h``, or width and depth of an encoder that is none of them."""
        return _NAMES.get((self.width, self.depth), f"vit_{self.width}x{self.depth}")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A SAM on the CPU, fp32, ready to answer.

    Attributes:
        path: the file that it was read from.
        sha256: of the file.
        shape: its sizes.
        network: ``segment_anything.modeling.Sam`` in evaluation mode.
    """

    path: Path
    sha256: str
    shape: SamShape
    network: Any


def load_checkpoint(path: Path | None, model: str | None) -> Checkpoint:
    """Read a SAM from a .pth state dict or a .safetensors file.

    Args:
        path: the file.
        model: the size that it must have; null takes any.

    Raises:
        ConfigError: no file is given, or it is of another size.
        DataError: the file is not there, or holds no SAM with finite weights.
    """
    if path is None:
        raise ConfigError(f"segmenter.name sam needs segmenter.checkpoint, a local file with its weights; {WHERE}")
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise DataError(f"segmenter.checkpoint '{path}' {what}; {WHERE}")
    tensors = _state_dict(_content(path), path)
    try:
        shape = read_shape(tensors)
    except KeyError as error:
        raise DataError(_no_sam(path, f"it lacks {error.args[0]}")) from None
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise DataError(_no_sam(path, f"its weights have other shapes than a SAM's ({error})")) from None
    if model is not None and shape.name != model:
        raise ConfigError(
            f"segmenter.model is {model}, but '{path}' holds {shape.name} (an encoder of {shape.depth} blocks, "
            f"{shape.width} wide); leave segmenter.model out, or give {FILES[model]}; {WHERE}"
        )
    return Checkpoint(path, sha256(path), shape, _filled(shape, tensors, path))


def read_shape(tensors: Mapping[str, Tensor]) -> SamShape:
    """Read the sizes of a SAM from the shapes of its weights.

    Raises:
        KeyError: a weight is not there.
        ValueError, IndexError, ZeroDivisionError: the shapes contradict each other.
    """
    sizes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    width, _, patch, _ = sizes["image_encoder.patch_embed.proj.weight"]
    _, grid, *_ = sizes["image_encoder.pos_embed"]
    depth = _count(sizes, r"image_encoder\.blocks\.(\d+)\.")
    reaches, head_widths = zip(
        *(sizes[f"image_encoder.blocks.{block}.attn.rel_pos_h"] for block in range(depth)), strict=True
    )
    sides = [(reach + 1) // 2 for reach in reaches]
    windows = {side for side in sides if side != grid}
    if len(windows) > 1 or len(set(head_widths)) > 1 or width % head_widths[0]:
        raise ValueError(f"windows of {sorted(windows)} tokens, heads {sorted(set(head_widths))} wide")
    iou_head = "mask_decoder.iou_prediction_head.layers"
    return SamShape(
        image_size=grid * patch,
        patch_size=patch,
        width=width,
        depth=depth,
        heads=width // head_widths[0],
        mlp_ratio=sizes["image_encoder.blocks.0.mlp.lin1.weight"][0] / width,
        window=windows.pop() if windows else 0,
        global_blocks=tuple(block for block, side in enumerate(sides) if side == grid),
        channels=sizes["image_encoder.neck.0.weight"][0],
        mask_channels=sizes["prompt_encoder.mask_downscaling.3.weight"][0],
        masks=sizes["mask_decoder.mask_tokens.weight"][0] - 1,
        decoder_depth=_count(sizes, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        decoder_mlp=sizes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
        iou_depth=_count(sizes, rf"{re.escape(iou_head)}\.(\d+)\."),
        iou_width=sizes[f"{iou_head}.0.weight"][0],
    )


def build(shape: SamShape) -> nn.Module:
    """Return the network of some sizes, its weights not filled in (on torch's ``meta`` device)."""
    grid = shape.image_size // shape.patch_size
    with torch.device("meta"):  # random weights, which would be replaced at once, take seconds to draw
        network: nn.Module = Sam(
            image_encoder=ImageEncoderViT(
                img_size=shape.image_size,
                patch_size=shape.patch_size,
                embed_dim=shape.width,
                depth=shape.depth,
                num_heads=shape.heads,
                mlp_ratio=shape.mlp_ratio,
                out_chans=shape.channels,
                qkv_bias=True,
                norm_layer=partial(nn.LayerNorm, eps=_NORM_EPSILON),
                use_rel_pos=True,
                window_size=shape.window,
                global_attn_indexes=shape.global_blocks,
            ),
            prompt_encoder=PromptEncoder(
                embed_dim=shape.channels,
                image_embedding_size=(grid, grid),
                input_image_size=(shape.image_size, shape.image_size),
                mask_in_chans=shape.mask_channels,
            ),
            mask_decoder=MaskDecoder(
                num_multimask_outputs=shape.masks,
                transformer=TwoWayTransformer(
                    depth=shape.decoder_depth,
                    embedding_dim=shape.channels,
                    mlp_dim=shape.decoder_mlp,
                    num_heads=_DECODER_HEADS,
                ),
                transformer_dim=shape.channels,
                iou_head_depth=shape.iou_depth,
                iou_head_hidden_dim=shape.iou_width,
            ),
        )
    for name, values in (("pixel_mean", _PIXEL_MEAN), ("pixel_std", _PIXEL_STD)):  # no checkpoint holds them
        network.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
    return network.eval().requires_grad_(False)


def _filled(shape: SamShape, tensors: Mapping[str, Tensor], path: Path) -> nn.Module:
    """Return the network with its weights; they are compared before anything as large as they say is computed."""
    try:
        network = build(shape)
    except (RuntimeError, AssertionError, ValueError, TypeError, ArithmeticError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(_no_sam(path, f"its weights do not fit together: {reason}")) from None
    if problem := _misfit(network.state_dict(), tensors, path.stat().st_size):
        raise DataError(_no_sam(path, problem))
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise DataError(
            f"segmenter.checkpoint '{path}' has {len(broken)} weights that are not finite ({', '.join(broken[:3])}); "
            f"fetch it again; {WHERE}"
        )
    network.load_state_dict(weights, assign=True)
    return network


def _misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], size: int) -> str | None:
    """Say why weights from a file of some bytes are not those of a network; None where they are."""
    for what, one, other in (("lacks", wanted, found), ("has", found, wanted)):
        if names := [name for name in one if name not in other]:
            too_much = "" if what == "lacks" else ", which a SAM lacks"
            return f"its weights do not fit together: it {what} {shown(names[0])}{too_much} ({len(names)} such names)"
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{list(tensor.shape)} where {list(wanted[name].shape)} fits"
            return f"its weights do not fit together: {name} is {shapes}"
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.is_floating_point():
            return f"{name} is no plain tensor of floating-point numbers ({tensor.layout}, {tensor.dtype})"
    needed = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
    if needed > size:  # a view can repeat one number without end
        return f"its weights take {needed:,} bytes, but the file has {size:,}"
    return None


def _content(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path, device="cpu")
        with path.open("rb") as file:
            zipped = file.read(4) == _ZIP  # torch decides by the same bytes
        if zipped:
            _refuse_packed(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except pickle.UnpicklingError:
        raise DataError(_no_sam(path, "it is no file of weights alone, or it is damaged")) from None
    except Exception as error:  # the unpickler raises many kinds on damaged files; all mean the same to a user
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(_no_sam(path, f"it is damaged or of another kind: {reason}")) from None


def _refuse_packed(path: Path) -> None:
    """Refuse an archive that grows when it is read: torch writes none, and a small one may fill the memory."""
    with zipfile.ZipFile(path) as archive:
        grown = sum(entry.file_size for entry in archive.infolist())
    size = path.stat().st_size
    if grown > size:
        raise DataError(_no_sam(path, f"it is packed: its {size:,} bytes hold {grown:,}"))


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise DataError(_no_sam(path, "it holds no weights by name"))
    if not any(name.startswith("mask_decoder.") for name in content):
        found = ", ".join(sorted({name.partition(".")[0] for name in content})[:4]) or "nothing"
        raise DataError(_no_sam(path, f"it holds {found}"))
    return content


def _no_sam(path: Path, reason: str) -> str:
    return f"segmenter.checkpoint '{path}' cannot be used as SAM's weights: {reason}; {WHERE}"


def _count(sizes: Mapping[str, object], pattern: str) -> int:
    """Return how many numbers from 0 on the names have at a place."""
    return len({found[1] for name in sizes if (found := re.match(pattern, name))})
