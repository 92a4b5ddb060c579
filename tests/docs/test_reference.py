"""Tables of the documentation agree with the code."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from enum import IntEnum
from importlib.util import find_spec

import pytest
from trio.testing import MockClock

from docs.draw_pages import MODULES, PARTS, renewed
from tests.docs.pages import ROOT
from tunnelkit import Identity, KeyRing, errors, generate_key, limits, open_endpoint
from tunnelkit.admin.rpc import Code
from tunnelkit.errors import ErrorCode, code_name
from tunnelkit.events import Event
from tunnelkit.programs import Exit
from tunnelkit.status import endpoint_status, link_status, session_status
from tunnelkit.testing import MemoryNetwork

REFERENCE = ROOT / "docs" / "reference"


def _rows(text: str) -> list[list[str]]:
    """Return the cells of every table row of a page."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _codes(page: str) -> set[tuple[int, str]]:
    cells = _rows((REFERENCE / page).read_text())
    return {(int(c[0]), c[1].strip("`")) for c in cells if re.fullmatch(r"-?\d+", c[0])}


def _expected(codes: type[IntEnum]) -> set[tuple[int, str]]:
    return {(int(code), code.name.lower().replace("_", "-")) for code in codes}


@pytest.mark.parametrize("page", sorted({page for page, _ in PARTS}))
def test_generated_part_is_fresh(page: str) -> None:
    assert (ROOT / page).read_text() == renewed(page), "run `python docs/draw_pages.py`"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_explained(module: str) -> None:
    rows = _rows((REFERENCE / "python-api.md").read_text())
    explained = {row[0].strip("`") for row in rows if row[1]}
    assert set(importlib.import_module(module).__all__) <= explained


def test_every_error_code_is_listed() -> None:
    assert _codes("errors.md") == {(int(code), code_name(code)) for code in ErrorCode}


def test_every_exception_is_listed() -> None:
    listed = {row[0].strip("`") for row in _rows((REFERENCE / "errors.md").read_text())}
    classes = {name for name in errors.__all__ if name[0].isupper() and not name.isupper()}
    assert classes - {"ErrorCode"} <= listed


def test_every_exit_status_is_listed() -> None:
    listed = {number for number, _ in _codes("programs.md")}
    assert {int(status) for status in Exit} <= listed


def test_every_code_of_the_admin_socket_is_listed() -> None:
    assert _codes("admin.md") == _expected(Code)


def test_every_limit_is_in_the_security_page() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`([A-Z_]{6,})`", page))
    is_limit = {name for name in vars(limits) if name.startswith(("MAX_", "BROKER_", "HELD_"))}
    assert named <= set(vars(limits)) | {"TUNNELKIT_PUMP"}
    assert is_limit - {"BROKER_MAX_CAP_BYTES"} <= named


PARTS_WITH_LIMITS = ("", "carriers.", "outgoing.", "rpc.", "http.", "sidecar.", "gateway.")


def test_every_limit_of_a_module_that_the_security_page_names_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`([a-z_]+)\.([A-Z_]{6,})`", page)
    assert named
    for module, name in named:
        where = [f"tunnelkit.{part}{module}" for part in PARTS_WITH_LIMITS]
        found = ["tunnelkit.wire.websocket"] if module == "wire" else filter(find_spec, where)
        assert any(hasattr(importlib.import_module(one), name) for one in found), f"{module}.{name}"


def test_every_test_that_the_security_page_names_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", page)
    assert len(named) > 20
    for file, test in named:
        source = (ROOT / "tests" / "tunnelkit" / file).read_text()
        assert f"def {test}(" in source, f"{file} has no {test}"


def test_every_event_is_listed_with_its_members() -> None:
    rows = _rows((REFERENCE / "admin.md").read_text())
    listed = {row[0].strip("`"): set(re.findall(r"\w+", row[1])) for row in rows if len(row) == 3}
    common = {field.name for field in fields(Event)}
    for kind in Event.__subclasses__():
        assert {field.name for field in fields(kind)} - common == listed[kind.kind]


async def test_every_member_of_a_status_is_explained(autojump_clock: MockClock) -> None:
    host = MemoryNetwork().host("home")
    issuer = generate_key()
    ring = KeyRing([issuer.public_key()])
    home = Identity.issue(issuer, "home", peers=["away"], targets=[])
    away = Identity.issue(issuer, "away", peers=["home"], targets=[])
    async with (
        open_endpoint(home, ring, listen=["memory://home:7"], network=host),
        open_endpoint(away, ring, dial=["memory://home:7"], network=host) as endpoint,
    ):
        session = await endpoint.open_session("home")
        members = {*endpoint_status(endpoint), *session_status(session)}
        members |= set(link_status(endpoint.links[0]))
    assert members <= set(re.findall(r"`(\w+)`", (REFERENCE / "admin.md").read_text()))
