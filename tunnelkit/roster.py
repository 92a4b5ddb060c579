"""Which links there are, who can be reached over which, and which to take (no I/O).

A direct link leads to its peer; a link to a broker leads to whom the broker reports.  Links are
kept in the order of the addresses that were to be dialled, accepted ones last; a session goes to
a direct one, or else to the first one, in good health, over which its peer is present.
"""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

from .addresses import Address
from .liveness import Health
from .wire.states import LinkState

__all__ = ["Roster", "RosterLink"]

INSTANCES_REMEMBERED: Final = 4
"""How many processes of one subject are known, so that a late word of an old one is no news."""


class RosterLink(Protocol):
    """What the roster looks at."""

    @property
    def state(self) -> LinkState: ...

    @property
    def health(self) -> Health: ...


L = TypeVar("L", bound=RosterLink)


class Roster(Generic[L]):
    """The links of an endpoint that are up, and what they lead to."""

    def __init__(self) -> None:
        self.links: list[L] = []
        self._order: list[Address] = []
        self._addresses: dict[L, Address] = {}
        self._present: dict[L, dict[str, bytes]] = {}
        self._direct: set[L] = set()
        self._leads_to: dict[Address, bytes] = {}
        self._instances: dict[str, list[bytes]] = {}

    # --- links ------------------------------------------------------------------------------

    def prefer(self, address: Address) -> None:
        """Links to *address* come behind those to addresses that were named before."""
        self._order.append(address)

    def begin(self, link: L, address: Address) -> None:
        """*link* is being made to *address*."""
        self._addresses[link] = address

    def add(self, link: L, instance: bytes, *, is_direct: bool = False) -> Address | None:
        """*link* is up, to a process of this *instance*; return the address it was dialled at.

        Args:
            is_direct: whether that process is a peer, and no broker.
        """
        self._present[link] = {}
        if is_direct:
            self._direct.add(link)
        self.links.append(link)
        self.links.sort(key=self._rank)
        address = self._addresses.get(link)
        if address is not None:
            self._leads_to[address] = instance
        return address

    def dialled(self, address: Address) -> list[L]:
        """Return the links to *address*, those that are being made too."""
        return [link for link, dialled in self._addresses.items() if dialled == address]

    @property
    def order(self) -> list[Address]:
        """The addresses that were to be dialled, the preferred ones first."""
        return list(self._order)

    def is_preferred(self, address: Address) -> bool:
        """Say whether *address* is one of those that were to be dialled."""
        return address in self._order

    def is_direct(self, link: L) -> bool:
        """Say whether *link* leads to a peer itself."""
        return link in self._direct

    def address_of(self, link: L) -> Address | None:
        """Return where *link* was dialled; None for one that was accepted."""
        return self._addresses.get(link)

    def remove(self, link: L) -> None:
        """*link* is gone, or never came up."""
        if link in self.links:
            self.links.remove(link)
        self._present.pop(link, None)
        self._direct.discard(link)
        self._addresses.pop(link, None)

    def twin(self, address: Address, instances: dict[L, bytes]) -> L | None:
        """Return a link to the process at *address* that was dialled at another address.

        A peer keeps only the newest link of an instance: two would replace each other for ever.
        """
        instance = self._leads_to.get(address)
        for link in self.links:
            if instances[link] == instance and self._addresses.get(link, address) != address:
                return link
        return None

    def _rank(self, link: L) -> int:
        address = self._addresses.get(link)
        return self._order.index(address) if address in self._order else len(self._order)

    # --- peers ------------------------------------------------------------------------------

    def arrived(self, link: L, subject: str, instance: bytes) -> bool:
        """*subject* can be reached over *link*; return whether this is a new process of it.

        An instance that was seen before is no news: a broker may be late to notice its end.
        """
        self._present.setdefault(link, {})[subject] = instance
        seen = self._instances.setdefault(subject, [])
        if instance in seen:
            return False
        self._instances[subject] = [*seen[1 - INSTANCES_REMEMBERED :], instance]
        return True

    def left(self, link: L, subject: str, instance: bytes) -> None:
        """This process of *subject* cannot be reached over *link* any more."""
        present = self._present.get(link, {})
        if present.get(subject) == instance:  # a late word of an old instance says nothing
            del present[subject]

    def peers(self) -> set[str]:
        """Return the subjects that can be reached now."""
        return {subject for present in self._present.values() for subject in present}

    def present(self, link: L) -> dict[str, bytes]:
        """Return who can be reached over *link*, each with the instance of its process."""
        return dict(self._present.get(link, {}))

    def instance_of(self, link: L, subject: str) -> bytes | None:
        """Return which process of *subject* is at the end of *link*."""
        return self._present.get(link, {}).get(subject)

    # --- the choice -------------------------------------------------------------------------

    def choose(
        self,
        peer: str,
        current: L | None,
        *,
        is_attached: bool,
        is_pinned: bool = False,
        avoid: frozenset[L] = frozenset(),
    ) -> L | None:
        """Return the link that a session should be on; its own if that is good enough.

        A direct link is better than a broker; of two brokers none is better than the other.

        Args:
            peer: the subject that it is with.
            current: the link that it is on or moves to, attached or attaching.
            is_attached: whether it is joined with its peer.
            is_pinned: whether somebody put it there by hand.
            avoid: links over which it was turned away; taken only if there is no other.
        """
        fit = [link for link in self.links if peer in self._present[link]]
        good = [link for link in fit if _is_good(link)]
        fresh = [link for link in good if link not in avoid]
        direct = [link for link in fresh if link in self._direct]
        # To wait for a peer that has left this broker is good only while nothing is better.
        if current is not None and (is_attached or current in fit) and _is_good(current):
            is_best = is_pinned or current in self._direct or not direct
            return current if is_best else direct[0]
        if fresh:
            return (direct or fresh)[0]
        if good:
            return good[0]
        if current is not None:
            return current
        return next((link for link in fit if link.state is LinkState.UP), None)


def _is_good(link: RosterLink) -> bool:
    return link.state is LinkState.UP and link.health is Health.UP
