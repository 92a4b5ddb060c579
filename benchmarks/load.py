"""The load generators: wrk for requests and connections, iperf3 for bytes.

Both are run for whole seconds against one address of a route and report what arrived.  Every
answer is checked: wrk counts statuses of 400 and above, and the decoy (a server that must not be
reached through an intercept) answers 503, so that a measurement during which traffic took
another way fails instead of being reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from benchmarks.cases import Kind, Load
from benchmarks.processes import BenchmarkError, run_tool

__all__ = [
    "Address",
    "Sample",
    "fetch_body",
    "measure",
    "parse_iperf3",
    "parse_wrk",
    "wait_body",
    "with_cpu",
]

WRK_SCRIPT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"micros":%d,"p50_us":%d,"p99_us":%d,' ..
    '"status":%d,"socket":%d,"timeouts":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write, e.timeout))
end
"""
"""Makes wrk print one JSON line. It defines no `request`, so that wrk keeps its fast path."""

SPARE_SECONDS = 10.0
"""How much longer than planned a load generator may run before it counts as stuck."""

TOLERATED_ERROR_SHARE = 0.001
"""Share of failed connections above which a figure is worth nothing."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a route listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured figure, in the unit of its load, and what else was reported with it."""

    value: float
    extras: Mapping[str, float]


async def measure(load: Load, address: Address, seconds: int, folder: Path) -> Sample:
    """Press on `address` for `seconds` and return what arrived.

    Raises:
        BenchmarkError: the load generator failed, was stuck, or was answered by errors.

    Cancellation: atomic. The load generator is ended first.
    """
    if load.kind is Kind.BULK:
        command = ["iperf3", "-c", address.host, "-p", str(address.port), "-t", str(seconds), "-J"]
        command += ["-R"] if load.is_back else []
        return parse_iperf3(await run_tool(command, timeout_seconds=seconds + SPARE_SECONDS))
    script = folder / "report.lua"
    if not script.exists():
        script.write_text(WRK_SCRIPT)
    command = ["wrk", "-t", "1", "-c", str(load.connections), "-d", f"{seconds}s"]
    command += ["-s", str(script)]
    if load.kind is Kind.CONNECTIONS:
        command += ["-H", "Connection: close"]
    command.append(f"http://{address}/")
    return parse_wrk(await run_tool(command, timeout_seconds=seconds + SPARE_SECONDS))


def parse_wrk(output: str) -> Sample:
    """Read the JSON line of our wrk script.

    Raises:
        BenchmarkError: there is none, or too many requests failed.
    """
    line = next((text for text in output.splitlines() if text.startswith("{")), None)
    if line is None:
        raise BenchmarkError(f"wrk printed no result: {output.strip()[-200:]}")
    counts: dict[str, float] = json.loads(line)
    requests = counts["requests"]
    if requests == 0:
        raise BenchmarkError("wrk completed no request: is the route stalled?")
    if counts["status"]:
        raise BenchmarkError(
            f"{counts['status']:.0f} of {requests:.0f} requests were answered by an error status"
            " (503 comes from the decoy: the traffic did not take the intercept)"
        )
    failed = counts["socket"] + counts["timeouts"]
    if failed > requests * TOLERATED_ERROR_SHARE:
        raise BenchmarkError(f"{failed:.0f} connections failed beside {requests:.0f} requests")
    extras = {"p50_us": counts["p50_us"], "p99_us": counts["p99_us"], "errors": failed}
    return Sample(requests / (counts["micros"] / 1e6), extras)


def parse_iperf3(output: str) -> Sample:
    """Read iperf3's JSON: what the receiving side received, in Gbit/s.

    Raises:
        BenchmarkError: it is no JSON, or reports an error.
    """
    try:
        report = json.loads(output)
        if "error" in report:
            raise BenchmarkError(f"iperf3: {report['error']}")
        received = float(report["end"]["sum_received"]["bits_per_second"])
        sender_retransmits = float(report["end"]["sum_sent"].get("retransmits", 0))
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"iperf3 printed no usable result: {output[-200:]}") from error
    if received <= 0:
        raise BenchmarkError("iperf3's receiving side received nothing: is the route stalled?")
    return Sample(received / 1e9, {"retransmits": sender_retransmits})


def with_cpu(sample: Sample, load: Load, seconds: int, used: float) -> Sample:
    """Return *sample* with what it cost: *used* seconds of processor time in `seconds` of load.

    The cost is in microseconds a request or connection (`cpu_us`), or in seconds a gigabyte
    (`cpu_s_per_gb`).  A busy machine hurts it far less than it hurts the rate.
    """
    if load.kind is Kind.BULK:
        cost = {"cpu_s_per_gb": used / (sample.value * seconds / 8)}
    else:
        cost = {"cpu_us": used * 1e6 / (sample.value * seconds)}
    return Sample(sample.value, {**sample.extras, **cost})


async def fetch_body(address: Address) -> bytes:
    """Make one HTTP request and return the body.

    Raises:
        OSError: nobody listens, or the connection broke.

    Cancellation: atomic.
    """
    async with await trio.open_tcp_stream(address.host, address.port) as stream:
        request = f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        answer = bytearray()
        try:
            await stream.send_all(request.encode())
            async for chunk in stream:
                answer += chunk
        except trio.BrokenResourceError as error:
            raise ConnectionError(f"{address} broke the connection") from error
    return bytes(answer).partition(b"\r\n\r\n")[2]


async def wait_body(address: Address, expected: bytes, *, timeout_seconds: float = 15) -> None:
    """Poll `address` until it answers with `expected`.

    A route can answer with another server's body while its session is still being opened.

    Raises:
        BenchmarkError: it did not within `timeout_seconds`; the text tells the last answer.

    Cancellation: atomic.
    """
    last = "no answer"
    with trio.move_on_after(timeout_seconds):
        while True:
            try:
                body = await fetch_body(address)
            except OSError as error:
                last = str(error)
            else:
                if body == expected:
                    return
                last = f"the body {body[:40]!r}"
            await trio.sleep(0.05)
    raise BenchmarkError(
        f"{address} did not answer with {expected[:40]!r} within {timeout_seconds:g} s: {last}"
    )
