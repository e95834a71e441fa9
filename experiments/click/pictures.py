"""Pictures of the page, inside the page itself: nothing is written to a file."""

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from datasets.cutouts import PictureFormat, encode, resize_photo
from experiments.explanation.sheets import overlay
from experiments.figures import BLUE
from experiments.prediction.predictor import ViewMap

Picture = NDArray[np.uint8]

_SHOWN, _CUTOUT, _MAP, _THUMB = 960, 360, 300, 112  # pixels of the longer side
_MASK_SIDE = 640
_TINT, _LINE = 56, 255  # opacity of a mask and of its outline, 0..255


def photo_url(photo: Picture) -> str:
    """Return a photo H×W×3 as a data URL."""
    return _url(_smaller(photo, _SHOWN), "jpg", 90)


def cutout_url(photo: Picture) -> str:
    """Return a cut-out H×W×3 as a data URL."""
    return _url(_smaller(photo, _CUTOUT), "jpg", 90)


def thumb_url(photo: Picture) -> str:
    """Return a small picture of a photo H×W×3 as a data URL."""
    return _url(_smaller(photo, _THUMB), "jpg", 85)


def map_url(view: ViewMap) -> str:
    """Return a module's map over what the module saw as a data URL; its strongest place is the brightest colour.

    Letterbox bars are no part of the photo and stay dark.
    """
    left, top, width, height = view.content
    heat = np.zeros_like(view.heat)
    heat[top : top + height, left : left + width] = view.own_scale[top : top + height, left : left + width]
    return _url(overlay(view.picture, heat, _MAP), "jpg", 90)


def mask_url(mask: NDArray[np.bool_]) -> str:
    """Return a bool H×W mask as a data URL: a tint inside, a white and a coloured line around it, clear outside."""
    height, width = mask.shape
    scale = _MASK_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5
    pixels = np.zeros((*inside.shape, 4), dtype=np.uint8)
    pixels[inside] = (*ImageColor.getrgb(BLUE)[:3], _TINT)
    within = inside.astype(np.uint8)
    for reach, color in ((3, (255, 255, 255)), (1, ImageColor.getrgb(BLUE)[:3])):
        brush = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        edge = cv2.dilate(within, brush) != cv2.erode(within, brush)
        pixels[edge] = (*color, _LINE)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return _data_url(buffer.getvalue(), "png")


def _smaller(photo: Picture, side: int) -> Picture:
    if max(photo.shape[:2]) <= side:
        return photo
    return np.asarray(resize_photo(Image.fromarray(photo), side))


def _url(picture: Picture, kind: PictureFormat, quality: int) -> str:
    return _data_url(encode(np.ascontiguousarray(picture), kind, quality), "jpeg" if kind == "jpg" else kind)


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
