"""The command `python -m benchmarks page`: write the page and its plots, or check them.

Exit codes: 0 written, or as it should be; 1 with --check: something is out of date, or a file
cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.page.parts import renewed, sources_of
from benchmarks.page.pictures import PICTURES, draw
from benchmarks.processes import BenchmarkError
from benchmarks.records import RESULTS, Record, joined, newest, read_record

__all__ = ["PAGE", "add_page_command", "made_of", "outdated"]

_ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = _ROOT / "docs" / "performance.md"
FOLDER: Final = _ROOT / "docs" / "pictures"


def add_page_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "page", help="write the tables and plots of docs/performance.md from results files"
    )
    parser.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS.json",
        help="of one scenario or of all; a later file replaces the scenarios of those before it. "
        "Without any: the newest run of everything in benchmarks/results/, "
        "or else the files that the page was made of",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; tell what is old")
    parser.set_defaults(run=_main)


def _main(options: argparse.Namespace) -> int:
    try:
        text = PAGE.read_text(encoding="utf-8")
        record = made_of(options.results or _default(text, is_check=options.check))
        old = outdated(text, record)
    except (BenchmarkError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path, wanted in old.items():
        if options.check:
            print(f"{path.relative_to(_ROOT)} is out of date: run `python -m benchmarks page`")
        elif wanted is None:
            path.unlink()
            print(f"{path.relative_to(_ROOT)} was removed: these results have nothing for it")
        else:
            path.write_text(wanted, encoding="utf-8")
            print(f"{path.relative_to(_ROOT)} was written")
    return int(bool(old) and options.check)


def _default(text: str, *, is_check: bool) -> list[Path]:
    """Return the files to take where none is named: to check, those that the page was made of."""
    found = newest([path.name for path in RESULTS.glob("*.json")])
    names = sources_of(text) if is_check or found is None else [found]
    if not names:
        raise BenchmarkError("there are no results; measure them by `python -m benchmarks`")
    return [RESULTS / name for name in names]


def made_of(paths: Sequence[Path]) -> Record:
    """Return what these files say together.

    Raises:
        BenchmarkError: one cannot be read.
    """
    return joined([read_record(path) for path in paths])


def outdated(text: str, record: Record) -> dict[Path, str | None]:
    """Return the files that differ from what they should be, with the text they should have.

    None stands for a plot that should not be there.

    Raises:
        ValueError: the page's markers are wrong.
    """
    wanted: dict[Path, str | None] = {PAGE: renewed(text, record)}
    drawn = draw(record)
    for name in PICTURES:
        wanted[FOLDER / f"{name}.svg"] = drawn[name].render() if name in drawn else None
    return {path: made for path, made in wanted.items() if _text_of(path) != made}


def _text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
