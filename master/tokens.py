"""The tokens that a master knows: a TOML file of who has which, and the search for one in constant time."""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from master.access import Identity, Role
from master.config import ConfigError
from master.validate import MAX_ID_BYTES, MAX_NAME_BYTES
from rtscore.credentials import is_token, read_secret
from rtscore.errors import CredentialsError

# Guessing one of so many letters is hopeless also when the file's hashes are known.
MIN_LENGTH = 16
_KEYS = frozenset({"name", "role", "token", "sha256", "worker", "any_worker"})


class Tokens:
    """Finds whose a token is.

    Only the SHA-256 of each is kept. What came is hashed and compared with every one, each comparison and
    their number independent of what came: 0.3 µs a token.
    """

    def __init__(self, known: Mapping[bytes, Identity]) -> None:
        self._known: Sequence[tuple[bytes, Identity]] = tuple(known.items())

    def find(self, token: str) -> Identity | None:
        """Whose it is; None: nobody's."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = None
        for known, identity in self._known:
            if hmac.compare_digest(digest, known):
                found = identity
        return found

    def __len__(self) -> int:
        return len(self._known)


def load_tokens(path: str, *, certificates: bool) -> Tokens:
    """The tokens of a file.

    Parameters
    ----------
    path : str
        TOML; a table `[[token]]` each, with `name` (the user whose tasks they are), `role` (submit, worker or
        admin), and either `token` or `sha256` (its SHA-256 in hexadecimal). Of the role worker also `worker`,
        the id that it may speak for, or `any_worker = true`; with neither, the client's certificate decides.
    certificates : bool
        Whether clients show certificates.

    Raises
    ------
    ConfigError
        When the file cannot be read, others may read it, or an entry cannot be; never tells a token.
    """
    try:
        content = read_secret(path)
    except CredentialsError as error:
        raise ConfigError(f"tokens: {error}") from None
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        # Its message says where; a part of the line, which may be a token, is not repeated in it.
        raise ConfigError(f"tokens: {path}: not TOML: {_place(error)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"tokens: {path}: not TOML: not UTF-8") from None
    entries = document.pop("token", None)
    if document or not isinstance(entries, list) or not entries:
        raise ConfigError(f"tokens: {path}: it must hold [[token]] tables, at least one, and nothing else")
    known: dict[bytes, Identity] = {}
    roles: dict[str, Role] = {}
    for number, entry in enumerate(entries, 1):
        where = f"tokens: {path}: [[token]] number {number}"
        digest, identity = _entry(where, entry, certificates)
        if digest in known:
            raise ConfigError(f"{where}: the same token as that of {known[digest].name}; each is one's own")
        if roles.setdefault(identity.name, identity.role) is not identity.role:
            raise ConfigError(f"{where}: {identity.name} has two roles; give each role a name of its own")
        known[digest] = identity
    return Tokens(known)


def _entry(where: str, entry: Any, certificates: bool) -> tuple[bytes, Identity]:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: a table is allowed")
    if unknown := entry.keys() - _KEYS:
        raise ConfigError(
            f"{where}: {', '.join(sorted(unknown))}: no such key; known are {', '.join(sorted(_KEYS))}"
        )
    name = _name(where, "name", entry.get("name", ""), MAX_NAME_BYTES)
    where = f"{where} ({name})"
    try:
        role = Role(entry.get("role", ""))
    except ValueError:
        raise ConfigError(
            f"{where}: role: {entry.get('role', '')!r} came; allowed are {', '.join(Role)}"
        ) from None
    worker_id, any_worker = entry.get("worker", ""), entry.get("any_worker", False)
    if not isinstance(any_worker, bool):
        raise ConfigError(f"{where}: any_worker: {any_worker!r} came; true or false is allowed")
    if role is not Role.WORKER and ("worker" in entry or "any_worker" in entry):
        raise ConfigError(f"{where}: worker and any_worker are for the role worker; its role is {role}")
    if "worker" in entry:
        _name(where, "worker", worker_id, MAX_ID_BYTES)
        if any_worker:
            raise ConfigError(f"{where}: worker and any_worker were both given; one is allowed")
    elif role is Role.WORKER and not any_worker and not certificates:
        raise ConfigError(
            f"{where}: it can speak for no worker; give worker = its id, any_worker = true, or start with "
            "--client-ca, so that certificates name the workers"
        )
    identity = Identity(name=name, role=role, worker_id=worker_id, any_worker=any_worker)
    return _digest(where, entry), identity


def _name(where: str, key: str, value: Any, most: int) -> str:
    if not (isinstance(value, str) and value and value.isprintable() and len(value.encode()) <= most):
        raise ConfigError(f"{where}: {key}: {value!r} came; 1 to {most} bytes of printable text are allowed")
    return value


def _digest(where: str, entry: dict[str, Any]) -> bytes:
    if ("token" in entry) == ("sha256" in entry):
        raise ConfigError(f"{where}: one of token and sha256 is needed, not both")
    if "token" in entry:
        token = entry["token"]
        if not (isinstance(token, str) and is_token(token) and len(token) >= MIN_LENGTH):
            raise ConfigError(
                f"{where}: token: at least {MIN_LENGTH} visible ASCII characters are needed, as "
                "`openssl rand -hex 32` prints"
            )
        return hashlib.sha256(token.encode()).digest()
    try:
        digest = bytes.fromhex(entry["sha256"])
    except (TypeError, ValueError):
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ConfigError(f"{where}: sha256: 64 hexadecimal digits are needed")
    return digest


def _place(error: tomllib.TOMLDecodeError) -> str:
    _, found, place = str(error).rpartition("(at ")
    return f"at {place.removesuffix(')')}" if found else "it is cut off"
