"""Any bytes, before, between and after good frames, meet nothing but the pipe's own error."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tunnelkit.carriers_websocket.ends import KEY, End, frame, meet_stranger, ping, settle
from tests.tunnelkit.carriers_websocket.test_upgrade import REQUEST, Stage
from tests.tunnelkit.strangers import quiet_pump
from tunnelkit.pump import acquire_pump, release_pump
from tunnelkit.wire.websocket import CloseCode, encode_close

own_words = st.lists(st.binary(max_size=60), max_size=6)
good = st.builds(lambda data: frame(data, masked=True), st.binary(max_size=200))
pings = st.builds(lambda data: ping(data, masked=True), st.binary(max_size=125))
closes = st.just(encode_close(CloseCode.NORMAL, "", KEY))
hostile = st.lists(st.one_of(good, pings, closes, st.binary(max_size=20)), max_size=12)


@given(hostile, own_words, st.integers(8, 300), st.booleans())
@settings(deadline=None)
async def test_no_bytes_make_it_raise_anything_else(
    parts: list[bytes], own: list[bytes], capacity: int, reads: bool
) -> None:
    pump = acquire_pump()
    with quiet_pump():
        stranger, pipe = meet_stranger(pump, is_server=True, capacity=capacity, reads=reads)
        user = End(pipe)
        stranger.send(b"".join(parts))
        for chunk in own:
            user.send(chunk)
        await settle()
        stranger.pipe.close()
        await settle()
        assert user.ending
        pipe.close()
    await release_pump(pump)


@given(st.integers(0, len(REQUEST)), st.binary(max_size=30), st.integers(0, len(REQUEST)))
@settings(deadline=None)
async def test_no_request_makes_it_raise(keep: int, junk: bytes, skip: int) -> None:
    pump = acquire_pump()
    with quiet_pump():
        stage = Stage(pump)
        listener = await stage.listen()
        end = await stage.say(REQUEST[:keep] + junk + REQUEST[skip:])
        end.pipe.close()
        await settle()
        listener.close()
        for pipe in stage.accepted:
            pipe.close()
    await release_pump(pump)
