"""Many sessions through one broker, out of one process on either side."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import peers, programs
from benchmarks.crowd import read_door
from benchmarks.load import fetch_body
from benchmarks.processes import open_fleet
from tunnelkit.addresses import Address


def test_door_is_a_name_and_an_address() -> None:
    assert read_door("web=127.0.0.1:80") == ("web", Address("tcp", "127.0.0.1", 80))


@pytest.mark.needs_program("nginx")
async def test_every_session_of_a_crowd_leads_to_the_target(tmp_path: Path) -> None:
    credentials = await programs.make_credentials(tmp_path)
    async with open_fleet(tmp_path) as fleet:
        targets = await peers.start_targets(fleet, ["sessions_3"], bulk=False)
        route = await programs.start_crowd(fleet, 3, credentials, targets.behind["sessions_3"])
        bodies = {await fetch_body(route.web) for _ in range(6)}
    assert bodies == {peers.BODY}
