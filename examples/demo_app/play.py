"""The steps of the demo, each with what has to be seen.

Every step ends with findings; one that is not good raises `DemoFailed`, and the run stops there.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio

from examples.demo_app import blob
from examples.demo_app.stage import Child, DemoFailed, Stage
from examples.demo_app.telling import Finding, Teller
from tunnelkit.admin import call_admin

SIDECAR = "sidecar/prices"
LAPTOP = "devbox/alice"
KILL_AT_PERCENT = 30
CALL_SECONDS = 30.0
HOLD_SECONDS = 2.0
DRAIN_SECONDS = 20.0


class Play:
    """One run of the demo.

    Args:
        stage: where processes are started.
        teller: who is told.
        size_mib: of the download.
    """

    def __init__(self, stage: Stage, teller: Teller, size_mib: int) -> None:
        self.findings: list[Finding] = []
        self.facts: dict[str, object] = {"size_mib": size_mib}
        self.step_seconds = 60.0 + size_mib / 8
        self._stage = stage
        self._teller = teller
        self._size_mib = size_mib
        self._broker = ""
        self._prices = ""
        self._shop = ""
        self._copy = ""

    def steps(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Return the steps in order."""
        size = f"{self._size_mib} MiB"
        return [
            ("start the services, the broker, the sidecar and the laptop", self.start),
            ("a customer buys an apple", self.call_cluster),
            ("the laptop takes over prices; the customer buys again", self.intercept),
            (
                f"download {size} through the intercept, and kill the broker meanwhile",
                self.download,
            ),
            ("the laptop freezes; the customer buys again", self.freeze),
            ("drain everything", self.drain),
        ]

    # --- seeing -----------------------------------------------------------------------------

    def see(self, what: str, seen: str, is_good: bool = True, **facts: object) -> None:
        """Write a finding down.

        Raises:
            DemoFailed: it is not good.
        """
        self.findings.append(Finding(what, seen, is_good))
        self.facts.update(facts)
        if not is_good:
            raise DemoFailed(f"{what}: {seen}")
        self._teller.note(f"{what}: {seen}")

    async def status(self, name: str) -> dict[str, Any]:
        """Return what the admin socket of a program says."""
        return cast(dict[str, Any], await call_admin(self._socket(name), "status"))

    def _socket(self, name: str) -> str:
        return str(self._stage.folder / "run" / f"{name}.sock")

    async def _call(self) -> dict[str, Any]:
        """Let a customer buy an apple: a process of its own."""
        client = await self._stage.spawn("client", "demo_app/client.py", "call", self._shop)
        with trio.fail_after(CALL_SECONDS):
            answer = await client.next_line()
            await client.wait()
        if answer is None:
            raise DemoFailed(f"the customer got no answer:\n{client.tail()}")
        return answer

    async def _counts(self) -> dict[str, int]:
        status = await self.status("sidecar")
        return cast(dict[str, int], status["ports"][0]["counts"])

    # --- steps ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Keys, tokens, and six processes."""
        stage = self._stage
        await self._make_tokens()
        (stage.folder / "run").mkdir(mode=0o700)
        doors: dict[str, str] = {}

        async def start_service(name: str, *arguments: object) -> None:
            child = await stage.start(name, "demo_app/prices.py", *arguments)
            doors[name] = child.ready["listeners"]["http"]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start_service, "prices")
            nursery.start_soon(start_service, "copy", "--served-by", "laptop", "--discount", 20)
            nursery.start_soon(self._start_broker, "tcp://127.0.0.1:0")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._start_devbox, doors["copy"])
            nursery.start_soon(self._start_sidecar, doors["prices"])
        shop = await stage.start("shop", "demo_app/shop.py", "--prices", self._prices)
        self._shop = shop.ready["listeners"]["http"]
        self._copy = doors["copy"]
        self.see("processes", f"{len(stage.children)} are up, with keys and tokens of their own")

    async def _make_tokens(self) -> None:
        folder, tool = self._stage.folder, self._stage.tool
        async with trio.open_nursery() as nursery:
            for name in ("issuer", "sidecar", "laptop"):
                nursery.start_soon(
                    tool, "tunnelkit.auth", "keygen", "--out", folder / f"{name}.pem"
                )
        common = ("mint", "--signing-key", folder / "issuer.pem", "--lifetime", "1h")
        grants = {
            "sidecar": ("--subject", SIDECAR, "--peer", "devbox/*", "--target", "prices"),
            "laptop": ("--subject", LAPTOP, "--peer", "sidecar/*"),
        }
        async with trio.open_nursery() as nursery:
            for name, grant in grants.items():
                holder = ("--holder-key", folder / f"{name}.pem.pub.json")
                out = ("--out", folder / f"{name}.token")
                nursery.start_soon(tool, "tunnelkit.auth", *common, *grant, *holder, *out)

    def _identity(self, name: str) -> list[object]:
        folder = self._stage.folder
        files = ("--key", folder / f"{name}.pem", "--token", folder / f"{name}.token")
        return ["--keys", folder / "issuer.pem.pub.json", *files]

    async def _start_broker(self, address: str) -> None:
        ring = self._stage.folder / "issuer.pem.pub.json"
        flags = ("--listen", address, "--keys", ring, "--admin", self._socket("broker"))
        broker = await self._stage.start("broker", "broker.py", *flags)
        self._broker = broker.ready["links"][0]

    async def _start_devbox(self, copy: str) -> None:
        flags = ("--link", self._broker, "--target", f"prices={copy}")
        admin = ("--admin", self._socket("devbox"))
        await self._stage.start(
            "devbox", "devbox_proxy.py", *self._identity("laptop"), *flags, *admin
        )

    async def _start_sidecar(self, prices: str) -> None:
        flags = ("--link", self._broker, "--port", f"prices=127.0.0.1:0,{prices}")
        admin = ("--admin", self._socket("sidecar"))
        child = await self._stage.start(
            "sidecar", "sidecar_proxy.py", *self._identity("sidecar"), *flags, *admin
        )
        self._prices = child.ready["listeners"]["prices"]

    async def call_cluster(self) -> None:
        """Without an intercept, the copy in the cluster answers."""
        answer = await self._call()
        good = answer.get("served_by") == "cluster" and answer.get("price") == 100
        self.see("call before the intercept", _answer_words(answer), good)

    async def intercept(self) -> None:
        """Switch the intercept on through the admin socket; the laptop answers."""
        await self._stage.tool(
            "tunnelkit.admin", self._socket("sidecar"), "intercept", "prices", LAPTOP
        )
        await self._wait_session()
        before = await self._counts()
        answer = await self._call()
        good = answer.get("served_by") == "laptop" and answer.get("price") == 80
        self.see("call through the intercept", _answer_words(answer), good)
        through = (await self._counts()).get("peer", 0) - before.get("peer", 0)
        self.see("connections that took the intercept", str(through), through == 1)

    async def _wait_session(self) -> None:
        with trio.move_on_after(15):
            while True:
                status = await self.status("sidecar")
                if any(session["state"] == "open" for session in status["sessions"]):
                    return
                await trio.sleep(0.02)
        raise DemoFailed("the sidecar and the laptop did not come together")

    # --- the download -----------------------------------------------------------------------

    async def download(self) -> None:
        """One connection, one request; the broker is killed and started again meanwhile."""
        expected = await trio.to_thread.run_sync(blob.checksum, self._size_mib)
        before, counts = await self._replayed(), await self._counts()
        client = await self._stage.spawn(
            "client", "demo_app/client.py", "download", self._prices, "--mib", self._size_mib
        )
        killed_at = 0.0
        done: dict[str, Any] = {}
        total = self._size_mib * blob.BLOCK_BYTES
        async with trio.open_nursery() as nursery:
            while line := await client.next_line():
                if line["event"] == "done":
                    done = line
                    break
                received = line["received"]
                if not killed_at and received * 100 >= total * KILL_AT_PERCENT:
                    killed_at = await self._kill_broker()
                    nursery.start_soon(self._restart_broker)
                words = "the broker was killed, and is started again" if killed_at else "received"
                self._teller.bar(received, total, words)
        if not done:
            raise DemoFailed(f"the download broke off:\n{client.tail()}")
        self._check_download(done, expected, total, killed_at)
        replayed = await self._replayed() - before
        self.see("bytes replayed", f"{replayed:,}", replayed > 0, replayed_bytes=replayed)
        await self._check_target(counts)

    async def _kill_broker(self) -> float:
        """Kill the broker while it holds bytes that must be sent again; return the moment.

        It is stopped for the few milliseconds that asking takes, and let go on where the sidecar
        turns out to have all that the laptop sent: then nothing would be lost, by luck.
        """
        broker, held_at = self._stage.children["broker"], time.monotonic()
        with trio.move_on_after(HOLD_SECONDS):
            broker.signal(signal.SIGSTOP)
            while not await self._held_bytes():
                broker.signal(signal.SIGCONT)
                await trio.sleep(0.005)
                held_at = time.monotonic()
                broker.signal(signal.SIGSTOP)
        broker.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        self.facts["held_ms"] = round((killed_at - held_at) * 1000, 1)
        return killed_at

    async def _held_bytes(self) -> int:
        """Return how many bytes the laptop has sent that cannot reach the sidecar.

        Not acknowledged is not enough: they may have arrived, and only the ack be missing.
        """
        before, arrived = -1, await self._sum("sidecar", "bytes_in")
        while arrived != before:  # what the broker had passed on still arrives
            await trio.sleep(0.002)
            before, arrived = arrived, await self._sum("sidecar", "bytes_in")
        return await self._sum("devbox", "bytes_out") - arrived

    async def _sum(self, name: str, what: str) -> int:
        """Return a number of all sessions of a program together."""
        return sum(session[what] for session in (await self.status(name))["sessions"])

    async def _restart_broker(self) -> None:
        await self._stage.children["broker"].wait()
        await self._start_broker(self._broker)

    async def _replayed(self) -> int:
        """Return how many bytes both ends have replayed so far."""
        sent_again = [await self._sum(name, "replayed_bytes") for name in ("devbox", "sidecar")]
        return sum(sent_again)

    def _check_download(
        self, done: dict[str, Any], expected: str, total: int, killed_at: float
    ) -> None:
        if not killed_at:
            raise DemoFailed("the download was over before the broker could be killed")
        gaps = [gap for gap in done["gaps"] if gap["from"] + gap["seconds"] >= killed_at]
        if not gaps:
            raise DemoFailed("the client noticed no pause: was the right broker killed?")
        gap = max(gaps, key=lambda gap: float(gap["seconds"]))
        offset, pause_ms = int(gap["offset"]), round(gap["seconds"] * 1000)
        percent = 100 * offset / total
        self.see(
            "broker killed by SIGKILL",
            f"when the client had {offset:,} of {total:,} bytes ({percent:.0f} %); it was held "
            f"for {self.facts['held_ms']} ms before, so that bytes were under way",
            25 <= percent <= 75,
            kill_offset_bytes=offset,
            kill_percent=percent,
        )
        self.see("pause that the client saw", f"{pause_ms} ms", True, pause_ms=pause_ms)
        good = done["received"] == total and done["sha256"] == expected
        words = f"{done['sha256'][:16]}... " + (
            "as expected" if good else f"not {expected[:16]}..."
        )
        self.see("checksum (SHA-256)", words, good, sha256=done["sha256"], expected_sha256=expected)
        rate = total * 8 / done["seconds"] / 1e9
        words = f"{done['seconds']:.1f} s, {rate:.1f} Gbit/s with the pause"
        good = done["served_by"] == "laptop"
        self.see(f"download served by {done['served_by']}", words, good, seconds=done["seconds"])

    async def _check_target(self, before: dict[str, int]) -> None:
        """Ask the copy on the laptop what it saw, past the tunnel."""
        seen = await trio.to_thread.run_sync(_fetch_seen, self._copy)
        connections = seen["download_connections"]
        good = connections == 1 and seen["downloads"] == 1
        words = f"{connections}, with {seen['downloads']} request"
        self.see("connections that the target saw", words, good, target_connections=connections)
        through = (await self._counts()).get("peer", 0) - before.get("peer", 0)
        self.see("client connections for the download", str(through), through == 1)

    # --- faults and the end -----------------------------------------------------------------

    async def freeze(self) -> None:
        """Stop the devbox as a closed lid does: the cluster answers; then let it go on."""
        devbox: Child = self._stage.children["devbox"]
        before = await self._counts()
        devbox.signal(signal.SIGSTOP)
        try:
            answer = await self._call()
        finally:
            devbox.signal(signal.SIGCONT)
        seconds = float(answer.get("seconds", 0))
        good = answer.get("served_by") == "cluster" and answer.get("price") == 100
        words = f"{_answer_words(answer)}, after {seconds * 1000:.0f} ms"
        self.see("call while the laptop is stopped", words, good, fallback_ms=seconds * 1000)
        fell_back = (await self._counts()).get("fell-back", 0) - before.get("fell-back", 0)
        self.see("connections that fell back", str(fell_back), fell_back == 1)
        await self._wait_session()
        answer = await self._call()
        good = answer.get("served_by") == "laptop"
        self.see("call when the laptop goes on", _answer_words(answer), good)

    async def drain(self) -> None:
        """SIGTERM to everything that runs, callers first; each ends with status 0."""
        for name in ("shop", "sidecar", "devbox", "broker", "prices", "copy"):
            code = await self._stage.end(name, DRAIN_SECONDS)
            if code:
                self.see("exit status", f"{name} ended with {code}", is_good=False)
        self.see("exit status", "0 of all six processes")


def _answer_words(answer: dict[str, Any]) -> str:
    if "price" not in answer:
        return str(answer.get("error", answer))
    return f"an apple is {answer['price']}, says the {answer['served_by']}"


def _fetch_seen(address: str) -> dict[str, int]:
    import http.client
    import json

    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/seen")
        return cast(dict[str, int], json.loads(connection.getresponse().read()))
    finally:
        connection.close()
