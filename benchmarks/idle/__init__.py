"""What idles: the memory of idle streams, links and sessions, and how often they wake a process.

`cases` says what is held and what it may cost, `ends` and `makers` are who holds it, `holder` is
the process around them, `gauge` reads what the kernel counts of a process, `run` joins all this,
`report` shows the outcome, `command` is what a user calls.
"""
