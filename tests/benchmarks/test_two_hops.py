"""Peers of two programs: what their settings say, and that each of them carries traffic."""

from __future__ import annotations

from benchmarks.load import Address
from benchmarks.peers import (
    HOST,
    Route,
)
from benchmarks.peers.two_hops import TwoHops, doors_of, pick_two_hops

WEB, BULK = Address(HOST, 1), Address(HOST, 2)
HOPS = TwoHops(
    link=Address(HOST, 3),
    doors={"web": Address(HOST, 4), "bulk": Address(HOST, 5)},
    targets={"web": WEB, "bulk": BULK},
)


def test_doors_of_a_route_leave_out_what_it_has_not() -> None:
    assert doors_of(Route(WEB, None)) == {"web": WEB}


def test_two_hops_have_a_door_in_front_of_every_target() -> None:
    hops = pick_two_hops(Route(WEB, BULK))
    assert hops.targets == {"web": WEB, "bulk": BULK}
    assert len({hops.link, *hops.doors.values()}) == 3


def test_route_of_two_hops_lacks_the_door_that_they_lack() -> None:
    hops = TwoHops(HOPS.link, {"web": WEB}, {"web": BULK})
    assert hops.route == Route(WEB, None)
