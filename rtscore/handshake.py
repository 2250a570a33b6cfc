"""Why no TLS connection comes about: a handshake of our own tells, where gRPC says only that it failed."""

from __future__ import annotations

import socket
import ssl

from rtscore.credentials import Tls, client_files, host_of
from rtscore.errors import CredentialsError

TIMEOUT_S = 2.0


def why_refused(address: str, tls: Tls | None) -> str:
    """A sentence's end about the server at "host:port"; empty when TLS is not what keeps from it.

    Blocks for as long as two seconds.
    """
    try:
        context = _unsuspecting() if tls is None else client_files(tls)
    except CredentialsError as error:
        return str(error)
    context.set_alpn_protocols(["h2"])
    try:
        _shake_hands(address, context)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
    except ssl.SSLError as error:
        if not _is_alert(error):
            return "" if tls is None else "it does not speak TLS"
        if tls is None:
            return _WANTS_TLS
        return "" if not (words := _alert(error)) else _refusal(words, bool(tls.cert))
    except (OSError, ValueError):
        return ""
    return _WANTS_TLS if tls is None else ""


_WANTS_TLS = "it speaks TLS only; name the authorities to trust (ca)"


def _unsuspecting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shake_hands(address: str, context: ssl.SSLContext) -> None:
    host, port = host_of(address), int(address.rpartition(":")[2])
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        # In TLS 1.3 a server refuses a client's certificate after the handshake; else it sends settings.
        if context.verify_mode is not ssl.CERT_NONE:
            encrypted.recv(1)


def _is_alert(error: ssl.SSLError) -> bool:
    return "ALERT" in (error.reason or "")


def _alert(error: ssl.SSLError) -> str:
    return (error.reason or "").partition("ALERT_")[2].replace("_", " ").lower()


def _refusal(words: str, shown: bool) -> str:
    if not shown:
        return f"it wants a client certificate (cert, key): {words}"
    return f"it does not accept the client certificate: {words}"
