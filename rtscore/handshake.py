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
    # Without it gRPC's servers end the handshake.
    context.set_alpn_protocols(["h2"])
    try:
        greeted = _shake_hands(address, context)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return "" if tls is None else "it does not speak TLS"
        greeted = False
    except (OSError, ValueError):
        return ""
    if tls is None:
        return "it speaks TLS only; name the authorities to trust (ca)"
    if greeted:
        return ""
    return (
        "it does not accept the client certificate"
        if tls.cert
        else "it asks for a client certificate (cert, key)"
    )


def _unsuspecting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shake_hands(address: str, context: ssl.SSLContext) -> bool:
    host, port = host_of(address), int(address.rpartition(":")[2])
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        # A server of gRPC sends its settings first; in TLS 1.3 one that refuses the client's certificate
        # hangs up after the handshake.
        return bool(encrypted.recv(1))
