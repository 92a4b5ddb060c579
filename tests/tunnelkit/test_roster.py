"""The roster: who can be reached over which link, and which link a session takes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tunnelkit.addresses import Address
from tunnelkit.liveness import Health
from tunnelkit.roster import INSTANCES_REMEMBERED, Roster
from tunnelkit.wire.states import LinkState

FIRST, SECOND = Address("tcp", "127.0.0.1", 1), Address("tcp", "127.0.0.1", 2)


@dataclass(eq=False)
class Link:
    """A link as the roster sees it."""

    name: str
    state: LinkState = LinkState.UP
    health: Health = Health.UP


def roster_of(*addresses: Address) -> tuple[Roster[Link], list[Link]]:
    """Return a roster with a link to each address, over all of which bob is present."""
    roster: Roster[Link] = Roster()
    links = [Link(str(address)) for address in addresses]
    for address in sorted(addresses, key=str):
        roster.prefer(address)
    for link, address in zip(links, addresses, strict=True):
        roster.begin(link, address)
        roster.add(link, address.host_port.encode())
        roster.arrived(link, "bob", b"1")
    return roster, links


def test_links_stand_in_the_order_of_their_addresses() -> None:
    roster, (second, first) = roster_of(SECOND, FIRST)
    assert roster.links == [first, second]


def test_first_link_with_the_peer_is_taken() -> None:
    roster, (first, second) = roster_of(FIRST, SECOND)
    roster.left(first, "bob", b"1")
    assert roster.choose("bob", None, is_attached=False) is second
    assert roster.choose("nobody", None, is_attached=False) is None


@pytest.mark.parametrize("fault", [{"health": Health.SUSPECT}, {"state": LinkState.LEAVING}])
def test_session_moves_off_a_link_that_is_not_good(fault: dict[str, object]) -> None:
    roster, (first, second) = roster_of(FIRST, SECOND)
    assert roster.choose("bob", first, is_attached=True) is first
    for name, value in fault.items():
        setattr(first, name, value)
    assert roster.choose("bob", first, is_attached=True) is second


def test_session_stays_where_it_is_attached_though_a_better_link_comes() -> None:
    roster, (_first, second) = roster_of(FIRST, SECOND)
    assert roster.choose("bob", second, is_attached=True) is second


def test_session_stays_on_the_only_link_however_bad() -> None:
    roster, (first,) = roster_of(FIRST)
    first.state = LinkState.LEAVING
    assert roster.choose("bob", first, is_attached=True) is first
    assert roster.choose("bob", None, is_attached=False) is None


def test_link_that_turned_the_session_away_comes_last() -> None:
    roster, (first, second) = roster_of(FIRST, SECOND)
    assert roster.choose("bob", None, is_attached=False, avoid=frozenset({first})) is second
    both = frozenset({first, second})
    assert roster.choose("bob", None, is_attached=False, avoid=both) is first


def test_new_process_of_a_peer_is_news_once() -> None:
    roster, (first, second) = roster_of(FIRST, SECOND)
    assert roster.arrived(first, "bob", b"2")
    assert not roster.arrived(second, "bob", b"2")
    assert not roster.arrived(second, "bob", b"1")


def test_late_word_of_an_old_process_says_nothing() -> None:
    roster, (first,) = roster_of(FIRST)
    roster.arrived(first, "bob", b"2")
    roster.left(first, "bob", b"1")
    assert roster.instance_of(first, "bob") == b"2"


def test_few_processes_are_remembered() -> None:
    roster, (first,) = roster_of(FIRST)
    for number in range(100):
        roster.arrived(first, "bob", b"%d" % number)
    assert len(roster._instances["bob"]) == INSTANCES_REMEMBERED


def test_removed_link_leaves_nothing() -> None:
    roster, (first,) = roster_of(FIRST)
    roster.remove(first)
    roster.remove(first)
    assert (roster.links, roster.peers()) == ([], set())


def test_second_address_of_one_process_is_found() -> None:
    roster, (first,) = roster_of(FIRST)
    roster.begin(other := Link("other"), SECOND)
    roster.add(other, b"same")
    roster.remove(other)
    assert roster.twin(SECOND, {first: b"same"}) is first
    assert roster.twin(SECOND, {first: b"another"}) is None
    assert roster.twin(FIRST, {first: b"same"}) is None
