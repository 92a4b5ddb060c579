"""What a program tells about itself: plain data, in JSON's types, without a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tunnelkit.pairs import make_identity, open_pair, open_streams, open_world, wait_until
from tunnelkit.addresses import Address
from tunnelkit.broker import open_broker
from tunnelkit.broker.methods import broker_status
from tunnelkit.devbox import open_devbox
from tunnelkit.devbox.methods import devbox_status
from tunnelkit.errors import ConfigurationError
from tunnelkit.sidecar import PortSpec, Sidecar, open_sidecar
from tunnelkit.sidecar.methods import sidecar_methods
from tunnelkit.status import endpoint_status, link_status, program_methods, session_status

from .pairs import RING


async def test_link_tells_its_peer_and_its_traffic(autojump_clock: object) -> None:
    async with open_world() as world, open_pair(world) as pair:
        (link,) = pair.alice.links
        await wait_until(lambda: link.round_trip_seconds is not None)
        status = link_status(link)
    assert (status["peer"], status["is_broker"], status["dialled"]) == ("bob", False, True)
    assert isinstance(status["since"], float)
    assert isinstance(status["bytes_in"], int)
    assert status["bytes_in"] > 0


async def test_session_counts_its_streams_and_bytes(autojump_clock: object) -> None:
    async with open_world() as world, open_pair(world) as pair:
        stream, other = await open_streams(pair.session, pair.bob)
        await stream.send_all(b"x" * 1000)
        await other.receive_some()
        status = session_status(pair.session)
        await stream.aclose()
        await other.aclose()
    assert (status["peer"], status["role"], status["state"]) == ("bob", "initiator", "open")
    assert (status["streams"], status["bytes_out"]) == (1, 1000)
    assert status["id"] == pair.session.session_id.hex()[:8]


async def test_status_is_json_and_tells_no_secret(autojump_clock: object) -> None:
    async with open_world() as world, open_pair(world) as pair:
        text = json.dumps(endpoint_status(pair.alice))
        assert pair.alice.identity.token not in text
        assert pair.session.session_id.hex() not in text
    assert json.loads(text)["peers"] == ["bob"]


async def test_failing_address_is_told_with_its_reason(autojump_clock: object) -> None:
    async with open_world() as world:
        nowhere = Address("memory", "nowhere", 1)
        async with world.endpoint("alice", dial=[nowhere]) as alice:
            await wait_until(lambda: alice.dial_errors)
            status = endpoint_status(alice)
    assert list(status["failing"]) == ["memory://nowhere:1"]  # type: ignore[call-overload]


async def test_version_names_program_and_process() -> None:
    async with open_broker(RING, listen=[]) as broker:
        answer = await program_methods("broker", broker)["version"]()
    assert isinstance(answer, dict)
    assert answer["program"] == "broker"


# --- each kind of program -------------------------------------------------------------------


async def test_broker_tells_its_budget(tmp_path: Path) -> None:
    async with open_broker(RING, listen=[Address("tcp", "127.0.0.1")]) as broker:
        status = broker_status(broker)
    assert status["links"] == []
    assert status["broker"] == {
        "sessions_joined": 0,
        "sessions_waiting": 0,
        "free_budget_bytes": 512 << 20,
        "overruns": 0,
    }


async def test_devbox_tells_its_targets() -> None:
    targets = {"web": Address("tcp", "127.0.0.1", 8080)}
    async with open_devbox(make_identity("laptop"), RING, targets=targets) as devbox:
        status = devbox_status(devbox)
    assert status["exits"] == {
        "names": {"web": "127.0.0.1:8080"},
        "allow": [],
        "open": 0,
        "served": 0,
        "refused": 0,
        "last_refusal": "",
    }
    assert status["forwards"] == []


def port_spec() -> PortSpec:
    return PortSpec("web", Address("tcp", "127.0.0.1"), Address("tcp", "127.0.0.1", 8080))


async def test_intercept_is_set_listed_and_cleared() -> None:
    async with open_sidecar(make_identity("sidecar"), RING, ports=[port_spec()]) as sidecar:
        methods = sidecar_methods(sidecar)
        made = await methods["intercept.set"]("web", "laptop", fail_open=False)
        listed = await methods["intercept.list"]()
        cleared = await methods["intercept.clear"]("web")
    assert isinstance(made, dict)
    assert isinstance(cleared, dict)
    assert made["intercept"] == {"peer": "laptop", "target": "web", "fail_open": False}
    assert listed == [made]
    assert cleared["intercept"] is None


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("intercept.set", ["api", "laptop"]), ("intercept.clear", ["api"])],
)
async def test_intercept_of_an_unknown_port_is_refused(method: str, arguments: list[str]) -> None:
    async with open_sidecar(make_identity("sidecar"), RING, ports=[port_spec()]) as sidecar:
        with pytest.raises(ConfigurationError, match="there is no port 'api'; the ports are: web"):
            await sidecar_methods(sidecar)[method](*arguments)


async def test_status_of_a_draining_sidecar_has_no_listener() -> None:
    async with open_sidecar(make_identity("sidecar"), RING, ports=[port_spec()]) as sidecar:
        assert isinstance(sidecar, Sidecar)
        await sidecar.drain(0)
        status = await sidecar_methods(sidecar)["status"]()
    assert isinstance(status, dict)
    assert status["ports"][0]["listen"] == ""
