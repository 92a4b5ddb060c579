"""How many calls a second: ours beside gRPC and another JSON-RPC library, all in Python.

Every subject is two processes of one program (`ends`), one that serves and one that drives, over
one TCP connection on loopback.  `cases` says what is driven and what has to be reached, `drive` how
it is counted, `run` joins all this, `report` shows the outcome, `command` is what a user calls.
"""
