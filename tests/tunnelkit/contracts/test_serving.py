"""Contracts over a connection: both sides serve theirs, and call the other's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio
from trio.testing import memory_stream_pair

from tunnelkit.contracts import DevboxClientRpc, DevboxSessionRpc, HrpcService
from tunnelkit.contracts.hrpc.environments import KubeEnvironmentPage
from tunnelkit.contracts.hrpc.pages import PageInfo, PagePaginationParams
from tunnelkit.contracts.records import DevboxEnvironmentInfo, DevboxSessionInfo
from tunnelkit.contracts.units import EnvironmentId, OrgId, UserId
from tunnelkit.rpc.channels import LineChannel
from tunnelkit.rpc.codes import RpcCode, RpcError
from tunnelkit.rpc.peer import open_peer

MOMENT = datetime(2030, 1, 31, 9, 30, tzinfo=UTC)
SESSION = DevboxSessionInfo(UserId("u"), "ada@example.com", "laptop", MOMENT, MOMENT)
ENVIRONMENT = DevboxEnvironmentInfo(EnvironmentId("e"), "mine", "east", "default")


class Session(DevboxSessionRpc):
    async def whoami(self) -> DevboxSessionInfo:
        await trio.lowlevel.checkpoint()
        return SESSION


class Client(DevboxClientRpc):
    told: DevboxEnvironmentInfo | None = None

    async def environment_changed(self, environment: DevboxEnvironmentInfo | None) -> None:
        await trio.lowlevel.checkpoint()
        self.told = environment


class Dashboard(HrpcService):
    async def all_kube_environments(
        self,
        org_id: OrgId,
        search: str | None = None,
        is_shared: bool = False,
        is_branch: bool = False,
        pagination: PagePaginationParams | None = None,
    ) -> KubeEnvironmentPage:
        await trio.lowlevel.checkpoint()
        wanted = pagination or PagePaginationParams()
        return KubeEnvironmentPage([], PageInfo(wanted.page, wanted.page_size, 0, 0))


async def test_both_sides_of_a_pair() -> None:
    left, right = memory_stream_pair()
    client = Client()
    async with (
        open_peer(LineChannel(left), serve=[client]) as device,
        open_peer(LineChannel(right), serve=[Session()]) as api,
    ):
        assert await device.proxy(DevboxSessionRpc).whoami() == SESSION
        await api.proxy(DevboxClientRpc).environment_changed(ENVIRONMENT)
        assert client.told == ENVIRONMENT
        with pytest.raises(RpcError) as error:
            await device.proxy(DevboxSessionRpc).heartbeat()
        assert error.value.code == RpcCode.NOT_SERVED


async def test_service_that_is_written_down_by_area() -> None:
    left, right = memory_stream_pair()
    async with (
        open_peer(LineChannel(left)) as browser,
        open_peer(LineChannel(right), serve=[Dashboard()]),
    ):
        hrpc = browser.proxy(HrpcService)
        page = await hrpc.all_kube_environments(OrgId("o"), pagination=PagePaginationParams(3))
        assert page.info == PageInfo(3, 20, 0, 0)
