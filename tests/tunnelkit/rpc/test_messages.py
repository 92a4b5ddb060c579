"""JSON-RPC messages: the specification's own examples, and hostile bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from tunnelkit.rpc.codes import RpcCode, name_of_code
from tunnelkit.rpc.messages import (
    MAX_BATCH,
    Extras,
    Fault,
    Message,
    Reply,
    Request,
    encode_error,
    encode_request,
    encode_result,
    parse,
)


def one(data: bytes | str) -> Message:
    """Return the message that is alone in *data*."""
    (message,), is_batch = parse(data.encode() if isinstance(data, str) else data)
    assert not is_batch
    return message


def code_of(data: str) -> int:
    message = one(data)
    assert isinstance(message, Fault)
    return message.code


# The examples of the specification, §7, as far as they are about the form.
PARSE, INVALID = RpcCode.PARSE_ERROR, RpcCode.INVALID_REQUEST


def test_call_with_positional_parameters() -> None:
    call = one('{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}')
    assert call == Request("subtract", Raw(b"[42, 23]"), 1)


def test_call_with_named_parameters() -> None:
    call = one('{"jsonrpc": "2.0", "method": "s", "params": {"a": 1}, "id": "x"}')
    assert call == Request("s", Raw(b'{"a": 1}'), "x")


def test_notification_has_no_id() -> None:
    assert one('{"jsonrpc": "2.0", "method": "foobar"}') == Request(
        "foobar", Raw(b"{}"), is_notification=True
    )


def test_id_of_null_is_a_call() -> None:
    call = one('{"jsonrpc": "2.0", "method": "a", "id": null}')
    assert isinstance(call, Request)
    assert not call.is_notification


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', PARSE),
        ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
        ('[{"jsonrpc": "2.0", "method": "sum", "params": [1], "id": "1"},{"jsonrpc"', PARSE),
        ("[]", INVALID),
        ("1", INVALID),
        ('"text"', INVALID),
        ("", PARSE),
        ("{}", INVALID),
        ('{"jsonrpc": "1.0", "method": "a", "id": 1}', INVALID),
        ('{"method": "a", "id": 1}', INVALID),
        ('{"jsonrpc": "2.0", "method": "a", "params": 5, "id": 1}', INVALID),
        ('{"jsonrpc": "2.0", "method": "a", "params": "b", "id": 1}', INVALID),
        ('{"jsonrpc": "2.0", "method": "a", "id": [1]}', INVALID),
        ('{"jsonrpc": "2.0", "method": "a", "id": true}', INVALID),
        ('{"jsonrpc": "2.0", "method": "a", "id": 1, "result": 2}', INVALID),
        ('{"jsonrpc": "2.0", "id": 1}', INVALID),
        ('{"jsonrpc": "2.0", "id": 1, "result": 1, "error": {"code": 1, "message": ""}}', INVALID),
        ('{"jsonrpc": "2.0", "id": 1, "error": {"code": "x", "message": ""}}', INVALID),
        ('{"jsonrpc": "2.0", "result": 1}', INVALID),
        ('{"jsonrpc": "2.0", "method": "' + "m" * 300 + '", "id": 1}', INVALID),
        ('{"jsonrpc": "2.0", "method": "a", "id": "' + "i" * 300 + '"}', INVALID),
        ("[" * 100_000, PARSE),
        ('{"jsonrpc":"2.0","method":"a","id":1,"params":' + "[" * 100_000, PARSE),
    ],
)
def test_what_is_no_message_gets_the_code_of_the_specification(data: str, code: int) -> None:
    assert code_of(data) == code


def test_fault_names_the_place_and_the_id() -> None:
    fault = one('{"jsonrpc": "2.0", "method": 5, "id": 7}')
    assert isinstance(fault, Fault)
    assert (fault.id, "$.method" in fault.text) == (7, True)


@pytest.mark.parametrize("member", ["epoch", "timeout", "items", "values", "binary", "stream"])
def test_extension_of_a_wrong_type_refuses_the_request(member: str) -> None:
    fault = one(json.dumps({"jsonrpc": "2.0", "method": "a", "id": 7, "tk": {member: "x"}}))
    assert isinstance(fault, Fault)
    assert (fault.code, fault.id, fault.is_reply) == (INVALID, 7, False)
    assert f"$.tk.{member}" in fault.text


@pytest.mark.parametrize("tk", ["x", 5, {"epoch": "x"}, {"epoch": 1.5}])
def test_extension_of_a_wrong_type_is_left_out_of_a_reply(tk: object) -> None:
    reply = one(json.dumps({"jsonrpc": "2.0", "id": 7, "result": 2**90, "tk": tk}))
    assert reply == Reply(7, result=Raw(b"%d" % 2**90))


@pytest.mark.parametrize(
    "data",
    [
        '{"jsonrpc": "2.0", "id": 3, "error": {"code": "x", "message": ""}}',
        '{"jsonrpc": "2.0", "id": 3, "result": 1, "error": {"code": 1, "message": ""}}',
        '{"jsonrpc": "1.0", "id": 3, "result": 1}',
        '{"id": 3, "result": 1}',
        '{"jsonrpc": "2.0", "id": 3, "error": 5}',
        '{"jsonrpc": "2.0", "id": 3, "error": 5, "tk": 5}',
    ],
)
def test_wrong_answer_is_told_from_a_wrong_call(data: str) -> None:
    fault = one(data)
    assert isinstance(fault, Fault)
    assert (fault.is_reply, fault.id) == (True, 3)


def test_what_is_neither_call_nor_answer_has_no_id() -> None:
    assert one('{"jsonrpc": "2.0", "id": 3}') == Fault(
        INVALID, 'a message has "method", or "id" and either "result" or "error"'
    )


def test_batch_of_good_and_bad() -> None:
    data = b'[1, {"jsonrpc": "2.0", "method": "a"}, {"foo": "boo"}]'
    messages, is_batch = parse(data)
    assert is_batch
    assert [type(message).__name__ for message in messages] == ["Fault", "Request", "Fault"]


def test_batch_is_bounded() -> None:
    data = json.dumps([{"jsonrpc": "2.0", "method": "a"}] * (MAX_BATCH + 1))
    assert code_of(data) == INVALID


def test_unknown_members_are_ignored() -> None:
    call = one('{"jsonrpc": "2.0", "method": "a", "id": 1, "x": 5, "tk": {"y": [1], "epoch": 3}}')
    assert isinstance(call, Request)
    assert call.extras == Extras(epoch=3)


@given(st.binary(max_size=300))
def test_garbage_is_one_fault_and_never_raises(data: bytes) -> None:
    messages, _ = parse(data)
    assert all(isinstance(message, Fault) for message in messages)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
IDS = st.text(max_size=20) | st.integers(-(2**53), 2**53) | st.none()


@given(JSON)
def test_any_json_is_answered_or_taken(value: object) -> None:
    messages, _ = parse(json.dumps(value).encode())
    assert messages


@given(IDS, st.dictionaries(st.text(max_size=9), JSON, max_size=4))
def test_call_comes_back_as_it_was(request_id: str | int | None, params: dict[str, object]) -> None:
    call = one(encode_request("x.y", params, request_id, Extras(epoch=4, timeout=1.5)))
    assert isinstance(call, Request)
    assert (call.method, call.id, json.loads(bytes(call.params))) == ("x.y", request_id, params)
    assert call.extras == Extras(epoch=4, timeout=1.5)


@given(IDS, JSON)
def test_result_comes_back_as_it_was(request_id: str | int | None, result: object) -> None:
    reply = one(encode_result(request_id, result))
    assert isinstance(reply, Reply)
    assert reply.result is not None
    assert (reply.id, reply.code, json.loads(bytes(reply.result))) == (request_id, 0, result)


def test_error_names_its_code() -> None:
    data = encode_error(5, RpcCode.STALE_EPOCH, "the state has changed", {"epoch": 9})
    assert json.loads(data) == {
        "jsonrpc": "2.0",
        "id": 5,
        "error": {
            "code": -32002,
            "message": "the state has changed",
            "data": {"epoch": 9, "code": "STALE_EPOCH"},
        },
    }


def test_notification_is_written_without_an_id() -> None:
    assert json.loads(encode_request("a", {}, UNSET)) == {
        "jsonrpc": "2.0",
        "method": "a",
        "params": {},
    }


def test_code_that_is_not_ours_has_a_name_too() -> None:
    assert [name_of_code(code) for code in (-32601, 7, -5)] == [
        "METHOD_NOT_FOUND",
        "CODE_7",
        "CODE_MINUS_5",
    ]
