"""What the admin socket of a sidecar offers: status, and intercepts on and off."""

from __future__ import annotations

import time
from dataclasses import asdict

from tunnelkit.addresses import parse_address
from tunnelkit.admin import Method
from tunnelkit.errors import ConfigurationError
from tunnelkit.outgoing.describe import outgoing_status
from tunnelkit.recording import capture_methods
from tunnelkit.status import endpoint_methods, endpoint_status

from . import (
    Audit,
    Branch,
    Choice,
    Developer,
    Intercept,
    Local,
    Port,
    RequestFacts,
    Rule,
    Sidecar,
    read_conditions,
)
from .requests import octets_of, refusal_of
from .ruleset import Target

__all__ = ["intercept_status", "port_status", "sidecar_methods"]


def intercept_status(intercept: Intercept | None) -> dict[str, object] | None:
    """Describe an intercept, or None."""
    if intercept is None:
        return None
    return {
        "peer": intercept.peer,
        "target": intercept.target,
        "fail_open": intercept.fail_open,
    }


def port_status(port: Port) -> dict[str, object]:
    """Describe a port: where it is, what is open, which way connections went."""
    return {
        "name": port.name,
        "listen": port.listener.address.host_port if port.listener is not None else "",
        "target": port.target.host_port,
        "open": port.open_count,
        "counts": dict(port.counts),
        "intercept": intercept_status(port.intercept),
        "speaks": port.speaks.value,
        "rules": len(port.rules),
        "last_reason": port.last_reason,
    }


def audit_status(audit: Audit | None) -> dict[str, object] | None:
    """Describe what of requests is passed on, or None: nobody looks."""
    if audit is None:
        return None
    return {
        "environment_key": audit.environment_key,
        "arrived": [
            {"port": port, "carried": carried, "requests": count}
            for (port, carried), count in sorted(audit.arrived.items())
        ],
        "left": [
            {"port": port, "what": what, "fate": fate.value, "requests": count}
            for (port, what, fate), count in sorted(
                audit.left.items(), key=lambda one: (one[0][0], one[0][1], one[0][2].value)
            )
        ],
        "findings": list(map(str, audit.findings())),
    }


def rule_status(rule: Rule, now: float) -> dict[str, object]:
    """Describe a rule."""
    return {
        "name": rule.name,
        "target": str(rule.target),
        "when": list(map(str, rule.conditions)),
        "tier": rule.tier.name.lower(),
        "owner": rule.owner,
        "fail_open": rule.fail_open,
        "seconds_left": None if rule.expires_at is None else max(0.0, rule.expires_at - now),
    }


def explanation(choice: Choice) -> dict[str, object]:
    """Describe where a request goes, and why."""
    rule = choice.rule
    return {
        "target": str(choice.target),
        "rule": rule.name if rule is not None else None,
        "owner": rule.owner if rule is not None else None,
        "why": choice.why,
        "near": [
            {"rule": near.rule.name, "owner": near.rule.owner, "why": near.why}
            for near in choice.near
        ],
    }


def traced(sidecar: Sidecar, port: str, trace: str) -> list[dict[str, object]]:
    """Describe where the requests of a trace went, as far as they are remembered."""
    return [asdict(one) for one in sidecar.decisions_of(port) if one.trace == trace.lower()]


def read_target(text: str, port: str) -> Target:
    """Read ``local``, ``tcp://HOST:PORT`` or ``SUBJECT[:TARGET]``.

    Raises:
        ConfigurationError: it is none of these.
    """
    if text == "local":
        return Local()
    if "://" in text:
        address = parse_address(text)
        if address.scheme != "tcp":
            raise ConfigurationError(f"{text!r} is no service: write tcp://HOST:PORT")
        return Branch(address.host, address.port)
    peer, _, target = text.partition(":")
    if not peer:
        raise ConfigurationError("a target is local, tcp://HOST:PORT or SUBJECT[:TARGET]")
    return Developer(peer, target or port)


def sidecar_methods(sidecar: Sidecar) -> dict[str, Method]:
    """Return the methods of a sidecar's admin socket."""

    async def status() -> dict[str, object]:
        return {
            "program": "sidecar_proxy",
            **endpoint_status(sidecar.endpoint),
            "ports": [port_status(port) for port in sidecar.ports.values()],
            "audit": audit_status(sidecar.audit),
            **outgoing_status(sidecar.outgoing),
        }

    return {
        **endpoint_methods("sidecar_proxy", sidecar.endpoint),
        **capture_methods(lambda: sidecar.ports),
        "status": status,
        **_intercept_methods(sidecar),
        **_rule_methods(sidecar),
        "explain": _explain_method(sidecar),
    }


def _intercept_methods(sidecar: Sidecar) -> dict[str, Method]:
    async def list_intercepts() -> list[dict[str, object]]:
        return [port_status(port) for port in sidecar.ports.values()]

    async def set_intercept(
        port: str, peer: str, target: str = "", fail_open: bool = True
    ) -> dict[str, object]:
        sidecar.set_intercept(port, Intercept(peer, target or port, fail_open))
        return port_status(sidecar.ports[port])

    async def clear_intercept(port: str) -> dict[str, object]:
        sidecar.clear_intercept(port)
        return port_status(sidecar.ports[port])

    return {
        "intercept.list": list_intercepts,
        "intercept.set": set_intercept,
        "intercept.clear": clear_intercept,
    }


def _rule_methods(sidecar: Sidecar) -> dict[str, Method]:
    async def set_rule(
        port: str,
        name: str,
        target: str,
        when: list[str],
        fail_open: bool = True,
        seconds: float | None = None,
        force: bool = False,
    ) -> dict[str, object]:
        now = time.time()
        rule = Rule(
            name,
            read_target(target, port),
            read_conditions(when),
            owner=target,
            fail_open=fail_open,
            created_at=now,
            expires_at=None if seconds is None else now + seconds,
        )
        overlaps = await sidecar.add_rule(port, rule, is_forced=force)
        return {**rule_status(rule, now), "overlaps": list(map(str, overlaps))}

    async def clear_rule(port: str, name: str) -> dict[str, object]:
        return rule_status(sidecar.remove_rule(port, name), time.time())

    async def list_rules(port: str) -> list[dict[str, object]]:
        now = time.time()
        return [rule_status(rule, now) for rule in sidecar.rules_of(port)]

    return {"rule.set": set_rule, "rule.clear": clear_rule, "rule.list": list_rules}


def _explain_method(sidecar: Sidecar) -> Method:
    async def explain(
        port: str,
        method: str = "GET",
        path: str = "/",
        headers: dict[str, str] | None = None,
        trace: str = "",
    ) -> dict[str, object]:
        if trace:
            return {"port": port, "requests": traced(sidecar, port, trace)}
        pairs = (headers or {}).items()
        fields = [(octets_of(name), octets_of(value)) for name, value in pairs]
        facts = RequestFacts(method, path, tuple(fields))
        choice = sidecar.explain(port, facts)
        refused = refusal_of(facts) if sidecar.ports[port].reads_requests else None
        if refused is not None:
            why = f"it is answered with {refused.status} before any rule is asked: {refused}"
            return {"port": port, **explanation(Choice(None, why)), "target": "nobody"}
        found = {"port": port, **explanation(choice)}
        if sidecar.audit is None:
            return found
        who = f"the workload behind {sidecar.endpoint.subject}"
        return {**found, "dropped": [f"{who}: {one}" for one in sidecar.audit.findings()]}

    return explain
