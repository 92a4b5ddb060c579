"""Every program and command that the documentation shows runs, and prints what is shown."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, PageFailed, blocks_of, page_files, run_page

RUNNABLE = [
    page
    for page in page_files()
    if any(block.mark and block.mark != "output" for block in blocks_of(page.read_text()))
]


def _needs(page: Path) -> list[pytest.MarkDecorator]:
    """Return the programs that a page runs and that may not be installed, as marks."""
    found = [name for name in ("openssl", "tinyproxy") if f"\n{name} " in page.read_text()]
    return [pytest.mark.needs_program(*found)] if found else []


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=_needs(page), id=str(page.relative_to(ROOT))) for page in RUNNABLE],
)
def test_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    assert run_page(page, tmp_path) > 0


def test_readme_has_a_program_that_runs() -> None:
    assert ROOT / "README.md" in RUNNABLE


@pytest.mark.parametrize("page", page_files(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_output_follows_what_printed_it(page: Path) -> None:
    marks = ["", *(block.mark for block in blocks_of(page.read_text()) if block.mark)]
    for before, mark in itertools.pairwise(marks):
        assert mark != "output" or before == "run"


def _write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_other_output_than_shown_is_a_failure(tmp_path: Path) -> None:
    page = _write(tmp_path, "```python run\nprint(1)\n```\n\n```text output\n2\n```\n")
    with pytest.raises(PageFailed, match="page.md:5"):
        run_page(page, tmp_path)


def test_command_that_fails_is_a_failure(tmp_path: Path) -> None:
    page = _write(tmp_path, "```sh run\nfalse\n```\n")
    with pytest.raises(PageFailed, match="page.md:1: the block failed"):
        run_page(page, tmp_path)


def test_three_dots_stand_for_any_text(tmp_path: Path) -> None:
    page = _write(tmp_path, "```sh run\necho a $$ b\n```\n```text output\na ... b\n```\n")
    assert run_page(page, tmp_path) == 1
