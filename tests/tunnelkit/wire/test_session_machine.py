"""Two session cores against each other, over links that are cut at any byte (see `machine`).

Hypothesis chooses what the programs at both ends do, how the bytes arrive, and when links are
lost.  Whatever it chooses: bytes arrive as they were written, no ending looks better than it was,
and what is kept stays within its bounds.  At the end of every example the link is healed; then
everything must arrive, with the right ending, and nothing may be left over.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.tunnelkit.wire.machine import PLENTY, BrokerNet, DirectNet, Tap, World
from tunnelkit import limits
from tunnelkit.errors import ErrorCode, RemoteProtocolError
from tunnelkit.wire.session import AttachmentLost, SessionCore
from tunnelkit.wire.states import Attachment, Half
from tunnelkit.wire.windows import Budgets, WindowBudget

KIB = 1024
NOISE = random.Random(4).randbytes(600 * KIB)
BUDGET = 192 * KIB

sides = st.sampled_from((0, 1))
picks = st.integers(0, 5)
caps = st.sampled_from((4 * KIB, 20 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB))
counts = st.one_of(
    st.integers(1, 100),
    st.integers(1, 20 * KIB),
    st.sampled_from((64 * KIB, 300 * KIB)),
)
mostly = st.sampled_from((True, True, True, False))
kinds = st.sampled_from((DirectNet, BrokerNet))
rooms = st.one_of(st.just(PLENTY), st.just(PLENTY), counts)
sizes = st.fixed_dictionaries(
    {
        "window_bytes": caps,
        "budgets": st.builds(
            lambda: Budgets(streams=WindowBudget(BUDGET), replay=WindowBudget(BUDGET))
        ),
        "max_stream_window_bytes": st.sampled_from((64 * KIB, 256 * KIB)),
    }
)


class SessionMachine(RuleBasedStateMachine):
    """What programs and networks can do to a session."""

    @initialize(first=sizes, second=sizes, cap=caps, kind=kinds, is_joined=mostly)
    def begin(
        self,
        first: dict[str, Any],
        second: dict[str, Any],
        cap: int,
        kind: type[DirectNet | BrokerNet],
        is_joined: bool,
    ) -> None:
        self.world = World((first, second))
        if is_joined:
            self.connect(kind, cap, is_stale=False, order=(0, 1), rooms=(PLENTY, PLENTY))
            self.run_for(4)

    def _tap(self, pick: int) -> Tap:
        taps = self.world.taps
        return taps[pick % len(taps)]

    def _has_taps(self) -> bool:
        return bool(self.world.taps)

    def _are_attached(self) -> bool:
        return all(end.core.attachment is Attachment.ATTACHED for end in self.world.ends)

    def _is_usable(self, side: int) -> bool:
        end = self.world.ends[side]
        return not (end.is_over or end.is_closing)

    # --- programs ---------------------------------------------------------------------------

    @rule(side=sides)
    def open_stream(self, side: int) -> None:
        if self._is_usable(side):
            self.world.ends[side].open_stream()

    @rule(side=sides, count=counts, appetite=rooms)
    def open_and_write(self, side: int, count: int, appetite: int) -> None:
        """The usual beginning, so that examples come to the interesting part."""
        if self._is_usable(side):
            tap = self.world.ends[side].open_stream()
            self.run_for(1)
            end = self.world.ends[1 - side]
            for offer in list(end.offered):
                end.answer(offer, accept=True)
                offer.appetite = appetite
            tap.write(NOISE[:count])

    @precondition(lambda self: any(end.offered for end in self.world.ends))
    @rule(pick=picks, accept=mostly)
    def answer(self, pick: int, accept: bool) -> None:
        offers = [(end, tap) for end in self.world.ends for tap in end.offered]
        end, tap = offers[pick % len(offers)]
        end.answer(tap, accept=accept)

    @precondition(_has_taps)
    @rule(pick=picks, count=counts, start=st.integers(0, 200 * KIB), is_asked=st.booleans())
    def write(self, pick: int, count: int, start: int, is_asked: bool) -> None:
        tap = self._tap(pick)
        write = tap.write_if_asked if is_asked else tap.write
        write(NOISE[start : start + count])

    @precondition(_has_taps)
    @rule(pick=picks)
    def end_writing(self, pick: int) -> None:
        self._tap(pick).end_writing()

    @precondition(_has_taps)
    @rule(pick=picks)
    def abort_writing(self, pick: int) -> None:
        self._tap(pick).abort_writing()

    @precondition(_has_taps)
    @rule(pick=picks, how=st.sampled_from(("stop", "reset")), within_offer=st.booleans())
    def leave(self, pick: int, how: str, within_offer: bool) -> None:
        tap = self._tap(pick)
        if within_offer:
            tap.quits = how
        else:
            tap.leave(how)

    @precondition(_has_taps)
    @rule(pick=picks, count=st.one_of(st.just(0), counts))
    def take(self, pick: int, count: int) -> None:
        tap = self._tap(pick)
        tap.appetite = 0
        tap.feed(count)

    @rule(side=sides, is_sure=st.sampled_from((False,) * 15 + (True,)))
    def close(self, side: int, is_sure: bool) -> None:
        if is_sure and self._is_usable(side):
            self.world.ends[side].close()

    # --- the network ------------------------------------------------------------------------

    @rule(pick=picks, count=counts)
    def deliver(self, pick: int, count: int) -> None:
        wires = self.world.wires
        wires[pick % len(wires)].run(count)

    @rule(rounds=st.integers(1, 4), is_late=st.booleans())
    def run_for(self, rounds: int, is_late: bool = False) -> None:
        """Let links and timers do their work for a while; *is_late*: what was left stands still."""
        for _ in range(rounds):
            for side in (0, 1):
                self.world.ends[side].fire_timer()
                self.world.flush(side, 0.01)
            for wire in self.world.net.wires if is_late else reversed(self.world.wires):
                wire.run(wire.size)

    @rule(side=sides, seconds=st.sampled_from((0.0, 0.01, 1.0)))
    def flush(self, side: int, seconds: float) -> None:
        self.world.flush(side, seconds)

    @rule(side=sides)
    def fire_timer(self, side: int) -> None:
        self.world.ends[side].fire_timer()

    @rule(side=sides, room=st.one_of(st.just(0), counts))
    def choke(self, side: int, room: int) -> None:
        self.world.net.outlets[side].room = room
        self.world.ends[side].core.resume()

    @rule(side=sides, cap=caps)
    def limit(self, side: int, cap: int) -> None:
        end = self.world.ends[side]
        end.highest_cap = max(end.highest_cap, cap)
        end.core.limit(cap)
        end.core.resume()

    @rule(side=sides, is_noticed=st.booleans(), is_back=st.booleans())
    def lose(self, side: int, is_noticed: bool, is_back: bool) -> None:
        """Lose a link; without being noticed, it looks alive to the endpoints."""
        for lost in self.world.net.lose(side):
            if is_noticed:
                self.world.ends[lost].lose_link()
            if is_back:
                self.world.net.attach(lost)

    @rule(
        kind=kinds,
        cap=caps,
        is_stale=st.booleans(),
        order=st.sampled_from(((0, 1), (1, 0), (0,), (1,))),
        rooms=st.tuples(rooms, rooms),
    )
    def connect(
        self,
        kind: type[DirectNet | BrokerNet],
        cap: int,
        is_stale: bool,
        order: tuple[int, ...],
        rooms: tuple[int, int],
    ) -> None:
        """Lose what there is, and attach over something new."""
        self.world.lose_before()
        for side in (0, 1):
            self.world.net.lose(side)
        self.world.net = kind(self.world.ends)
        for end, outlet, room in zip(self.world.ends, self.world.net.outlets, rooms, strict=True):
            end.cap, end.is_stale = cap, is_stale
            outlet.room = room
        for side in order:
            self.world.net.attach(side)

    @precondition(_are_attached)
    @rule(
        pick=picks, count=counts, holds=st.tuples(mostly, mostly), cap=caps, is_stale=st.booleans()
    )
    def write_and_move(
        self, pick: int, count: int, holds: tuple[bool, bool], cap: int, is_stale: bool
    ) -> None:
        """Both sides go to another link; the one before may still deliver what was written."""
        if self.world.taps:
            self._tap(pick).write(NOISE[:count])
        for end in self.world.ends:
            end.cap, end.is_stale = cap, is_stale
        self.world.move(holds)

    @precondition(lambda self: self.world.net_before is not None)
    @rule()
    def lose_before(self) -> None:
        """The link that both have left is lost, with what is on it."""
        self.world.lose_before()

    @precondition(lambda self: any(end.core.is_held for end in self.world.ends))
    @rule(side=sides)
    def release(self, side: int) -> None:
        """One side waits no longer for what it left, although it may still arrive."""
        if self.world.ends[side].core.is_held:
            self.world.ends[side].core.release()

    @rule(side=sides, is_stale=st.booleans())
    def attach(self, side: int, is_stale: bool) -> None:
        self.world.ends[side].is_stale = is_stale
        self.world.net.attach(side)

    # --- what always holds ------------------------------------------------------------------

    @invariant()
    def replay_space_is_bounded(self) -> None:
        for end in self.world.ends:
            core = end.core
            cap = min(core.window.size, end.highest_cap)
            frame = limits.BULK_FRAME_BYTES + limits.FRAME_OVERHEAD_BYTES
            assert core.unacknowledged == sum(kept[0] for kept in core._kept)
            assert core.unacknowledged <= cap + limits.CONTROL_RESERVE_BYTES + frame

    @invariant()
    def windows_are_consistent(self) -> None:
        for end in self.world.ends:
            grown, share = 0, end.core.budget
            for stream in end.core.streams.values():
                window = stream.window
                assert window.consumed <= window.received <= window.granted
                assert stream.sent <= stream.credit
                grown += window.charged
                if stream.incoming is Half.OPEN:
                    assert len(stream.inbox) == window.received - window.consumed
                    credit = window.granted - window.consumed
                    assert credit <= limits.INITIAL_STREAM_WINDOW_BYTES + window.charged
            assert grown <= share.held_bytes
            assert share.budget.free_bytes == BUDGET - share.held_bytes >= 0

    @invariant()
    def nothing_waits_twice(self) -> None:
        for end in self.world.ends:
            core = end.core
            for queue in ([*core.waiting, *core.fresh], core._dirty_windows):
                assert len(queue) == len({stream.stream_id for stream in queue})

    # --- the end of an example --------------------------------------------------------------

    def teardown(self) -> None:
        if sys.exception() is None and hasattr(self, "world"):
            check_ending(self.world)


def check_ending(world: World) -> None:
    """Heal the network, let everything come to rest, and look at what is there."""
    if any(end.is_over or end.is_closing for end in world.ends):
        check_closing(world)
        return
    world.heal()
    world.settle()
    for end in world.ends:
        for tap in list(end.offered):
            end.answer(tap, accept=True)
    world.settle()
    for tap in world.taps:
        check_flow(tap)
    for tap in world.taps:
        tap.end_writing()
    world.settle()
    for tap in world.taps:
        check_flow(tap)
        check_over(tap)
        assert tap.answers == tap.is_opener, "an open is answered exactly once"
    for end in world.ends:
        check_nothing_left(end.core)
    world.ends[0].close()
    world.settle()
    assert all(end.is_over for end in world.ends)


def check_flow(tap: Tap) -> None:
    """What was written and not given up has arrived."""
    assert not tap.pending, "bytes that never went out"
    assert tap.went or not tap.other.left, "the writer was never told that the reader left"
    if tap.went in ("", "finish") and not tap.other.left:
        assert tap.other.got == len(tap.written)


def check_over(tap: Tap) -> None:
    """Both sides of this direction agree on how it ended."""
    reader = tap.other
    assert tap.went
    assert reader.left or reader.came == ("finish" if tap.went == "finish" else "abort")
    assert tap.went != "stopped" or reader.left


def check_nothing_left(core: SessionCore) -> None:
    """Nothing is kept for streams that are over."""
    assert core.is_idle
    assert not core.streams
    assert core.unacknowledged == 0
    assert core.unaccepted == 0
    assert core.budget.budget.free_bytes == BUDGET


def check_closing(world: World) -> None:
    """A closed session ends on both sides, and every stream is told."""
    world.settle()
    for side, end in enumerate(world.ends):
        outlet = world.net.outlets[side]
        if end.peer.is_over and end.core.outlet is outlet and not outlet.wire.is_lost:
            assert end.core.attachment is not Attachment.ATTACHED, "the close was not acknowledged"
    world.heal()
    world.settle()
    for end in world.ends:
        end.core.end(ErrorCode.GRACE_EXPIRED, "nobody is there any more")
    world.settle()
    for tap in world.taps:
        check_told(tap)


def check_told(tap: Tap) -> None:
    """A stream of a session that is over knows that it is over as well."""
    assert tap.went
    assert tap.left or tap.came


TestSession = SessionMachine.TestCase
# An example is cheap and a session has many states: more of them than the profile asks for.
TestSession.settings = hypothesis.settings(
    max_examples=max(300, hypothesis.settings().max_examples),
    stateful_step_count=max(50, hypothesis.settings().stateful_step_count),
)


# --- the machine would notice ---------------------------------------------------------------


def _no_replay(core: SessionCore) -> bool:
    core._replay_next = 0
    for stream in core.streams.values():
        core.announce_window(stream)
    return True


def _no_duplicates(core: SessionCore, sequence: int) -> bool:
    core.received = max(core.received, sequence)
    return False


def _no_ack(core: SessionCore, outlet: object) -> None:
    core.ack_due = core._ack_pending = False


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("_replay", _no_replay),
        ("_is_duplicate", _no_duplicates),
        ("_write_ack", _no_ack),
    ],
)
def test_session_machine_fails_without(
    name: str, broken: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SessionCore, name, broken)
    settings = hypothesis.settings(
        max_examples=300,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    with pytest.raises((AssertionError, RemoteProtocolError, AttachmentLost)):
        run_state_machine_as_test(SessionMachine, settings=settings)
