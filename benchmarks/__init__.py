"""Measures the programs of this project beside others, on this machine.

Run `python -m benchmarks`; benchmarks/README.md says what each case is and how to read
the table.
"""
