"""The control plane: who, what and where, on top of the public names of `tunnelkit`.

Thin modules that keep environments, workspaces, sessions, repls, sandboxes and browsers will live
here, one package each, beside a small kernel (units, store, tokens, audit, leases) that they share.
There is none yet: what runs today is the data plane, started by the programs in `examples/`.

The rule for imports is tested already (`tests/test_import_directions.py`): kernel, then drivers,
then the domain packages, of which none imports another, then surfaces, then the server; and of
`tunnelkit` only public names.
"""
