"""The load generators: wrk for requests and connections, iperf3 for bytes, and programs of ours.

Ours make echoes beside bulk (`mixed_load/`), and of HTTP long bodies, requests at a set pace, and
calls of gRPC (`http_load/`).

All are run for whole seconds against one address of a route and report what arrived.  Every
answer is checked: wrk counts statuses of 400 and above, and the decoy (a server that must not be
reached through an intercept) answers 503, so that a measurement during which traffic took
another way fails instead of being reported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from benchmarks.cases import BODY_BYTES, PACED_RATE, Kind, Load, Way
from benchmarks.http_load import GRPC_CLIENT, MESSAGE, http_load_in
from benchmarks.mixed_load import program_in
from benchmarks.processes import BenchmarkError, run_tool

__all__ = [
    "Address",
    "Sample",
    "fetch_body",
    "measure",
    "parse_body",
    "parse_calls",
    "parse_iperf3",
    "parse_mixed",
    "parse_pace",
    "parse_wrk",
    "wait_body",
    "with_cpu",
]

WRK_SCRIPT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"micros":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d,' ..
    '"status":%d,"socket":%d,"timeouts":%d}\\n',
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.status, e.connect + e.read + e.write, e.timeout))
end
"""
"""Makes wrk print one JSON line. It defines no `request`, so that wrk keeps its fast path."""

SPARE_SECONDS = 10.0
"""How much longer than planned a load generator may run before it counts as stuck."""

LATENCIES = ("p50_us", "p99_us", "p999_us")
"""What every client that takes times says of them."""

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


async def measure(
    load: Load,
    address: Address,
    seconds: int,
    folder: Path,
    *,
    target: Address | None = None,
    within: Sequence[str] = (),
) -> Sample:
    """Press on `address` for `seconds` and return what arrived.

    Args:
        folder: of the run, where files may be left.
        target: of an echo beside bulk streams, what is asked how many bytes have arrived.
        within: what stands before the command, to run it in a namespace.

    Raises:
        BenchmarkError: the load generator failed, was stuck, or was answered by errors.

    Cancellation: atomic. The load generator is ended first.
    """
    command, parse = _tool(load, address, seconds, folder, target or address)
    return parse(await run_tool([*within, *command], timeout_seconds=seconds + SPARE_SECONDS))


def _tool(
    load: Load, address: Address, seconds: int, folder: Path, target: Address
) -> tuple[list[str], Callable[[str], Sample]]:
    """Return the command of a load generator, and what reads its output."""
    match load.kind:
        case Kind.BULK:
            return _iperf3_command(load, address, seconds), parse_iperf3
        case Kind.ECHO:
            command = [str(program_in(folder)), "client", str(address), str(target)]
            return [*command, str(load.connections), load.way.value, str(seconds)], parse_mixed
        case Kind.BODY:
            command = [str(http_load_in(folder)), "body", str(address), load.way.value]
            return [*command, str(BODY_BYTES)], parse_body
        case Kind.PACED:
            command = [str(http_load_in(folder)), "pace", str(address), str(load.connections)]
            return [*command, str(PACED_RATE), str(seconds)], parse_pace
        case Kind.CALLS:
            command = [sys.executable, str(GRPC_CLIENT), str(address), str(load.connections)]
            return [*command, str(seconds), MESSAGE.decode()], parse_calls
        case Kind.REQUESTS | Kind.CONNECTIONS:
            return _wrk_command(load, address, seconds, folder), parse_wrk


def _iperf3_command(load: Load, address: Address, seconds: int) -> list[str]:
    command = ["iperf3", "-c", address.host, "-p", str(address.port), "-t", str(seconds), "-J"]
    command += {Way.THERE: [], Way.BACK: ["-R"], Way.BOTH: ["--bidir"]}[load.way]
    return command + (["-P", str(load.connections)] if load.connections > 1 else [])


def _wrk_command(load: Load, address: Address, seconds: int, folder: Path) -> list[str]:
    script = folder / "report.lua"
    if not script.exists():
        script.write_text(WRK_SCRIPT)
    command = ["wrk", "-t", "1", "-c", str(load.connections), "-d", f"{seconds}s"]
    command += ["-s", str(script)]
    if load.kind is Kind.CONNECTIONS:
        command += ["-H", "Connection: close"]
    return [*command, f"http://{address}/"]


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
    extras = {name: counts[name] for name in ("p50_us", "p99_us", "p999_us")}
    return Sample(requests / (counts["micros"] / 1e6), {**extras, "errors": failed})


def parse_iperf3(output: str) -> Sample:
    """Read iperf3's JSON: what the receiving side received, in Gbit/s; of both ways, the sum.

    Raises:
        BenchmarkError: it is no JSON, or reports an error.
    """
    try:
        report = json.loads(output)
        if "error" in report:
            raise BenchmarkError(f"iperf3: {report['error']}")
        end = report["end"]
        ways = [name for name in end if name.startswith("sum_received")]
        received = [float(end[name]["bits_per_second"]) for name in ways]
        sent = [end[name.replace("received", "sent")] for name in ways]
        sender_retransmits = sum(float(way.get("retransmits", 0)) for way in sent)
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"iperf3 printed no usable result: {output[-200:]}") from error
    if not received or min(received) <= 0:
        raise BenchmarkError("iperf3's receiving side received nothing: is the route stalled?")
    extras = {"retransmits": sender_retransmits}
    if len(received) > 1:
        extras |= {"there_gbit_s": received[0] / 1e9, "back_gbit_s": received[1] / 1e9}
    return Sample(sum(received) / 1e9, extras)


def parse_mixed(output: str) -> Sample:
    """Read the JSON of our own load: round trips a second, or the echo's 99th percentile in µs.

    The latter is the figure beside bulk streams, where pings go out at a set pace.

    Raises:
        BenchmarkError: it is no JSON, no ping was answered, or the bulk streams stood still.
    """
    try:
        found: dict[str, float] = json.loads(output)
        answered = found["pings"] - found["unanswered"]
        extras = {name: found[name] for name in LATENCIES}
        has_bulk = found["bulk_micros"] > 0
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"our load printed no usable result: {output[-200:]}") from error
    if answered <= 0:
        raise BenchmarkError("not one ping was answered: is the route stalled?")
    if not has_bulk:
        return Sample(answered / (found["micros"] / 1e6), extras)
    if found["bulk_bytes"] <= 0:
        raise BenchmarkError("the bulk streams beside the echo stood still: is the route stalled?")
    bulk = {"bulk_gbit_s": found["bulk_bytes"] * 8e-3 / found["bulk_micros"]}
    return Sample(extras["p99_us"], {**extras, **bulk, "unanswered": found["unanswered"]})


def parse_body(output: str) -> Sample:
    """Read what our client says of one long body, in Gbit/s.

    Raises:
        BenchmarkError: it is no JSON, or lacks something.
    """
    found = _figures_in(output, ("bytes", "micros"))
    return Sample(found["bytes"] * 8e-3 / found["micros"], {})


def parse_pace(output: str) -> Sample:
    """Read what our client says of requests at a set pace: their 99th percentile in µs.

    Raises:
        BenchmarkError: it is no JSON, or lacks something.
    """
    found = _figures_in(output, LATENCIES)
    return Sample(found["p99_us"], found)


def parse_calls(output: str) -> Sample:
    """Read what our client of gRPC says: calls a second.

    Raises:
        BenchmarkError: it is no JSON, or lacks something.
    """
    found = _figures_in(output, ("calls", "micros", *LATENCIES))
    return Sample(found["calls"] * 1e6 / found["micros"], {name: found[name] for name in LATENCIES})


def _figures_in(output: str, names: Sequence[str]) -> dict[str, float]:
    """Return the figures of these names, all above 0, that a client of ours printed as JSON."""
    try:
        told = json.loads(output)
        found = {name: float(told[name]) for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"our client printed no usable result: {output[-200:]}") from error
    if min(found.values()) <= 0:
        raise BenchmarkError(f"our client was answered nothing: {output[-200:]}")
    return found


def with_cpu(sample: Sample, load: Load, seconds: int, used: float, prefix: str = "") -> Sample:
    """Return *sample* with what it cost: *used* seconds of processor time in `seconds` of load.

    The cost is in microseconds a request, connection, call or round trip (`cpu_us`), which is
    seconds a million of them, or in seconds a gigabyte (`cpu_s_per_gb`).  A busy machine hurts it
    far less than it hurts the rate.  With a *prefix* it is the cost of some of the processes.
    """
    if load.kind is Kind.BODY:
        cost = {f"{prefix}cpu_s_per_gb": used * 1e9 / BODY_BYTES}
    elif load.kind is Kind.BULK:
        cost = {f"{prefix}cpu_s_per_gb": used / (sample.value * seconds / 8)}
    else:
        rate = PACED_RATE if load.kind is Kind.PACED else sample.value
        cost = {f"{prefix}cpu_us": used * 1e6 / (rate * seconds)}
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
