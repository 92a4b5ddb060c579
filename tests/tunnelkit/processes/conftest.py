"""Fixtures of the tests with real processes."""

from tests.examples.fixtures import credentials, programs

__all__ = ["credentials", "programs"]
