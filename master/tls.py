"""The master's side of TLS: the files of its settings, checked before a port is opened with them."""

from __future__ import annotations

import ssl

import grpc

from master.config import ConfigError, MasterConfig
from rtscore.credentials import load_authorities, load_chain
from rtscore.errors import CredentialsError


def server_credentials(config: MasterConfig) -> grpc.ServerCredentials | None:
    """What the port is opened with; None: in the clear.

    Raises
    ------
    ConfigError
        When a file is missing or cannot be used.
    """
    if bool(config.tls_cert) != bool(config.tls_key):
        given, missing = ("tls_cert", "tls_key") if config.tls_cert else ("tls_key", "tls_cert")
        raise ConfigError(f"{missing}: it is missing; {given} was given, and they go together")
    if not config.tls_cert:
        if config.client_ca:
            raise ConfigError(
                "client_ca: clients show certificates only over TLS; give tls_cert and tls_key too"
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        cert, key = load_chain(context, config.tls_cert, config.tls_key)
        authorities = load_authorities(context, config.client_ca) if config.client_ca else None
    except CredentialsError as error:
        raise ConfigError(f"tls: {error}") from None
    return grpc.ssl_server_credentials(
        [(key, cert)], root_certificates=authorities, require_client_auth=authorities is not None
    )
