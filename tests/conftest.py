"""What every test of this repository gets: a real deadline, profiles, and honest skips.

- `@pytest.mark.needs_program("nginx")` skips where the program is missing.  The run ends with the
  list of what was skipped; with ``TUNNELKIT_FAIL_ON_SKIP=1`` any skip makes it fail.
- An asynchronous test is cancelled after 60 real seconds, fixtures included, and the stacks of its
  tasks are printed.  The timer is a thread, not a Trio deadline: a Trio deadline would be virtual
  under a `trio.testing.MockClock`, and an autojump clock would jump to it.
- Hypothesis profiles ``fast`` (the default) and ``deep``, chosen by ``HYPOTHESIS_PROFILE``.  Where
  ``CI`` is set, examples do not depend on chance.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any

import hypothesis
import pytest
import trio

DEADLINE_SECONDS = 60.0
SKIPS = pytest.StashKey[dict[str, str]]()

# Debian keeps nginx and haproxy where an ordinary user's PATH does not look.
os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"

hypothesis.settings.register_profile(
    "fast",
    deadline=None,
    max_examples=50,
    stateful_step_count=30,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "deep",
    hypothesis.settings.get_profile("fast"),
    max_examples=2000,
    stateful_step_count=100,
    derandomize=False,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_configure(config: pytest.Config) -> None:
    """Describe the markers, and start the list of skips."""
    config.stash[SKIPS] = {}
    config.addinivalue_line(
        "markers", "needs_program(*names): skip where one of these programs is not installed"
    )
    config.addinivalue_line(
        "markers",
        "deadline(seconds): end an asynchronous test after this many real seconds, not 60",
    )


# --- the real deadline ---------------------------------------------------------------------


def _task_stacks(task: trio.lowlevel.Task, depth: int = 0) -> Iterator[str]:
    """Yield, for *task* and its children, where each of them waits."""
    yield f"{'  ' * depth}{task.name}"
    for frame, line in task.iter_await_frames():
        yield f"{'  ' * depth}  {frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _task_stacks(child, depth + 1)


async def _within_deadline(seconds: float, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run *main*; cancel it and raise `trio.TooSlowError` after so many real seconds."""
    token = trio.lowlevel.current_trio_token()
    this_task = trio.lowlevel.current_task()
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        print("\n".join(_task_stacks(this_task)), file=sys.stderr)
        scope.cancel()

    def expire_soon() -> None:
        try:
            token.run_sync_soon(expire)
        except trio.RunFinishedError:
            pass  # the test ended at this very moment

    timer = threading.Timer(seconds, expire_soon)
    timer.daemon = True
    with trio.CancelScope() as scope:
        timer.start()
        try:
            return await main()
        finally:
            timer.cancel()
            # pytest-trio reports a cancelled test as another error: this one tells the cause.
            if expired:
                raise trio.TooSlowError(f"not finished after {seconds:g} real seconds")
    return None


def _deadline_of(item: pytest.Item) -> float:
    marker = item.get_closest_marker("deadline")
    return float(marker.args[0]) if marker else DEADLINE_SECONDS


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the run of each Trio test, its fixtures included, its deadline."""
    for item in items:
        if item.get_closest_marker("trio") is None:
            continue
        seconds = _deadline_of(item)

        def run(
            main: Callable[[], Awaitable[Any]], *, seconds: float = seconds, **options: Any
        ) -> Any:
            return trio.run(_within_deadline, seconds, main, **options)

        item.add_marker(pytest.mark.trio(run=run), append=False)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Give each example of a Trio property test its deadline: pytest-trio runs these otherwise."""
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    inner = getattr(handle, "inner_test", None)
    # Once pytest-trio has wrapped it, for the first set of parameters, it is no coroutine function.
    if handle is not None and inspect.iscoroutinefunction(inner):
        seconds = _deadline_of(item)

        @functools.wraps(inner)
        async def bounded(*args: Any, **kwargs: Any) -> Any:
            return await _within_deadline(seconds, functools.partial(inner, *args, **kwargs))

        handle.inner_test = bounded
    yield


# --- skips ---------------------------------------------------------------------------------


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a program which is not installed."""
    for marker in item.iter_markers("needs_program"):
        missing = [name for name in marker.args if shutil.which(name) is None]
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)}")


class _SkipRecorder:
    """Remembers what was skipped, in this process and, under xdist, in its workers."""

    def __init__(self, config: pytest.Config) -> None:
        self.skips = config.stash[SKIPS]

    def record(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            longrepr = report.longrepr
            reason = str(longrepr[2] if isinstance(longrepr, tuple) else longrepr)
            self.skips[report.nodeid] = reason.removeprefix("Skipped: ")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.record(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.record(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what an xdist worker skipped while collecting: it is not reported else."""
        self.skips.update(getattr(node, "workeroutput", {}).get("skips", {}))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to listen for skips."""
    session.config.pluginmanager.register(_SkipRecorder(session.config))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the skips to the xdist controller, or fail the run for them if asked to."""
    skips = session.config.stash[SKIPS]
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["skips"] = skips
    elif skips and os.environ.get("TUNNELKIT_FAIL_ON_SKIP") == "1" and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """End the run with what it did not test, and how to have that tested."""
    skips = config.stash[SKIPS]
    if not skips:
        return
    terminalreporter.section("not tested")
    for name, reason in sorted(skips.items()):
        terminalreporter.write_line(f"  {name}: {reason}")
    if any(reason.startswith("not installed") for reason in skips.values()):
        terminalreporter.write_line("To install what is missing: make system-deps")
    if os.environ.get("TUNNELKIT_FAIL_ON_SKIP") == "1":
        terminalreporter.write_line("error: TUNNELKIT_FAIL_ON_SKIP=1, so this run fails", red=True)
