"""Write the parts of the documentation that are made from code; a test checks that they are fresh.

    python docs/draw_pages.py           write them
    python docs/draw_pages.py --check   exit with status 1 if one is out of date

A part stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` in its page.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs import draw_rpc  # noqa: E402
from tunnelkit.wire import states  # noqa: E402

__all__ = ["PARTS", "draw", "flags_of", "renewed"]

PROGRAMS = ("broker", "sidecar_proxy", "devbox_proxy", "gateway")

S = TypeVar("S", bound=Enum)
I = TypeVar("I", bound=Enum)  # noqa: E741

_FLAG = re.compile(r"^  (--[a-z-]+)(?: (\S+))?\s+(.*?)(?=^  -|^\S|\Z)", re.MULTILINE | re.DOTALL)


# --- state machines ---------------------------------------------------------------------------


def _name(value: Enum) -> str:
    """Return the name of a state, an input or a frame as the specification writes it."""
    return value.value if isinstance(value.value, str) else value.name.lower().replace("_", "-")


def _label(inputs: Sequence[str]) -> str:
    """Join inputs; a diagram's labels can have neither ``<`` nor a second colon."""
    if len(inputs) > 6:
        return "every frame but those of the hello and go-away"
    return ", ".join(name.replace("<", "").replace(">", " (peer)") for name in inputs)


def draw(table: Mapping[tuple[S, I], S], start: S, final: Iterable[S]) -> str:
    """Return a Mermaid state diagram of *table*."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, given), following in table.items():
        arrows.setdefault((_name(state), _name(following)), []).append(_name(given))
    lines = ["stateDiagram-v2", f"    [*] --> {_identifier(_name(start))}"]
    for name in dict.fromkeys(name for pair in arrows for name in pair):
        if _identifier(name) != name:
            lines.append(f'    state "{name}" as {_identifier(name)}')
    for (source, target), inputs in arrows.items():
        lines.append(f"    {_identifier(source)} --> {_identifier(target)}: {_label(inputs)}")
    lines += [f"    {_identifier(_name(state))} --> [*]" for state in final]
    return "\n".join(["```mermaid", *lines, "```"])


def _identifier(name: str) -> str:
    return name.replace("-", "_")


# --- flags -------------------------------------------------------------------------------------


def flags_of(program: str) -> list[tuple[str, str, str]]:
    """Return (flag, value, meaning) of each flag that ``--help`` of a program names."""
    command = [sys.executable, str(ROOT / "examples" / f"{program}.py"), "--help"]
    environment = {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"}
    text = subprocess.run(command, env=environment, check=True, capture_output=True).stdout.decode()
    options = text.split("options:\n", 1)[1].split("\nexample:", 1)[0] + "\n"
    return [
        (flag, value, " ".join(meaning.split())) for flag, value, meaning in _FLAG.findall(options)
    ]


def _escaped(text: str) -> str:
    """Return a text so that it shows as it is in a cell of a table."""
    return re.sub(r"([|*])", r"\\\1", text)


def _flag_tables() -> str:
    parts = []
    for program in PROGRAMS:
        rows = [
            f"| `{f'{flag} {value}'.strip()}` | {_escaped(meaning)} |"
            for flag, value, meaning in flags_of(program)
        ]
        rows = [row.replace("human|json`", "human\\|json`") for row in rows]
        parts += [f"### {program}.py", "", "| flag | meaning |", "| --- | --- |", *rows, ""]
    return "\n".join(parts).rstrip()


# --- Python names --------------------------------------------------------------------------------


def _first_line(value: object) -> str:
    text = (value.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def _names(module: str) -> str:
    package = importlib.import_module(module)
    rows = ["| name | meaning |", "| --- | --- |"]
    for name in sorted(package.__all__, key=str.lower):
        value = getattr(package, name)
        about = CONSTANTS.get(f"{module}.{name}") or _first_line(value)
        rows.append(f"| `{name}` | {about.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


CONSTANTS = {
    "tunnelkit.__version__": "The version of the library, as text.",
    "tunnelkit.auth.INITIATOR": "The role of a session's initiator in proofs.",
    "tunnelkit.auth.RESPONDER": "The role of a session's responder in proofs.",
    "tunnelkit.auth.NO_SHARE": "Stands for the peer's share before it is known: 32 zero bytes.",
    "tunnelkit.auth.MAX_TOKEN_BYTES": "Largest capability token, bytes.",
    "tunnelkit.admin.Method": "An async function that the admin socket offers; its annotations say "
    "what its parameters may be.",
    "tunnelkit.events.Listener": "Called with each event, inside of the data plane: it must "
    "not wait.",
    "tunnelkit.events.MAX_WAITING_EVENTS": "Most events that wait for one watcher.",
    "tunnelkit.carriers.SYSTEM_NETWORK": "The network of this machine: TCP and unix sockets.",
    "tunnelkit.pump.Block": "Bytes that were read, in a block of memory that is used again.",
    "tunnelkit.rpc.Handler": "What carries a call on: the next middleware, or the method itself.",
    "tunnelkit.rpc.Middleware": "A function around each call: it looks, refuses, calls the rest.",
}

MODULES = (
    "tunnelkit",
    "tunnelkit.auth",
    "tunnelkit.broker",
    "tunnelkit.sidecar",
    "tunnelkit.devbox",
    "tunnelkit.gateway",
    "tunnelkit.outgoing",
    "tunnelkit.events",
    "tunnelkit.admin",
    "tunnelkit.monitoring",
    "tunnelkit.programs",
    "tunnelkit.rpc",
    "tunnelkit.testing",
    "tunnelkit.capture",
    "tunnelkit.carriers",
    "tunnelkit.pump",
    "tunnelkit.splice",
)

# --- pages --------------------------------------------------------------------------------------

API = "docs/reference/python-api.md"
STATES = "docs/explanation/state-machines.md"
RPC = "docs/reference/rpc.md"

_HALF_ENDS = [states.Half.ENDED, states.Half.RESET]


def _draw_phases(start: states.Phase) -> str:
    table = {key: to for key, to in states.PHASE.items() if key[0] is start}
    return draw(table, start, [states.Phase.REFUSED])


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/how-to/run-the-programs.md", "flags"): _flag_tables,
    (STATES, "link-dialer"): lambda: draw(
        states.LINK_DIALER, states.LinkState.CHALLENGE_WAIT, [states.LinkState.CLOSED]
    ),
    (STATES, "link-acceptor"): lambda: draw(states.LINK_ACCEPTOR, states.LinkState.HELLO_WAIT, []),
    (STATES, "attachment"): lambda: draw(
        states.ATTACHMENT, states.Attachment.DETACHED, [states.Attachment.ENDED]
    ),
    (STATES, "phase-opener"): lambda: _draw_phases(states.Phase.OPENING),
    (STATES, "phase-acceptor"): lambda: _draw_phases(states.Phase.OFFERED),
    (STATES, "outgoing"): lambda: draw(states.OUTGOING, states.Half.OPEN, _HALF_ENDS),
    (STATES, "incoming"): lambda: draw(states.INCOMING, states.Half.OPEN, _HALF_ENDS),
    **{(API, module): partial(_names, module) for module in MODULES},
    **{(RPC, name): make for name, make in draw_rpc.PARTS.items()},
}


def renewed(page: str) -> str:
    """Return the text of *page* with its parts as the code has them now."""
    text = (ROOT / page).read_text()
    for (place, name), make in PARTS.items():
        if place == page:
            begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
            head, found, rest = text.partition(begin)
            _, closed, tail = rest.partition(end)
            if not found or not closed:
                raise SystemExit(f"{page} has no part {name!r}: write {begin} and {end} there")
            text = f"{head}{begin}\n\n{make()}\n\n{end}{tail}"
    return text


def main(arguments: list[str]) -> int:
    """Write the parts, or check them; return the exit status."""
    stale = []
    for page in dict.fromkeys(place for place, _ in PARTS):
        text = renewed(page)
        if (ROOT / page).read_text() != text:
            stale.append(page)
            if arguments != ["--check"]:
                (ROOT / page).write_text(text)
    for page in stale:
        print(f"{page} {'is out of date' if arguments == ['--check'] else 'was written'}")
    return int(bool(stale) and arguments == ["--check"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
