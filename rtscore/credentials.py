"""What one shows to a protected master and trusts in it: authorities, certificate, key, token."""

from __future__ import annotations

import ipaddress
import os
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path

import grpc
import msgspec

from rtscore.errors import CredentialsError

# Where processes find a token; a flag would show it to everyone who lists processes.
TOKEN_VARIABLES = ("RTS_TOKEN", "RTS_TOKEN_FILE")
CREDENTIAL_VARIABLES = ("RTS_CA", "RTS_CERT", "RTS_KEY", *TOKEN_VARIABLES)
MAX_TOKEN_LENGTH = 4096


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """The files of an encrypted connection, PEM each; read anew for every channel that is made.

    Parameters
    ----------
    ca : str
        The authorities whose certificates are trusted; empty: those that gRPC knows.
    cert, key : str
        The own certificate, with the chain to its authority, and its key; both or none.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """How a client or a worker connects; its `repr` does not tell the token.

    Parameters
    ----------
    tls : Tls or None
        None: in the clear.
    token : str
        Says who calls; empty: nobody.

    Raises
    ------
    CredentialsError
        When the token has characters that no token has.
    """

    tls: Tls | None = None
    token: str = ""

    def __post_init__(self) -> None:
        # gRPC's own complaint would repeat the token.
        if not is_token(self.token) and self.token:
            raise CredentialsError(
                f"token: it has {len(self.token)} characters, some of them no visible ASCII or too many; "
                f"1 to {MAX_TOKEN_LENGTH} visible ones are allowed"
            )

    def __repr__(self) -> str:
        return f"Credentials(tls={self.tls!r}, token={'<hidden>' if self.token else ''!r})"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def check(self, address: str) -> None:
        """Return when a connection to `address` may be tried.

        Raises
        ------
        CredentialsError
            When a file cannot be read or used, or the token would go to another machine in the clear.
        """
        if self.token and self.tls is None and not is_loopback(host_of(address)):
            raise CredentialsError(
                f"token: it is not sent to {address} in the clear; name the authorities that TLS trusts (ca)"
            )
        if self.tls is not None:
            client_files(self.tls)

    def channel(self, address: str, options: Sequence[tuple[str, object]]) -> grpc.Channel:
        """A channel for blocking calls; raises as `check`."""
        self.check(address)
        if self.tls is None:
            return grpc.insecure_channel(address, options=options)
        return grpc.secure_channel(address, _channel_credentials(self.tls), options=options)

    def aio_channel(self, address: str, options: Sequence[tuple[str, object]]) -> grpc.aio.Channel:
        """A channel for asyncio; raises as `check`."""
        self.check(address)
        if self.tls is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, _channel_credentials(self.tls), options=options)


def is_token(text: str) -> bool:
    """Whether it can travel as a token: visible ASCII, without spaces."""
    return 0 < len(text) <= MAX_TOKEN_LENGTH and all("!" <= letter <= "~" for letter in text)


def host_of(address: str) -> str:
    """The host of "host:port" or "[v6]:port"."""
    return address.rpartition(":")[0].removeprefix("[").removesuffix("]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_secret(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that others may not read.

    Raises
    ------
    CredentialsError
        When it cannot be read, or others than its owner, us or root, may read or write it. The group may
        read a file of root: so are secrets handed to services.
    """
    try:
        with open(path, "rb") as file:
            state = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise CredentialsError(f"{os.fspath(path)}: {error.strerror}") from None
    if state.st_uid not in (0, os.geteuid()):
        raise CredentialsError(
            f"{os.fspath(path)}: it belongs to user {state.st_uid}; its user must be us or root"
        )
    allowed = 0o740 if state.st_uid == 0 else 0o700
    if stat.S_IMODE(state.st_mode) & 0o777 & ~allowed:
        raise CredentialsError(
            f"{os.fspath(path)}: others may use it, its mode is {stat.S_IMODE(state.st_mode):o}; "
            "make it 600 (chmod 600)"
        )
    return content


def read_token(path: str | os.PathLike[str]) -> str:
    """The token in a file, spaces and line ends around it removed.

    Raises
    ------
    CredentialsError
        As `read_secret`, and when it is no token.
    """
    token = read_secret(path).decode("latin-1").strip()
    if not is_token(token):
        raise CredentialsError(f"{os.fspath(path)}: it does not hold one token of visible ASCII characters")
    return token


def client_files(tls: Tls) -> ssl.SSLContext:
    """The standard library's view of the same files, which says what is wrong with them.

    Raises
    ------
    CredentialsError
        When a file cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca:
        load_authorities(context, tls.ca)
    else:
        context.load_default_certs()
    if bool(tls.cert) != bool(tls.key):
        given, missing = ("cert", "key") if tls.cert else ("key", "cert")
        raise CredentialsError(
            f"{given} was given and {missing} was not; a certificate and its key go together"
        )
    if tls.cert:
        load_chain(context, tls.cert, tls.key)
    return context


def load_authorities(context: ssl.SSLContext, ca: str) -> bytes:
    """Take authorities into a context, and return the file's content; raises CredentialsError."""
    content = _read(ca)
    try:
        context.load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise CredentialsError(f"{ca}: there is no certificate in PEM form in it") from None
    return content


def load_chain(context: ssl.SSLContext, cert: str, key: str) -> tuple[bytes, bytes]:
    """Take a certificate and its key into a context, and return both contents; raises CredentialsError."""
    contents = _read(cert), read_secret(key)
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise CredentialsError(
            f"{cert} and {key}: they are not a certificate and its unencrypted key, PEM each ({reason})"
        ) from None
    return contents


def _channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        _read(tls.ca) if tls.ca else None,
        read_secret(tls.key) if tls.key else None,
        _read(tls.cert) if tls.cert else None,
    )


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: {error.strerror}") from None
