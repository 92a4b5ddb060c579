"""The parts of docs/performance.md that are made of results: which there are, and their text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Final

from benchmarks.cases import BASE_CARRIER
from benchmarks.everything import missing_of
from benchmarks.idle.cases import known_cases, rows_of
from benchmarks.idle.report import format_bytes
from benchmarks.page.pictures import draw
from benchmarks.page.tables import (
    ABSENT,
    Cell,
    Figures,
    cell_of_added,
    cell_of_beside,
    cell_of_cost,
    cell_of_figure,
    cell_of_latency,
    cell_of_path,
    cell_of_share,
    matrix,
    table,
    target_rows,
)
from benchmarks.page.words import format_spread, label, sentence_list
from benchmarks.records import Json, Record, figures_of
from benchmarks.report import format_figure

__all__ = ["PARTS", "renewed", "sources_of"]

NOT_MEASURED: Final = "*Not in these results.*"

FACTS_OF_MACHINE: Final = (
    *("cpu", "cores", "kernel", "system", "python", "trio", "load_average_before"),
    *("ip_local_port_range", "tcp_tw_reuse", "tcp_max_tw_buckets"),
)
"""Facts that are no version of a tool or a peer."""

GROUPS: Final = {
    "rps_": "Requests, two processes of ours",
    "": "New connections, round trips and bytes, two processes of ours",
    "broker_": "The same through a broker, three processes of ours",
    "wss_": "Over TLS and WebSocket, two processes of ours",
    "pass_": "With the intercept off, one process of ours",
}
"""By how the name of a case of the spine begins: the heading of its table."""

PROFILE_PICTURES: Final = {
    "rps_32": "flame-requests",
    "new_conns": "flame-connections",
    "bulk": "flame-bulk",
}
"""By load, the flame graph of both processes."""

CALLS_SHOWN: Final = 9

RESULTS_LINK: Final = "../benchmarks/results/"

_SOURCE = re.compile(re.escape(RESULTS_LINK) + r"([^)\s]+\.json)")


# --- the run ------------------------------------------------------------------------------------


def _machine(record: Record) -> str:
    facts = record.machine
    links = [f"[{name}]({RESULTS_LINK}{name})" for name in record.sources]
    lines = [
        f"{facts.get('cpu')}, {facts.get('cores')} cores, kernel {facts.get('kernel')}, "
        f"{facts.get('system')}; Python {facts.get('python')}, Trio {facts.get('trio')}.",
        f"{_settings(record)}, taken on {record.date or 'an unknown day'}. "
        f"The raw figures: {sentence_list(links)}.",
    ]
    if record.incomplete:
        lines.append(f"**Incomplete**: {sentence_list(list(record.incomplete))} was stopped.")
    return "\n".join(lines)


def _settings(record: Record) -> str:
    main = next(iter(record.scenarios.values()), {}).get("settings", {})
    words = f"Medians of {main.get('rounds')} rounds"
    if "seconds" in main:
        words += f" of {main['seconds']} s"
    return f"**A quick run, good for nothing but a look**: {words}" if main.get("quick") else words


def _targets(record: Record) -> str:
    rows = target_rows(record.scenarios, list(record.scenarios))
    if not rows:
        return NOT_MEASURED
    met = sum(row[-1] == "met" for row in rows)
    told = sum(row[-1] != "not measured" for row in rows)
    words = f"{met} of {told} targets are met"
    if told < len(rows):
        words += f"; {len(rows) - told} more were not measured"
    return f"{words}.\n\n{table(['scenario', 'case', 'what', 'target', 'reached', ''], rows)}"


def _peers(record: Record) -> str:
    facts = {name: str(v) for name, v in record.machine.items() if name not in FACTS_OF_MACHINE}
    rows = [[label(name), version or "not installed"] for name, version in facts.items()]
    missing = missing_of(record.scenarios, record.incomplete)
    text = table(["program or library", "version"], rows)
    if not missing:
        return f"{text}\n\nNothing that was asked for is missing in these results."
    lines = [[", ".join(f"`{n}`" for n in row.scenarios), row.what, row.reason] for row in missing]
    return f"{text}\n\nNot measured:\n\n{table(['scenario', 'what', 'why'], lines)}"


# --- the scenarios ------------------------------------------------------------------------------


def _joined(*blocks: str) -> str:
    """Return what there is of these blocks, each a paragraph of its own."""
    return "\n\n".join(block for block in blocks if block) or NOT_MEASURED


def _picture(record: Record, name: str) -> str:
    """Return a plot, where there is one; who cannot see it reads its title."""
    canvas = draw(record).get(name)
    return "" if canvas is None else f"![{canvas.title}](pictures/{name}.svg)"


def _cases(figures: Figures) -> list[str]:
    return list(dict.fromkeys(path[0] for path in figures))


def _grouped(figures: Figures, cell: Cell) -> str:
    """Return a table for each group of the spine's cases, under its heading."""
    groups: dict[str, list[str]] = {prefix: [] for prefix in GROUPS}
    for case in _cases(figures):
        prefix = next((one for one in GROUPS if one and case.startswith(one)), "")
        groups[prefix].append(case)
    tables = {prefix: matrix(figures, cases, cell) for prefix, cases in groups.items()}
    return _joined(*(f"{GROUPS[prefix]}:\n\n{text}" for prefix, text in tables.items() if text))


def _main(record: Record) -> str:
    figures = figures_of(record.results("spine"))
    if not figures:
        return NOT_MEASURED
    pictures = ("requests-by-connections", "bulk", "new-connections")
    return _joined(*(_picture(record, one) for one in pictures), _grouped(figures, cell_of_figure))


def _latency(record: Record) -> str:
    figures = figures_of(record.results("spine"))
    if not figures:
        return NOT_MEASURED
    return _joined(_picture(record, "latency"), _grouped(figures, cell_of_latency))


def _cost(record: Record) -> str:
    figures = figures_of(record.results("spine"))
    if not figures:
        return NOT_MEASURED
    return _joined(_picture(record, "cost-of-a-request"), _grouped(figures, cell_of_cost))


def _carriers(record: Record) -> str:
    figures = figures_of(record.results("carriers"))
    cells = (cell_of_share, cell_of_latency, cell_of_cost)
    titles = ("Figures", "Latency in µs, p50 / p99", "Processor time of the two processes")
    tables = [matrix(figures, _cases(figures), cell, base=BASE_CARRIER) for cell in cells]
    return _joined(*_titled(titles, tables))


def _rpc(record: Record) -> str:
    figures = figures_of(record.results("rpc"))
    if not figures:
        return NOT_MEASURED
    single = [case for case in _cases(figures) if case != "beside_payload"]
    tables = [
        matrix(figures, single, cell_of_figure),
        matrix(figures, ["beside_payload"], cell_of_beside),
    ]
    beside = "One call at a time beside a payload of 100 MiB: p50 / **p99** in µs, and the payload"
    return _joined(*_titled(("Figures", beside), tables))


def _titled(titles: Collection[str], tables: Collection[str]) -> list[str]:
    return [f"{title}:\n\n{text}" for title, text in zip(titles, tables, strict=True) if text]


def _beside(record: Record) -> str:
    figures = figures_of(record.results("beside"))
    back = [case for case in _cases(figures) if "back" in case]
    there = [case for case in _cases(figures) if case not in back]
    tables = [matrix(figures, cases, cell_of_latency) for cases in (there, back)]
    titles = ("Beside uploads", "Beside downloads")
    return _joined(_picture(record, "echo-beside-bulk"), *_titled(titles, tables))


def _sessions(record: Record) -> str:
    figures = figures_of(record.results("sessions"))
    return _with_costs(figures, next((path[1] for path in figures), ""))


def _http(record: Record) -> str:
    figures = figures_of(record.results("http"))
    paced = [case for case in _cases(figures) if case == "paced"]
    title = "At 1,000 requests a second: p50 / p99 / p99.9 in µs, and what is added to `direct`"
    added = matrix(figures, paced, cell_of_added)
    return _joined(_with_costs(figures, "haproxy_http", paced), *_titled([title], [added]))


def _with_costs(figures: Figures, base: str, but: Collection[str] = ()) -> str:
    """Return two tables, of figures and of what they cost, as multiples of one subject's.

    Args:
        but: cases whose figures are left out.
    """
    rates = [case for case in _cases(figures) if case not in but]
    tables = [
        matrix(figures, rates, cell_of_share, base=base),
        matrix(figures, _cases(figures), cell_of_cost, base=base),
    ]
    return _joined(*_titled(("Figures", "Processor time"), tables))


def _profile(record: Record) -> str:
    results = record.results("profile")
    blocks: list[str] = []
    for name, picture in PROFILE_PICTURES.items():
        if name in results:
            blocks += [_picture(record, picture), _calls(name, results[name])]
    return _joined(*blocks)


def _calls(load: str, processes: Json) -> str:
    """Return the table of times and system calls of one unit, those made most first."""
    called: Counter[str] = Counter()
    for one in processes.values():
        called.update(one["calls"])
    unit = next(iter(processes.values()))["unit"]
    rows = [
        [title, *(f"{one[key]:.3g}" for one in processes.values())]
        for title, key in (("user time, µs", "user_us"), ("system time, µs", "system_us"))
    ]
    rows += [
        [f"`{call}`", *(f"{one['calls'].get(call, 0):.2f}" for one in processes.values())]
        for call, _ in called.most_common(CALLS_SHOWN)
    ]
    return table([f"`{load}`, for one {unit}", *processes], rows)


def _idle(record: Record) -> str:
    results = record.results("idle")
    figures = figures_of(results)
    about = {row.name: row.about for row in rows_of(known_cases())}
    rows = [_idle_row(name, about.get(name, name), results[name], figures) for name in results]
    if not rows:
        return NOT_MEASURED
    head = ["what", "held", "memory of one", "at most", "", "wake-ups/s", "CPU s/min"]
    return _joined(_picture(record, "memory-of-idle"), table(head, rows))


def _idle_row(name: str, about: str, row: Json, figures: Figures) -> list[str]:
    low, high = (format_bytes(size) for size in figures[name, "bytes_each"].spread)
    spread = f" ({low} – {high})" if len(row["rounds"]) > 1 and low != high else ""
    target, met = row.get("target_bytes"), row.get("met")
    return [
        about,
        f"{row['rounds'][0]['count']:,}",
        f"**{format_bytes(row['bytes_each'])}**{spread}",
        "" if target is None else format_bytes(target),
        "" if met is None else ("met" if met else "**over**"),
        f"{row['wake_ups_per_s']:.1f}",
        f"{row['cpu_s_per_minute']:.2f}",
    ]


def _paths(record: Record) -> str:
    results = record.results("paths")
    profiles = record.scenarios.get("paths", {}).get("profiles", {})
    tables: dict[str, str] = {}
    for name in results:
        figures = figures_of(results[name])
        about = profiles.get(name, {}).get("about", "")
        title = ": ".join(filter(None, [f"`{name}`", about]))
        tables[title] = matrix(figures, _cases(figures), cell_of_path)
    return _joined(*_titled(list(tables), list(tables.values())))


def _resume(record: Record) -> str:
    results = record.results("resume")
    rows = [
        [f"`{case}`" if not number else "", label(subject), *_resume_cells(figures)]
        for case, subjects in results.items()
        for number, (subject, figures) in enumerate(subjects.items())
    ]
    head = ["what happens", "", "pause, ms", "of it away, ms", "downloads"]
    return table(head, rows) if rows else NOT_MEASURED


def _resume_cells(figures: Json) -> list[str]:
    """Return the pause of the downloads that were not harmed, and how many these are."""
    trials = figures["rounds"]
    pauses = [trial["pause_ms"] for trial in trials if trial["is_intact"]]
    pause = ABSENT if not pauses else f"**{format_figure(figures['pause_ms'])}**"
    if len(pauses) > 1:
        pause += f" ({format_spread(min(pauses), max(pauses))})"
    away = format_figure(figures["missing_ms"]) if figures["missing_ms"] else ABSENT
    words = f"{len(pauses)} of {len(trials)} whole"
    if figures["broken_after_ms"] is not None:
        words += f"; broken after {format_figure(figures['broken_after_ms'])} ms"
    return [pause, away, words]


PARTS: Final[Mapping[str, Callable[[Record], str]]] = {
    "machine": _machine,
    "main": _main,
    "latency": _latency,
    "cost": _cost,
    "targets": _targets,
    "peers": _peers,
    "profile": _profile,
    "carriers": _carriers,
    "rpc": _rpc,
    "beside": _beside,
    "sessions": _sessions,
    "http": _http,
    "idle": _idle,
    "paths": _paths,
    "resume": _resume,
}
"""By the name between the markers of the page."""


def renewed(text: str, record: Record) -> str:
    """Return a page with its parts as the results have them; it need not have all of PARTS.

    Raises:
        ValueError: a marker has no counterpart, or names no part.
    """
    for name in re.findall(r"<!-- begin (\S+) -->", text):
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if name not in PARTS:
            raise ValueError(f"there is no part {name!r}; choose from {', '.join(PARTS)}")
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no {end}")
        text = f"{head}{begin}\n\n{PARTS[name](record)}\n\n{end}{tail}"
    return text


def sources_of(text: str) -> list[str]:
    """Return the names of the results files that a page was made of: those it links to."""
    _, _, rest = text.partition("<!-- begin machine -->")
    part, _, _ = rest.partition("<!-- end machine -->")
    return list(dict.fromkeys(_SOURCE.findall(part)))
