"""`python -m tunnelkit.auth rotate`: files, and what it says."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.tunnelkit.auth.test_main import failure, mint_arguments, run
from tunnelkit.auth import KeyRing, key_id, load_private_key
from tunnelkit.auth.__main__ import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds issuer.pem, laptop.pem with its token, and ring.json with the issuer's key."""
    for name in ("issuer.pem", "laptop.pem"):
        assert main(["keygen", "--out", str(tmp_path / name)]) == 0
    assert main(mint_arguments(tmp_path)) == 0
    (tmp_path / "ring.json").write_text((tmp_path / "issuer.pem.pub.json").read_text())
    return tmp_path


def rotate(folder: Path, *more: str) -> list[str]:
    key, ring = str(folder / "issuer.pem"), str(folder / "ring.json")
    return ["rotate", "--signing-key", key, "--ring", ring, *more]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kid_of(path: Path) -> str:
    return key_id(load_private_key(path).public_key().public_bytes_raw())


def test_the_new_key_takes_the_place_and_the_old_one_is_kept(folder: Path) -> None:
    old = kid_of(folder / "issuer.pem")
    assert main(rotate(folder, "--overlap", "1h")) == 0
    first, second = KeyRing.load(folder / "ring.json").keys
    assert first.key_id == old == kid_of(folder / "issuer.pem.old")
    assert second.key_id == kid_of(folder / "issuer.pem")
    assert first.expires_at
    assert not second.expires_at
    assert KeyRing.load(folder / "issuer.pem.pub.json").key_ids == (second.key_id,)


def test_tokens_of_both_keys_are_good_during_the_overlap(folder: Path) -> None:
    assert main(rotate(folder)) == 0
    assert main(mint_arguments(folder, out=str(folder / "new.token"))) == 0
    for name in ("laptop.token", "new.token"):
        assert main(["inspect", str(folder / name), "--keys", str(folder / "ring.json")]) == 0


def test_out_leaves_the_old_key_where_it_is(folder: Path) -> None:
    old = kid_of(folder / "issuer.pem")
    assert main(rotate(folder, "--out", str(folder / "next.pem"))) == 0
    assert kid_of(folder / "issuer.pem") == old
    assert kid_of(folder / "next.pem") in KeyRing.load(folder / "ring.json").key_ids
    assert not (folder / "issuer.pem.old").exists()


def test_the_ring_may_be_the_public_file_of_the_key(folder: Path) -> None:
    ring = str(folder / "issuer.pem.pub.json")
    assert main(["rotate", "--signing-key", str(folder / "issuer.pem"), "--ring", ring]) == 0
    assert len(KeyRing.load(ring)) == 2


def test_all_files_are_for_their_owner_only(folder: Path) -> None:
    (folder / "ring.json").unlink()
    (folder / "issuer.pem.pub.json").rename(folder / "ring.json")
    assert main(rotate(folder)) == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_dry_run_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(folder)
    assert main(rotate(folder, "--dry-run")) == 0
    assert snapshot(folder) == before
    assert "nothing was written" in capsys.readouterr().out


@pytest.mark.parametrize("there", ["issuer.pem.old", "next.pem", "next.pem.pub.json"])
def test_nothing_is_replaced_without_force(
    folder: Path, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    (folder / there).write_text("precious")
    before = snapshot(folder)
    more = ["--out", str(folder / "next.pem")] if there.startswith("next") else []
    assert f"{there} exists" in failure(capsys, *rotate(folder, *more))
    assert snapshot(folder) == before
    assert main(rotate(folder, *more, "--force")) == 0


def test_a_key_of_another_ring_is_a_clear_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(folder)
    arguments = rotate(folder)
    arguments[2] = str(folder / "laptop.pem")
    assert "is not on the ring" in failure(capsys, *arguments)
    assert snapshot(folder) == before


def test_it_says_what_comes_next(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(rotate(folder)) == 0
    out = capsys.readouterr().out
    for word in ("believed until", "new", "1. give", "mint", "rotate --prune"):
        assert word in out


def test_json_is_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(rotate(folder, "--json")) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["written"] is True
    assert [len(result["before"]), len(result["after"]), len(result["next"])] == [1, 2, 3]


def test_prune_takes_expired_keys_off(folder: Path) -> None:
    assert main(rotate(folder)) == 0
    text = json.loads((folder / "ring.json").read_text())
    text["keys"][0]["exp"] = 1
    (folder / "ring.json").write_text(json.dumps(text))
    assert main(["rotate", "--prune", "--ring", str(folder / "ring.json")]) == 0
    assert KeyRing.load(folder / "ring.json").key_ids == (kid_of(folder / "issuer.pem"),)


@pytest.mark.parametrize("arguments", [[], ["--prune", "--signing-key", "x"]])
def test_one_thing_at_a_time(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    ring = str(folder / "ring.json")
    assert "either" in failure(capsys, "rotate", "--ring", ring, *arguments)


def test_command_as_a_process(folder: Path) -> None:
    done = run(*rotate(folder))
    assert (done.returncode, done.stderr) == (0, "")
