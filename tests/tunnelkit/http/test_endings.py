"""Answers of HTTP/1 that end at awkward moments: they arrive whole, and only once."""

from __future__ import annotations

from tests.tunnelkit.http.test_proxy import GET, OK, World

LAST = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SIZE = 50_000
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE)


def test_client_that_reads_slowly_has_all_the_time() -> None:
    world = World()
    world.client.push(LAST)
    world.client.room = 1000
    world.servers[b"a"].push(LARGE)
    assert world.timers == []
    world.client.room = SIZE
    world.proxy.resume()
    assert len(world.client.got) == len(LARGE)
    assert (world.client.ended, len(world.timers)) == ("finished", 1)


def test_answer_before_the_request_has_ended_outlives_its_server() -> None:
    world = World()
    world.client.push(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    world.servers[b"a"].push(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno")
    assert world.servers[b"a"].into is not None
    world.servers[b"a"].into.finish()
    assert world.client.got.endswith(b"\r\n\r\nno")
    assert world.client.ended == "finished"


def test_second_answer_to_one_request_answers_no_other() -> None:
    world = World()
    world.client.push(GET % b"a" + GET % b"a")
    world.servers[b"a"].push(OK + b"hi" + OK + b"no")
    assert world.client.got == OK + b"hi"
    assert world.client.ended == "finished"
