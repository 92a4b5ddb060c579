"""The loads of HTTP that wrk cannot make: long bodies, requests at a set pace, calls of gRPC.

Bodies and pace are a small program in Go; `main.go` says how it works.  The client of gRPC is
`grpc_client.py`, which drives grpcio.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.golang import build_program

__all__ = ["GRPC_CLIENT", "MESSAGE", "build_http_load", "http_load_in"]

SOURCES: Final = ("main.go", "bodies.go", "pace.go")

MESSAGE: Final = b"benchmark message ".ljust(64, b".")
"""What a call of gRPC sends, and is answered; what an application encodes in it is not measured."""

GRPC_CLIENT: Final = Path(__file__).with_name("grpc_client.py")


def http_load_in(folder: Path) -> Path:
    """Return where the program of a run lies."""
    return folder / "http_load"


async def build_http_load(folder: Path) -> Path:
    """Compile the program; return where it lies.

    Raises:
        BenchmarkError: Go is not installed, or the build failed.

    Cancellation: atomic.
    """
    sources = [Path(__file__).with_name(name) for name in SOURCES]
    return await build_program(http_load_in(folder), sources)
