"""The tunnel over long and slow paths: bytes, requests and latency beside other tunnels.

`cases` says which paths, loads and subjects there are, `shaping` decides when a packet arrives,
`relay` is the program that delays packets, `network` the namespaces around it, `sides` what runs
at either end, `target` and `client` the two ends of our own loads, `run` joins all this, `report`
shows the outcome, `command` is what a user calls.
"""
