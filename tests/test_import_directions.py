"""Imports go one way: this test reads the source and fails on any arrow that points back.

A place is a dotted name inside its top-level package; a module belongs to the longest place that
begins its name.  Modules that no place covers fail too, so that the tables stay complete.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Lowest first.  A place may import every lower layer and itself, and never its own layer's others,
# except where PEERS says so.
LAYERS: dict[str, list[set[str]]] = {
    "tunnelkit": [
        {"errors", "limits", "addresses", "bucket", "_version", "command_line"},
        {"wire", "auth", "events"},
        {"pump", "carriers", "services"},
        {"handshake", "proofs", "renewal", "outbox", "liveness"},
        {"link"},
        {"leg"},
        {"session", "stream", "attaching"},
        {"dialer", "splice", "telling"},
        {"reach"},
        {"direct"},
        {"roster", "host"},
        {"placing"},
        {"endpoint"},
        {"keeping"},
        {"outgoing"},
        {"rpc", "http", "capture", "monitoring"},
        {"contracts", "admin", "programs", "status", "recording"},
        {"broker", "gateway", "sidecar", "devbox", "connect"},
        {"cli"},
        {"testing"},
    ],
    "control": [
        {
            *("units", "store", "tokens", "guard", "limits", "audit"),
            *("faults", "leases", "events", "daemon", "config"),
        },
        {"drivers"},
        {"environments", "workspaces", "sessions", "inspector", "repls", "sandboxes", "dashboard"},
        {"surfaces"},
        {"server", "cli"},
    ],
}

# Places of one layer that may import each other: small modules of one idea.
PEERS: list[set[str]] = [
    {"errors", "limits", "addresses", "_version", "command_line"},
    {"pump", "carriers", "services"},
    {"handshake", "renewal"},
    {"session", "stream", "attaching"},
    {"dialer", "splice"},
    {"rpc", "http", "capture"},
    {"contracts", "admin", "programs", "status", "recording"},
    LAYERS["control"][0],
    {"server", "cli"},
]

# The package's own `__init__` gathers the public names of all layers.
FACADES = {"tunnelkit", "control"}

# Nobody below imports `tunnelkit` itself, the facade: that would be a cycle.
BANNED_EVERYWHERE = {"asyncio"}
BANNED_WITHOUT_IO = {"trio", "socket", "ssl", "time", "random", "asyncio", "os", "select"}
ALWAYS_WITHOUT_IO = ("tunnelkit.wire",)


def module_name(root: Path, path: Path) -> str:
    """Return the dotted name of the module in *path*."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, name) of each import; the name is empty for a plain `import`."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*base, source] if source else base)
            for alias in node.names:
                yield node.lineno, source, alias.name


def place_of(module: str) -> tuple[str, int, str] | None:
    """Return (top-level package, layer number, place) of *module*, or None outside the tables."""
    top, _, rest = module.partition(".")
    place = rest.partition(".")[0]
    for number, layer in enumerate(LAYERS.get(top, [])):
        if place in layer:
            return top, number, place
    return None


def target_of(source: str, name: str) -> str:
    """Return the module that `from source import name` reaches, as far as the tables can tell."""
    return f"{source}.{name}" if name and place_of(f"{source}.{name}") else source


def arrow_fault(module: str, source: str, name: str) -> str | None:
    """Say why *module* may not import this, or return None."""
    top, target = module.partition(".")[0], target_of(source, name)
    target_top = target.partition(".")[0]
    if target_top not in LAYERS:
        return None
    if target_top != top:
        if top == "tunnelkit":
            return "the library knows nothing of the control plane"
        private = [part for part in [*source.split("."), name] if part.startswith("_")]
        return f"{private[0]} is not a public name" if private else None
    here, there = place_of(module), place_of(target)
    if module in FACADES:
        return "testing is not imported by the library" if there and there[2] == "testing" else None
    if here is None:
        return "this module stands in no layer: add it to the table"
    if there is None:
        return f"{target} is the top of the package, or in no layer: name the module that holds it"
    if there[1] > here[1]:
        return f"{there[2]} stands above {here[2]}"
    pair = {here[2], there[2]}
    if there[1] == here[1] and len(pair) == 2 and not any(pair <= group for group in PEERS):
        return f"{there[2]} and {here[2]} stand side by side and do not import each other"
    return None


def without_io(module: str, tree: ast.Module) -> bool:
    """Whether this module promised to do no input or output."""
    first_line = (ast.get_docstring(tree) or "").partition("\n")[0]
    inside = any(f"{module}.".startswith(f"{package}.") for package in ALWAYS_WITHOUT_IO)
    return inside or "(no I/O)" in first_line


def banned_fault(source: str, name: str, quiet: bool) -> str | None:
    """Say why nobody, or nobody without I/O, may import this, or return None."""
    top = source.partition(".")[0]
    if top in BANNED_EVERYWHERE:
        return f"{top} is not used in this project"
    if quiet and top in BANNED_WITHOUT_IO:
        return f"a file without I/O does not import {top}"
    return None


def check_file(root: Path, path: Path) -> Iterator[str]:
    """Yield one line for each import of the file in *path* that breaks a rule."""
    module = module_name(root, path)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    quiet = without_io(module, tree)
    for line, source, name in imports_of(tree, module, path.name == "__init__.py"):
        fault = banned_fault(source, name, quiet) or arrow_fault(module, source, name)
        if fault:
            what = f"{source}.{name}" if name else source
            yield f"{path.relative_to(root)}:{line}: imports {what}: {fault}"


def check_tree(root: Path) -> list[str]:
    """Return every broken rule in the packages below *root* that exist."""
    files = (path for top in LAYERS for path in sorted((root / top).rglob("*.py")))
    return [fault for path in files for fault in check_file(root, path)]


def plant(root: Path, path: str, text: str) -> list[str]:
    """Write one file below *root* and check the tree."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return check_tree(root)


def test_imports_of_this_repository_go_one_way() -> None:
    faults = check_tree(ROOT)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("path", "text", "because"),
    [
        ("tunnelkit/link.py", "from tunnelkit.session import Session", "stands above"),
        ("tunnelkit/link.py", "from .session import Session", "stands above"),
        ("tunnelkit/pump/poll.py", "from .. import link", "stands above"),
        ("tunnelkit/link.py", "def f():\n    import tunnelkit.broker.switch", "stands above"),
        ("tunnelkit/link.py", "from tunnelkit import testing", "stands above"),
        ("tunnelkit/cli.py", "import tunnelkit.testing", "stands above"),
        ("tunnelkit/__init__.py", "from .testing import x", "testing is not imported"),
        ("tunnelkit/auth/keys.py", "from ..wire import frames", "side by side"),
        ("tunnelkit/broker/a.py", "import tunnelkit.sidecar.rules", "side by side"),
        ("tunnelkit/link.py", "import tunnelkit", "name the module"),
        ("tunnelkit/link.py", "from tunnelkit import Session", "name the module"),
        ("tunnelkit/novel.py", "from .errors import TunnelError", "in no layer"),
        ("tunnelkit/link.py", "import control.units", "knows nothing"),
        ("tunnelkit/link.py", "import asyncio", "not used"),
        ("tunnelkit/wire/a.py", "import time", "without I/O"),
        ("tunnelkit/wire/__init__.py", "from os import urandom", "without I/O"),
        ("tunnelkit/broker/a.py", '"""The table (no I/O)."""\nimport trio', "without I/O"),
        ("control/units.py", "from control.drivers import git", "stands above"),
        ("control/repls/a.py", "from control.sandboxes import model", "side by side"),
        ("control/units.py", "from tunnelkit._version import x", "not a public name"),
        ("control/units.py", "from tunnelkit.errors import _CodedError", "not a public name"),
    ],
)
def test_checker_catches_a_wrong_arrow(tmp_path: Path, path: str, text: str, because: str) -> None:
    faults = plant(tmp_path, path, text)
    assert len(faults) == 1
    assert path in faults[0]
    assert because in faults[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tunnelkit/session.py", "import trio\nfrom .link import Link"),
        ("tunnelkit/wire/frames.py", "from tunnelkit.wire.header import x\nimport struct"),
        ("tunnelkit/dialer.py", "from . import splice"),
        ("tunnelkit/testing/net.py", "from tunnelkit.broker import Broker"),
        ("tunnelkit/__init__.py", "from ._version import __version__\nfrom .link import Link"),
        ("control/server.py", "from tunnelkit import Session\nfrom control.surfaces import web"),
        ("control/units.py", "from __future__ import annotations\nfrom tunnelkit import errors"),
        ("tunnelkit/admin.py", '"""Talks.\n\nRules are elsewhere (no I/O)."""\nimport trio'),
    ],
)
def test_checker_accepts_a_right_arrow(tmp_path: Path, path: str, text: str) -> None:
    assert plant(tmp_path, path, text) == []
