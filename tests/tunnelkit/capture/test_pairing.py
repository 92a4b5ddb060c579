"""Two files: which request of the one is which of the other, and what is different."""

from __future__ import annotations

from tests.tunnelkit.capture.hars import entry, har
from tunnelkit.capture.pairing import Pairing, pair_up
from tunnelkit.capture.reading import read_har


def paired(left: list[object], right: list[object]) -> list[Pairing]:
    return pair_up(read_har(har(*left)), read_har(har(*right)))


def told(pairings: list[Pairing]) -> list[tuple[str, list[str]]]:
    return [(p.call.path, [str(one) for one in p.differences]) for p in pairings]


def test_same_file_has_no_differences() -> None:
    entries: list[object] = [entry("http://shop/a"), entry("http://shop/b")]
    assert told(paired(entries, entries)) == [("/a", []), ("/b", [])]


def test_order_does_not_matter_and_hosts_do_not() -> None:
    left: list[object] = [entry("http://shop/a"), entry("http://shop/b")]
    right: list[object] = [entry("http://other/b"), entry("http://other/a")]
    assert told(paired(left, right)) == [("/a", []), ("/b", [])]


def test_request_of_one_file_alone_is_told() -> None:
    found = paired([entry("http://shop/a")], [entry("http://shop/b")])
    assert told(found) == [
        ("/a", ["request: was there, is not there"]),
        ("/b", ["request: was not there, is there"]),
    ]


def test_repeated_requests_are_paired_in_their_order() -> None:
    first, second = entry(), entry(response={"status": 500})
    found = paired([first, second], [first, second, first])
    assert [len(p.differences) for p in found] == [0, 0, 1]


def test_bodies_of_requests_and_answers_are_compared() -> None:
    left = entry(method="POST", request={"postData": {"text": "abc"}})
    right = entry(method="POST", request={"postData": {"text": "ab"}}, response={"status": 404})
    assert told(paired([left], [right])) == [
        ("/", ["body of the request: was 3 bytes, is 2 bytes", "status: was 200, is 404"])
    ]


def test_answer_that_is_missing_is_told() -> None:
    found = paired([entry()], [entry(response={"status": 0})])
    assert told(found) == [("/", ["answer: was there, is not there"])]
