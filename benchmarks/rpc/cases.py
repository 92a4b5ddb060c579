"""What is driven, by whom, and what has to be reached (no I/O)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.cases import Case
from benchmarks.scenarios import Scenario
from benchmarks.stats import Target

__all__ = ["RPC", "SUBJECTS", "UNITS", "Settings"]

OURS_TCP: Final = "ours"
OURS_WS: Final = "ours_ws"
GRPC: Final = ("grpcio", "grpc_aio")
SUBJECTS: Final = (OURS_TCP, OURS_WS, *GRPC, "aiorpcx")
"""Each is a module of `ends`."""

TWO_WAY: Final = (OURS_TCP, OURS_WS, "aiorpcx")
STREAMING: Final = (OURS_TCP, OURS_WS, *GRPC)

UNITS: Final = {
    "calls_1": "calls/s",
    "calls_64": "calls/s",
    "both_1": "calls/s",
    "both_64": "calls/s",
    "items": "items/s",
    "beside_payload": "µs",
}


def _case(name: str, subjects: tuple[str, ...], *, is_main: bool = False) -> Case:
    routes = {subject: subject for subject in subjects}
    ours = [subject for subject in subjects if subject in (OURS_TCP, OURS_WS)]
    peers = [subject for subject in subjects if subject not in ours]
    ratios = tuple((subject, peer) for peer in peers for subject in ours)
    return Case(name, name, routes, ratios, is_main)


CASES: Final = (
    _case("calls_1", SUBJECTS, is_main=True),
    _case("calls_64", SUBJECTS, is_main=True),
    _case("both_1", TWO_WAY),
    _case("both_64", TWO_WAY),
    _case("items", STREAMING, is_main=True),
    _case("beside_payload", STREAMING),
)

TARGETS: Final = (
    # Ahead of the better of the two servers of gRPC, over either transport.
    *(
        Target(case, GRPC[0], 1.0, subject, rivals=GRPC[1:])
        for subject in (OURS_TCP, OURS_WS)
        for case in ("calls_1", "calls_64")
    ),
    # One call at a time in each direction: within 20 % of what two directions alone would be.
    *(
        Target("both_1", subject, 1.6, subject, base_case="calls_1")
        for subject in (OURS_TCP, OURS_WS)
    ),
    # With 64 in flight one direction alone takes all there is of both processors.
    *(
        Target("both_64", subject, 0.8, subject, base_case="calls_64")
        for subject in (OURS_TCP, OURS_WS)
    ),
)

RPC: Final = Scenario(
    "rpc",
    "remote calls both ways over one connection, beside gRPC and another JSON-RPC library",
    CASES,
    TARGETS,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often."""

    rounds: int
    seconds: float
    """How long one measurement lasts; `beside_payload` lasts as long as its payload."""

    @classmethod
    def full(cls, rounds: int | None = None) -> Settings:
        """The run whose figures are published."""
        return cls(rounds or 5, seconds=2.0)

    @classmethod
    def quick(cls, rounds: int | None = None) -> Settings:
        """A run that shows the order of magnitude."""
        return cls(rounds or 1, seconds=0.5)
