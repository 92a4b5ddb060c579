"""The benchmark of remote calls: what its programs tell, and what is made of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.progress import Progress

from benchmarks.report import Report
from benchmarks.rpc.cases import RPC, SUBJECTS, Settings
from benchmarks.rpc.drive import PAYLOAD_BYTES, percentile
from benchmarks.rpc.run import MODULES, RpcPlan, run_rpc, sample_of


async def measured(subject: str, folder: Path) -> Report:
    """Measure one subject in every case, in one short round."""
    plan = RpcPlan(RPC.cases, [subject], Settings(rounds=1, seconds=0.1))
    kept: list[Report] = []
    await run_rpc(plan, folder, Progress(disable=True), kept.append)
    return kept[0]


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_every_subject_answers_in_every_case(subject: str, tmp_path: Path) -> None:
    if subject in MODULES and find_spec(MODULES[subject]) is None:
        pytest.skip(f"not installed: {MODULES[subject]}")
    report = await measured(subject, tmp_path)
    assert (report.failures, report.skipped) == ([], {})
    wanted = [case.name for case in RPC.cases if subject in case.routes]
    assert list(report.results) == wanted
    assert all(figures[subject].median > 0 for figures in report.results.values())


def test_figures_of_calls_and_of_a_payload() -> None:
    assert sample_of("calls_1", {"count": 500, "seconds": 2.0}) == {"value": 250.0}
    told = {"seconds": 0.5, "payload_bytes": PAYLOAD_BYTES, "p50_us": 100.0, "p99_us": 900.0}
    sample = sample_of("beside_payload", told)
    assert sample == {"value": 900.0, "p50_us": 100.0, "bulk_gbit_s": pytest.approx(1.678, 0.001)}


def test_every_target_is_about_cases_that_are_measured() -> None:
    subjects = {case.name: case.routes for case in RPC.cases}
    for target in RPC.targets:
        assert target.subject in subjects[target.case]
        assert all(peer in subjects[target.base_case or target.case] for peer in target.peers)


def test_percentile_of_few_values() -> None:
    assert percentile([], 0.99) == 0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([1.0, 2.0], 0.99) == 2.0
