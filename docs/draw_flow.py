"""Draw docs/pictures/window-growth.svg: how soon a stream uses its path, in virtual time.

    python docs/draw_flow.py

Two endpoints run over a memory network with the latency and bandwidth of each case, under a clock
that jumps; what arrived in each round trip, as a part of what the path can carry, is a point.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tunnelkit import limits  # noqa: E402
from tunnelkit.auth import Identity, KeyRing, mint  # noqa: E402
from tunnelkit.endpoint import open_endpoint  # noqa: E402
from tunnelkit.stream import Stream  # noqa: E402
from tunnelkit.testing import MemoryNetwork  # noqa: E402

PICTURE = ROOT / "docs" / "pictures" / "window-growth.svg"
TRIPS = 14


@dataclass(frozen=True)
class Case:
    """One line of the plot."""

    label: str
    round_trip: float
    megabits: float
    color: str
    grows: bool = True


CASES = (
    Case("20 ms, 1000 Mbit/s", 0.02, 1000, "#1a7f37"),
    Case("60 ms, 1000 Mbit/s", 0.06, 1000, "#8250df"),
    Case("200 ms, 1000 Mbit/s", 0.2, 1000, "#1f6feb"),
    Case("200 ms, 1000 Mbit/s, at most 4 MiB", 0.2, 1000, "#57606a", grows=False),
)


def make_identity(issuer: Ed25519PrivateKey, subject: str) -> Identity:
    """Return an identity that may meet everybody and open everything."""
    key = Ed25519PrivateKey.generate()
    holder = key.public_key().public_bytes_raw()
    token = mint(
        issuer,
        subject=subject,
        holder=holder,
        lifetime_seconds=3600,
        peers=["*"],
        targets=["*"],
        now=time.time(),
    )
    return Identity(key, token)


async def send(stream: Stream) -> None:
    while True:
        await stream.send_all(bytes(1 << 20))


async def measure(case: Case) -> list[float]:
    """Return for each round trip which part of the path was used."""
    issuer = Ed25519PrivateKey.generate()
    ring = KeyRing([issuer.public_key()])
    bandwidth = case.megabits * 1e6 / 8
    network = MemoryNetwork(
        latency=case.round_trip / 2,
        bandwidth=bandwidth,
        capacity_bytes=int(2 * bandwidth * case.round_trip) + 4 * limits.MIB,
    )
    budget = limits.DEFAULT_REPLAY_BUDGET_BYTES if case.grows else 0
    received = 0

    async def receive(stream: Stream) -> None:
        nonlocal received
        while True:
            count = len(await stream.receive_some(1 << 20))
            received += count

    bob, alice = make_identity(issuer, "bob"), make_identity(issuer, "alice")
    async with (
        open_endpoint(bob, ring, listen=["memory://bob:1"], network=network.host("bob")) as far,
        open_endpoint(
            alice,
            ring,
            dial=["memory://bob:1"],
            network=network.host("alice"),
            replay_budget_bytes=budget,
        ) as near,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(far.serve, receive)
        session = await near.open_session("bob")
        stream = await session.open_stream("bulk")
        nursery.start_soon(send, stream)
        await trio.sleep(case.round_trip / 2)  # the first bytes are there
        parts = []
        for _ in range(TRIPS):
            before = received
            await trio.sleep(case.round_trip)
            parts.append((received - before) / (bandwidth * case.round_trip))
        nursery.cancel_scope.cancel()
    return parts


LEFT, TOP, WIDTH, HEIGHT = 80, 60, 700, 330


def at(trip: float, part: float) -> tuple[float, float]:
    """Return where a point of the plot is."""
    return LEFT + WIDTH * trip / TRIPS, TOP + HEIGHT * (1 - min(part, 1.05) / 1.1)


def grid() -> list[str]:
    """Return the axes, their numbers and the mark of ten round trips."""
    lines = []
    for percent in (0, 25, 50, 75, 90, 100):
        x, y = at(0, percent / 100)
        dash = ' stroke-dasharray="5 4"' if percent == 90 else ""
        lines.append(f'<path d="M{x} {y:.1f} h{WIDTH}" stroke="#d0d7de"{dash}/>')
        lines.append(f'<text x="{x - 10}" y="{y + 5:.1f}" text-anchor="end">{percent} %</text>')
    for trip in range(0, TRIPS + 1, 2):
        x, y = at(trip, 0)
        lines.append(f'<text x="{x:.1f}" y="{y + 22:.1f}" text-anchor="middle">{trip}</text>')
    x, y = at(10, 0)
    lines.append(f'<path d="M{x:.1f} {y:.1f} V{TOP}" stroke="#d0d7de" stroke-dasharray="5 4"/>')
    middle = LEFT + WIDTH / 2
    lines.append(f'<text x="{middle}" y="{y + 48:.1f}" text-anchor="middle">round trips</text>')
    return lines


def curve(number: int, case: Case, parts: list[float]) -> list[str]:
    """Return the line of one case, and its label below the plot."""
    points = [at(trip + 1, part) for trip, part in enumerate(parts)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in [at(0, 0), *points])
    dash = "" if case.grows else ' stroke-dasharray="7 5"'
    stroke = f'fill="none" stroke="{case.color}" stroke-width="2.5"{dash}'
    x, y = LEFT + 350 * (number % 2), TOP + HEIGHT + 82 + 26 * (number // 2)
    return [
        f'<polyline points="{path}" {stroke}/>',
        f'<path d="M{x} {y} h36" {stroke}/>',
        f'<text x="{x + 46}" y="{y + 5}">{case.label}</text>',
    ]


def draw(results: list[list[float]]) -> str:
    """Return the picture."""
    body = grid()
    for number, (case, parts) in enumerate(zip(CASES, results, strict=True)):
        body += curve(number, case, parts)
    lines = "\n".join(f"    {line}" for line in body)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 530" width="860"
     height="530" role="img" aria-labelledby="title desc"
     font-family="Helvetica, Arial, sans-serif">
  <title id="title">How soon a stream uses its path</title>
  <desc id="desc">The part of the path that one stream uses, by round trips since its first byte.
    With windows that grow it is all of it within ten round trips; with 4 MiB it stays at a sixth
    on the longest path.</desc>
  <rect width="860" height="530" rx="10" fill="#ffffff" stroke="#d0d7de"/>
  <text x="{LEFT}" y="36" font-size="17" fill="#1f2328">Part of the path that one stream uses</text>
  <g font-size="14" fill="#1f2328">
{lines}
  </g>
</svg>
"""


def main() -> None:
    results = []
    for case in CASES:
        clock = MockClock(autojump_threshold=0)
        results.append(trio.run(measure, case, clock=clock))
        print(case.label, " ".join(f"{part:.2f}" for part in results[-1]))
    PICTURE.write_text(draw(results), encoding="utf-8")


if __name__ == "__main__":
    main()
