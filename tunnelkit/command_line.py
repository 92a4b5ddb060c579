"""What the commands `python -m tunnelkit....` have in common."""

from __future__ import annotations

import argparse
from typing import NoReturn

from .errors import ConfigurationError

__all__ = ["CommandParser"]


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are raised, and say where to look."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"{message}: see `{self.prog} --help`")
