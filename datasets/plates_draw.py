"""Pictures of generated plates: silhouettes, textures and composition, with numpy alone.

Pixels are addressed by their centres: column x spans 0..width, row y spans 0..height, the origin is the top-left
corner. A silhouette is a signed field in pixels, negative inside. Colours are RGB, 0..255.
"""

import numpy as np
from numpy.typing import NDArray

from datasets.plates_plan import CLASS_NAMES, FOODS, Plate, Silhouette, Texture

Field = NDArray[np.float32]
Color = NDArray[np.float32]

# Light and dark tone of the foods of one colour family; foods of a family share all of it. None is red.
FOOD_TONES: dict[str, NDArray[np.float32]] = {
    "golden": np.array([[[250, 206, 96], [150, 84, 24]], [[250, 222, 130], [180, 102, 30]]], np.float32),
    "pink": np.array([[[250, 186, 206], [190, 96, 124]], [[228, 178, 222], [154, 84, 136]]], np.float32),
    "green": np.array([[[196, 222, 120], [70, 116, 42]], [[164, 206, 132], [44, 98, 60]]], np.float32),
}
SAUCE_TONES: NDArray[np.float32] = np.array([[196, 36, 22], [170, 26, 24], [206, 60, 24]], dtype=np.float32)
TABLE_TONES: NDArray[np.float32] = np.array(
    [[112, 84, 64], [112, 122, 132], [76, 98, 126], [84, 90, 96]], dtype=np.float32
)
PLATE_TONES: NDArray[np.float32] = np.array(
    [[240, 238, 232], [228, 232, 240], [214, 222, 226], [58, 62, 70]], dtype=np.float32
)
BLOB_WAVES = {2: 0.07, 3: 0.05, 5: 0.03}  # waves around a blob's outline: largest swing, as a part of the radius
DISH_TONES: NDArray[np.float32] = np.array([[250, 250, 248], [58, 58, 64], [150, 112, 78]], dtype=np.float32)

TEXTURE_SHARE = 0.4  # part of a textured food that shows the second tone, the same for all textures
PLAIN_EDGE = 1.5  # pixels at the edge without texture, so that blurred borders carry none out of the mask


def pixel_grid(width: int, height: int) -> tuple[Field, Field]:
    """Return x and y of the pixel centres, both float32 height × width."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    return x, y


def blend(below: Field, above: Field | Color, opacity: Field) -> Field:
    """Paint ``above`` (H×W×3 or one colour) over ``below`` with opacity 0..1 (H×W)."""
    return below + (above - below) * opacity[..., None]


def coverage(field: Field) -> Field:
    """Return the part of each pixel, 0..1, that a silhouette covers."""
    covered: Field = np.clip(0.5 - field, 0.0, 1.0)
    return covered


def silhouette(shape: Silhouette, u: Field, v: Field, radius: float, rng: np.random.Generator) -> Field:
    """Return the signed field of a silhouette centred at (0, 0) in the rotated coordinates u, v (pixels).

    Every silhouette has about the area of a disc of that radius, so that size says nothing of the shape.
    """
    field: Field
    if shape == "square":
        half = radius * 0.5 * np.sqrt(np.pi) * rng.uniform(0.97, 1.03)
        field = np.maximum(np.abs(u), np.abs(v)) - np.float32(half)
    elif shape == "ring":
        hole = rng.uniform(0.6, 0.7)
        middle, half = 0.5 * (np.hypot(1, hole) + hole), 0.5 * (np.hypot(1, hole) - hole)
        field = np.abs(np.hypot(u, v) - np.float32(middle * radius)) - np.float32(half * radius)
    elif shape == "bar":
        width, length, bend = 0.5 * radius, 2.36 * radius, rng.uniform(0.06, 0.16) / radius
        along = np.abs(u) - np.float32(0.5 * length)
        across = v - np.float32(bend) * (u * u - np.float32((0.5 * radius) ** 2))
        field = np.hypot(np.maximum(along, 0), across) - np.float32(width)
    else:
        swings = {5: 0.42} if shape == "star" else {k: rng.uniform(0.3, 1.0) * a for k, a in BLOB_WAVES.items()}
        angle = np.arctan2(v, u)
        wave = sum(np.float32(a) * np.cos(k * angle + np.float32(rng.uniform(0, 6.28))) for k, a in swings.items())
        scale = radius / np.sqrt(1 + 0.5 * sum(a * a for a in swings.values()))
        field = np.hypot(u, v) - np.float32(scale) * (1 + wave)
    return field


def texture_field(texture: Texture, u: Field, v: Field, period: float, rng: np.random.Generator) -> Field:
    """Return a field that is high where a texture shows its second tone; ``period`` is in pixels."""
    x, y = u + np.float32(rng.uniform(0, period)), v + np.float32(rng.uniform(0, period))
    turn = np.float32(2 * np.pi / period)
    field: Field = np.zeros_like(u)
    if texture == "stripes":
        field = np.cos(turn * x)
    elif texture == "yolk":
        field = -np.hypot(u, v)
    elif texture == "dots":
        turn *= np.float32(1.9)
        field = np.cos(turn * x) + np.cos(turn * (0.5 * x + 0.866 * y)) + np.cos(turn * (0.5 * x - 0.866 * y))
    elif texture == "grain":
        turn *= np.float32(2.2)
        sway_x, sway_y = (2 * np.cos(np.float32(0.4) * turn * along) for along in (x, y))
        field = np.cos(turn * x + sway_y) + np.cos(turn * y + sway_x)
    return field


def second_tone(texture: Texture, field: Field, depth: Field) -> Field:
    """Return the opacity, 0..1, of the second tone; it covers the same share of every textured food.

    ``depth`` is the distance to the food's edge in pixels, positive inside.
    """
    inner = depth > PLAIN_EDGE + 0.5
    if texture == "plain" or not inner.any():
        return np.zeros_like(field)
    values = field[inner]
    level = np.quantile(values, 1 - TEXTURE_SHARE)
    shown: Field = np.clip(0.5 + (field - level) / np.float32(0.5 * float(values.std()) + 1e-6), 0.0, 1.0)
    shown *= np.clip(depth - PLAIN_EDGE, 0.0, 1.0)
    return shown


def rotated(x: Field, y: Field, center: tuple[float, float], angle: float) -> tuple[Field, Field]:
    """Return coordinates around ``center`` (pixels), turned by ``angle`` (radians)."""
    dx, dy = x - np.float32(center[0]), y - np.float32(center[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * dx + sine * dy, cosine * dy - sine * dx


def tinted(tones: NDArray[np.float32], rng: np.random.Generator, spread: float) -> Color:
    """Return one entry of a tone list with a random tint; ``spread`` is the largest change of a channel."""
    color: Color = tones[rng.integers(len(tones))] + rng.uniform(-spread, spread, 3).astype(np.float32)
    return color


def draw_food(
    canvas: Field,
    free: Field,
    look: tuple[str, Silhouette, Texture],
    place: tuple[float, float, float],
    period: float,
    rng: np.random.Generator,
) -> tuple[Field, NDArray[np.bool_]]:
    """Draw one food with its shadow; return the new canvas (H×W×3) and where the food lies (H×W).

    ``free`` (0..1, H×W) says where foods may be painted; ``place`` is centre x, centre y and radius in pixels.
    """
    family, shape, texture = look
    x, y = pixel_grid(canvas.shape[1], canvas.shape[0])
    tones = tinted(FOOD_TONES[family], rng, 12.0)
    angle, turn = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.3)
    u, v = rotated(x, y, place[:2], float(angle))
    field = silhouette(shape, u, v, place[2], rng)
    opacity = coverage(field) * free
    shadow = np.clip(0.6 - (field - 1.0) / 3.0, 0.0, 0.6) * free * np.float32(0.55)
    u, v = rotated(x, y, place[:2], float(turn))
    pattern = second_tone(texture, texture_field(texture, u, v, period * rng.uniform(0.9, 1.1), rng), -field)
    shade = 1 - 0.1 * (x - place[0] + y - place[1]) / np.float32(1.4 * place[2]) - 0.25 * np.clip(field + 1.5, 0.0, 1.0)
    color = (tones[0] + (tones[1] - tones[0]) * pattern[..., None]) * shade[..., None]
    canvas = blend(canvas, np.zeros(3, np.float32), shadow)
    return blend(canvas, color, opacity), opacity > 0.5


def draw_table(width: int, height: int, rng: np.random.Generator) -> Field:
    """Draw a table with a faint grain and one plate; float32 H×W×3."""
    x, y = pixel_grid(width, height)
    side = max(width, height)
    u, _ = rotated(x, y, (0, 0), float(rng.uniform(0, np.pi)))
    grain = np.sin(u * np.float32(2 * np.pi / (0.11 * side)) + 2 * np.sin(y * np.float32(9.0 / side)))
    canvas = tinted(TABLE_TONES, rng, 10.0) + grain[..., None] * np.float32(rng.uniform(2, 9))
    center = (width * rng.uniform(0.44, 0.56), height * rng.uniform(0.44, 0.56))
    half_x, half_y = 0.5 * width * rng.uniform(0.9, 1.08), 0.5 * height * rng.uniform(0.92, 1.1)
    distance = np.hypot((x - np.float32(center[0])) / half_x, (y - np.float32(center[1])) / half_y)
    scale = np.float32(0.5 * (half_x + half_y))
    tone = tinted(PLATE_TONES, rng, 8.0)
    canvas = blend(canvas, np.zeros(3, np.float32), np.clip((1.12 - distance) * 4, 0.0, 0.4).astype(np.float32))
    canvas = blend(canvas, tone, coverage((distance - 1) * scale))
    rim = coverage(np.abs(distance - np.float32(0.8)) * scale - np.float32(0.7))
    return blend(canvas, tone * np.float32(0.82), rim)


def draw_sauce(
    canvas: Field, box: tuple[int, int, int, int], lobed: bool, specked: bool, rng: np.random.Generator
) -> tuple[Field, NDArray[np.bool_]]:
    """Draw a small dish that fills ``box`` (left, top, width, height in pixels) with a sauce in it.

    ``lobed`` and ``specked`` are the two cues that a sauce can show by itself. Returns the new canvas and where the
    sauce lies; the sauce keeps 4 pixels from the edge of its box.
    """
    left, top, box_width, box_height = box
    x, y = pixel_grid(canvas.shape[1], canvas.shape[0])
    half_x, half_y = 0.5 * box_width, 0.5 * box_height
    dx, dy = x - np.float32(left + half_x), y - np.float32(top + half_y)
    size = np.float32(min(half_x, half_y))
    dish = ((np.abs(dx / half_x) ** 4 + np.abs(dy / half_y) ** 4) ** 0.25 - 1) * size
    tone = tinted(DISH_TONES, rng, 5.0)
    canvas = blend(canvas, tone, coverage(dish.astype(np.float32)))
    canvas = blend(canvas, tone * np.float32(0.8), coverage((np.abs(dish + 2.2) - 0.6).astype(np.float32)))
    angle = np.arctan2(dy, dx) + np.float32(rng.uniform(0, 2 * np.pi))
    wave = 0.78 + 0.22 * np.cos(3 * angle) if lobed else 0.95 + 0.05 * np.cos(2 * angle)
    reach = np.hypot(dx / (half_x - 4), dy / (half_y - 4))
    field = ((reach - wave) * (size - 4)).astype(np.float32)
    color = tinted(SAUCE_TONES, rng, 14.0) * (1 - 0.25 * np.clip(reach, 0, 1)[..., None] ** 2)
    u, v = rotated(dx, dy, (0.0, 0.0), float(rng.uniform(0, 2 * np.pi)))
    specks = texture_field("dots", u, v, 0.8 * float(size), rng)
    if specked:
        color = blend(color.astype(np.float32), np.array([236, 178, 70], np.float32), np.clip(specks - 0.6, 0.0, 0.8))
    gloss = np.clip(1 - np.hypot(dx + 0.3 * size, dy + 0.3 * size) / (0.3 * size), 0.0, 0.6)
    color = blend(color.astype(np.float32), np.full(3, 255, np.float32), gloss.astype(np.float32))
    return blend(canvas, color, coverage(field)), coverage(field) > 0.5


def light(canvas: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add a slanting light and the camera's noise; uint8 H×W×3."""
    x, y = pixel_grid(canvas.shape[1], canvas.shape[0])
    direction = rng.uniform(0, 2 * np.pi)
    slope = (x / canvas.shape[1] - 0.5) * np.cos(direction) + (y / canvas.shape[0] - 0.5) * np.sin(direction)
    gain = rng.uniform(0.9, 1.06) * (1 + rng.uniform(0.0, 0.22) * slope)
    noisy = canvas * gain[..., None] + rng.normal(0, 2.5, canvas.shape)
    photo: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return photo


def draw_plate(plate: Plate) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a photo (uint8 height × width × 3, RGB) and its mask (uint8 height × width, class id, 0 = background)."""
    scene = [np.random.default_rng([plate.seed, plate.index, stream]) for stream in (2, 3, 4)]
    canvas = draw_table(plate.width, plate.height, scene[0])
    mask = np.zeros((plate.height, plate.width), np.uint8)
    free = np.ones((plate.height, plate.width), np.float32)
    if plate.sauce:
        left, top, width, height = plate.sauce.box
        free[top : top + height, left : left + width] = 0
    period = 0.095 * max(plate.width, plate.height)
    for place, food in enumerate(plate.foods):
        rng = np.random.default_rng([plate.seed, plate.index, 5, place])
        canvas, where = draw_food(canvas, free, FOODS[food.name], (food.x, food.y, food.radius), period, rng)
        mask[where] = CLASS_NAMES.index(food.name) + 1
    if plate.sauce:
        sauce = plate.sauce
        canvas, where = draw_sauce(canvas, sauce.box, sauce.lobed, sauce.specked, scene[1])
        mask[where] = CLASS_NAMES.index(sauce.name) + 1
    return light(canvas, scene[2]), mask
