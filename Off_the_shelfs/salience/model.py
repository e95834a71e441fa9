"""A classifier of the part of a picture that a selector chooses."""

from Off_the_shelfs.config import OffTheShelfModelConfig, OneViewDataConfig
from Off_the_shelfs.model import OffTheShelf


def build_salience(
    config: OffTheShelfModelConfig, data: OneViewDataConfig, n_classes: int, *, initialise: bool = True
) -> OffTheShelf:
    """Build the classifier of the chosen part."""
    raise NotImplementedError
