"""The tokens file: who is known by it, what it may say, and that no error repeats a token."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from master.access import Role
from master.config import ConfigError
from master.tokens import Tokens, load_tokens

SECRET = "a-secret-of-this-test"
OTHER = "another-secret-of-this-test"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


def written(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def load(tmp_path: Path, text: str, *, certificates: bool = False) -> Tokens:
    return load_tokens(written(tmp_path, text), certificates=certificates)


def test_a_token_is_found_by_itself_or_by_its_hash(tmp_path: Path) -> None:
    tokens = load(
        tmp_path,
        f'[[token]]\nname = "alice"\nrole = "submit"\ntoken = "{OTHER}"\n'
        f'[[token]]\nname = "w"\nrole = "worker"\nsha256 = "{DIGEST.upper()}"\nworker = "w1"\n',
    )
    assert len(tokens) == 2
    alice, worker = tokens.find(OTHER), tokens.find(SECRET)
    assert alice is not None
    assert (alice.name, alice.role, alice.sees_all) == ("alice", Role.SUBMIT, False)
    assert worker is not None
    assert (worker.name, worker.worker_id, worker.any_worker) == ("w", "w1", False)
    for nobodys in ("", SECRET[:-1], SECRET + " ", DIGEST, "\udcff"):
        assert tokens.find(nobodys) is None


def test_two_tokens_of_one_user_are_allowed_so_that_one_can_replace_the_other(tmp_path: Path) -> None:
    entry = '[[token]]\nname = "alice"\nrole = "submit"\ntoken = "{}"\n'
    tokens = load(tmp_path, entry.format(SECRET) + entry.format(OTHER))
    assert tokens.find(SECRET) == tokens.find(OTHER)


def test_every_token_is_compared_whichever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = '[[token]]\nname = "u{0}"\nrole = "submit"\ntoken = "a-token-of-user-{0}-"\n'
    tokens = load(tmp_path, "".join(entry.format(number) for number in range(9)))
    compare, counted = hmac.compare_digest, []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: counted.append((a, b)) or compare(a, b))
    for token in ("a-token-of-user-0-", "a-token-of-user-8-", "nobody's"):
        counted.clear()
        tokens.find(token)
        assert len(counted) == 9
        assert {len(a) == len(b) == 32 for a, b in counted} == {True}


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o602])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, f'[[token]]\nname = "a"\nrole = "admin"\ntoken = "{SECRET}"\n', mode)
    with pytest.raises(ConfigError, match=f"mode is {mode:o}.*chmod 600"):
        load_tokens(path, certificates=False)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: No such file"):
        load_tokens(str(tmp_path / "gone.toml"), certificates=False)


def test_a_workers_token_without_a_worker_needs_certificates(tmp_path: Path) -> None:
    text = f'[[token]]\nname = "w"\nrole = "worker"\ntoken = "{SECRET}"\n'
    with pytest.raises(ConfigError, match=r"\(w\).*any_worker = true.*--client-ca"):
        load(tmp_path, text)
    assert load(tmp_path, text, certificates=True).find(SECRET) is not None
    anyone = load(tmp_path, text + "any_worker = true\n").find(SECRET)
    assert anyone is not None
    assert anyone.any_worker


ALICE = 'name = "alice"\nrole = "submit"\n'
WORKER = 'name = "w"\nrole = "worker"\n'


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (f'{ALICE}token = "{SECRET}"\nworker = "w1"', "for the role worker"),
        (f'{ALICE}token = "{SECRET}"\nany_worker = false', "for the role worker"),
        (f'{WORKER}token = "{SECRET}"\nworker = "w1"\nany_worker = true', "both given"),
        (f'{WORKER}token = "{SECRET}"\nworker = ""', "worker: ''"),
        (f'{WORKER}token = "{SECRET}"\nany_worker = "yes"', "any_worker: 'yes'"),
        (f'{ALICE}token = "{SECRET}"\nsha256 = "{DIGEST}"', "one of token and sha256"),
        (ALICE, "one of token and sha256"),
        (f'{ALICE}token = "{SECRET[:15]}"', "at least 16"),
        (f'{ALICE}token = "{SECRET} {SECRET}"', "visible ASCII"),
        (f'{ALICE}token = "{SECRET}é"', "visible ASCII"),
        (f"{ALICE}token = 12345678901234567890", "at least 16"),
        (f'{ALICE}sha256 = "{DIGEST[:-2]}"', "64 hexadecimal digits"),
        (f'{ALICE}sha256 = "{SECRET}"', "64 hexadecimal digits"),
        (f'role = "submit"\ntoken = "{SECRET}"', "name: ''"),
        (f'name = "a\\nb"\nrole = "submit"\ntoken = "{SECRET}"', "name"),
        (f'name = "{"a" * 257}"\nrole = "submit"\ntoken = "{SECRET}"', "256 bytes"),
        (f'name = "a"\nrole = "root"\ntoken = "{SECRET}"', "submit, worker, admin"),
        (f'name = "a"\ntoken = "{SECRET}"', "submit, worker, admin"),
        (f'{ALICE}tokens = "{SECRET}"', "tokens: no such key"),
        (f'{ALICE}token = "{SECRET}" "', "not TOML: at line"),
        (f"{ALICE}token = {SECRET}", "not TOML: at line"),
        (f'{ALICE}token = "{SECRET}', "not TOML"),
        (f'{ALICE}token = "{SECRET}"\n[other]\nx = 1', "nothing else"),
        (
            f'{ALICE}token = "{SECRET}"\n[[token]]\nname = "b"\nrole = "admin"\ntoken = "{SECRET}"',
            "same token",
        ),
        (
            f'{ALICE}token = "{SECRET}"\n[[token]]\nname = "alice"\nrole = "admin"\ntoken = "{OTHER}"',
            "two roles",
        ),
    ],
)
def test_an_entry_that_cannot_be_is_named_and_its_token_is_not(tmp_path: Path, entry: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"[[token]]\n{entry}\n")
    assert said in str(caught.value)
    assert SECRET[:15] not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text", ["", 'token = "x"\n', "token = []\n", "token = [1]\n", "[token]\nname = 'a'\n"]
)
def test_a_file_without_tokens_would_lock_everyone_out_and_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="tokens"):
        load(tmp_path, text)
