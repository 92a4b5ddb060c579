"""How long bytes stop when a link, a broker or a path is lost, and whether all of them arrive.

`cases` says what happens and what a trial found, `source` and `sink` are the two ends of the
download, `cutter` resets a connection, `scenes` sets up who runs and does what happens, `run`
joins all this, `report` shows the outcome, `command` is what a user calls.
"""
