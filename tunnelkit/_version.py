"""The version of this library, written once (no I/O)."""

__version__ = "0.1.0"
