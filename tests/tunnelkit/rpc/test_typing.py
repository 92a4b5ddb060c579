"""A type checker sees what a proxy takes and returns, and what a server has to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
from collections.abc import AsyncIterable, AsyncIterator

from tunnelkit.rpc import KeptPeer, NotServed, Peer, Service


class Clock(Service, name="clock"):
    async def now(self, zone: str = "UTC") -> float:
        raise NotServed

    def ticks(self, count: int) -> AsyncIterator[float]:
        raise NotServed

    async def add(self, numbers: AsyncIterable[int]) -> int:
        raise NotServed


class WrongClock(Clock):
    async def now(self, zone: int = 0) -> float:  # error: override
        return 1.5


async def numbers() -> AsyncIterator[int]:
    yield 1


async def texts() -> AsyncIterator[str]:
    yield "1"


async def use(peer: Peer, kept: KeptPeer) -> None:
    clock = peer.proxy(Clock)
    moment: float = await clock.now("CET")
    moment = await kept.proxy(Clock).now(zone="CET")
    reveal_type(moment)  # note: float
    async for tick in clock.ticks(5):
        reveal_type(tick)  # note: float
    total: int = await clock.add(numbers())

    await clock.now(5)  # error: arg-type
    await clock.now(colour="red")  # error: call-arg
    clock.ticks("5")  # error: arg-type
    await clock.add(texts())  # error: arg-type
    text: str = await clock.now()  # error: assignment
    await clock.later()  # error: attr-defined
    clock.now()  # error: unused-coroutine
    peer.proxy(int)  # error: type-var
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the type checker keeps what it knows of the library."""
    return tmp_path_factory.mktemp("mypy")


def said_of(program: str, folder: Path, cache: Path) -> set[tuple[int, str, str]]:
    """Return the line, the kind and the code (or the type that was revealed) of each message."""
    file = folder / "program.py"
    file.write_text(program)
    options = ["--strict", "--config-file=", f"--cache-dir={cache}", "--no-error-summary"]
    said, errors, _ = api.run([*options, "--follow-imports=silent", str(file)])
    assert not errors
    found = re.findall(r"program\.py:(\d+): (error|note): (.*)", said)
    return {(int(line), kind, _code(text)) for line, kind, text in found if _code(text)}


def _code(text: str) -> str:
    match = re.search(r'\[([a-z-]+)\]$|Revealed type is "([\w.]+)"', text)
    return (match[1] or match[2].removeprefix("builtins.")) if match else ""


def test_type_checker_sees_both_sides(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    lines = enumerate(PROGRAM.splitlines(), 1)
    marks = [(at, *one) for at, line in lines for one in re.findall(r"# (\w+): (\S+)$", line)]
    assert len(marks) == 11
    assert said_of(PROGRAM, tmp_path, cache) == set(marks)
