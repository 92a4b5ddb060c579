"""HTTP without I/O: what a connection speaks, and what its messages say.

How it works
------------
A port whose rules look at requests has to read HTTP, and nothing else may change by that.  So this
package reads strictly, keeps what it read as it was written, and writes it out again:

* `detect` tells from the first bytes what a connection speaks: HTTP/1, HTTP/2, TLS (with the name
  and the protocols that its client asks for), a PROXY header before any of these, or something
  else.  It never waits for more bytes than it needs to tell.
* `head` reads the head of a message of HTTP/1.x (RFC 9112) into a `Head`: names, values, order and
  case as they came.  Whatever two readers could take for two different things is refused.
* `body` finds where a message ends: by its length, by its chunks, with its connection, or at once.
* `proxy` passes the requests of one HTTP/1.x connection on to different servers, one after the
  other; `h2_proxy` the streams of one HTTP/2 connection, all at once, to servers of HTTP/2
  (`h2_back`) or of HTTP/1.1 (`h1_back`).  `h2_machine` is one side of such a connection.
* `routing` is what they ask of whoever has them: where a request goes, how to get there, and what
  a client is told where nobody is.  `watching` is for who looks on.
* `patterns` are what rules hold against texts: automata, of which two can be held together.

Each of them is a plain function, or an object that is fed bytes; none of them holds more than its
limits say.
"""

from __future__ import annotations

from .detect import ClientHello, Detected, Kind, ProxyHeader, detect

__all__ = ["ClientHello", "Detected", "Kind", "ProxyHeader", "detect"]
