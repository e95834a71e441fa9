"""How masks are found from prompts."""

from dataclasses import dataclass
from pathlib import Path

from datasets.prompted.derive import PROMPT_KINDS, PromptKind, check_derivation
from segmenters.options import SegmenterOptions
from utils.errors import ConfigError, require


@dataclass(frozen=True, kw_only=True)
class Derivation:
    """How prompts are derived from annotation; see ``derive_prompts``.

    Attributes:
        kind: what an object gets.
        points: of kind ``points``: how many.
        jitter: how far prompts are moved at most, 0..1.
        seed: of the draws, which depend on it and on (split, class, photo) alone.
    """

    kind: PromptKind = "box"
    points: int = 1
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in PROMPT_KINDS:
            raise ConfigError(f"--prompt_kind {self.kind}: choose {', '.join(PROMPT_KINDS)}")
        check_derivation(self.points, self.jitter, ("--points", "--jitter"))
        require(0 <= self.seed < 2**31, "--seed", self.seed, "0 to 2147483647")
        if self.points != 1 and self.kind != "points":
            raise ConfigError(f"--points is for --prompt_kind points, not {self.kind}; leave it out")


@dataclass(frozen=True, kw_only=True)
class PromptingOptions:
    """Where prompts come from, and what answers them.

    Attributes:
        segmenter: finds the masks.
        file: the prompts; or None where they are derived.
        classes: file with the class names that the prompts may name; None allows any.
        derived: how they are derived from annotation; or None where there is a file.
    """

    segmenter: SegmenterOptions
    file: Path | None = None
    classes: Path | None = None
    derived: Derivation | None = None

    def __post_init__(self) -> None:
        if (self.file is None) == (self.derived is None):
            raise ConfigError("give either --prompts FILE or --prompts_from masks, not both")
        if self.classes is not None and self.file is None:
            raise ConfigError("--classes is for --prompts; with --prompts_from masks the archive names the classes")
