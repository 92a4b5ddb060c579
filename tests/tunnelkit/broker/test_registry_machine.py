"""A registry that anything may happen to, in any order: what it says can always be carried out."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.tunnelkit.broker.facts import Desk, make_attach
from tunnelkit.broker.registry import Registry, Send
from tunnelkit.errors import ErrorCode
from tunnelkit.wire.frames import FrameType, Role

BUDGET = 300_000  # enough for one session, and not for two
GRACE = 10.0
SESSIONS = st.sampled_from([b"s" * 16, b"t" * 16])
SUBJECTS = st.sampled_from(["a", "b", "c"])
PEERS = {"a": ["*"], "b": ["a", "b"], "c": ["b"]}
CODES = st.sampled_from([ErrorCode.PEER_GONE, ErrorCode.SUPERSEDED, ErrorCode.SESSION_CLOSED])


class RegistryMachine(RuleBasedStateMachine):
    """Three subjects, two sessions, many links; `c` and `a` may not meet."""

    @initialize()
    def begin(self) -> None:
        self.desk = Desk(Registry(budget_bytes=BUDGET, grace_seconds=GRACE))
        self.used: list[str] = []
        self.generation = 1

    def draw_link(self, data: st.DataObject) -> str:
        """Draw a link that is up, or, seldom, one that is gone and still says something."""
        if self.desk.up and data.draw(st.integers(0, 5)) > 0:
            return data.draw(st.sampled_from(sorted(map(str, self.desk.up))))
        return data.draw(st.sampled_from(self.used))

    @rule(subject=SUBJECTS, instance=st.sampled_from([b"1", b"2"]))
    def link_up(self, subject: str, instance: bytes) -> None:
        link = f"link-{len(self.used)}"  # a link comes up once
        self.used.append(link)
        self.desk.link(link, subject, instance, peers=PEERS[subject])

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def link_down(self, data: st.DataObject) -> None:
        self.desk.lose(self.draw_link(data))

    @rule(session=SESSIONS, peers=st.sampled_from([("a", "b"), ("b", "c"), ("a", "c")]))
    def both_attach(self, session: bytes, peers: tuple[str, str]) -> None:
        """What honest endpoints do, so that there is something to disturb."""
        a, b = peers
        for role, subject, peer in ((Role.INITIATOR, a, b), (Role.RESPONDER, b, a)):
            if subject not in self.desk.up.values():
                self.link_up(subject, b"1")
            links = {name: link for link, name in self.desk.up.items()}
            self.generation += 1
            attach = make_attach(role, peer, session=session, generation=self.generation)
            self.desk.attach(links[subject], attach)

    @precondition(lambda self: self.used)
    @rule(
        data=st.data(),
        session=SESSIONS,
        role=st.sampled_from(Role),
        peer=SUBJECTS,
        step=st.integers(-2, 2),
        wall=st.sampled_from([1000.0, 1000.0, 1000.0, 3000.0]),
    )
    def attach(
        self, data: st.DataObject, session: bytes, role: Role, peer: str, step: int, wall: float
    ) -> None:
        link = self.draw_link(data)
        self.desk.wall = wall  # the tokens expire between the two
        self.generation = max(1, self.generation + step)
        attach = make_attach(role, peer, session=session, generation=self.generation)
        self.desk.attach(link, attach)
        self.desk.wall = 1000.0

    def draw_leg(self, data: st.DataObject) -> tuple[str, int]:
        """Draw a leg that is joined, or, seldom, any number of any link."""
        if self.desk.joins and data.draw(st.integers(0, 5)) > 0:
            legs = [(str(link), number) for link, number in self.desk.joins]
            return data.draw(st.sampled_from(sorted(legs)))
        return self.draw_link(data), data.draw(st.integers(0, 9))

    @precondition(lambda self: self.used)
    @rule(data=st.data(), code=CODES)
    def detached(self, data: st.DataObject, code: int) -> None:
        self.desk.carry_out(self.desk.registry.detached(*self.draw_leg(data), code, "gone"))

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def overrun(self, data: st.DataObject) -> None:
        self.desk.carry_out(self.desk.registry.overrun(*self.draw_leg(data)))

    @rule(seconds=st.floats(0, 12))
    def expire(self, seconds: float) -> None:
        self.desk.now += seconds
        actions = self.desk.carry_out(self.desk.registry.expire(self.desk.now))
        assert all(not isinstance(a, Send) or a.kind is FrameType.DETACHED for a in actions)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "desk"):
            self.desk.check(BUDGET)

    @invariant()
    def nobody_meets_whom_it_may_not(self) -> None:
        if hasattr(self, "desk"):
            for (link, _), (twin, _) in self.desk.joins.items():
                assert {self.desk.up[link], self.desk.up[twin]} not in ({"a", "c"}, {"c"})

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            for link in list(self.desk.up):
                self.desk.lose(link)
            registry = self.desk.registry
            assert (registry.session_count, registry.free_bytes) == (0, BUDGET)
            tables = ("_peers", "_places", "_callers", "_sessions")
            assert not any(vars(registry)[name] for name in tables)


TestRegistryMachine = RegistryMachine.TestCase
