"""Patterns of text that cost no more than the text is long, and can be held beside each other.

The language is the part of regular expressions that is regular: characters, ``.``, classes
(``[a-z]``, ``[^/]``, ``\\d \\w \\s`` and their capitals), groups, ``|``, ``* + ?`` and ``{m,n}``;
``(?i)`` at the beginning ignores case.  A pattern is about a whole text, from its first character
to its last.  There are no back-references and no look-around.

A pattern becomes an automaton (Thompson 1968), whose sets of states are walked as the text is read,
and remembered.  So no text makes a pattern slow, and two patterns can be walked together: `common`
finds the shortest text that all of some patterns take, or that there is none.

Characters are those of ISO 8859-1, which is how the bytes of a header are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tunnelkit.errors import ConfigurationError

__all__ = ["MAX_PATTERN_CHARS", "Pattern", "common", "exact", "prefix", "read_pattern"]

MAX_PATTERN_CHARS: Final = 256
"""Longest pattern, characters.  Stops: patterns that cost much to keep."""

MAX_STATES: Final = 2_000
"""Most states of a pattern's automaton.  Stops: counts within counts."""

MAX_REMEMBERED: Final = 1_000
"""Most sets of states that are remembered.  Stops: texts that make the memory grow."""

MAX_WALK: Final = 1_000
"""Most combinations of states that are looked at for a common text.  Stops: endless searches."""

_ALL: Final = (1 << 256) - 1
_LINE_END: Final = 1 << 10


def _set_of(text: str) -> int:
    return sum(1 << ord(char) for char in set(text))


def _range(first: int, last: int) -> int:
    return (1 << (last + 1)) - (1 << first)


_DIGITS: Final = _range(48, 57)
_WORD: Final = _DIGITS | _range(65, 90) | _range(97, 122) | _set_of("_")
_SPACE: Final = _set_of(" \t\n\r\f\v")
_CLASSES: Final = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACE,
    "D": _ALL ^ _DIGITS,
    "W": _ALL ^ _WORD,
    "S": _ALL ^ _SPACE,
}
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_PREFERRED: Final = [
    *map(ord, "abcdefghijklmnopqrstuvwxyz0123456789-/_.ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    *range(0x21, 0x7F),
    *range(256),
]
"""Characters in the order in which an example is made of them."""


class _Automaton:
    """States with moves; state 0 is where it begins.

    A move is a set of characters and where it leads; an empty set is a move without a character.
    """

    def __init__(self) -> None:
        self.moves: list[list[tuple[int, int]]] = []

    def state(self) -> int:
        if len(self.moves) >= MAX_STATES:
            raise ConfigurationError("the pattern is too large: use smaller counts")
        self.moves.append([])
        return len(self.moves) - 1

    def move(self, start: int, chars: int, end: int) -> None:
        self.moves[start].append((chars, end))

    def closed(self, states: set[int]) -> frozenset[int]:
        """Return *states* and all that can be reached without a character."""
        waiting, found = list(states), set(states)
        while waiting:
            for chars, end in self.moves[waiting.pop()]:
                if not chars and end not in found:
                    found.add(end)
                    waiting.append(end)
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of a pattern: it is written into an automaton between two states."""

    kind: str
    """``chars``, ``then``, ``or``, ``repeat``."""
    chars: int = 0
    parts: tuple[_Node, ...] = ()
    least: int = 1
    most: int | None = 1


class _Reader:
    """Reads a pattern into nodes."""

    def __init__(self, text: str) -> None:
        self._ignores_case = text.startswith("(?i)")
        self._text = text[4:] if self._ignores_case else text
        self._at = 0

    def read(self) -> _Node:
        node = self._either()
        if self._at < len(self._text):
            self._take()
            raise self._wrong("a ) without its (")
        return node

    def _wrong(self, why: str) -> ConfigurationError:
        """Say what is wrong, at the character that was taken last."""
        place = self._at + (4 if self._ignores_case else 0)
        return ConfigurationError(f"no pattern: {why}, at character {max(1, place)}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self._wrong("it ends too early")
        if ord(char) > 255:
            raise self._wrong("a character that no header can hold")
        self._at += 1
        return char

    def _either(self) -> _Node:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._take()
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Node("or", parts=tuple(parts))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._one()))
        return _Node("then", parts=tuple(parts))

    def _repeated(self, node: _Node) -> _Node:
        counts: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        char = self._peek()
        if char in counts and char:
            self._take()
            least, most = counts[char]
        elif char == "{":
            least, most = self._counts()
        else:
            return node
        if self._peek() in ("*", "+", "?", "{") and self._peek():
            raise self._wrong("a repetition of a repetition: put a group around it")
        return _Node("repeat", parts=(node,), least=least, most=most)

    def _counts(self) -> tuple[int, int | None]:
        self._take()
        text = ""
        while (char := self._take()) != "}":
            text += char
        first, comma, last = text.partition(",")
        if not first.isdecimal() or not (last.isdecimal() or not last):
            raise self._wrong("a count is {m}, {m,} or {m,n}")
        least = int(first)
        most = (int(last) if last else None) if comma else least
        if least > MAX_STATES or (most is not None and not least <= most <= MAX_STATES):
            raise self._wrong("a count is too large, or ends before it begins")
        return least, most

    def _one(self) -> _Node:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return self._chars(self._class())
        if char == ".":
            return self._chars(_ALL ^ _LINE_END)
        if char == "\\":
            return self._chars(self._escaped())
        if char in "*+?{}]":
            raise self._wrong(f"{char} with nothing before it: write \\{char}")
        if char in "^$":
            raise self._wrong(f"{char} is not needed, a pattern is about all of a text: \\{char}")
        return self._chars(1 << ord(char))

    def _chars(self, chars: int) -> _Node:
        if self._ignores_case:
            for lower in range(97, 123):
                both = 1 << lower | 1 << (lower - 32)
                chars |= both if chars & both else 0
        return _Node("chars", chars=chars)

    def _group(self) -> _Node:
        if self._peek() == "?":
            self._take()
            if self._take() != ":":
                raise self._wrong("of groups that begin with (? there is only (?:")
        node = self._either()
        if self._peek() != ")":
            raise self._wrong("a ( without its )")
        self._take()
        return node

    def _escaped(self) -> int:
        char = self._take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char in _ESCAPES:
            return 1 << ord(_ESCAPES[char])
        if char.isalnum():
            raise self._wrong(f"\\{char} is not known")
        return 1 << ord(char)

    def _class(self) -> int:
        is_negative = self._peek() == "^"
        if is_negative:
            self._take()
        chars, is_first = 0, True
        while self._peek() != "]" or is_first:
            is_first = False
            chars |= self._class_part()
        self._take()
        return _ALL ^ chars if is_negative else chars

    def _class_part(self) -> int:
        first = self._take()
        if first == "\\":
            chars = self._escaped()
            if chars.bit_count() > 1:
                return chars
            first = chr(chars.bit_length() - 1)
        if self._peek() != "-" or self._text[self._at + 1 : self._at + 2] in ("", "]"):
            return 1 << ord(first)
        self._take()
        last = self._take()
        if last == "\\":
            last = chr(self._escaped().bit_length() - 1)
        if ord(last) < ord(first):
            raise self._wrong("a range of characters ends before it begins")
        return _range(ord(first), ord(last))


class Pattern:
    """A pattern that texts are held against; made by `read_pattern`, `exact` and `prefix`."""

    def __init__(self, text: str, node: _Node) -> None:
        self.text = text
        """As it was written."""
        self._automaton = _Automaton()
        begin, self._end = self._automaton.state(), self._automaton.state()
        self._write(node, begin, self._end)
        self.begin = self._automaton.closed({begin})
        self._remembered: dict[tuple[frozenset[int], int], frozenset[int]] = {}

    def __repr__(self) -> str:
        return f"<Pattern {self.text!r}>"

    def matches(self, text: str) -> bool:
        """Return whether all of *text* is what the pattern says; never if it holds more than
        ISO 8859-1."""
        states = self.begin
        for char in text:
            code = ord(char)
            if code > 255 or not states:
                return False
            states = self.step(states, code)
        return self.is_end(states)

    def is_end(self, states: frozenset[int]) -> bool:
        """Return whether a text may end here."""
        return self._end in states

    def step(self, states: frozenset[int], code: int) -> frozenset[int]:
        """Return where a character leads."""
        found = self._remembered.get((states, code))
        if found is None:
            moves = self._automaton.moves
            reached = {end for state in states for chars, end in moves[state] if chars >> code & 1}
            found = self._automaton.closed(reached)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[states, code] = found
        return found

    def moves_from(self, states: frozenset[int]) -> set[int]:
        """Return the sets of characters that lead on."""
        return {chars for state in states for chars, _ in self._automaton.moves[state] if chars}

    def _write(self, node: _Node, begin: int, end: int) -> None:
        make = self._automaton
        if node.kind == "chars":
            if node.chars:  # an empty class is what nothing is
                make.move(begin, node.chars, end)
        elif node.kind == "or":
            for part in node.parts:
                self._write(part, begin, end)
        elif node.kind == "then":
            self._write_all(node.parts, begin, end)
        else:
            self._write_repeat(node, begin, end)

    def _write_all(self, parts: Sequence[_Node], begin: int, end: int) -> None:
        for part in parts:
            following = self._automaton.state()
            self._write(part, begin, following)
            begin = following
        self._automaton.move(begin, 0, end)

    def _write_repeat(self, node: _Node, begin: int, end: int) -> None:
        make, (part,) = self._automaton, node.parts
        for _ in range(node.least):
            following = make.state()
            self._write(part, begin, following)
            begin = following
        if node.most is None:
            again = make.state()
            make.move(begin, 0, again)
            back = make.state()
            self._write(part, again, back)
            make.move(back, 0, again)
            make.move(again, 0, end)
            return
        for _ in range(node.most - node.least):
            make.move(begin, 0, end)
            following = make.state()
            self._write(part, begin, following)
            begin = following
        make.move(begin, 0, end)


def read_pattern(text: str) -> Pattern:
    """Return the pattern that *text* says.

    Raises:
        ConfigurationError: it is none; says why, and at which character.
    """
    if len(text) > MAX_PATTERN_CHARS:
        raise ConfigurationError(f"a pattern has at most {MAX_PATTERN_CHARS} characters")
    return Pattern(text, _Reader(text).read())


def _literal(text: str) -> list[_Node]:
    if any(ord(char) > 255 for char in text):
        raise ConfigurationError(f"{text[:40]!r} holds a character that no header can hold")
    return [_Node("chars", chars=1 << ord(char)) for char in text]


def exact(text: str) -> Pattern:
    """Return what takes *text* and nothing else.

    Raises:
        ConfigurationError: no header can hold it, or it is too long.
    """
    return Pattern(text, _Node("then", parts=tuple(_literal(text))))


def prefix(text: str) -> Pattern:
    """Return what takes every text that begins with *text*; raises as `exact`."""
    rest = _Node("repeat", parts=(_Node("chars", chars=_ALL),), least=0, most=None)
    return Pattern(text, _Node("then", parts=(*_literal(text), rest)))


class Undecided(Exception):
    """The search was given up: whether there is a common text is not known."""


def common(patterns: Sequence[Pattern]) -> str | None:
    """Return the shortest text that all of *patterns* take; None: there is none.

    Raises:
        Undecided: the patterns are too large to tell.
    """
    begin = tuple(pattern.begin for pattern in patterns)
    waiting, seen = deque([(begin, "")]), {begin}
    while waiting:
        states, text = waiting.popleft()
        if all(map(Pattern.is_end, patterns, states)):
            return text
        for code in _choices(patterns, states):
            following = tuple(
                pattern.step(one, code) for pattern, one in zip(patterns, states, strict=True)
            )
            if all(following) and following not in seen:
                if len(seen) >= MAX_WALK:
                    raise Undecided
                seen.add(following)
                waiting.append((following, text + chr(code)))
    return None


def _choices(patterns: Sequence[Pattern], states: Sequence[frozenset[int]]) -> list[int]:
    """Return characters that lead on, one for each way in which they can differ."""
    allowed, classes = _ALL, [_ALL]
    for pattern, one in zip(patterns, states, strict=True):
        moves = pattern.moves_from(one)
        union = 0
        for chars in moves:
            union |= chars
            classes = [
                part for known in classes for part in (known & chars, known & ~chars) if part
            ]
        allowed &= union
    found = []
    for part in classes:
        if part & allowed:
            found.append(next(code for code in _PREFERRED if (part & allowed) >> code & 1))
    return sorted(found, key=_PREFERRED.index)
