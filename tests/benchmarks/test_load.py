"""Reading what the load generators print, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from benchmarks.cases import BODY_BYTES, LOADS, PACED_RATE
from benchmarks.load import (
    Sample,
    parse_body,
    parse_calls,
    parse_iperf3,
    parse_mixed,
    parse_pace,
    parse_wrk,
    with_cpu,
)
from benchmarks.processes import BenchmarkError


def wrk_output(**changed: int) -> str:
    counts = {"requests": 5000, "micros": 2_000_000, "p50_us": 90, "p99_us": 400, "p999_us": 900}
    counts |= {"status": 0, "socket": 0, "timeouts": 0} | changed
    return f"Running 2s test @ http://127.0.0.1:1/\n{json.dumps(counts)}\n"


def iperf3_output(bits_per_second: float) -> str:
    sent = {"bits_per_second": 9e9, "retransmits": 3}
    return json.dumps(
        {"end": {"sum_sent": sent, "sum_received": {"bits_per_second": bits_per_second}}}
    )


def test_wrk_rate_is_requests_over_the_time_taken() -> None:
    assert parse_wrk(wrk_output()).value == 2500


def test_wrk_latencies_are_kept_as_extras() -> None:
    latencies = {"p50_us": 90, "p99_us": 400, "p999_us": 900}
    assert parse_wrk(wrk_output()).extras == {**latencies, "errors": 0}


def test_wrk_error_status_fails_the_measurement() -> None:
    with pytest.raises(BenchmarkError, match="did not take the intercept"):
        parse_wrk(wrk_output(status=1))


def test_wrk_few_broken_connections_are_only_counted() -> None:
    assert parse_wrk(wrk_output(socket=5)).extras["errors"] == 5


@pytest.mark.parametrize("kind", ["socket", "timeouts"])
def test_wrk_many_broken_connections_fail_the_measurement(kind: str) -> None:
    with pytest.raises(BenchmarkError, match="6 connections failed"):
        parse_wrk(wrk_output(**{kind: 6}))


def test_wrk_no_request_fails_the_measurement() -> None:
    with pytest.raises(BenchmarkError, match="stalled"):
        parse_wrk(wrk_output(requests=0))


def test_wrk_without_a_result_line_fails_with_its_words() -> None:
    with pytest.raises(BenchmarkError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1")


def test_iperf3_figure_is_what_the_server_received() -> None:
    assert parse_iperf3(iperf3_output(8e9)).value == 8.0


def test_iperf3_retransmissions_are_kept_as_an_extra() -> None:
    assert parse_iperf3(iperf3_output(8e9)).extras == {"retransmits": 3}


def both_ways(there: float, back: float) -> str:
    end = json.loads(iperf3_output(there))["end"]
    end["sum_sent_bidir_reverse"] = {"retransmits": 2}
    end["sum_received_bidir_reverse"] = {"bits_per_second": back}
    return json.dumps({"end": end})


def test_iperf3_figure_of_both_ways_is_their_sum() -> None:
    sample = parse_iperf3(both_ways(8e9, 2e9))
    assert sample.value == 10.0
    assert sample.extras == {"retransmits": 5, "there_gbit_s": 8, "back_gbit_s": 2}


def test_iperf3_one_way_of_both_that_stands_still_fails_the_measurement() -> None:
    with pytest.raises(BenchmarkError, match="received nothing"):
        parse_iperf3(both_ways(8e9, 0))


def mixed_output(**changed: int) -> str:
    found = {"pings": 1000, "unanswered": 0, "micros": 2_000_000, "p50_us": 90, "p99_us": 400}
    found |= {"p999_us": 900, "bulk_bytes": 0, "bulk_micros": 0} | changed
    return json.dumps(found)


def test_echo_alone_is_a_rate() -> None:
    sample = parse_mixed(mixed_output())
    assert sample.value == 500
    assert sample.extras == {"p50_us": 90, "p99_us": 400, "p999_us": 900}


def test_echo_beside_bulk_is_its_latency() -> None:
    sample = parse_mixed(mixed_output(unanswered=3, bulk_bytes=10**9, bulk_micros=2_000_000))
    assert sample.value == 400
    assert (sample.extras["bulk_gbit_s"], sample.extras["unanswered"]) == (4.0, 3)


def test_echo_without_an_answer_fails_the_measurement() -> None:
    with pytest.raises(BenchmarkError, match="not one ping"):
        parse_mixed(mixed_output(unanswered=1000))


def test_echo_beside_bulk_that_stands_still_fails_the_measurement() -> None:
    with pytest.raises(BenchmarkError, match="stood still"):
        parse_mixed(mixed_output(bulk_micros=2_000_000))


@pytest.mark.parametrize("output", ["", "[]", "{}", "not JSON"])
def test_echo_strange_output_raises_the_one_error(output: str) -> None:
    with pytest.raises(BenchmarkError):
        parse_mixed(output)


def test_iperf3_own_error_is_passed_on() -> None:
    with pytest.raises(BenchmarkError, match="server is busy"):
        parse_iperf3(json.dumps({"error": "the server is busy"}))


def test_iperf3_nothing_received_fails_the_measurement() -> None:
    with pytest.raises(BenchmarkError, match="received nothing"):
        parse_iperf3(iperf3_output(0))


@pytest.mark.parametrize("output", ["", "[]", "{}", '{"end": {}}', "not JSON"])
def test_iperf3_strange_output_raises_the_one_error(output: str) -> None:
    with pytest.raises(BenchmarkError):
        parse_iperf3(output)


TIMES = {"p50_us": 90, "p99_us": 400, "p999_us": 900}


def test_figure_of_a_body_is_its_bits_over_the_time_taken() -> None:
    assert parse_body('{"bytes": 1000000000, "micros": 2000000}').value == 4.0


def test_figure_of_paced_requests_is_their_99th_percentile() -> None:
    sample = parse_pace(json.dumps({"requests": 1000, **TIMES}))
    assert (sample.value, sample.extras) == (400, TIMES)


def test_figure_of_calls_is_their_rate() -> None:
    sample = parse_calls(json.dumps({"calls": 5000, "micros": 2_000_000, **TIMES}))
    assert (sample.value, sample.extras) == (2500, TIMES)


@pytest.mark.parametrize("parse", [parse_body, parse_pace, parse_calls])
@pytest.mark.parametrize("output", ["", "[]", "{}", "not JSON"])
def test_strange_output_of_our_clients_raises_the_one_error(
    parse: Callable[[str], Sample], output: str
) -> None:
    with pytest.raises(BenchmarkError, match="no usable result"):
        parse(output)


def test_calls_without_an_answer_fail_the_measurement() -> None:
    with pytest.raises(BenchmarkError, match="answered nothing"):
        parse_calls(json.dumps({"calls": 0, "micros": 2_000_000, **TIMES}))


def test_cost_of_a_body_counts_its_bytes_and_not_the_time() -> None:
    sample = with_cpu(Sample(20, {}), LOADS["body_back"], 3, BODY_BYTES / 1e9)
    assert sample.extras == {"cpu_s_per_gb": 1.0}


def test_cost_of_paced_requests_counts_those_that_were_due() -> None:
    sample = with_cpu(Sample(400, {}), LOADS["paced"], 2, 0.1)
    assert sample.extras == {"cpu_us": pytest.approx(0.1e6 / (2 * PACED_RATE))}


def test_cost_of_a_request_is_in_microseconds() -> None:
    sample = with_cpu(Sample(10_000, {"p50_us": 5}), LOADS["rps_32"], 2, 1.0)
    assert sample.extras == {"p50_us": 5, "cpu_us": 50}


def test_cost_of_bulk_is_in_seconds_a_gigabyte() -> None:
    sample = with_cpu(Sample(8, {}), LOADS["bulk"], 2, 1.0)
    assert sample.extras == {"cpu_s_per_gb": 0.5}


def test_cost_of_some_processes_has_their_name() -> None:
    sample = with_cpu(Sample(10_000, {}), LOADS["rps_32"], 2, 1.0, "broker_")
    assert sample.extras == {"broker_cpu_us": 50}
