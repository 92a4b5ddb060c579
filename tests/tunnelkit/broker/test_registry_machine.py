"""A registry that anything may happen to, in any order: what it says can always be carried out."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.tunnelkit.broker.facts import Desk, make_attach, sent
from tunnelkit import limits
from tunnelkit.broker.registry import Registry, Send
from tunnelkit.errors import ErrorCode
from tunnelkit.wire.frames import FrameType, Role

BUDGET = 3 * limits.MIB
GRACE = 10.0
LINKS = st.sampled_from([f"link-{number}" for number in range(5)])
SUBJECTS = st.sampled_from(["a", "b", "c"])
PEERS = {"a": ["*"], "b": ["a", "b"], "c": ["b"]}
CODES = st.sampled_from([ErrorCode.PEER_GONE, ErrorCode.SUPERSEDED, ErrorCode.SESSION_CLOSED])


class RegistryMachine(RuleBasedStateMachine):
    """Three subjects, two sessions, five links; `c` and `a` may not meet."""

    @initialize()
    def begin(self) -> None:
        self.desk = Desk(Registry(budget_bytes=BUDGET, grace_seconds=GRACE))
        self.used: set[str] = set()

    def known(self) -> list[str]:
        """Links that ever were up; also those that are gone may still say something."""
        return sorted(self.used)

    @rule(link=LINKS, subject=SUBJECTS, instance=st.sampled_from([b"1", b"2"]))
    def link_up(self, link: str, subject: str, instance: bytes) -> None:
        name = f"{link}/{len(self.used)}"  # a link comes up once
        self.used.add(name)
        self.desk.link(name, subject, instance, peers=PEERS[subject])

    @rule(data=st.data())
    def link_down(self, data: st.DataObject) -> None:
        if self.used:
            self.desk.lose(data.draw(st.sampled_from(self.known())))

    @rule(
        data=st.data(),
        session=st.sampled_from([b"s" * 16, b"t" * 16]),
        role=st.sampled_from(Role),
        peer=SUBJECTS,
        generation=st.integers(1, 6),
        is_expired=st.sampled_from([False, False, False, True]),
    )
    def attach(
        self,
        data: st.DataObject,
        session: bytes,
        role: Role,
        peer: str,
        generation: int,
        is_expired: bool,
    ) -> None:
        if not self.used:
            return
        link = data.draw(st.sampled_from(self.known()))
        self.desk.wall = 3000.0 if is_expired else 1000.0
        attach = make_attach(role, peer, session=session, generation=generation)
        actions = self.desk.attach(link, attach)
        answered = [send for send in sent(actions, FrameType.DETACHED) if send.link == link]
        assert len(answered) <= 2  # its own answer, and that for what it replaces

    @rule(data=st.data(), number=st.integers(0, 9), code=CODES)
    def detached(self, data: st.DataObject, number: int, code: int) -> None:
        if self.used:
            link = data.draw(st.sampled_from(self.known()))
            self.desk.carry_out(self.desk.registry.detached(link, number, code, "gone"))

    @rule(data=st.data(), number=st.integers(0, 9))
    def overrun(self, data: st.DataObject, number: int) -> None:
        if self.used:
            link = data.draw(st.sampled_from(self.known()))
            self.desk.carry_out(self.desk.registry.overrun(link, number))

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
            assert not any(vars(registry)[name] for name in ("_peers", "_by_subject", "_sessions"))


TestRegistryMachine = RegistryMachine.TestCase
