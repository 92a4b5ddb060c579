"""`python -m tunnelkit.auth revoke`, and `inspect` of a list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tunnelkit.auth.test_main import failure, run
from tests.tunnelkit.auth.test_rotate_command import folder, kid_of, rotate
from tunnelkit.auth import RevocationList, read_unverified
from tunnelkit.auth.__main__ import main

__all__ = ["folder"]


def revoke(folder: Path, *more: str) -> list[str]:
    file, key = str(folder / "list"), str(folder / "issuer.pem")
    return ["revoke", "--list", file, "--signing-key", key, *more]


def listed(folder: Path) -> RevocationList:
    return RevocationList.read_unverified((folder / "list").read_text().strip())


def test_each_kind_of_entry(folder: Path) -> None:
    laptop, other = folder / "laptop.pem", "A" * 43
    more = ["--token", str(folder / "laptop.token"), "--token-id", "t", "--holder", str(laptop)]
    more += ["--issuer", other, "--subject", "devbox/bob", "--issued-before", "1234"]
    assert main(revoke(folder, *more)) == 0
    found = listed(folder).revoked
    token = read_unverified((folder / "laptop.token").read_text().strip())
    assert set(found.tokens) == {token.token_id, "t"}
    assert set(found.holders) == {kid_of(laptop)}
    assert set(found.issuers) == {other}
    assert found.subjects == {"devbox/bob": 1234}


@pytest.mark.parametrize("name", ["laptop.pem", "laptop.pem.pub.json"])
def test_a_holder_is_named_by_either_file(folder: Path, name: str) -> None:
    assert main(revoke(folder, "--holder", str(folder / name))) == 0
    assert set(listed(folder).revoked.holders) == {kid_of(folder / "laptop.pem")}


def test_a_subject_is_revoked_as_of_now(folder: Path) -> None:
    assert main(revoke(folder, "--subject", "devbox/alice")) == 0
    token = read_unverified((folder / "laptop.token").read_text().strip())
    assert listed(folder).revoked.reason(token) is not None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-01T00:01:00", 60), ("1970-01-01T02:01:00+02:00", 60), ("60", 60)],
)
def test_times_are_read(folder: Path, text: str, seconds: int) -> None:
    assert main(revoke(folder, "--subject", "s", "--issued-before", text)) == 0
    assert listed(folder).revoked.subjects == {"s": seconds}


def test_entries_add_up_and_the_serial_grows(folder: Path) -> None:
    assert main(revoke(folder, "--token-id", "a")) == 0
    first = listed(folder).serial
    assert main(revoke(folder, "--token-id", "b")) == 0
    assert set(listed(folder).revoked.tokens) == {"a", "b"}
    assert listed(folder).serial > first


def test_an_entry_is_forgotten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(revoke(folder, "--token-id", "a", "--token-id", "b")) == 0
    assert main(revoke(folder, "--forget", "a")) == 0
    assert set(listed(folder).revoked.tokens) == {"b"}
    assert "no entry of the list has this name" in failure(capsys, *revoke(folder, "--forget", "a"))


def test_after_a_rotation_the_new_key_signs_the_list(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(revoke(folder, "--token-id", "a")) == 0
    assert main(rotate(folder)) == 0
    assert "--keys" in failure(capsys, *revoke(folder))
    assert main(revoke(folder, "--keys", str(folder / "ring.json"))) == 0
    assert listed(folder).issuer_key_id == kid_of(folder / "issuer.pem")
    assert set(listed(folder).revoked.tokens) == {"a"}


def test_what_somebody_else_wrote_is_not_signed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, key = str(folder / "list"), str(folder / "laptop.pem")
    assert main(["revoke", "--list", file, "--signing-key", key, "--token-id", "x"]) == 0
    before = (folder / "list").read_bytes()
    assert "not in the key ring" in failure(capsys, *revoke(folder))
    assert (folder / "list").read_bytes() == before


def test_dry_run_writes_nothing(folder: Path) -> None:
    assert main(revoke(folder, "--token-id", "a", "--dry-run")) == 0
    assert not (folder / "list").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--token", "gone"], "token gone does not exist"),
        (["--holder", "gone"], "--holder gone does not exist"),
        (["--subject", "a b"], "malformed"),
        (["--subject", "a", "--issued-before", "soon"], "not a time"),
        (["--lifetime", "never"], "not a lifetime"),
    ],
)
def test_mistakes_are_clear_errors(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert words in failure(capsys, *revoke(folder, *more))


def test_inspect_shows_a_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(revoke(folder, "--token-id", "a", "--subject", "devbox/bob")) == 0
    capsys.readouterr()
    assert main(["inspect", str(folder / "list"), "--keys", str(folder / "ring.json")]) == 0
    out = capsys.readouterr().out
    for words in ("serial:", "stale from:", "verified:    yes", "token a,", "tokens of devbox/bob"):
        assert words in out


def test_inspect_says_why_a_list_is_not_believed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(revoke(folder, "--token-id", "a")) == 0
    ring = folder / "laptop.pem.pub.json"
    assert "is not valid" in failure(capsys, "inspect", str(folder / "list"), "--keys", ring)


def test_json_is_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(revoke(folder, "--token-id", "a", "--json")) == 0
    revoked: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert main(["inspect", str(folder / "list"), "--json"]) == 0
    inspected: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(revoked["tokens"]) == ["a"]
    assert inspected == {**revoked, "verified": False}


def test_command_as_a_process(folder: Path) -> None:
    done = run(*revoke(folder, "--token-id", "a"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "next: python -m tunnelkit.admin" in done.stdout
