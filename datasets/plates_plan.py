"""What lies on a generated plate: classes, their cues, and the description from which a photo is drawn."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, problem_list

Silhouette = Literal["blob", "square", "star", "bar", "ring"]
Texture = Literal["plain", "stripes", "grain", "yolk", "dots"]

BLOCK = 8  # pixels; JPEG codes blocks of this side, and a dish fills whole blocks

# Colour family, silhouette and texture, most common food first. The pairs of PAIRS share all but one of them.
FOODS: dict[str, tuple[str, Silhouette, Texture]] = {
    "french fries": ("golden", "blob", "stripes"),
    "octopus": ("pink", "star", "plain"),
    "fried meat": ("golden", "blob", "grain"),
    "sashimi": ("pink", "bar", "plain"),
    "kiwi": ("green", "blob", "yolk"),
    "seaweed": ("green", "square", "plain"),
    "cucumber": ("green", "blob", "dots"),
    "pepper": ("green", "ring", "plain"),
}
SAUCES = ("ketchup", "chili-paste")
# What stands beside a sauce: two foods of its own colour family, or one of each pair of twins.
COMPANIONS: dict[str, dict[str, tuple[str, str]]] = {
    "colour": {"ketchup": ("french fries", "fried meat"), "chili-paste": ("sashimi", "octopus")},
    "twins": {"ketchup": ("french fries", "octopus"), "chili-paste": ("fried meat", "sashimi")},
}
PAIRS: dict[tuple[str, str], Literal["texture", "shape", "context"]] = {
    ("french fries", "fried meat"): "texture",
    ("kiwi", "cucumber"): "texture",
    ("octopus", "sashimi"): "shape",
    ("seaweed", "pepper"): "shape",
    SAUCES: "context",
}
NEUTRAL = tuple(name for name in FOODS if not any(name in pair for pair in COMPANIONS["colour"].values()))
CLASS_NAMES = (*FOODS, *SAUCES)
CLASSES_PER_PHOTO = {2: 0.17, 3: 0.28, 4: 0.28, 5: 0.27}  # mean 3.65, as in FoodSeg103


@dataclass(frozen=True, kw_only=True)
class PlatesConfig:
    """What to generate.

    Attributes:
        photos: number of photos.
        seed: photo i depends on the seed, i and the options below, never on the number of photos.
        side: mean longer side of a photo in pixels, 64..1024.
        purity: probability that a sauce comes with its own companions rather than the other sauce's, 0..1.
        companions: ``colour``: the companions of the two sauces differ in colour; ``twins``: in texture or shape
            alone, so that whoever sees only colours cannot tell the sauces apart.
        sauce_share: part of the photos that show a sauce, 0..1.
        sauce_texture: probability that a sauce shows its own surface (ketchup plain, chili paste with specks), 0..1;
            0.5 says nothing.
        sauce_shape: probability that a sauce shows its own outline (ketchup round, chili paste lobed), 0..1; 0.5
            says nothing.
        imbalance: how much more often the most common food is drawn than the rarest, at least 1.
        test_share: part of the photos in the test split, in (0, 1).
    """

    photos: int = 700
    seed: int = 0
    side: int = 96
    purity: float = 0.95
    companions: Literal["colour", "twins"] = "colour"
    sauce_share: float = 0.5
    sauce_texture: float = 0.5
    sauce_shape: float = 0.5
    imbalance: float = 2.0
    test_share: float = 0.3

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}, allowed is {low} to {high}"
            for name, low, high in (
                ("photos", 2, 10**8 - 1),
                ("seed", 0, 2**63 - 1),
                ("side", 64, 1024),
                ("purity", 0, 1),
                ("sauce_share", 0, 1),
                ("sauce_texture", 0, 1),
                ("sauce_shape", 0, 1),
                ("imbalance", 1, 1000),
                ("test_share", 0.01, 0.99),
            )
            if not low <= getattr(self, name) <= high
        ]
        if not problems and not 1 <= int(self.photos * self.test_share + 1e-9) < self.photos:
            problems.append(f"photos is {self.photos} and test_share {self.test_share}, which leaves a split empty")
        if problems:
            raise ConfigError(problem_list("options of the generated plates", problems))


@dataclass(frozen=True)
class Food:
    """A food on a plate: class name, centre and radius in pixels."""

    name: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Sauce:
    """A sauce in its dish: class name, the dish's box (left, top, width, height in pixels), its own two cues."""

    name: str
    box: tuple[int, int, int, int]
    lobed: bool
    specked: bool


@dataclass(frozen=True)
class Plate:
    """The description from which one photo is drawn; change it with ``dataclasses.replace`` for a counterfactual.

    Attributes:
        index: number of the photo.
        seed: the generator's seed; it fixes table, light, colours and the phase of textures.
        split: ``train`` or ``test``.
        width: pixels.
        height: pixels.
        foods: largest first, each class at most once.
        sauce: at most one.
    """

    index: int
    seed: int
    split: str
    width: int
    height: int
    foods: tuple[Food, ...]
    sauce: Sauce | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes in the photo."""
        return tuple(food.name for food in self.foods) + ((self.sauce.name,) if self.sauce else ())


def food_weights(config: PlatesConfig) -> dict[str, float]:
    """Return how readily each food is drawn: a geometric row from ``imbalance`` down to 1."""
    steps = len(FOODS) - 1
    return {name: config.imbalance ** (1 - rank / steps) for rank, name in enumerate(FOODS)}


def split_of(config: PlatesConfig, index: int) -> str:
    """Return the split of a photo: the test photos lie evenly among the others."""
    share = config.test_share
    return "test" if int((index + 1) * share + 1e-9) > int(index * share + 1e-9) else "train"


def plan_plate(config: PlatesConfig, index: int) -> Plate:
    """Draw the description of photo ``index``.

    The geometry and the sauce's own cues come first and know nothing of the classes (unless ``sauce_texture`` or
    ``sauce_shape`` leave 0.5); classes are then dealt to the places at random.
    """
    rng = np.random.default_rng([config.seed, index, 0])
    count = int(rng.choice(list(CLASSES_PER_PHOTO), p=list(CLASSES_PER_PHOTO.values())))
    has_sauce = bool(rng.random() < config.sauce_share)
    longer = config.side * rng.uniform(0.92, 1.08)
    aspect = float(rng.choice([4 / 3, 3 / 2, 1.0, 3 / 4], p=[0.6, 0.12, 0.18, 0.1]))
    width, height = round(longer * min(1, aspect)), round(longer / max(1, aspect))
    box = _dish_box(rng, width, height) if has_sauce else None
    places = _layout(rng, width, height, count - has_sauce, box)

    rng = np.random.default_rng([config.seed, index, 1])
    chili, own, specked, lobed = rng.random(4)
    sauce, name = None, SAUCES[int(chili < 0.5)]
    if box is not None:
        reliability = (config.sauce_texture, config.sauce_shape)
        shows = [p if name == SAUCES[1] else 1 - p for p in reliability]
        sauce = Sauce(name, box, lobed=bool(lobed < shows[1]), specked=bool(specked < shows[0]))
    host = name if own < config.purity else SAUCES[1 - SAUCES.index(name)]
    companions = COMPANIONS[config.companions][host]
    names = _deal(rng, food_weights(config), len(places), companions if sauce else None)
    foods = tuple(Food(name, *place) for name, place in zip(names, places, strict=True))
    return Plate(index, config.seed, split_of(config, index), width, height, foods, sauce)


def _deal(
    rng: np.random.Generator, weights: Mapping[str, float], count: int, companions: tuple[str, str] | None
) -> list[str]:
    """Draw ``count`` different foods in random order; beside a sauce, one or two companions and neutral foods."""
    chosen: list[str] = []
    if companions is None:
        chosen = _draw(rng, weights, tuple(weights), count)
    else:
        pair = min(count, 2)
        chosen = _draw(rng, weights, companions, pair) + _draw(rng, weights, NEUTRAL, count - pair)
    return [chosen[i] for i in rng.permutation(count)]


def _draw(rng: np.random.Generator, weights: Mapping[str, float], names: tuple[str, ...], count: int) -> list[str]:
    """Draw different names one after the other, each with probability proportional to its weight."""
    p = np.array([weights[name] for name in names])
    return [names[i] for i in rng.choice(len(names), count, replace=False, p=p / p.sum())]


def _dish_box(rng: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the box of a dish: whole JPEG blocks, so that nothing beside it reaches the sauce's pixels."""
    side = max(width, height)
    box_width, box_height = (BLOCK * max(3, round(float(size) * side / BLOCK)) for size in rng.uniform(0.27, 0.38, 2))
    left = BLOCK * int(rng.integers(0, (width - box_width) // BLOCK + 1))
    top = BLOCK * int(rng.integers(0, (height - box_height) // BLOCK + 1))
    return left, top, box_width, box_height


def _layout(
    rng: np.random.Generator, width: int, height: int, count: int, box: tuple[int, int, int, int] | None
) -> list[tuple[float, float, float]]:
    """Return centre x, centre y and radius of ``count`` foods, largest first: discs that hardly overlap."""
    shares = np.sort(rng.dirichlet(np.full(count, 4.0)))[::-1]
    radii = np.sqrt(rng.uniform(0.34, 0.56) * width * height * shares / np.pi)
    radii = np.clip(radii, 0.08 * max(width, height), 0.42 * min(width, height))
    taken = []
    if box is not None:
        taken = [(box[0] + 0.5 * box[2], box[1] + 0.5 * box[3], 0.5 * max(box[2:]))]
    while True:
        for _ in range(12):
            places = _place(rng, (width, height), radii, taken)
            if places is not None:
                return places
        radii *= 0.94


def _place(
    rng: np.random.Generator,
    size: tuple[int, int],
    radii: NDArray[np.float64],
    taken: list[tuple[float, float, float]],
) -> list[tuple[float, float, float]] | None:
    """Try once to place all discs, each at the first of 16 random points that is free."""
    placed = list(taken)
    for radius in radii.tolist():
        low = 0.9 * radius
        points = rng.uniform([low, low], [size[0] - low, size[1] - low], (16, 2))
        for x, y in points.tolist():
            if all(math.hypot(x - a, y - b) > 0.94 * (radius + r) for a, b, r in placed):
                placed.append((x, y, radius))
                break
        else:
            return None
    return placed[len(taken) :]
