"""What a run does: the parts in which training a classifier and pre-training a backbone differ."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import nn

from datasets.sampling import StepSampler
from experiments.progress import Progress
from utils.batch import Batch
from utils.devices import ComputeSettings
from utils.engine import Meter, Training
from utils.run_directory import RunDirectory
from utils.sections import RunConfig
from utils.signals import StopFlag


class TrainSettings(ComputeSettings, Protocol):
    """What every run needs to know of how it trains."""

    @property
    def epochs(self) -> int:
        """Passes over the data."""

    @property
    def seed(self) -> int:
        """Of everything random."""


class Configuration(Protocol):
    """What every run needs to know of its configuration, a frozen dataclass of sections."""

    @property
    def train(self) -> TrainSettings:
        """How the weights are learned."""

    @property
    def run(self) -> RunConfig:
        """Where the run is recorded."""


class RunSetup(Protocol):
    """Data, model and optimiser of one run, as the loop and the checkpoints see them."""

    @property
    def model(self) -> nn.Module:
        """Whose state checkpoints hold."""

    @property
    def training(self) -> Training:
        """What a step needs."""

    @property
    def sampler(self) -> StepSampler:
        """Which items meet in which step."""

    @property
    def train_batches(self) -> Iterable[Batch]:
        """The batches of this process from the sampler's position on."""

    @property
    def average(self) -> ModelEmaV3 | None:
        """Averaged weights, where there are any."""

    @property
    def scored_model(self) -> nn.Module:
        """The model whose weights are the result."""

    @property
    def notes(self) -> list[str]:
        """What a user should know before the first step; each line once."""

    @property
    def config_yaml(self) -> str:
        """The settled configuration as text."""

    @property
    def data_facts(self) -> dict[str, Any]:
        """What a checkpoint records of the data: ``classes``, ``fingerprint`` and ``data``."""


ConfigT = TypeVar("ConfigT", bound=Configuration)
DataT = TypeVar("DataT")
SetupT = TypeVar("SetupT", bound=RunSetup)


class Task(ABC, Generic[ConfigT, DataT, SetupT]):
    """What a run is to do.

    Attributes:
        script: the script that does it.
        unit: what an item of the data is called: ``pair`` or ``photo``.
        rates: the options that set the learning rates, for messages.
        scored: whether the result has scores of a test split.
    """

    script: str
    unit: str = "pair"
    rates: str = "train.backbone_lr and train.head_lr"
    scored: bool = True

    @abstractmethod
    def load(self, config: ConfigT) -> DataT:
        """Find and check the data; decode nothing."""

    @abstractmethod
    def fingerprints(self, data: DataT) -> dict[str, str]:
        """Return hashes of the data by name, in which all processes must agree."""

    @abstractmethod
    def look(self, data: DataT, config: ConfigT) -> list[str]:
        """Look for what is wrong with the data; return lines for the user."""

    @abstractmethod
    def refuse_other_data(self, run: RunDirectory, config: ConfigT, recorded: dict[str, Any], data: DataT) -> None:
        """Raise a ``ConfigError`` where the data are not those that a run recorded."""

    @abstractmethod
    def build(self, config: ConfigT, data: DataT, accelerator: Accelerator, *, initialise: bool) -> SetupT:
        """Build everything that training needs; a checkpoint is loaded afterwards where ``initialise`` is false."""

    @abstractmethod
    def settled(self, setup: SetupT) -> ConfigT:
        """Return the configuration with everything that was measured on the way."""

    @abstractmethod
    def described(self, setup: SetupT) -> dict[str, Any]:
        """Return what ``env.json`` says of seeds, data and initial weights."""

    @abstractmethod
    def before_training(self, setup: SetupT, config: ConfigT) -> None:
        """Do what has to be done once before the first step."""

    @abstractmethod
    def epoch_row(self, setup: SetupT, means: dict[str, float]) -> dict[str, Any]:
        """Return what the log says of an epoch of training."""

    def epoch_scores(self, setup: SetupT, stop: StopFlag) -> dict[str, Any]:  # noqa: ARG002  # others need them
        """Return what the log says of the model after an epoch, as a rule nothing; may raise ``ScoringStopped``."""
        return {}

    @abstractmethod
    def epoch_line(self, row: dict[str, Any]) -> list[str]:
        """Return what is printed of an epoch, part by part."""

    def before_epoch(self, setup: SetupT, meter: Meter) -> None:  # nothing, as a rule
        """Take note of the sums before an epoch, or the rest of one, is trained."""

    def after_interval(self, setup: SetupT, meter: Meter) -> None:  # nothing, as a rule
        """Look at the sums each time that they were read; may raise a ``RunError`` in all processes alike."""

    def after_epoch(self, run: RunDirectory, setup: SetupT, progress: Progress) -> None:  # as above
        """Leave something of an epoch that was just logged; called in the main process."""

    @abstractmethod
    def items_at_once(self, config: ConfigT, processes: int) -> int:
        """Return the items that one process takes at once, for messages about memory."""

    @abstractmethod
    def finish(
        self, run: RunDirectory, config: ConfigT, setup: SetupT, progress: Progress, stop: StopFlag
    ) -> dict[str, Any]:
        """Write every result, ``metrics.json`` last, and return its content; nothing in other processes."""
