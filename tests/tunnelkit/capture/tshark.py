"""Ask tshark what it sees in a file: an opinion that is not ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["complaints", "fields_in", "follow"]

_CHECKS = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")


def _run(file: Path, *arguments: str) -> list[str]:
    command = ["tshark", "-n", *_CHECKS, "-r", str(file), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, text=True)
    return done.stdout.splitlines()


def fields_in(file: Path, what: str, *fields: str) -> list[tuple[str, ...]]:
    """Return the fields of each packet that a display filter lets through."""
    wanted = [word for field in fields for word in ("-e", field)]
    rows = _run(file, "-Y", what, "-T", "fields", *wanted)
    return [tuple(row.split("\t")) for row in rows]


def complaints(file: Path) -> list[str]:
    """Return what tshark finds wrong: checksums, order, lost bytes, packets it cannot read."""
    wrong = (
        "_ws.malformed or _ws.expert.severity >= 6291456"  # from "warning" upwards
        " or tcp.checksum.status == 0 or ip.checksum.status == 0"
        " or tcp.analysis.lost_segment or tcp.analysis.ack_lost_segment"
        " or tcp.analysis.retransmission or tcp.analysis.out_of_order or tcp.analysis.window_full"
        " or tcp.analysis.reused_ports"
    )
    return _run(file, "-Y", f"({wrong}) and not tcp.flags.reset == 1")


def follow(file: Path, number: int) -> str:
    """Return the bytes of one connection in hexadecimal, those of the server with a tab."""
    return "\n".join(_run(file, "-q", "-z", f"follow,tcp,raw,{number}")[6:-1])
