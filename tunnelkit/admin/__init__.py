"""The local admin socket of every program: JSON-RPC 2.0, one message a line, on a unix socket.

How it works
------------
A program hands `serve_admin` a path and a table of methods.  Methods are async functions; their
parameters, by name or by position, are checked against the function's own annotations, so that a
wrong call is answered with an error that says which parameter is wrong.

Who may call is decided by the file system alone: the socket has mode 0600 and lies in a folder
that only its owner can enter (it is made so if it does not exist, and refused if others can enter
it).  A socket file that a killed process left behind is replaced; one that somebody listens on is
not.  What a caller can make the program hold is bounded: connections, bytes of a line, requests of
a batch, quiet time, and the time of an answer.

The method ``watch`` answers, and then sends a notification ``event`` for each event of the
program's links and sessions (`tunnelkit.events`), until the caller closes the connection.

`call_admin` is the client, `watch_admin` the one for events, and ``python -m tunnelkit.admin SOCKET
status`` the one for people.  Methods that every program has are in `tunnelkit.status`, those of a
kind of program beside it (`tunnelkit.sidecar.methods`, `tunnelkit.broker.methods`).  No answer
carries a secret.
"""

from .client import AdminError, AdminEvents, call_admin, watch_admin
from .rpc import Feed, Method
from .server import serve_admin

__all__ = [
    "AdminError",
    "AdminEvents",
    "Feed",
    "Method",
    "call_admin",
    "serve_admin",
    "watch_admin",
]
