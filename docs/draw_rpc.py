"""The parts of the page of remote calls, read off the declarations."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from enum import Enum, StrEnum
from types import NoneType, UnionType
from typing import Any, NewType

import attrs
import msgspec

from tunnelkit.contracts import CONTRACTS
from tunnelkit.contracts.units import Port, Time
from tunnelkit.rpc.codes import RpcCode
from tunnelkit.rpc.payload import is_payload
from tunnelkit.rpc.service import Service, methods_of, service_name
from tunnelkit.rpc.spec import MethodSpec

__all__ = ["PARTS", "notes_of", "records", "sections_of", "type_text"]

PLAIN = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    bytes: "bytes",
    NoneType: "null",
}

_ENTRY = re.compile(r"^(\w+): (.*?)(?=^\w+: |\Z)", re.MULTILINE | re.DOTALL)


# --- types --------------------------------------------------------------------------------------


def type_text(wanted: Any) -> str:
    """Return a type in words, with links to records.

    Raises:
        TypeError: there are no words for it.
    """
    if wanted == Port:
        return "port"
    if wanted == Time:
        return "time"
    if wanted in PLAIN:
        return PLAIN[wanted]
    if isinstance(wanted, NewType):
        return wanted.__name__
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (UnionType, typing.Union):
        return " or ".join(type_text(part) for part in parts)
    if origin is list:
        return f"list of {type_text(parts[0])}"
    if origin is dict:
        return f"map of {type_text(parts[0])} to {type_text(parts[1])}"
    if _is_record(wanted):
        return f"[{wanted.__name__}](#{wanted.__name__.lower()})"
    raise TypeError(f"there are no words for the type {wanted}")


def _is_record(wanted: Any) -> bool:
    return isinstance(wanted, type) and (attrs.has(wanted) or issubclass(wanted, StrEnum))


def _members(record: type) -> dict[str, Any]:
    return typing.get_type_hints(record, include_extras=True) if attrs.has(record) else {}


def _records_in(wanted: Any) -> Iterator[type]:
    if _is_record(wanted):
        yield wanted
    for part in typing.get_args(wanted):
        yield from _records_in(part)


def records() -> list[type]:
    """Return every record that the contracts use, by name."""
    specs = [spec for interface in CONTRACTS for spec in methods_of(interface).values()]
    waiting = [kind for spec in specs for kind in (*spec.types.values(), spec.item, spec.result)]
    found: set[type] = set()
    while waiting:
        for record in _records_in(waiting.pop()):
            if record not in found:
                found.add(record)
                waiting += _members(record).values()
    return sorted(found, key=lambda record: record.__name__)


# --- what docstrings say ------------------------------------------------------------------------


def notes_of(owner: type) -> dict[str, str]:
    """Return what is written below the members of a class, by name."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(tree, ast.ClassDef)
    notes = {}
    for member, following in zip(tree.body, tree.body[1:], strict=False):
        target = member.targets[0] if isinstance(member, ast.Assign) else None
        target = member.target if isinstance(member, ast.AnnAssign) else target
        text = following.value if isinstance(following, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(text, ast.Constant):
            notes[target.id] = _flat(str(text.value))
    return notes


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of a docstring by their names; the first has none."""
    parts = re.split(r"^(Args|Returns|Raises|Cancellation):", text, flags=re.MULTILINE)
    rest = dict(zip(parts[1::2], map(textwrap.dedent, parts[2::2]), strict=True))
    return {"": parts[0], **rest}


def _flat(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    """Return a text for a cell of a table: it shows as it is, and speaks of JSON."""
    text = re.sub(r"\bNone\b", "null", text.replace("``", "`"))
    return re.sub(r"([|*])", r"\\\1", text)


def _meaning(function: Callable[..., Any]) -> str:
    sections = sections_of(inspect.getdoc(function) or "")
    told = [_flat(sections[""])]
    for name, text in _ENTRY.findall(sections.get("Args", "").strip()):
        told.append(f"`{name}`: {_flat(text)}")
    if "Returns" in sections:
        told.append(f"Returns: {_flat(sections['Returns'])}")
    for _, text in _ENTRY.findall(sections.get("Raises", "").strip()):
        told.append(f"Errors: {_flat(text)}")
    return _cell("<br>".join(told))


# --- parts --------------------------------------------------------------------------------------


def _services() -> str:
    rows = ["| service | interface | methods | for |", "| --- | --- | --- | --- |"]
    for interface in CONTRACTS:
        name, about = interface.__name__, _flat((inspect.getdoc(interface) or "").split("\n\n")[0])
        count = len(methods_of(interface))
        link = f"[{name}](#{name.lower()})"
        rows.append(f"| `{service_name(interface)}` | {link} | {count} | {_cell(about)} |")
    return "\n".join(rows)


def _arguments(spec: MethodSpec) -> str:
    told = []
    for name, parameter in spec.parameters.items():
        default = parameter.default
        ending = "" if default is parameter.empty else f" = {msgspec.json.encode(default).decode()}"
        is_streamed = name == spec.streamed
        kind = _streamed_text(spec.item) if is_streamed else type_text(spec.types[name])
        told.append(f"`{name}`: {kind}{ending}")
    return "<br>".join(told)


def _methods() -> str:
    parts: list[str] = []
    for interface in CONTRACTS:
        parts += [f"### {interface.__name__}", "", f"On the wire: `{service_name(interface)}`."]
        parts += [_cell(_flat(inspect.getdoc(interface) or "")), ""]
        parts += ["| method | arguments | result | meaning |", "| --- | --- | --- | --- |"]
        parts += [_row(interface, spec) for spec in methods_of(interface).values()]
        parts.append("")
    return "\n".join(parts).rstrip()


def _row(interface: type[Service], spec: MethodSpec) -> str:
    name = f"`{spec.name}`{' ◦' if spec.read_only else ''}"
    meaning = _meaning(getattr(interface, spec.name))
    result = _streamed_text(spec.result) if spec.is_streamed else type_text(spec.result)
    return f"| {name} | {_arguments(spec)} | {result} | {meaning} |"


def _streamed_text(item: Any) -> str:
    return "payload" if is_payload(item) else f"stream of {type_text(item)}"


def _records() -> str:
    parts: list[str] = []
    for record in records():
        parts += [f"### {record.__name__}", "", _cell(_flat(inspect.getdoc(record) or "")), ""]
        parts += _values(record) if issubclass(record, Enum) else _fields(record)
        parts.append("")
    return "\n".join(parts).rstrip()


def _values(record: type[Enum]) -> list[str]:
    notes = notes_of(record)
    rows = [f"| `{one.value}` | {_cell(notes.get(one.name, ''))} |" for one in record]
    return ["| value | meaning |", "| --- | --- |", *rows]


def _fields(record: type) -> list[str]:
    notes, kinds = notes_of(record), _members(record)
    rows = [
        f"| `{one.name}` | {type_text(kinds[one.name])} | {_default(one)} "
        f"| {_cell(notes.get(one.name, ''))} |"
        for one in attrs.fields(record)
    ]
    return ["| member | type | when missing | meaning |", "| --- | --- | --- | --- |", *rows]


def _default(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return ""
    factory = getattr(field.default, "factory", None)
    value = factory() if factory is not None else field.default
    return f"`{msgspec.json.encode(value).decode()}`"


def _codes() -> str:
    notes = notes_of(RpcCode)
    rows = [f"| {int(code)} | `{code.name}` | {_cell(notes[code.name])} |" for code in RpcCode]
    return "\n".join(["| number | name | meaning |", "| --- | --- | --- |", *rows])


PARTS: dict[str, Callable[[], str]] = {
    "services": _services,
    "methods": _methods,
    "records": _records,
    "codes": _codes,
}
