"""The rules of tests/conftest.py, tried on small runs of pytest of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SKIPPED = "import pytest\n@pytest.mark.needs_program('no-such-program')\ndef test_a(): pass\n"
SKIPPED_FILE = "import pytest\npytest.skip('no reason', allow_module_level=True)\n"
STUCK = "import pytest, trio\n@pytest.mark.deadline(0.2)\nasync def test_a({}):\n    {}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty project with this repository's conftest.py and settings."""
    shutil.copy(HERE / "conftest.py", tmp_path)
    shutil.copy(HERE.parent / "setup.cfg", tmp_path)
    return tmp_path


def run_pytest(
    folder: Path, text: str, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(text)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TUNNELKIT_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_it.py", *options],
        cwd=folder,
        env=inherited | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_missing_program_is_listed_with_the_command_that_helps(folder: Path) -> None:
    done = run_pytest(folder, SKIPPED)
    assert done.returncode == 0
    assert "test_a: not installed: no-such-program" in done.stdout
    assert "make system-deps" in done.stdout


@pytest.mark.parametrize("text", [SKIPPED, SKIPPED_FILE])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_any_skip_fails_the_run_when_told_so(folder: Path, text: str, workers: str) -> None:
    text += "def test_b(): pass\n"
    done = run_pytest(folder, text, "-n", workers, TUNNELKIT_FAIL_ON_SKIP="1")
    assert done.returncode != 0
    assert "not tested" in done.stdout


def test_run_without_a_skip_passes_when_told_so(folder: Path) -> None:
    done = run_pytest(folder, "def test_a(): pass\n", TUNNELKIT_FAIL_ON_SKIP="1")
    assert done.returncode == 0
    assert "not tested" not in done.stdout


@pytest.mark.parametrize("fixture", ["", "autojump_clock", "nursery"])
def test_stuck_test_ends_in_real_time_and_shows_where(folder: Path, fixture: str) -> None:
    done = run_pytest(folder, STUCK.format(fixture, "await trio.sleep_forever()"))
    assert done.returncode == 1
    assert "not finished after 0.2 real seconds" in done.stdout
    assert "test_it.py:4 test_a" in done.stdout


def test_virtual_hours_are_no_real_ones(folder: Path) -> None:
    done = run_pytest(folder, STUCK.format("autojump_clock", "await trio.sleep(1e9)"))
    assert done.returncode == 0


def test_stuck_example_of_a_property_ends_in_real_time(folder: Path) -> None:
    text = (
        "import hypothesis, pytest, trio\n@pytest.mark.deadline(0.2)\n"
        "@hypothesis.settings(max_examples=1)\n@hypothesis.given(hypothesis.strategies.none())\n"
        "async def test_a(nothing):\n    await trio.sleep_forever()\n"
    )
    assert "not finished after 0.2 real seconds" in run_pytest(folder, text).stdout
