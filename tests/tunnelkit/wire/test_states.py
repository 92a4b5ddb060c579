"""Every input in every state, against the tables of the specification (spec §6.2, §7.6, §8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from itertools import product

import pytest

from tests import wire_spec
from tests.tunnelkit.wire.fakes import FakeEnd, FakeOutlet, Side, established, make_side
from tunnelkit.errors import LocalProtocolError, RemoteProtocolError
from tunnelkit.wire import states
from tunnelkit.wire.frames import FrameType, Role, encode_fields
from tunnelkit.wire.states import Attachment, Half, Input, LinkState, Phase
from tunnelkit.wire.stream import StreamCore

# --- the tables themselves ------------------------------------------------------------------

TABLES: dict[str, tuple[Mapping[tuple[Enum, Enum], Enum], type[Enum], type[Enum]]] = {
    "LINK_DIALER": (states.LINK_DIALER, LinkState, FrameType),  # type: ignore[dict-item]
    "LINK_ACCEPTOR": (states.LINK_ACCEPTOR, LinkState, FrameType),  # type: ignore[dict-item]
    "ATTACHMENT": (states.ATTACHMENT, Attachment, Input),  # type: ignore[dict-item]
    "PHASE": (states.PHASE, Phase, Input),  # type: ignore[dict-item]
    "OUTGOING": (states.OUTGOING, Half, Input),  # type: ignore[dict-item]
    "INCOMING": (states.INCOMING, Half, Input),  # type: ignore[dict-item]
}


def word(value: Enum) -> str:
    """Return how the specification writes a state or an input."""
    if isinstance(value, FrameType):
        return value.name.lower().replace("_", "-")
    return str(value.value)


@pytest.mark.parametrize("name", TABLES)
def test_table_is_that_of_the_specification(name: str) -> None:
    table = TABLES[name][0]
    found = {(word(state), word(what)): word(after) for (state, what), after in table.items()}
    assert found == wire_spec.states(name)


@pytest.mark.parametrize("name", TABLES)
def test_every_input_in_every_state_is_decided(name: str) -> None:
    wanted = wire_spec.states(name)
    table, state_type, input_type = TABLES[name]
    for state, what in product(state_type, input_type):
        after = table.get((state, what))
        assert (after and word(after)) == wanted.pop((word(state), word(what)), None)
    assert wanted == {}, "the specification names states or inputs that the code has not"


def test_specification_has_no_other_table() -> None:
    text = wire_spec.SPECIFICATION.read_text()
    found = [line.split()[2].rstrip(":") for line in text.splitlines() if "State table" in line]
    assert found == list(TABLES)


# --- a session's attachment, driven ---------------------------------------------------------

ATTACHMENT_CALLS: dict[str, Callable[[Side], None]] = {
    "attach": lambda side: side.core.attach(FakeOutlet(), 1),
    "<attached>": lambda side: side.core.attached(side.core.peer_generation + 1, 0, 1 << 20),
    "<detached>": lambda side: side.core.detached(Input.GOT_DETACHED),
    "link-lost": lambda side: side.core.detached(Input.LINK_LOST),
    "move": lambda side: side.core.moved(
        FakeOutlet(), 3, side.core.peer_generation + 1, 0, 1 << 20, hold=False
    ),
    "finish": lambda side: side.core.end(0, ""),
}
ATTACHMENT_PATHS = {
    "detached": (),
    "attaching": ("attach",),
    "attached": ("attach", "<attached>"),
    "ended": ("finish",),
}


@pytest.mark.parametrize(("state", "what"), list(product(ATTACHMENT_PATHS, ATTACHMENT_CALLS)))
def test_session_follows_the_attachment_table(state: str, what: str) -> None:
    side = make_side(Role.INITIATOR)
    for step in ATTACHMENT_PATHS[state]:
        ATTACHMENT_CALLS[step](side)
    after = wire_spec.states("ATTACHMENT").get((state, what))
    if after is None and (state, what) != ("ended", "finish"):  # ending twice is allowed
        error = RemoteProtocolError if what.startswith("<") else LocalProtocolError
        with pytest.raises(error):
            ATTACHMENT_CALLS[what](side)
    else:
        ATTACHMENT_CALLS[what](side)
    assert side.core.attachment.value == (after or state)


# --- a stream, driven -----------------------------------------------------------------------

State = tuple[str, str, str]
"""Phase, outgoing, incoming."""

PEER_INPUTS: dict[str, tuple[FrameType, bytes]] = {
    "opened": (FrameType.OPENED, b""),
    "refused": (FrameType.REFUSED, encode_fields(FrameType.REFUSED, code=8, text="")),
    "data": (FrameType.DATA, b"x"),
    "end": (FrameType.END, b""),
    "stop": (FrameType.STOP, encode_fields(FrameType.STOP, code=0)),
    **{
        f"reset {direction}": (
            FrameType.RESET,
            encode_fields(FrameType.RESET, direction=direction, code=17, text=""),
        )
        for direction in (1, 2, 3)
    },
}
LOCAL_INPUTS: dict[str, Callable[[StreamCore], object]] = {
    "finish": lambda stream: stream.finish(),
    "abort": lambda stream: stream.abort(16),
    "stop locally": lambda stream: stream.stop(19),
    "reset": lambda stream: stream.reset(16),
    "accept": lambda stream: stream.accept(),
    "refuse": lambda stream: stream.refuse(8, ""),
}
PHASE = wire_spec.states("PHASE")
OUTGOING = wire_spec.states("OUTGOING")
INCOMING = wire_spec.states("INCOMING")
OVER = ("ended", "reset")


def after_stop(outgoing: str) -> str | None:
    """Return what `<stop>` makes of the outgoing direction, its answer included."""
    after = OUTGOING.get((outgoing, "<stop>"))
    return OUTGOING[after, "reset"] if after == "stopped" else after


def expected(state: State, what: str) -> State | None:
    """Return the state that the specification wants, or None for a protocol error."""
    phase, outgoing, incoming = state
    if outgoing in OVER and incoming in OVER:
        return None if what in ("data", "end") else state
    new_phase: str | None = phase
    out: str | None = outgoing
    into: str | None = incoming
    if what in ("opened", "refused"):
        new_phase = PHASE.get((phase, f"<{what}>"))
        if what == "refused":
            out, into = "reset" if outgoing == "open" else outgoing, "reset"
    elif what in ("data", "end"):
        into = INCOMING.get((incoming, f"<{what}>")) if phase != "opening" else None
    if what in ("reset 1", "reset 3"):
        into = INCOMING.get((incoming, "<reset>"))
    if what in ("stop", "reset 2", "reset 3"):
        out = after_stop(outgoing)
    if new_phase is None or out is None or into is None:
        return None
    is_refused = new_phase == "opening" and out in OVER and into in OVER
    return "refused" if is_refused else new_phase, out, into


def build(role: Role, path: tuple[str, ...]) -> tuple[Side, StreamCore]:
    """Return a fresh stream after the inputs of *path*."""
    side = established(role)
    if role is Role.INITIATOR:
        stream = side.core.open_stream("tcp://target:1")
    else:
        side.feed_next(FrameType.OPEN, encode_fields(FrameType.OPEN, target="", metadata=()), 1)
        stream = side.stream()
    stream.sink = FakeEnd()
    for step in path:
        perform(side, stream, step)
    return side, stream


def perform(side: Side, stream: StreamCore, step: str) -> None:
    if step in PEER_INPUTS:
        side.feed_next(*PEER_INPUTS[step], stream.stream_id)
    else:
        LOCAL_INPUTS[step](stream)


def state_of(stream: StreamCore) -> State:
    return stream.phase.value, stream.outgoing.value, stream.incoming.value


def reachable(role: Role) -> dict[State, tuple[str, ...]]:
    """Return every state that calls and frames can lead to, with a shortest path there."""
    paths: dict[State, tuple[str, ...]] = {state_of(build(role, ())[1]): ()}
    queue = list(paths.values())
    for path in queue:
        for step in [*PEER_INPUTS, *LOCAL_INPUTS]:
            side, stream = build(role, path)
            try:
                perform(side, stream, step)
            except (LocalProtocolError, RemoteProtocolError):
                continue
            if state_of(stream) not in paths:
                paths[state_of(stream)] = (*path, step)
                queue.append((*path, step))
    return paths


@pytest.mark.parametrize("role", Role)
def test_stream_follows_the_tables_in_every_reachable_state(role: Role) -> None:
    wrong = []
    for state, path in reachable(role).items():
        for what in PEER_INPUTS:
            side, stream = build(role, path)
            found: State | None = None
            try:
                perform(side, stream, what)
                found = state_of(stream)
            except RemoteProtocolError:
                pass
            if found != expected(state, what):
                wrong.append((path, state, what, found, expected(state, what)))
    assert wrong == []


@pytest.mark.parametrize("role", Role)
def test_all_states_of_the_tables_are_reached(role: Role) -> None:
    found = reachable(role)
    first = {"opening"} if role is Role.INITIATOR else {"offered"}
    assert {phase for phase, _, _ in found} == first | {"open", "refused"}
    assert {outgoing for _, outgoing, _ in found} == {"open", "ended", "reset"}
    assert {incoming for _, _, incoming in found} == {"open", "stopped", "ended", "reset"}


@pytest.mark.parametrize("role", Role)
def test_streams_are_forgotten_exactly_when_they_are_over(role: Role) -> None:
    for state, path in reachable(role).items():
        side, stream = build(role, path)
        is_over = state[1] in OVER and state[2] in OVER
        assert (stream.stream_id in side.core.streams) != is_over, (path, state)
        assert side.core.unaccepted == (state[0] == "offered" and not is_over), (path, state)
