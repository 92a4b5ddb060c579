"""Answers of the admin socket as tables for people: with rich where it is installed, else plain."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = [
    "Table",
    "age_of",
    "plain",
    "printable",
    "rich_table",
    "show",
    "size_of",
    "tables_of",
    "tables_of_command",
]

Table: TypeAlias = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Title, headings, rows."""

_Item: TypeAlias = Mapping[str, Any]  # decoded JSON


def show(command: str, result: object) -> None:
    """Print what *command* returned."""
    for table in tables_of_command(command, result):
        _print(table)


def tables_of_command(command: str, result: object) -> list[Table]:
    """Return what *command* returned as tables."""
    listed: list[Any] = result if isinstance(result, list) else [result]
    if command in ("ports", "intercept", "restore"):
        return [_ports_table(listed)]
    if command in ("rule", "unrule", "rules"):
        return [_rules_table(listed)]
    if command == "sites":
        return [_sites_table(listed)]
    if command == "move":
        return [_sessions_table(listed)]
    if not isinstance(result, dict):
        return [_facts_table("", {"result": result})]
    if command == "explain":
        return _explain_tables(result)
    if command == "status":
        return tables_of(result, time.time())
    if command in ("trust", "revocations"):
        return _trust_tables(result, time.time())
    return [_facts_table("", result)]


def tables_of(status: _Item, now: float) -> list[Table]:
    """Return the tables of a status; *now* is unix seconds."""
    head = {key: status[key] for key in ("program", "subject") if key in status}
    if "peers" in status:  # a broker has links instead
        head["peers"] = ", ".join(status["peers"]) or "-"
    tables = [_facts_table("", head)] if head else []
    if "links" in status:
        tables.append(_links_table(status["links"], now))
    if status.get("failing"):
        tables.append(("not connected", ("address", "why"), list(status["failing"].items())))
    if "sessions" in status:
        tables.append(_sessions_table(status["sessions"]))
    if "ports" in status:
        tables.append(_ports_table(status["ports"]))
    if status.get("audit"):
        tables += _audit_tables(status["audit"])
    if status.get("gateway"):
        tables.append(_facts_table("gateway", status["gateway"]))
    if status.get("forwards"):
        tables.append(_forwards_table(status["forwards"]))
    exits = status.get("exits", {})
    for name in ("exits", "broker"):
        is_used = name == "broker" or exits.get("names") or exits.get("allow")
        if name in status and is_used:
            tables.append(_facts_table(name, status[name]))
    return tables


def _trust_tables(trust: _Item, now: float) -> list[Table]:
    rows = [
        (
            str(key["key_id"]),
            "yes" if key["is_believed"] else "no",
            "for ever" if key["expires_at"] is None else f"{age_of(key['expires_at'] - now)} more",
        )
        for key in trust["issuers"]
    ]
    tables: list[Table] = [("issuers", ("key", "believed", "for"), rows)]
    found = trust["revocations"]
    if found is None:
        return [*tables, ("revocations", ("",), [("none are in force",)])]
    state = "stale: sign it anew" if found["is_stale"] else "in force"
    if trust.get("accepted") is False:
        state += "; what was given is not newer"
    facts = {name: found[name] for name in ("tokens", "holders", "issuers", "subjects")}
    tables.append(_facts_table("revocations", {"state": state, "serial": found["serial"], **facts}))
    return tables


def _links_table(links: Iterable[_Item], now: float) -> Table:
    rows = [
        (
            "broker" if link["is_broker"] else str(link["peer"]),
            str(link["address"]),
            f"{link['state']}, {link['health']}",
            "-" if link["round_trip_ms"] is None else f"{link['round_trip_ms']:.1f} ms",
            size_of(link["bytes_in"]),
            size_of(link["bytes_out"]),
            "-" if link["since"] is None else age_of(now - link["since"]),
        )
        for link in links
    ]
    return "links", ("peer", "address", "state", "round trip", "in", "out", "up for"), rows


def _sessions_table(sessions: Iterable[_Item]) -> Table:
    rows = [
        (
            str(session["id"]),
            str(session["peer"]),
            str(session["link"]) or "-",
            str(session["state"]) + (" (suspect)" if session["is_suspect"] else ""),
            str(session["streams"]),
            size_of(session["unacknowledged_bytes"]),
            size_of(session["replayed_bytes"]),
            f"{session['resumed_count']} / {session['moved_count']}",
            str(session["last_reason"]) or "-",
        )
        for session in sessions
    ]
    counts = ("streams", "unacked", "replayed", "resumed / moved")
    return "sessions", ("id", "peer", "link", "state", *counts, "last reason"), rows


def _ports_table(ports: Iterable[Any]) -> Table:
    rows = [
        (
            str(port["name"]),
            str(port["listen"]) or "closed",
            str(port["target"]),
            _intercept_words(port["intercept"]),
            str(port["open"]),
            _counts_words(port["counts"]),
            str(port["last_reason"]) or "-",
        )
        for port in ports
    ]
    return "ports", ("name", "listen", "target", "intercept", "open", "counts", "last reason"), rows


def _rules_table(rules: Iterable[Any]) -> Table:
    rows = [
        (
            str(rule["name"]),
            " and ".join(rule["when"]) or "every request",
            str(rule["target"]) + ("" if rule["fail_open"] else " (fail closed)"),
            "-" if rule["seconds_left"] is None else age_of(rule["seconds_left"]),
            "; ".join(rule.get("overlaps", ())) or "-",
        )
        for rule in rules
    ]
    return "rules", ("name", "when", "target", "time left", "overlaps"), rows


def _explain_tables(found: _Item) -> list[Table]:
    if "requests" in found:
        names = ("method", "path", "rule", "target", "why")
        rows = [[str(one[name]) or "-" for name in names] for one in found["requests"]]
        return [("requests", names, rows)]
    facts = {"goes to": found["target"], "rule": found["rule"] or "-", "why": found["why"]}
    near = [(str(one["rule"]), str(one["owner"]) or "-", str(one["why"])) for one in found["near"]]
    tables = [_facts_table("", facts)]
    if near:
        tables.append(("other rules", ("rule", "owner", "why not"), near))
    if found.get("dropped"):
        tables.append(("not passed on", ("finding",), [(one,) for one in found["dropped"]]))
    return tables


def _audit_tables(audit: _Item) -> list[Table]:
    came = [(one["port"], one["carried"], str(one["requests"])) for one in audit["arrived"]]
    names = ("port", "what", "fate", "requests")
    left = [tuple(str(one[name]) for name in names) for one in audit["left"]]
    tables: list[Table] = [("came in with", ("port", "carried", "requests"), came)]
    tables.append(("left with", names, left))
    if audit["findings"]:
        tables.append(("not passed on", ("finding",), [(one,) for one in audit["findings"]]))
    return tables


def _sites_table(sites: Iterable[_Item]) -> Table:
    names = ("name", "upstream", "access", "owner", "organisation", "environment", "intercepted by")
    rows = [[str(one[name.replace(" ", "_")]) or "-" for name in names] for one in sites]
    return "sites", names, rows


def _forwards_table(forwards: Iterable[_Item]) -> Table:
    rows = [
        (
            str(forward["name"]),
            str(forward["kind"]),
            str(forward["listen"]) or "closed",
            f"{forward['target'] or 'any'} at {forward['peer']}",
            str(forward["open"]) + (f" (+{forward['waiting']})" if forward["waiting"] else ""),
            size_of(forward["bytes_in"]),
            size_of(forward["bytes_out"]),
            _counts_words(forward["counts"]),
            str(forward["last_reason"]) or "-",
        )
        for forward in forwards
    ]
    names = ("name", "kind", "listen", "leads to", "open", "in", "out", "counts", "last reason")
    return "forwards", names, rows


def _counts_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "-"


def _intercept_words(intercept: _Item | None) -> str:
    if intercept is None:
        return "off"
    kind = "" if intercept["fail_open"] else " (fail closed)"
    return f"{intercept['peer']}:{intercept['target']}{kind}"


def _facts_table(title: str, facts: _Item) -> Table:
    def words(value: object) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key} = {item}" for key, item in value.items()) or "-"
        if isinstance(value, list):
            return ", ".join(str(item) for item in value) or "-"
        return str(value)

    rows = [(key.replace("_", " "), words(value)) for key, value in facts.items()]
    return title, ("", ""), rows


def size_of(count: float) -> str:
    """Return a number of bytes as people write it."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    step = 0
    while count >= 1024 and step < len(units) - 1:
        count, step = count / 1024, step + 1
    return f"{count:.1f} {units[step]}" if step else f"{count:.0f} B"


def age_of(seconds: float) -> str:
    """Return a time span in its largest unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _print(table: Table) -> None:
    title, headings, rows = table
    try:
        from rich.console import Console
    except ImportError:
        console = None
    else:
        console = Console(highlight=False)
    if console is not None and console.is_terminal:
        console.print(rich_table(table))
    else:
        print(plain(title, headings, [[printable(cell) for cell in row] for row in rows]))


def rich_table(table: Table, *, one_line: bool = False) -> RichTable:
    """Return a table for rich to draw; with *one_line* rows are cut, and not broken, to fit."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    title, headings, rows = table
    made = RichTable(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    made.show_header = any(headings)
    made.show_edge = not one_line

    def cell(text: str) -> Text:
        return Text(text, no_wrap=one_line, overflow="ellipsis" if one_line else "fold")

    for heading in headings:
        made.add_column(cell(heading))
    for row in rows:
        made.add_row(*(cell(printable(text)) for text in row))
    return made


def printable(text: str) -> str:
    """Escape what could move the terminal's cursor: some texts come from peers."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def plain(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text in columns."""
    every = [headings, *rows] if any(headings) else list(rows)
    widths = [max(len(row[i]) for row in every) for i in range(len(headings))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in every]
    body = "\n".join(f"  {line}".rstrip() for line in lines)
    return f"{title}\n{body}\n" if title else f"{body}\n"
