"""What the example programs share, so that each of them is one screen long.

How it works
------------
A program is three things: `Flags` (what can be set, and the help that teaches it), a function that
turns the settings into a `Plan` or raises `ConfigurationError`, and the plan's `serve`, an ordinary
Trio function.  `run_program` puts them together:

1. Settings come from flags, then from the environment (``--drain-seconds`` is also
   ``TUNNELKIT_DRAIN_SECONDS``), then from defaults.
2. The plan is made: files are read, addresses and names are checked.  ``--check`` prints the plan
   and ends here.
3. `serve` runs with a `Running` in hand: it says `ready` (one JSON line on stdout, the only thing
   that ever goes there), waits in `wait_stop`, and drains.  SIGTERM, SIGINT, the admin method
   ``drain`` and being displaced all end `wait_stop`; a second signal cancels everything at once.

Logs go to stderr (`logs`), and whatever goes wrong ends as one line ``error: cause, place, next
step`` with a documented exit code, never as a traceback.
"""

from .flags import Flags
from .logs import configure_logging
from .running import Exit, Plan, Running, run_program
from .watch import log_events

__all__ = [
    "Exit",
    "Flags",
    "Plan",
    "Running",
    "configure_logging",
    "log_events",
    "run_program",
]
