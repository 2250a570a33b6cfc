"""What is shown to a master: never told by accident, in the clear only here, never from an open file."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtscore.client import AsyncMasterClient, MasterClient
from rtscore.credentials import MAX_TOKEN_LENGTH, Credentials, Tls, is_token, read_secret, read_token
from rtscore.errors import CredentialsError

SECRET = "a-secret-of-this-test"


def test_the_repr_does_not_tell_the_token() -> None:
    shown = repr(Credentials(tls=Tls(ca="ca.pem"), token=SECRET))
    assert "ca.pem" in shown
    assert SECRET not in shown
    assert "hidden" in shown
    assert "hidden" not in repr(Credentials())


@pytest.mark.parametrize(
    "token", [f"{SECRET}\n", f"{SECRET} x", f"{SECRET}\x00", f"é{SECRET}", SECRET * 1000, "\udcff"]
)
def test_what_cannot_travel_is_refused_without_repeating_it(token: str) -> None:
    for make in (
        lambda: Credentials(token=token),
        lambda: MasterClient("127.0.0.1:1", token=token),
        lambda: AsyncMasterClient("127.0.0.1:1", token=token),
    ):
        with pytest.raises(CredentialsError) as caught:
            make()
        assert SECRET not in str(caught.value)
        assert str(len(token)) in str(caught.value)


def test_a_token_is_visible_ascii() -> None:
    assert is_token("!~")
    assert is_token("a" * MAX_TOKEN_LENGTH)
    assert not is_token("a" * (MAX_TOKEN_LENGTH + 1))
    assert not is_token("")


@pytest.mark.parametrize("address", ["127.0.0.1:7070", "127.9.9.9:1", "[::1]:7070", "localhost:7070"])
def test_in_the_clear_a_token_goes_to_this_machine(address: str) -> None:
    Credentials(token=SECRET).check(address)


@pytest.mark.parametrize(
    "address", ["10.0.0.5:7070", "master.example.org:7070", "[2001:db8::1]:7070", "0.0.0.0:1"]
)
def test_in_the_clear_a_token_goes_to_no_other_machine(address: str) -> None:
    with pytest.raises(CredentialsError, match="in the clear") as caught:
        MasterClient(address, token=SECRET)
    assert SECRET not in str(caught.value)
    Credentials().check(address)


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        (Tls(ca="gone.pem"), "gone.pem: No such file"),
        (Tls(ca="text.pem"), "no certificate"),
        (Tls(cert="text.pem"), "key was not"),
        (Tls(key="text.pem"), "cert was not"),
        (Tls(cert="text.pem", key="text.pem"), "PEM each"),
        (Tls(cert="text.pem", key="open.pem"), "chmod 600"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: Tls, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, mode in (("text.pem", 0o600), ("open.pem", 0o644)):
        Path(name).write_text("no certificate\n")
        Path(name).chmod(mode)
    with pytest.raises(CredentialsError, match=said):
        MasterClient("127.0.0.1:1", tls=tls)


def test_a_token_file_may_end_with_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    assert read_token(path) == SECRET
    path.write_text(f"{SECRET}\n{SECRET}\n")
    with pytest.raises(CredentialsError, match="one token") as caught:
        read_token(path)
    assert SECRET not in str(caught.value)
    path.write_text("")
    with pytest.raises(CredentialsError, match="one token"):
        read_token(path)


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o601])
def test_a_secret_that_others_may_use_is_none(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET)
    path.chmod(mode)
    with pytest.raises(CredentialsError, match=f"mode is {mode:o}"):
        read_secret(path)
    with pytest.raises(CredentialsError, match="Is a directory"):
        read_secret(tmp_path)
