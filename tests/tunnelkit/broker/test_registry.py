"""The registry: each event in each situation, and what is to be done then."""

from __future__ import annotations

import pytest

from tests.tunnelkit.broker.facts import EXPIRES_AT, Desk, make_attach, sent
from tunnelkit import limits
from tunnelkit.broker.registry import Close, Join, Registry, Send, Unjoin
from tunnelkit.errors import ErrorCode, RemoteProtocolError
from tunnelkit.wire.frames import FrameType, Role

DETACHED, ATTACHED = FrameType.DETACHED, FrameType.ATTACHED
INVITE, PRESENCE = FrameType.INVITE, FrameType.PRESENCE


def presence(actions: object) -> list[tuple[object, object, object]]:
    """Return (to whom, about whom, whether there) of each presence frame."""
    assert isinstance(actions, list)
    found = sent(actions, PRESENCE)
    return [(send.link, send.values["subject"], send.values["present"]) for send in found]


def detached(actions: object) -> list[tuple[object, int, object]]:
    """Return (link, number, code) of each detached frame."""
    assert isinstance(actions, list)
    found = sent(actions, DETACHED)
    return [(send.link, send.session, send.values["code"]) for send in found]


# --- links and presence --------------------------------------------------------------------


def test_the_first_link_meets_nobody() -> None:
    assert Desk().link("A", "a") == []


def test_both_hear_of_each_other() -> None:
    desk = Desk()
    desk.link("A", "a")
    assert presence(desk.link("B", "b")) == [("B", "a", 1), ("A", "b", 1)]


@pytest.mark.parametrize(("mine", "theirs"), [(["x"], ["*"]), (["*"], ["x"]), ([], [])])
def test_who_may_not_meet_hears_nothing(mine: list[str], theirs: list[str]) -> None:
    desk = Desk()
    desk.link("A", "a", peers=theirs)
    assert desk.link("B", "b", peers=mine) == []
    assert desk.lose("B") == []


def test_a_lost_link_is_told_to_those_who_could_meet_it() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("B", "b")
    assert presence(desk.lose("B")) == [("A", "b", 0)]


def test_a_link_is_lost_once() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.lose("A")
    assert desk.lose("A") == []


@pytest.mark.parametrize(
    ("instance", "code"), [(b"1", ErrorCode.SUPERSEDED), (b"2", ErrorCode.DISPLACED)]
)
def test_a_newer_link_of_a_subject_closes_the_older_one(instance: bytes, code: int) -> None:
    desk = Desk()
    desk.link("old", "a", b"1")
    closed = [action for action in desk.link("new", "a", instance) if isinstance(action, Close)]
    assert [(action.link, action.code) for action in closed] == [("old", code)]


def test_a_replaced_subject_never_seems_to_leave() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("old", "b", b"1")
    assert presence(desk.link("new", "b", b"2")) == [("new", "a", 1), ("A", "b", 1)]


def test_the_old_link_of_a_replaced_subject_is_lost_silently() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("old", "b", b"1")
    desk.link("new", "b", b"2")
    assert desk.registry.link_down("old") == []


def test_a_replaced_link_loses_its_sessions() -> None:
    desk = Desk()
    desk.pair()
    assert detached(desk.link("B2", "b", b"2")) == [("A", 1, ErrorCode.PEER_GONE)]


# --- attach --------------------------------------------------------------------------------


def test_the_initiator_waits_and_the_peer_is_invited() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("B", "b")
    (invite,) = desk.attach("A", make_attach(Role.INITIATOR, "b"))
    assert invite == Send("B", INVITE, 0, {"session_id": b"s" * 16, "peer": "a"})


def test_the_peer_is_invited_when_it_comes() -> None:
    desk = Desk()
    desk.link("A", "a")
    assert desk.attach("A", make_attach(Role.INITIATOR, "b")) == []
    assert [send.link for send in sent(desk.link("B", "b"), INVITE)] == ["B"]


def test_a_peer_that_may_not_be_met_is_not_invited_when_it_comes() -> None:
    desk = Desk()
    desk.link("A", "a", peers=["b"])
    desk.attach("A", make_attach(Role.INITIATOR, "b"))
    assert sent(desk.link("B", "b", peers=["x"]), INVITE) == []


def test_the_initiator_is_invited_to_a_waiting_responder() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("B", "b")
    (invite,) = desk.attach("B", make_attach(Role.RESPONDER, "a"))
    assert isinstance(invite, Send)
    assert (invite.link, invite.kind, invite.values["peer"]) == ("A", FrameType.INVITE, "b")


@pytest.mark.parametrize("first", list(Role))
def test_two_sides_are_joined_in_either_order(first: Role) -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("B", "b")
    sides = [("A", make_attach(Role.INITIATOR, "b")), ("B", make_attach(Role.RESPONDER, "a"))]
    desk.attach(*sides[first])
    actions = desk.attach(*sides[1 - first])
    assert actions[0] == Join(("A", 1), ("B", 1), limits.BROKER_MAX_CAP_BYTES)
    assert desk.registry.joined_count == 1


def test_each_side_is_told_what_the_other_one_said() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("B", "b")
    desk.attach("A", make_attach(Role.INITIATOR, "b", generation=3, received=30))
    actions = desk.attach("B", make_attach(Role.RESPONDER, "a", generation=4, received=40))
    told = {s.link: (s.values["generation"], s.values["received"]) for s in sent(actions, ATTACHED)}
    assert told == {"A": (4, 40), "B": (3, 30)}


def test_the_proof_is_passed_on_as_it_is() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("B", "b")
    desk.attach("A", make_attach(Role.INITIATOR, "b"))
    actions = desk.attach("B", make_attach(Role.RESPONDER, "a"))
    assert all(send.values["proof"] == b"proof" for send in sent(actions, ATTACHED))


@pytest.mark.parametrize("number", [0, 2, 4])
def test_an_even_number_ends_the_link(number: int) -> None:
    desk = Desk()
    desk.link("A", "a")
    with pytest.raises(RemoteProtocolError):
        desk.registry.attach("A", number, make_attach(Role.INITIATOR, "b"), now=0, wall=0)


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_used_number_ends_the_link(number: int) -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.registry.attach("A", 5, make_attach(Role.INITIATOR, "b"), now=0, wall=0)
    with pytest.raises(RemoteProtocolError):
        desk.registry.attach("A", number, make_attach(Role.INITIATOR, "b"), now=0, wall=0)


def test_peers_that_may_not_meet_are_refused() -> None:
    desk = Desk()
    desk.link("A", "a", peers=["x"])
    desk.link("B", "b")
    actions = desk.attach("A", make_attach(Role.INITIATOR, "b"))
    assert detached(actions) == [("A", 1, ErrorCode.FORBIDDEN)]
    assert desk.registry.session_count == 0


def test_a_refused_attach_does_not_tell_whether_the_peer_is_there() -> None:
    there, absent = Desk(), Desk()
    for desk in (there, absent):
        desk.link("A", "a", peers=["x"])
    there.link("B", "b")
    attach = make_attach(Role.INITIATOR, "b")
    assert there.attach("A", attach) == absent.attach("A", attach)


def test_an_expired_token_attaches_nothing() -> None:
    desk = Desk(wall=EXPIRES_AT)
    desk.link("A", "a")
    actions = desk.attach("A", make_attach(Role.INITIATOR, "b"))
    assert detached(actions) == [("A", 1, ErrorCode.TOKEN_EXPIRED)]


@pytest.mark.parametrize("role", list(Role))
def test_a_third_subject_cannot_take_a_side(role: Role) -> None:
    desk = Desk()
    desk.pair()
    desk.link("C", "c")
    peer = "b" if role is Role.INITIATOR else "a"
    actions = desk.attach("C", make_attach(role, peer, generation=9))
    assert detached(actions) == [("C", 1, ErrorCode.FORBIDDEN)]
    assert desk.registry.joined_count == 1


def test_the_peer_of_a_waiting_side_must_be_the_one_it_named() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("C", "c")
    desk.attach("A", make_attach(Role.INITIATOR, "b"))
    actions = desk.attach("C", make_attach(Role.RESPONDER, "a"))
    assert detached(actions) == [("C", 1, ErrorCode.FORBIDDEN)]


@pytest.mark.parametrize("generation", [1, 2])
def test_a_generation_that_is_not_higher_is_stale(generation: int) -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.attach("A", make_attach(Role.INITIATOR, "b", generation=2))
    actions = desk.attach("A", make_attach(Role.INITIATOR, "b", generation=generation))
    assert detached(actions) == [("A", 3, ErrorCode.STALE_GENERATION)]


def test_a_higher_generation_replaces_the_attachment() -> None:
    desk = Desk()
    desk.pair()
    actions = desk.attach("A", make_attach(Role.INITIATOR, "b", generation=2))
    assert detached(actions) == [
        ("A", 1, ErrorCode.SUPERSEDED),
        ("B", 1, ErrorCode.PEER_GONE),
    ]
    assert Unjoin(("A", 1)) in actions
    assert Unjoin(("B", 1)) in actions


def test_the_other_side_is_invited_again_after_a_replacement() -> None:
    desk = Desk()
    desk.pair()
    actions = desk.attach("A", make_attach(Role.INITIATOR, "b", generation=2))
    assert [send.link for send in sent(actions, INVITE)] == ["B"]
    desk.attach("B", make_attach(Role.RESPONDER, "a", generation=2))
    assert desk.joins == {("A", 3): ("B", 3), ("B", 3): ("A", 3)}


def test_sessions_of_a_link_are_bounded() -> None:
    desk = Desk()
    desk.link("A", "a")
    for count in range(limits.MAX_SESSIONS_PER_LINK):
        desk.attach("A", make_attach(Role.INITIATOR, "b", session=b"%016d" % count))
    desk.now = 60.0
    actions = desk.attach("A", make_attach(Role.INITIATOR, "b"))
    assert [code for _, _, code in detached(actions)] == [ErrorCode.LIMIT_EXCEEDED]


def test_attaches_come_at_a_bounded_rate() -> None:
    desk = Desk()
    desk.link("A", "a")
    stale = make_attach(Role.INITIATOR, "b", generation=0)
    for _ in range(limits.MAX_SESSIONS_PER_LINK):
        desk.attach("A", stale)
    assert detached(desk.attach("A", stale))[0][2] == ErrorCode.LIMIT_EXCEEDED
    desk.now += 1.0
    assert detached(desk.attach("A", stale))[0][2] == ErrorCode.STALE_GENERATION


# --- the budget ----------------------------------------------------------------------------


def fill(desk: Desk, budget: int) -> list[int]:
    """Join sessions until one is refused; return their caps."""
    desk.registry = Registry(budget_bytes=budget)
    desk.link("A", "a")
    desk.link("B", "b")
    caps: list[int] = []
    while True:
        session = b"%016d" % len(caps)
        desk.attach("A", make_attach(Role.INITIATOR, "b", session=session))
        actions = desk.attach("B", make_attach(Role.RESPONDER, "a", session=session))
        if detached(actions):
            assert {code for _, _, code in detached(actions)} == {ErrorCode.LIMIT_EXCEEDED}
            return caps
        caps.append(sent(actions, ATTACHED)[0].values["cap"])  # type: ignore[arg-type]


def test_caps_fit_the_budget() -> None:
    budget, desk = 64 * limits.MIB, Desk()
    caps = fill(desk, budget)
    assert desk.joined_bytes == budget
    assert len(caps) == budget // limits.BROKER_MIN_CAP_BYTES
    assert (caps[0], caps[-1]) == (limits.BROKER_MAX_CAP_BYTES, limits.BROKER_MIN_CAP_BYTES)


def test_a_crowd_lowers_the_caps_of_all() -> None:
    desk = Desk()
    caps = fill(desk, 64 * limits.MIB)
    assert set(desk.caps.values()) == {caps[-1]}


def test_a_session_that_ends_gives_its_cap_back() -> None:
    desk = Desk()
    fill(desk, 4 * limits.MIB)
    before = desk.registry.free_bytes
    desk.carry_out(desk.registry.detached("A", 1, ErrorCode.SESSION_CLOSED, "over"))
    assert desk.registry.free_bytes > before


def test_everything_lost_gives_the_whole_budget_back() -> None:
    desk = Desk()
    fill(desk, 16 * limits.MIB)
    desk.lose("A")
    assert desk.registry.free_bytes == 16 * limits.MIB
    assert desk.registry.session_count == 0


# --- detach and loss -----------------------------------------------------------------------


def test_a_lost_leg_detaches_the_other_one() -> None:
    desk = Desk()
    desk.pair()
    actions = desk.lose("A")
    assert detached(actions) == [("B", 1, ErrorCode.PEER_GONE)]
    assert Unjoin(("A", 1)) in actions
    assert Unjoin(("B", 1)) in actions
    assert desk.registry.session_count == 0


def test_a_lost_waiting_side_is_forgotten() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.attach("A", make_attach(Role.INITIATOR, "b"))
    assert detached(desk.lose("A")) == []
    assert desk.registry.session_count == 0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (ErrorCode.PEER_GONE, ErrorCode.PEER_GONE),
        (ErrorCode.SUPERSEDED, ErrorCode.PEER_GONE),
        (ErrorCode.GOING_AWAY, ErrorCode.PEER_GONE),
        (ErrorCode.SESSION_CLOSED, ErrorCode.SESSION_CLOSED),
        (ErrorCode.STATE_LOST, ErrorCode.STATE_LOST),
    ],
)
@pytest.mark.parametrize("leaver", ["A", "B"])
def test_who_leaves_is_told_to_the_other_side(leaver: str, code: int, told: int) -> None:
    desk = Desk()
    desk.pair()
    other = "B" if leaver == "A" else "A"
    actions = desk.carry_out(desk.registry.detached(leaver, 1, code, "why"))
    assert detached(actions) == [(other, 1, told)]


def test_detached_of_an_unknown_number_changes_nothing() -> None:
    desk = Desk()
    desk.pair()
    assert desk.registry.detached("A", 99, ErrorCode.PEER_GONE, "") == []
    desk.check(limits.BROKER_BUDGET_BYTES)


def test_an_overrun_detaches_both_sides_and_nobody_else() -> None:
    desk = Desk()
    desk.pair()
    other = b"o" * 16
    desk.attach("A", make_attach(Role.INITIATOR, "b", session=other))
    desk.attach("B", make_attach(Role.RESPONDER, "a", session=other))
    actions = desk.carry_out(desk.registry.overrun("B", 1))
    overrun = ErrorCode.OVERRUN
    assert sorted(map(str, detached(actions))) == [str(("A", 1, overrun)), str(("B", 1, overrun))]
    assert set(desk.joins) == {("A", 3), ("B", 3)}


def test_an_overrun_of_an_unknown_number_changes_nothing() -> None:
    desk = Desk()
    desk.pair()
    assert desk.registry.overrun("A", 99) == []


@pytest.mark.parametrize("event", ["attach", "detached", "overrun"])
def test_a_link_that_was_replaced_may_still_say_something(event: str) -> None:
    desk = Desk()
    desk.link("old", "a", b"1")
    desk.link("new", "a", b"2")
    registry = desk.registry
    calls = {
        "attach": lambda: registry.attach(
            "old", 1, make_attach(Role.INITIATOR, "b"), now=0.0, wall=0.0
        ),
        "detached": lambda: registry.detached("old", 1, ErrorCode.PEER_GONE, ""),
        "overrun": lambda: registry.overrun("old", 1),
    }
    assert calls[event]() == []


# --- time ----------------------------------------------------------------------------------


def test_a_side_waits_for_the_grace_time() -> None:
    desk = Desk(Registry(grace_seconds=60))
    desk.link("A", "a")
    desk.attach("A", make_attach(Role.INITIATOR, "b"))
    assert desk.registry.expire(60.0) == []
    actions = desk.carry_out(desk.registry.expire(60.1))
    assert detached(actions) == [("A", 1, ErrorCode.UNKNOWN_PEER)]
    assert desk.registry.session_count == 0


def test_a_joined_session_does_not_expire() -> None:
    desk = Desk()
    desk.pair()
    assert desk.registry.expire(1e9) == []


def test_attaching_again_starts_the_wait_anew() -> None:
    desk = Desk(Registry(grace_seconds=60))
    desk.link("A", "a")
    desk.attach("A", make_attach(Role.INITIATOR, "b"))
    desk.now = 50.0
    desk.attach("A", make_attach(Role.INITIATOR, "b", generation=2))
    assert desk.registry.expire(100.0) == []


# --- callers ---------------------------------------------------------------------------------


def test_callers_of_one_subject_do_not_displace_each_other() -> None:
    desk = Desk()
    desk.caller("A", "a", b"1")
    assert desk.caller("A2", "a", b"2") == []
    assert desk.attach("A", make_attach(Role.INITIATOR, "b")) == []


def test_the_same_caller_again_replaces_its_link() -> None:
    desk = Desk()
    desk.caller("A", "a", b"1")
    (close,) = desk.caller("A2", "a", b"1")
    assert isinstance(close, Close)
    assert (close.link, close.code) == ("A", ErrorCode.SUPERSEDED)


def test_a_caller_is_told_who_is_here_and_nobody_is_told_of_a_caller() -> None:
    desk = Desk()
    desk.link("B", "b")
    (presence,) = sent(desk.caller("A", "a"), FrameType.PRESENCE)
    assert (presence.link, presence.values["subject"]) == ("A", "b")
    assert sent(desk.lose("A"), FrameType.PRESENCE) == []


def test_a_caller_answers_nobody() -> None:
    desk = Desk()
    desk.caller("A", "a")
    desk.link("B", "b")
    assert sent(desk.attach("B", make_attach(Role.INITIATOR, "a")), FrameType.INVITE) == []
    (refused,) = detached(desk.attach("A", make_attach(Role.RESPONDER, "b")))
    assert refused[2] == ErrorCode.FORBIDDEN


def test_the_links_of_callers_are_bounded() -> None:
    desk = Desk()
    for number in range(limits.MAX_CALLER_LINKS):
        desk.caller(f"A{number}", "a", b"%d" % number)
    (close,) = desk.caller("last", "a", b"last")
    assert isinstance(close, Close)
    assert close.code == ErrorCode.LIMIT_EXCEEDED
    desk.lose("A7")
    assert desk.caller("last", "a", b"last") == []
