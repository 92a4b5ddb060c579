"""What the tests of the registry feed it with, and a model of what the broker then does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tunnelkit.auth import Capability
from tunnelkit.broker.registry import (
    Action,
    Attach,
    Close,
    Join,
    Limit,
    LinkKey,
    Registry,
    Send,
    Unjoin,
)
from tunnelkit.wire.frames import FrameType, ProofKind, Role

__all__ = ["Desk", "capability", "make_attach", "sent"]

EXPIRES_AT = 2000
"""When the tokens of these tests expire, in unix seconds."""


def capability(
    subject: str,
    *,
    peers: Iterable[str] = ("*",),
    expires_at: int = EXPIRES_AT,
    is_caller: bool = False,
) -> Capability:
    """Return what a token of *subject* would grant."""
    return Capability(
        subject=subject,
        holder=bytes(32),
        expires_at=expires_at,
        not_before=0,
        peers=tuple(peers),
        targets=("*",),
        environment="",
        token_id="t",
        issuer_key_id="k",
        is_caller=is_caller,
    )


def make_attach(
    role: Role,
    peer: str,
    *,
    session: bytes = b"s" * 16,
    generation: int = 1,
    received: int = 0,
) -> Attach:
    """Return an attach as an endpoint sends it."""
    return Attach(session, generation, received, role, peer, ProofKind.SIGNATURE, b"proof")


def sent(actions: Iterable[Action], kind: FrameType) -> list[Send]:
    """Return the frames of one kind among *actions*."""
    return [action for action in actions if isinstance(action, Send) and action.kind is kind]


@dataclass
class Desk:
    """A registry, and what a broker has when it carries out what the registry says."""

    registry: Registry = field(default_factory=Registry)
    up: dict[LinkKey, str] = field(default_factory=dict)
    joins: dict[tuple[LinkKey, int], tuple[LinkKey, int]] = field(default_factory=dict)
    caps: dict[tuple[LinkKey, int], int] = field(default_factory=dict)
    attached: set[tuple[LinkKey, int]] = field(default_factory=set)
    now: float = 0.0
    wall: float = 1000.0
    numbers: dict[LinkKey, int] = field(default_factory=dict)

    def link(
        self, link: LinkKey, subject: str, instance: bytes = b"1", peers: Iterable[str] = ("*",)
    ) -> list[Action]:
        """A link comes up."""
        return self._up(link, capability(subject, peers=peers), instance)

    def caller(self, link: LinkKey, subject: str, instance: bytes = b"1") -> list[Action]:
        """A link of a caller comes up."""
        return self._up(link, capability(subject, is_caller=True), instance)

    def _up(self, link: LinkKey, claims: Capability, instance: bytes) -> list[Action]:
        actions = self.registry.link_up(link, claims, instance)
        self.up[link] = claims.subject
        return self.carry_out(actions)

    def lose(self, link: LinkKey) -> list[Action]:
        """A link is lost."""
        self.up.pop(link, None)
        return self.carry_out(self.registry.link_down(link))

    def attach(self, link: LinkKey, attach: Attach) -> list[Action]:
        """An attach arrives, with the next number of its link."""
        number = self.numbers[link] = self.numbers.get(link, -1) + 2
        return self.carry_out(
            self.registry.attach(link, number, attach, now=self.now, wall=self.wall)
        )

    def pair(self) -> None:
        """Join `a` (the initiator, on link A) and `b` (on link B), each with number 1."""
        self.link("A", "a")
        self.link("B", "b")
        self.attach("A", make_attach(Role.INITIATOR, "b"))
        self.attach("B", make_attach(Role.RESPONDER, "a"))

    def carry_out(self, actions: list[Action]) -> list[Action]:
        """Do what a broker does, and check that it can be done."""
        for action in actions:
            match action:
                case Join(left, right, cap):
                    self._join(left, right, cap)
                case Limit(left, right, cap):
                    assert self.joins[left] == right
                    assert self.caps[left] > cap
                    self.caps[left] = self.caps[right] = cap
                case Unjoin(leg):
                    self._unjoin(leg)
                case Close(link):
                    assert self.up.pop(link, None) is not None
                case Send():
                    self._send(action)
        return actions

    def _join(self, left: tuple[LinkKey, int], right: tuple[LinkKey, int], cap: int) -> None:
        for leg, twin in ((left, right), (right, left)):
            assert leg[0] in self.up
            assert leg not in self.joins
            self.joins[leg], self.caps[leg] = twin, cap

    def _unjoin(self, leg: tuple[LinkKey, int]) -> None:
        self.joins.pop(leg, None)
        self.caps.pop(leg, None)
        self.attached.discard(leg)

    def _send(self, action: Send) -> None:
        assert action.link in self.up, f"{action.kind.name} to a link that is not up"
        leg = (action.link, action.session)
        if action.kind is FrameType.ATTACHED:
            assert leg in self.joins
            self.attached.add(leg)
        if action.kind is FrameType.DETACHED:
            assert leg not in self.joins, "detached before it was taken apart"

    @property
    def joined_bytes(self) -> int:
        """The sum of the caps of what is joined."""
        return sum(self.caps.values()) // 2

    def check(self, budget: int) -> None:
        """Assert what always holds."""
        for leg, twin in self.joins.items():
            assert self.joins[twin] == leg
            assert leg[0] in self.up
            assert twin[0] in self.up
        assert self.attached == set(self.joins)
        assert len(self.joins) == 2 * self.registry.joined_count
        assert self.registry.free_bytes == budget - self.joined_bytes
