"""The steps of the demo, each with what has to be seen.

Every step ends with findings; one that is not good raises `DemoFailed`, and the run stops there.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from examples.demo_app.crew import BROKERS, ENDS, LAPTOP, Crew, other_broker
from examples.demo_app.download import Downloaded, Downloads, wait_words
from examples.demo_app.faults import BrokerKill, Move, ProxyKill
from examples.demo_app.second import SecondAct
from examples.demo_app.stage import Child, DemoFailed, Stage
from examples.demo_app.telling import Finding, Teller
from examples.demo_app.way import ProxiedWay, Way

FAULT_AT_PERCENT = 30
LEAST_PERCENT, MOST_PERCENT = 25, 75
CALL_SECONDS = 30.0
DRAIN_SECONDS = 20.0

Steps = list[tuple[str, Callable[[], Awaitable[None]]]]


class Play:
    """One run of the demo.

    Args:
        stage: where processes are started.
        teller: who is told.
        size_mib: of each download.
        way: how links get to the brokers.
    """

    def __init__(self, stage: Stage, teller: Teller, size_mib: int, way: Way) -> None:
        self.findings: list[Finding] = []
        self.facts: dict[str, Any] = {"size_mib": size_mib, "over": way.name}
        self.step_seconds = 60.0 + size_mib / 8
        self._stage = stage
        self._teller = teller
        self._size = f"{size_mib} MiB"
        self._way = way
        self._crew = Crew(stage, way)
        self._downloads = Downloads(self._crew, teller, size_mib)
        self._second = SecondAct(stage, self._crew, self.see)
        self._victim = ""

    def steps(self) -> Steps:
        """Return the steps in order."""
        steps: Steps = [
            ("start the services, two brokers, the sidecar and the laptop", self.start),
            ("a customer buys an apple", self.call_cluster),
            ("the laptop takes over prices; the customer buys again", self.intercept),
            (
                f"download {self._size} through the intercept; meanwhile kill the broker that "
                "carries it",
                self.kill_broker,
            ),
            ("start the killed broker again", self.restart_broker),
            (f"download {self._size} again; meanwhile move the session by command", self.move),
        ]
        if isinstance(self._way, ProxiedWay):
            words = f"download {self._size} again; meanwhile kill the proxy, and start it again"
            steps.append((words, self.kill_proxy))
        steps.append(("the laptop freezes; the customer buys again", self.freeze))
        second = self._second
        steps += [
            ("second act: another developer, a gateway and a gRPC service join", second.begin),
            ("both developers intercept prices, each by a header", second.share),
            ("ask why", second.explain),
            ("call the gRPC service, for everybody and for a branch", second.branch),
            ("open previews of prices", second.preview),
        ]
        return [*steps, ("drain everything", self.drain)]

    # --- seeing -----------------------------------------------------------------------------

    def see(self, what: str, seen: str, is_good: bool = True) -> None:
        """Write a finding down.

        Raises:
            DemoFailed: it is not good.
        """
        self.findings.append(Finding(what, seen, is_good, self._teller.title))
        if not is_good:
            raise DemoFailed(f"{what}: {seen}")
        self._teller.note(f"{what}: {seen}")

    async def _call(self) -> dict[str, Any]:
        """Let a customer buy an apple: a process of its own."""
        client = await self._stage.spawn("client", "demo_app/client.py", "call", self._crew.shop)
        with trio.fail_after(CALL_SECONDS):
            answer = await client.next_line()
            await client.wait()
        if answer is None:
            raise DemoFailed(f"the customer got no answer:\n{client.tail()}")
        return answer

    def _see_download(self, got: Downloaded, name: str, pause: float, **facts: object) -> None:
        """Write down what every download has to show; *name* is that of its facts."""
        self.facts[name] = {
            "at_bytes": got.offset,
            "at_percent": got.percent,
            "pause_ms": round(pause * 1000, 1),
            "replayed_bytes": got.replayed,
            "sha256": got.done["sha256"],
            "expected_sha256": got.expected,
            "seconds": got.done["seconds"],
            "target_connections": got.connections,
            **facts,
        }
        words = f"{got.done['sha256'][:16]}... "
        words += "as expected" if got.is_right else f"not {got.expected[:16]}..."
        self.see("checksum (SHA-256)", words, got.is_right)
        rate = got.total * 8 / got.done["seconds"] / 1e9
        words = f"the {got.done['served_by']}, in {got.done['seconds']:.1f} s: {rate:.1f} Gbit/s"
        self.see("served by", words, got.done["served_by"] == "laptop")
        words = f"{got.through} at the sidecar, {got.connections} at the target"
        words += f" with {got.requests} request"
        good = (got.through, got.connections, got.requests) == (1, 1, 1)
        self.see("connections for it", words, good)

    # --- steps ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Keys, tokens, seven processes, and the proxy if there is one."""
        await self._crew.start()
        links = await self._crew.wait_links()
        count = len(self._stage.children)
        self.see("processes", f"{count} are up, with keys and tokens of their own")
        self.see("links", f"{len(links)}, over {self._way.words}")
        if isinstance(self._way, ProxiedWay):
            self._see_tunnels(self._way, links)

    def _see_tunnels(self, way: ProxiedWay, links: list[dict[str, Any]]) -> None:
        """All links have to go through the proxy; what it says counts, and what the ends say."""
        through = sum(f"through http://{way.address}" in link["address"] for link in links)
        tunnels = way.tunnels(self._stage)
        self.facts["proxy"] = way.kind
        self.facts["proxy_tunnels"] = tunnels
        words = f"{through} of {len(links)} links; the proxy counts {tunnels} tunnels"
        self.see("through the proxy", words, through == len(links) <= tunnels)

    async def call_cluster(self) -> None:
        """Without an intercept, the copy in the cluster answers."""
        answer = await self._call()
        good = answer.get("served_by") == "cluster" and answer.get("price") == 100
        self.see("call before the intercept", _answer_words(answer), good)

    async def intercept(self) -> None:
        """Switch the intercept on through the admin socket; the laptop answers."""
        socket = self._crew.socket("sidecar")
        await self._stage.tool("tunnelkit.admin", socket, "intercept", "prices", LAPTOP)
        await self._crew.wait_session()
        before = await self._crew.counts()
        answer = await self._call()
        good = answer.get("served_by") == "laptop" and answer.get("price") == 80
        self.see("call through the intercept", _answer_words(answer), good)
        through = (await self._crew.counts()).get("peer", 0) - before.get("peer", 0)
        self.see("connections that took the intercept", str(through), through == 1)

    async def kill_broker(self) -> None:
        """The broker that carries the download dies; the other one takes over."""
        kill = BrokerKill(self._crew, await self._crew.wait_session())
        got = await self._downloads.run(
            FAULT_AT_PERCENT, kill.happen, "the broker was killed; the other one carries on"
        )
        self._victim = kill.victim
        held = kill.held_seconds * 1000
        good = LEAST_PERCENT <= got.percent <= MOST_PERCENT
        self.see(f"{kill.victim} killed by SIGKILL", _place(got), good)
        self.see("held before, with bytes under way", f"{held:.1f} ms")
        found = await self._crew.wait_session()
        good = found == other_broker(kill.victim)
        self.see("the session went on through", f"{found}; nothing was started", good)
        pause = got.longest_wait(got.happened_at)
        self.see("pause that the client saw", wait_words(pause))
        self.see("bytes replayed", f"{got.replayed:,}", got.replayed > 0)
        facts = {"from": kill.victim, "to": found, "held_ms": round(held, 1)}
        self._see_download(got, "kill", pause, **facts)

    async def restart_broker(self) -> None:
        """The killed broker comes back at its old address, and the ends dial it again."""
        before = await self._crew.wait_session()
        started = time.monotonic()
        await self._crew.start_broker(self._victim)
        links = await self._crew.wait_links()
        seconds = time.monotonic() - started
        words = f"at its old address; {len(links)} links are up after {seconds:.1f} s"
        self.see(f"{self._victim} started again", words)
        found = await self._crew.wait_session()
        self.see("the session stays at", found, found == before)

    async def move(self) -> None:
        """The session goes to the other broker because somebody says so."""
        move = Move(self._crew, await self._crew.wait_session())
        before = await self._move_counts()
        got = await self._downloads.run(
            FAULT_AT_PERCENT, move.happen, "the session was moved to the other broker"
        )
        self.see(
            "session moved by command",
            f"{_place(got)}, from {move.source} to {move.to} in {move.seconds * 1000:.0f} ms",
            got.offset < got.total and await self._crew.wait_session() == move.to,
        )
        counts = [
            (moved - before[name][0], resumed - before[name][1])
            for name, (moved, resumed) in (await self._move_counts()).items()
        ]
        words = "moved once at each end, suspended nowhere"
        good = counts == [(1, 0)] * len(ENDS)
        self.see("the session", words if good else f"(moved, suspended) {counts}", good)
        pause = got.longest_wait(got.happened_at)
        usual = got.longest_wait(0.0, got.happened_at)
        words = f"{wait_words(pause)} from then on, {wait_words(usual)} before"
        self.see("longest wait of the client", words)
        self.see("bytes replayed", f"{got.replayed:,}")
        facts = {"from": move.source, "to": move.to, "command_ms": round(move.seconds * 1000, 1)}
        self._see_download(got, "move", pause, **facts)

    async def _move_counts(self) -> dict[str, tuple[int, int]]:
        """Return how often the session was moved and resumed, as each end counts."""
        total = self._crew.total
        return {
            name: (await total(name, "moved_count"), await total(name, "resumed_count"))
            for name in ENDS
        }

    async def kill_proxy(self) -> None:
        """All links break at once; they are dialled again, and the download goes on."""
        assert isinstance(self._way, ProxiedWay)  # else this is no step
        kill = ProxyKill(self._crew, self._way)
        got = await self._downloads.run(
            FAULT_AT_PERCENT, kill.happen, "the proxy was killed, and started again"
        )
        good = LEAST_PERCENT <= got.percent <= MOST_PERCENT
        self.see("proxy killed by SIGKILL", f"{_place(got)}; all links broke", good)
        links = await self._crew.wait_links()
        self._see_tunnels(self._way, links)
        pause = got.longest_wait(got.happened_at)
        self.see("pause that the client saw", wait_words(pause))
        self.see("bytes replayed", f"{got.replayed:,}")
        self._see_download(got, "proxy_kill", pause)

    async def freeze(self) -> None:
        """Stop the devbox as a closed lid does: the cluster answers; then let it go on."""
        devbox: Child = self._stage.children["devbox"]
        before = await self._crew.counts()
        devbox.signal(signal.SIGSTOP)
        try:
            answer = await self._call()
        finally:
            devbox.signal(signal.SIGCONT)
        seconds = float(answer.get("seconds", 0))
        self.facts["fallback_ms"] = seconds * 1000
        good = answer.get("served_by") == "cluster" and answer.get("price") == 100
        words = f"{_answer_words(answer)}, after {seconds * 1000:.0f} ms"
        self.see("call while the laptop is stopped", words, good)
        fell_back = (await self._crew.counts()).get("fell-back", 0) - before.get("fell-back", 0)
        self.see("connections that fell back", str(fell_back), fell_back == 1)
        await self._crew.wait_session()
        answer = await self._call()
        good = answer.get("served_by") == "laptop"
        self.see("call when the laptop goes on", _answer_words(answer), good)

    async def drain(self) -> None:
        """SIGTERM to everything that runs, callers first; each ends with status 0."""
        names = ["shop", *self._second.names, *ENDS, *BROKERS, "prices", "copy"]
        for name in names:
            self._see_status(name, await self._stage.end(name, DRAIN_SECONDS))
        if isinstance(self._way, ProxiedWay):
            names.append("proxy")
            code, counts = await self._way.stop_proxy(self._stage, DRAIN_SECONDS)
            self._see_status("proxy", code)
            if counts:
                words = f"{counts['tunnels']} tunnels with {counts['bytes']:,} bytes"
                words += f" since it was started again, {counts['refused']} refused"
                self.see("the proxy counted", words)
        self.see("exit status", f"0 of all {len(names)} processes")

    def _see_status(self, name: str, code: int) -> None:
        if code:
            self.see("exit status", f"{name} ended with {code}", is_good=False)


def _place(got: Downloaded) -> str:
    return f"at {got.offset:,} of {got.total:,} bytes ({got.percent:.0f} %)"


def _answer_words(answer: dict[str, Any]) -> str:
    if "price" not in answer:
        return str(answer.get("error", answer))
    return f"an apple is {answer['price']}, says the {answer['served_by']}"
