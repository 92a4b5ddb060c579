"""A small HTTP listener of every program: is it well, what does it do, and why.

How it works
------------
A program that is given `--monitor HOST:PORT` answers GET there, and nothing else:

* ``/healthz``  200: the program runs and answers;
* ``/readyz``   200 once it does its work, 503 with the reason before, and while it drains;
* ``/metrics``  numbers for Prometheus, made of what `status` says at that moment;
* ``/explain``  where a request would go, and why: of sidecars, and only for this machine.

`metrics` writes the text that Prometheus reads, `gather` makes the numbers out of a program's
status; both are plain functions.  `server` is the listener: requests are read by h11, a few
connections at once, each with little time.

Whoever can reach the listener can read it: so no label has the name of a user, a client or a peer,
and what could tell more (``/explain``) is served to loopback addresses alone, and to nobody who
came by another name (a page in a browser that has its own name lead to this machine).
"""

from .gather import metrics_of
from .metrics import Metric, write_metrics
from .server import Answer, Monitor, serve_monitor

__all__ = ["Answer", "Metric", "Monitor", "metrics_of", "serve_monitor", "write_metrics"]
