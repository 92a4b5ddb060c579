"""Who serves and who drives: one module for each subject, run as a program.

    python -m benchmarks.rpc.ends.NAME serve
        prints `ready PORT`, and serves until it is ended
    python -m benchmarks.rpc.ends.NAME drive PORT CASE SECONDS
        prints what `drive.Told` says

All of them serve the same: two numbers are added into a record, such records are streamed, and a
payload is sent.  What they take and give is typed, and checked where it arrives.
"""
