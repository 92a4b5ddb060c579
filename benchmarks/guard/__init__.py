"""The guard: counts what the data plane does, and compares with benchmarks/guard.json.

`counting` counts, `stage` is what runs, `loads` press on it, `verdicts` judge, `command` is
`python -m benchmarks guard`.  benchmarks/README.md says how to read it.
"""
