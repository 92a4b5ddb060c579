from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tunnelkit.auth import Identity, KeyRing, read_unverified
from tunnelkit.auth.__main__ import main

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str | Path) -> Done:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "tunnelkit.auth", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds issuer.pem, laptop.pem and the token of the laptop."""
    for name in ("issuer.pem", "laptop.pem"):
        assert main(["keygen", "--out", str(tmp_path / name)]) == 0
    assert main(mint_arguments(tmp_path)) == 0
    return tmp_path


def mint_arguments(folder: Path, **changes: str) -> list[str]:
    options = {
        "signing-key": str(folder / "issuer.pem"),
        "holder-key": str(folder / "laptop.pem.pub.json"),
        "subject": "devbox/alice",
        "lifetime": "12h",
        "peer": "sidecar/*",
        "target": "127.0.0.1:*",
        "out": str(folder / "laptop.token"),
        **changes,
    }
    return ["mint", *(part for key, value in options.items() for part in (f"--{key}", value))]


def failure(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that fails; return its one line on stderr."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_commands_as_processes_make_an_identity(tmp_path: Path) -> None:
    assert run("keygen", "--out", tmp_path / "issuer.pem").returncode == 0
    assert run("keygen", "--out", tmp_path / "laptop.pem").returncode == 0
    assert run(*mint_arguments(tmp_path)).returncode == 0
    identity = Identity.load(tmp_path / "laptop.pem", tmp_path / "laptop.token")
    assert identity.subject == "devbox/alice"


def test_process_reports_an_error_without_a_traceback(tmp_path: Path) -> None:
    done = run("inspect", tmp_path / "gone")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: token {tmp_path}/gone does not exist: check the path\n"


@pytest.mark.parametrize("command", [[], ["keygen"], ["mint"], ["inspect"]])
def test_help_teaches_with_an_example(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "example: " in capsys.readouterr().out


def test_files_are_for_their_owner_only(folder: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 5
    assert set(modes.values()) == {0o600}


def test_public_file_is_a_ring(folder: Path) -> None:
    assert len(KeyRing.load(folder / "issuer.pem.pub.json")) == 1


@pytest.mark.parametrize("present", ["new.pem", "new.pem.pub.json"])
def test_keygen_replaces_only_when_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], present: str
) -> None:
    (tmp_path / present).write_text("old")
    arguments = ["keygen", "--out", str(tmp_path / "new.pem")]
    assert f"{present} exists" in failure(capsys, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == [present]
    assert main([*arguments, "--force"]) == 0


def test_mint_takes_the_public_half_of_a_private_key(folder: Path) -> None:
    changes = {"holder-key": str(folder / "laptop.pem"), "out": str(folder / "other.token")}
    assert main(mint_arguments(folder, **changes)) == 0
    assert Identity.load(folder / "laptop.pem", folder / "other.token").subject == "devbox/alice"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800)]
)
def test_lifetime_is_read_in_units(folder: Path, text: str, seconds: int) -> None:
    assert main([*mint_arguments(folder, lifetime=text), "--force"]) == 0
    claims = read_unverified((folder / "laptop.token").read_text().strip())
    assert claims.expires_at - claims.not_before == seconds


@pytest.mark.parametrize("text", ["", "12", "h", "-1h", "0s", "1.5h", "1w", "367d", "9" * 30 + "d"])
def test_wrong_lifetime_is_a_clear_error(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    arguments = [part for part in mint_arguments(folder) if part not in ("--lifetime", "12h")]
    assert "is not a lifetime" in failure(capsys, *arguments, f"--lifetime={text}")


def test_wrong_subject_is_a_clear_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sub is not 1 to" in failure(capsys, *mint_arguments(folder, subject="a b"), "--force")


def test_holder_file_with_two_keys_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [KeyRing.load(folder / f"{name}.pem.pub.json") for name in ("issuer", "laptop")]
    both = KeyRing([raw for ring in files for raw in ring.raw_keys()])
    (folder / "both.json").write_text(both.to_jwks())
    changes = {"holder-key": str(folder / "both.json")}
    assert "has 2 keys" in failure(capsys, *mint_arguments(folder, **changes))


def test_inspect_shows_claims_but_not_the_signature(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["inspect", str(folder / "laptop.token")]) == 0
    shown = capsys.readouterr().out
    assert "devbox/alice" in shown
    assert "(in 11 hours 59 minutes)" in shown
    assert "not checked" in shown
    assert (folder / "laptop.token").read_text().strip().rpartition(".")[2] not in shown


def test_inspect_verifies_with_a_ring(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring = str(folder / "issuer.pem.pub.json")
    capsys.readouterr()
    assert main(["inspect", str(folder / "laptop.token"), "--keys", ring, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verified"] is True
    assert shown["peers"] == ["sidecar/*"]


def test_mint_and_inspect_a_caller(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = str(folder / "caller.token")
    assert main([*mint_arguments(folder, out=token), "--caller"]) == 0
    capsys.readouterr()
    assert main(["inspect", token, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["caller"] is True


def test_inspect_fails_for_a_foreign_ring(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring = folder / "laptop.pem.pub.json"
    error = failure(capsys, "inspect", folder / "laptop.token", "--keys", ring)
    assert "not in the key ring" in error


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a.b.c", b"x" * 5000])
def test_inspect_of_something_else_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert "mint" in failure(capsys, "inspect", tmp_path / "file")


def test_unknown_command_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--help" in failure(capsys, "forge")


def test_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted() -> Callable[[], None]:
        raise KeyboardInterrupt

    monkeypatch.setattr("tunnelkit.auth.__main__.generate_key", interrupted)
    assert main(["keygen", "--out", str(tmp_path / "key.pem")]) == 130
    assert list(tmp_path.iterdir()) == []
