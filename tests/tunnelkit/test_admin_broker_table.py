"""What a broker does not tell is not shown as if there were none."""

from __future__ import annotations

from tunnelkit.admin.tables import tables_of


def test_broker_s_status_names_no_peers() -> None:
    (first, *_) = tables_of({"program": "broker", "links": []}, 0.0)
    assert "peers" not in str(first)


def test_endpoint_without_peers_says_so() -> None:
    (first, *_) = tables_of({"program": "devbox_proxy", "subject": "a", "peers": []}, 0.0)
    assert ("peers", "-") in first[2]
