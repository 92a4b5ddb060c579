"""A network in memory, under Trio's clock, and checks for what must never go wrong.

How it works.  Every program of this library takes its pipes from a `Network` that is handed in.
`MemoryNetwork.host` returns one: a host with a name, whose addresses are ``memory://NAME:PORT``.
Links, sessions and brokers run on it unchanged; only the carrier below them is another.

* A connection is two lanes, one in each direction.  A lane has a bounded capacity, so sends are
  partial and a receiver that does not read stops its sender.  Bytes arrive after the latency of
  the path and not faster than its bandwidth; both belong to a pair of hosts.
* Everything happens in the pump: one timer at most for each lane that has something in flight,
  set in Trio's clock.  Under an autojump clock an hour of latency takes no time.  Without latency
  bytes arrive at once, but handlers are still called by the pump and never inside of a send.
* Readiness is level-triggered, as with epoll: a handler is called for as long as what it wants
  is there.  A short read gives a view of the pump's shared buffer, as a socket's pipe does.
* Faults are ordered from the network or a host: `stall` and `partition` hold a path, whose own
  clock then stands still; `cut` ends connections at an exact byte; `crash`, `vanish` and
  `restart` are what hosts do.
* Chance comes from the seed alone, with a generator for each direction of each connection, so
  that one connection's reads do not change another's.  The order in which Trio runs tasks that
  are ready at the same time stays Trio's own.

Small parts: `memory_pipe_pair` joins two pipes without a handshake; `cancel_at_each_step` cancels
a call at each of its pauses in turn; `no_leaks` asserts that a block leaves nothing behind.
"""

from __future__ import annotations

from .cancelling import Attempt, cancel_at_each_step
from .leaks import no_leaks
from .network import MemoryHost, MemoryNetwork, memory_pipe_pair
from .paths import Cut
from .pipes import MemoryPipe

__all__ = [
    "Attempt",
    "Cut",
    "MemoryHost",
    "MemoryNetwork",
    "MemoryPipe",
    "cancel_at_each_step",
    "memory_pipe_pair",
    "no_leaks",
]
