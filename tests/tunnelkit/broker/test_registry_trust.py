"""The registry when tokens are revoked, renewed, or expire."""

from __future__ import annotations

import pytest

from tests.tunnelkit.broker.facts import EXPIRES_AT, Desk, capability, make_attach
from tests.tunnelkit.broker.test_registry import detached, presence
from tunnelkit.broker.registry import Action, Close
from tunnelkit.errors import ErrorCode
from tunnelkit.wire.frames import Role

REVOKED = ErrorCode.TOKEN_REVOKED


def expel(desk: Desk, link: str) -> list[Action]:
    return desk.carry_out(desk.registry.expel(link, REVOKED, "revoked"))


def test_the_sessions_of_an_expelled_peer_end_at_both_ends() -> None:
    desk = Desk()
    desk.pair()
    actions = expel(desk, "A")
    assert sorted(detached(actions)) == [("A", 1, REVOKED), ("B", 1, REVOKED)]
    assert actions[-1] == Close("A", REVOKED, "revoked")
    assert desk.registry.session_count == desk.registry.joined_count == 0


def test_who_waits_for_an_expelled_peer_is_not_ended() -> None:
    desk = Desk()
    desk.link("B", "b")
    desk.attach("B", make_attach(Role.INITIATOR, "a"))
    desk.link("A", "a")
    assert detached(expel(desk, "A")) == []
    assert desk.registry.session_count == 1


def test_others_are_told_that_an_expelled_peer_left() -> None:
    desk = Desk()
    desk.link("A", "a")
    desk.link("B", "b")
    assert presence(expel(desk, "A")) == [("B", "a", 0)]


def test_an_expelled_peer_is_forgotten() -> None:
    desk = Desk()
    desk.pair()
    expel(desk, "A")
    assert desk.registry.expel("A", REVOKED, "again") == []
    assert desk.registry.link_down("A") == []
    assert desk.registry.attach("A", 3, make_attach(Role.INITIATOR, "b"), now=0, wall=0) == []


@pytest.mark.parametrize("is_caller", [False, True])
def test_a_renewed_peer_meets_others(is_caller: bool) -> None:
    desk = Desk()
    for link, subject in (("A", "a"), ("B", "b"), ("C", "c")):
        peers = ["b"] if link == "A" else ["*"]
        desk.up[link] = subject
        desk.carry_out(
            desk.registry.link_up(
                link,
                capability(subject, peers=peers, is_caller=is_caller and link == "A"),
                b"1",
            )
        )
    newer = capability("a", peers=["c"], is_caller=is_caller)
    told = presence(desk.carry_out(desk.registry.renewed("A", newer)))
    assert [each for each in told if each[0] == "A"] == [("A", "b", 0), ("A", "c", 1)]
    others = [each for each in told if each[0] != "A"]
    assert others == ([] if is_caller else [("B", "a", 0), ("C", "a", 1)])


def test_a_renewed_token_attaches_after_the_first_has_expired() -> None:
    desk = Desk(wall=EXPIRES_AT)
    desk.link("A", "a")
    desk.registry.renewed("A", capability("a", expires_at=EXPIRES_AT + 100))
    assert detached(desk.attach("A", make_attach(Role.INITIATOR, "b"))) == []


def test_joined_sessions_stay_when_a_token_is_renewed() -> None:
    desk = Desk()
    desk.pair()
    actions = desk.registry.renewed("A", capability("a", peers=["c"]))
    assert detached(actions) == []
    assert desk.registry.joined_count == 1


def test_an_attach_with_an_expired_token_ends_the_session_of_the_other_side_too() -> None:
    desk = Desk()
    desk.pair()
    desk.wall = EXPIRES_AT
    actions = desk.attach("A", make_attach(Role.INITIATOR, "b", generation=2))
    codes = {(link, number): code for link, number, code in detached(actions)}
    assert codes[("A", 3)] == codes[("B", 1)] == ErrorCode.TOKEN_EXPIRED
    assert desk.registry.session_count == 0


def test_a_stranger_with_an_expired_token_ends_nobodys_session() -> None:
    desk = Desk()
    desk.pair()
    desk.link("M", "mallory")
    desk.wall = EXPIRES_AT
    actions = desk.attach("M", make_attach(Role.INITIATOR, "b", generation=9))
    assert detached(actions) == [("M", 1, ErrorCode.TOKEN_EXPIRED)]
    assert desk.registry.joined_count == 1
