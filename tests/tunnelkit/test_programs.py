"""What programs share: settings, logs, the watch over links, stopping."""

from __future__ import annotations

import argparse
import io
import json
import logging
from collections.abc import Generator, Mapping, Sequence

import pytest
import trio

from tests.tunnelkit.pairs import open_pair, open_world, wait_until
from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError
from tunnelkit.programs import (
    Exit,
    Flags,
    Plan,
    Running,
    configure_logging,
    log_events,
    run_program,
)
from tunnelkit.programs.flags import existing_name, named, seconds, variable_of, whole_number


@pytest.fixture(autouse=True)
def log() -> Generator[io.StringIO]:
    """What the library logs, as people see it; logging is as before afterwards."""
    logger = logging.getLogger("tunnelkit")
    before = (logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions)
    stream = io.StringIO()
    configure_logging("human", "info", stream)
    yield stream
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before


def make_flags() -> Flags:
    flags = Flags("thing", "Does things.", example="python examples/thing.py --name x")
    flags.add("--name", metavar="NAME", required=True, help="a name")
    flags.add("--also", metavar="NAME", repeat=True, help="100% more names")
    flags.add("--count", whole_number(1, 9), metavar="N", default=3, help="how many")
    flags.add_switch("--loud", help="say more")
    flags.add_common(30.0)
    return flags


def parse(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> argparse.Namespace:
    return make_flags().parse(arguments, environment or {})


# --- settings -------------------------------------------------------------------------------


def test_variable_has_the_name_of_its_flag() -> None:
    assert variable_of("--drain-seconds") == "TUNNELKIT_DRAIN_SECONDS"


def test_defaults_hold_where_nothing_is_given() -> None:
    options = parse(["--name", "x"])
    assert (options.also, options.count, options.loud, options.admin) == ([], 3, False, None)


def test_flag_comes_before_variable_and_variable_before_default() -> None:
    environment = {"TUNNELKIT_NAME": "there", "TUNNELKIT_COUNT": "5"}
    options = parse(["--name", "here"], environment)
    assert (options.name, options.count) == ("here", 5)


def test_variable_of_a_repeated_flag_is_split_at_spaces() -> None:
    assert parse([], {"TUNNELKIT_NAME": "x", "TUNNELKIT_ALSO": " a  b "}).also == ["a", "b"]


def test_empty_variable_counts_as_not_set() -> None:
    with pytest.raises(ConfigurationError, match="--name is missing"):
        parse([], {"TUNNELKIT_NAME": " "})


@pytest.mark.parametrize(("text", "value"), [("1", True), ("yes", True), ("off", False)])
def test_variable_of_a_switch_is_yes_or_no(text: str, value: bool) -> None:
    assert parse(["--name", "x"], {"TUNNELKIT_LOUD": text}).loud is value


@pytest.mark.parametrize(
    ("name", "text"),
    [("TUNNELKIT_LOUD", "perhaps"), ("TUNNELKIT_COUNT", "10"), ("TUNNELKIT_LOG_LEVEL", "x")],
)
def test_wrong_variable_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} '{text}'"):
        parse(["--name", "x"], {name: text})


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e9", "ten", "1\n2"])
def test_seconds_are_finite_and_not_negative(text: str) -> None:
    with pytest.raises(ConfigurationError, match="number of seconds"):
        seconds(text, "--x")


@pytest.mark.parametrize("text", ["web", "=v", "web=", "-x=v", "a b=v", "x" * 64 + "=v"])
def test_name_is_short_and_plain(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not NAME=VALUE"):
        named(text, "--x", "NAME=VALUE")


def test_name_that_does_not_exist_is_shown_those_that_do() -> None:
    with pytest.raises(ConfigurationError, match="names 'c', which does not exist; there is: a, b"):
        existing_name("c", ["a", "b"], "--x")


# --- logs -----------------------------------------------------------------------------------


def test_log_for_people_is_one_line_whatever_a_peer_says(log: io.StringIO) -> None:
    logging.getLogger("tunnelkit.x").info("refused: %s", "evil\n00:00:00 info  fake\x1b[2J")
    assert log.getvalue().count("\n") == 1
    assert "\x1b" not in log.getvalue()


def test_log_for_programs_is_an_object_with_the_event_s_fields() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    fields = {"event": "link up"}
    logging.getLogger("tunnelkit.x").warning("a %s", "b", extra={"fields": fields})
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["message"], entry["event"]) == ("warning", "a b", "link up")
    assert entry["time"].endswith("+00:00")


def test_log_below_the_level_is_left_out() -> None:
    stream = io.StringIO()
    configure_logging("human", "warning", stream)
    logging.getLogger("tunnelkit.x").info("small talk")
    assert stream.getvalue() == ""


# --- events in the log ----------------------------------------------------------------------


async def test_log_tells_links_and_sessions(log: io.StringIO, autojump_clock: object) -> None:
    async with open_world() as world, open_pair(world) as pair:
        log_events(pair.alice)
        await pair.session.aclose()
    text = log.getvalue()
    assert "link to bob at memory://bob" in text
    assert "session with bob is open" in text
    assert "session with bob ended" in text


async def test_log_line_of_an_event_has_its_members(autojump_clock: object) -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    async with open_world() as world, open_pair(world) as pair:
        log_events(pair.alice)
    entry = json.loads(stream.getvalue().splitlines()[0])
    assert (entry["event"], entry["link"]["peer"]) == ("link-up", "bob")


async def test_program_is_told_that_another_process_took_over(autojump_clock: object) -> None:
    reasons: list[str] = []
    async with (
        open_world() as world,
        world.broker() as address,
        world.endpoint("alice", dial=[address]) as first,
    ):
        log_events(first, reasons.append)
        await wait_until(lambda: first.links)
        async with world.endpoint("alice", dial=[address]):
            await wait_until(lambda: reasons)
    assert "a newer link of alice" in reasons[0]


# --- running --------------------------------------------------------------------------------


def make_running(**options: object) -> Running:
    values = argparse.Namespace(drain_seconds=30.0, admin=None, **options)
    return Running("thing", values, trio.CancelScope())


async def test_first_stop_drains_and_second_cancels() -> None:
    running = make_running()
    with running._scope:
        running.stop("received SIGTERM")
        await running.wait_stop()
        running.stop("received SIGTERM")
        await trio.sleep_forever()
    assert running.exit is Exit.CUT_SHORT


async def test_displaced_program_stops_without_a_drain() -> None:
    running = make_running()
    running.displaced("a newer link")
    await running.wait_stop()
    assert (running.exit, running.drain_seconds) == (Exit.DISPLACED, 0.0)


@pytest.mark.parametrize(("count", "status"), [(0, Exit.OK), (2, Exit.CUT_SHORT)])
def test_connections_left_over_show_in_the_exit_status(count: int, status: Exit) -> None:
    running = make_running()
    running.finished(count)
    assert running.exit is status


@pytest.mark.parametrize(("host", "is_told"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_plain_link_door_for_other_machines_is_a_warning(
    log: io.StringIO, capsys: pytest.CaptureFixture[str], host: str, is_told: bool
) -> None:
    make_running().ready(links=[Address("tcp", host, 7000)])
    assert json.loads(capsys.readouterr().out)["links"] == [f"tcp://{host}:7000"]
    assert ("without TLS" in log.getvalue()) is is_told


def run(error: BaseException | None, *arguments: str) -> int:
    """Run a program whose `serve` raises *error*, or ends at once."""

    async def serve(running: Running) -> None:
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error

    plan = Plan(serve, {"name": ["x"]})
    return run_program(make_flags(), lambda options: plan, ["--name", "x", *arguments], {})


def test_program_that_ends_in_order_has_status_0() -> None:
    assert run(None) == 0


@pytest.mark.parametrize("depth", [0, 2])
def test_configuration_error_of_a_task_is_one_line(
    capsys: pytest.CaptureFixture[str], depth: int
) -> None:
    error: Exception = ConfigurationError("cannot listen on x: in use; use port 0")
    for _ in range(depth):
        error = ExceptionGroup("tasks", [ValueError("a consequence"), error])
    assert run(error) == 2
    assert capsys.readouterr().err == "error: cannot listen on x: in use; use port 0\n"


def test_unexpected_error_is_one_line_with_a_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(KeyError("x")) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: unexpected KeyError")
    assert "Traceback" not in err
    assert "--log-level debug" in err


def test_unexpected_error_shows_where_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    run(KeyError("x"), "--log-level", "debug")
    assert "Traceback" in capsys.readouterr().err


def test_check_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(KeyError("never raised"), "--check") == 0
    assert "the settings are right" in capsys.readouterr().out
