"""Peers of two programs: what their settings say, and that each of them carries traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import load
from benchmarks.cases import HTTP_ONLY, LOADS
from benchmarks.load import Address
from benchmarks.peers import (
    HOST,
    Route,
    envoy,
    haproxy_rhttp,
    singbox,
    start_targets,
    v2ray,
    websocat,
)
from benchmarks.peers.starters import STARTERS
from benchmarks.peers.two_hops import TwoHops, pick_two_hops
from benchmarks.processes import BenchmarkError, open_fleet

WEB, BULK = Address(HOST, 1), Address(HOST, 2)
HOPS = TwoHops(
    link=Address(HOST, 3),
    doors={"web": Address(HOST, 4), "bulk": Address(HOST, 5)},
    targets={"web": WEB, "bulk": BULK},
)

TWO_PROGRAMS = ("envoy", "v2ray", "singbox", "websocat", "haproxy_rhttp")


def filters_of(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of the filter of each listener of an Envoy."""
    listeners = settings["static_resources"]["listeners"]
    return [door["filter_chains"][0]["filters"][0]["typed_config"] for door in listeners]


def rules_of(settings: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return where V2Ray's rules send what."""
    rules = settings["routing"]["rules"]
    return [(rule["inboundTag"], rule.get("domain"), rule["outboundTag"]) for rule in rules]


def test_two_hops_have_a_door_in_front_of_every_target() -> None:
    hops = pick_two_hops(Route(WEB, BULK))
    assert hops.targets == {"web": WEB, "bulk": BULK}
    assert len({hops.link, *hops.doors.values()}) == 3


def test_route_of_two_hops_lacks_the_door_that_they_lack() -> None:
    hops = TwoHops(HOPS.link, {"web": WEB}, {"web": BULK})
    assert hops.route == Route(WEB, None)


def test_every_door_of_envoy_meets_its_own_target() -> None:
    opened = [
        proxy["tunneling_config"]["hostname"] for proxy in filters_of(envoy.entry_settings(HOPS))
    ]
    (manager,) = filters_of(envoy.exit_settings(HOPS))
    hosts = manager["route_config"]["virtual_hosts"]
    ended = {host["domains"][0]: host["routes"][0]["route"]["cluster"] for host in hosts}
    assert [ended[authority] for authority in opened] == ["web", "bulk"]


def test_streams_of_envoy_have_room_in_one_connection_at_either_end() -> None:
    (manager,) = filters_of(envoy.exit_settings(HOPS))
    (link,) = envoy.entry_settings(HOPS)["static_resources"]["clusters"]
    (options,) = link["typed_extension_protocol_options"].values()
    both = manager["http2_protocol_options"], options["explicit_http_config"]
    assert both == (envoy.HTTP2, {"http2_protocol_options": envoy.HTTP2})


def test_clients_of_v2ray_go_to_its_portal_and_leave_by_its_bridge() -> None:
    portal, bridge = v2ray.portal_settings(HOPS, "user"), v2ray.bridge_settings(HOPS, "user")
    assert rules_of(portal) == [(["link", "web", "bulk"], None, "portal")]
    inside = [f"full:{v2ray.DOMAIN}"]
    assert rules_of(bridge) == [(["bridge"], inside, "link"), (["bridge"], None, "targets")]


def test_every_door_of_singbox_names_its_target() -> None:
    doors = singbox.entry_settings(HOPS, "user")["inbounds"]
    assert [(door["listen_port"], door["override_port"]) for door in doors] == [(4, 1), (5, 2)]


def test_either_side_of_websocat_meets_the_other() -> None:
    entry = websocat.entry_command(HOPS.doors["web"], HOPS.link)
    exit_ = websocat.exit_command(HOPS.link, WEB)
    assert entry[-2:] == ["tcp-listen:127.0.0.1:4", "ws-c:tcp:127.0.0.1:3"]
    assert exit_[-2:] == ["ws-listen:127.0.0.1:3", "tcp:127.0.0.1:1"]


def test_either_side_of_haproxy_names_the_link() -> None:
    assert f"bind {HOPS.link} proto h2" in haproxy_rhttp.entry_configuration(HOPS)
    assert f"server entry {HOPS.link} proto h2" in haproxy_rhttp.exit_configuration(HOPS)


def test_haproxy_that_the_user_names_is_the_only_one_asked() -> None:
    assert list(haproxy_rhttp.candidates("/mine", "/usr/sbin/haproxy", Path("/u"))) == ["/mine"]


def test_haproxy_of_the_machine_goes_before_the_unpacked_one() -> None:
    found = haproxy_rhttp.candidates(None, "/usr/sbin/haproxy", Path("/u"))
    assert list(found) == ["/usr/sbin/haproxy", "/u"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("HAProxy version 3.0.11-1+deb13u3 2026/05/20 - https://haproxy.org/", (3, 0)),
        ("HA-Proxy version 2.2.9-2+deb11u6 2023/08/17", (2, 2)),
        ("not found", (0, 0)),
    ],
)
def test_version_of_haproxy_is_read(text: str, version: tuple[int, int]) -> None:
    assert haproxy_rhttp.parse_version(text) == version


async def test_missing_haproxy_is_named_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(haproxy_rhttp.VARIABLE, str(tmp_path / "absent"))
    async with open_fleet(tmp_path) as fleet:
        with pytest.raises(BenchmarkError, match=r"haproxy 3\.0 .* not installed; .*HAPROXY3"):
            await haproxy_rhttp.start_haproxy_rhttp(fleet, Route(WEB, None))


async def test_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singbox, "find_singbox", lambda: None)
    async with open_fleet(tmp_path) as fleet:
        with pytest.raises(BenchmarkError, match=r"sing-box is not installed; .*\[peers\]"):
            await singbox.start_singbox(fleet, Route(WEB, None))


@pytest.mark.parametrize("name", TWO_PROGRAMS)
async def test_started_peer_carries_requests_and_bytes(name: str, tmp_path: Path) -> None:
    async with open_fleet(tmp_path) as fleet:
        try:
            targets = await start_targets(fleet, [name], bulk=True)
            doors = await STARTERS[name](fleet, targets.behind[name])
        except BenchmarkError as error:
            if "not installed" not in str(error):
                raise
            pytest.skip(str(error))
        assert (doors.bulk is None) == (name in HTTP_ONLY)
        if doors.bulk is not None:
            assert (await load.measure(LOADS["bulk"], doors.bulk, 1, tmp_path)).value > 0
