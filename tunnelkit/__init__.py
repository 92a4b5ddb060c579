"""Tunnels, intercepts and dev environments on Trio."""

from ._version import __version__

__all__ = ["__version__"]
