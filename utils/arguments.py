"""Command lines of the scripts that have options of their own and no configuration file."""

import argparse
from typing import NoReturn

from utils.errors import ConfigError, nearest


class Parser(argparse.ArgumentParser):
    """Refuses what it does not know with one line that names the nearest option."""

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        """Raise a ``ConfigError``, where argparse would print its usage."""
        raise ConfigError(f"{message} (see --help)")

    def read(self, arguments: list[str]) -> argparse.Namespace:
        """Return the options; raises a ``ConfigError`` for those that are unknown or cannot be read."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            allowed = [name for action in self._actions for name in action.option_strings]
            name = unknown[0].split("=")[0]
            raise ConfigError(f"unknown option '{name}'{nearest(name, allowed)} (see --help)")
        return options
