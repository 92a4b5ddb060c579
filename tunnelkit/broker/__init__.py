"""The broker: a frame switch and its registry.

It holds no stream: a table from (link, session number) to (link, session number), bounded queues,
and who is present.  `registry` decides without I/O, `switch` moves frames, `server` connects them.
"""

from .registry import Registry
from .server import Broker, open_broker

__all__ = ["Broker", "Registry", "open_broker"]
