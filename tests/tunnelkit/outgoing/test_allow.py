"""Which addresses an exit opens: rules, names, and names that are made to lead elsewhere."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.errors import ConfigurationError
from tunnelkit.outgoing.allow import AllowList, AllowRule, HostPort, is_special, unmapped

# --- what is asked for ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("db.internal:5432", "db.internal:5432"),
        ("DB.Internal.:5432", "db.internal:5432"),
        ("10.0.0.7:80", "10.0.0.7:80"),
        ("[::1]:80", "[::1]:80"),
        ("[0:0::0:1]:80", "[::1]:80"),
        ("[::ffff:10.0.0.7]:80", "10.0.0.7:80"),
        ("_http._tcp.local:1", "_http._tcp.local:1"),
        ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
    ],
)
def test_address_is_read_and_shown_in_one_way(text: str, shown: str) -> None:
    assert str(HostPort.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "a:", ":80", "a:0", "a:65536", "a:+80", "a:8 0", "a:eighty", "a:080808"),
        *("::1:80", "[::1]", "[a]:80", "[10.0.0.1]:80", "[::1%eth0]:80", "fe80::1%1:80"),
        *("127.1:80", "0x7f.1:80", "2130706433:80", "0177.0.0.1:80", "1.2.3.4.5:80", "a.0x:1"),
        *("a b:80", "a/b:80", "a@b:80", "-a:80", "a-:80", "a..b:80", ".a:80", "a#:80", "é:80"),
        *("tcp://a:80", "a" * 64 + ":80", "a." * 130 + "a:80", "a:80\n", "*:80", "*.a:80"),
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(it is|the|only|addresses)"):
        HostPort.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_clear_error(text: str) -> None:
    try:
        made = HostPort.parse(text)
    except ValueError:
        return
    assert HostPort.parse(str(made)) == made


# --- rules ---------------------------------------------------------------------------------

NAMED = ["db.internal:5432", "*.svc.local:80,443", "LOCALHOST:8000-8010"]
NUMBERED = ["10.1.0.0/16:80", "10.2.0.7:*", "[fd00::/8]:443", "[2001:db8::1]:22"]


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("db.internal:5432", True),
        ("DB.internal:5432", True),
        ("db.internal:5433", False),
        ("xdb.internal:5432", False),
        ("a.db.internal:5432", False),
        ("a.svc.local:80", True),
        ("a.b.svc.local:443", True),
        ("svc.local:80", False),
        ("asvc.local:80", False),
        ("a.svc.local.evil.com:80", False),
        ("localhost:8000", True),
        ("localhost:8010", True),
        ("localhost:8011", False),
        ("10.1.2.3:80", True),
        ("[::ffff:10.1.2.3]:80", True),
        ("10.1.2.3:81", False),
        ("10.2.0.7:1", True),
        ("10.2.0.8:1", False),
        ("[fd12::1]:443", True),
        ("[2001:db8::1]:22", True),
        ("[2001:db8::2]:22", False),
        ("127.0.0.1:8000", False),
        ("other:80", False),
    ],
)
def test_what_rules_allow_to_try(target: str, allowed: bool) -> None:
    assert AllowList([*NAMED, *NUMBERED]).may_try(HostPort.parse(target)) is allowed


@pytest.mark.parametrize("target", ["a:80", "10.0.0.1:80", "localhost:80", "[::1]:80"])
def test_without_rules_nothing_is_allowed(target: str) -> None:
    assert not AllowList().may_try(HostPort.parse(target))


@pytest.mark.parametrize(
    ("rule", "target", "ip", "allowed"),
    [
        # a name leads to an ordinary address, private ones among them
        ("db:1", "db:1", "10.0.0.7", True),
        ("db:1", "db:1", "fd00::7", True),
        ("*:1", "db:1", "10.0.0.7", True),
        ("*:1", "10.0.0.7:1", "10.0.0.7", True),
        # and is made to lead to a special one
        ("db:1", "db:1", "127.0.0.1", False),
        ("*:1", "db:1", "127.0.0.1", False),
        ("*.x:1", "db.x:1", "::1", False),
        ("db:1", "db:1", "169.254.169.254", False),
        ("db:1", "db:1", "fe80::1", False),
        ("db:1", "db:1", "0.0.0.0", False),
        ("db:1", "db:1", "::", False),
        ("db:1", "db:1", "224.0.0.1", False),
        ("db:1", "db:1", "ff02::1", False),
        ("db:1", "db:1", "255.255.255.255", False),
        ("db:1", "db:1", "64:ff9b::7f00:1", False),
        ("db:1", "db:1", "2002:7f00:1::", False),
        ("*:1", "127.0.0.1:1", "127.0.0.1", False),
        # only a rule for such addresses opens them
        ("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1", True),
        ("127.0.0.0/8:1", "127.0.0.1:1", "127.0.0.1", True),
        ("169.254.169.254:1", "169.254.169.254:1", "169.254.169.254", True),
        ("0.0.0.0/0:1", "127.0.0.1:1", "127.0.0.1", False),
        ("[::/0]:1", "[::1]:1", "::1", False),
        ("[::1]:1", "[::1]:1", "::1", True),
        # or the name localhost, and then only loopback
        ("localhost:1", "localhost:1", "127.0.0.1", True),
        ("localhost:1", "localhost:1", "::1", True),
        ("localhost:1", "localhost:1", "169.254.0.1", False),
        ("*:1", "localhost:1", "127.0.0.1", False),
    ],
)
def test_where_a_name_may_lead(rule: str, target: str, ip: str, allowed: bool) -> None:
    wanted = HostPort.parse(target)
    assert AllowList([rule]).may_reach(wanted, ip_address(ip), is_own=False) is allowed


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [("db:1", False), ("*:1", False), ("10.0.0.0/8:1", False), ("10.0.0.7:1", True)],
)
def test_own_listener_takes_a_rule_for_its_address(rule: str, allowed: bool) -> None:
    rules, ip = AllowList([rule]), ip_address("10.0.0.7")
    assert rules.may_reach(HostPort.parse("10.0.0.7:1"), ip, is_own=True) is allowed


@pytest.mark.parametrize("rule", ["localhost:*", "localhost:7000", "*:7000"])
def test_the_name_localhost_does_not_open_an_own_listener(rule: str) -> None:
    target = HostPort.parse("localhost:7000")
    assert not AllowList([rule]).may_reach(target, ip_address("127.0.0.1"), is_own=True)


def test_name_rule_and_address_rule_together_open_loopback_for_a_name() -> None:
    rules, target = AllowList(["db:1", "127.0.0.1:1"]), HostPort.parse("db:1")
    assert rules.may_reach(target, ip_address("127.0.0.1"), is_own=False)


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(unmapped)


@given(addresses, st.sampled_from(["*:*", "db:*", "*.db:*", "0.0.0.0/0:*", "[::/0]:*"]))
def test_no_wide_rule_ever_opens_a_special_address(
    ip: IPv4Address | IPv6Address, rule: str
) -> None:
    rules = AllowList([rule])
    for target in (HostPort("db", 1), HostPort("a.db", 1), HostPort(str(ip), 1, ip)):
        assert not (is_special(ip) and rules.may_reach(target, ip, is_own=False))


@given(addresses, st.integers(1, 65_535))
def test_exact_rule_opens_exactly_its_address(ip: IPv4Address | IPv6Address, port: int) -> None:
    target = HostPort(str(ip), port, ip)
    rules = AllowList([str(target)])
    assert rules.may_try(target)
    assert not rules.may_try(HostPort(str(ip), port % 65_535 + 1, ip))


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("db", "there is no port"),
        ("db:", "ports are"),
        ("db:0", "from 1 to 65535"),
        ("db:70000", "from 1 to 65535"),
        ("db:90-80", "begins with the lower one"),
        ("db:80,,81", "ports are"),
        ("db:80-", "ports are"),
        ("::1:80", "stands in brackets"),
        ("[::1]", "stands in brackets"),
        ("[db]:80", ""),
        ("10.0.0.1/8:80", "host bits"),
        ("10.0.0.0/99:80", ""),
        ("*db:80", "neither a name nor an address"),
        ("d*b:80", "neither a name nor an address"),
        ("*.10.0.0.1:80", "stands before a name"),
        ("127.1:80", "neither a name nor an address"),
        ("tcp://db:80", "tcp:"),
        (":80", "neither a name nor an address"),
        ("", "there is no port"),
    ],
)
def test_wrong_rule_is_explained(text: str, because: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AllowRule.parse(text, what="--allow")
    assert because in str(caught.value)
    assert str(caught.value).startswith(f"--allow {text!r} is not HOST:PORTS")


@given(st.text(max_size=40))
def test_any_text_is_a_rule_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert str(AllowRule.parse(text)) == text
