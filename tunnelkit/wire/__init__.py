"""The tunnel protocol without I/O: frames, states, credit, replay (docs/wire-protocol.md).

Nothing in here knows a socket, a clock, a source of randomness or a key.  Bytes go in as
memoryviews, frames go out to an *outlet*, times are arguments, and proofs are opaque bytes that
the callers make and check.  The same code runs in the programs, in the virtual-time tests and in
the state machine that cuts its pipe at every byte.

=============  ==================================================================
`frames`       the header, the frame types, and the field tables of their payloads
`states`       the state tables, and nothing else
`reader`       cuts frames out of bytes that arrive in any pieces
`windows`      credit of one direction of a stream
`stream`       one stream: states, credit, the inbox; the `End` interface
`sending`      what a session sends: numbers, copies, replay, acknowledgements
`session`      the whole session: what it receives, and its streams
=============  ==================================================================
"""
