"""Fixtures of the tests that run ``python -m tunnelkit.connect``."""

from __future__ import annotations

from tests.examples.fixtures import credentials, logging_restored, programs

__all__ = ["credentials", "logging_restored", "programs"]
