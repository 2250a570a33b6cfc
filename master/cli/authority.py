"""A certificate authority in a directory, and what it certifies: a server, workers, clients."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
# The longest common name that X.509 knows.
MAX_NAME_LENGTH = 64
# Clocks differ.
_EARLIER = datetime.timedelta(hours=1)


class Authority:
    """A key and a certificate that certify others.

    Its files are ca.pem and ca-key.pem; a certificate of `name` gets name.pem and name-key.pem.

    Parameters
    ----------
    directory : Path
        Exists. The authority there is used, or a new one made.
    days : int
        How long what is made is valid.

    Raises
    ------
    ValueError
        When the authority's files cannot be read.
    """

    def __init__(self, directory: Path, days: int) -> None:
        self._directory = directory
        self._days = days
        cert, key = self.files("ca")
        self.is_new = not (cert.exists() or key.exists())
        if self.is_new:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._name = _subject("rts test authority")
            made = self._certificate(self._name, self._key.public_key(), authority=True)
            self._write("ca", self._key, made.sign(self._key, hashes.SHA256()))
            return
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key}: it is no key that `rts certs` made")
        self._key = loaded
        self._name = x509.load_pem_x509_certificate(cert.read_bytes()).subject

    def files(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate and its key."""
        return self._directory / f"{name}.pem", self._directory / f"{name}-key.pem"

    def exists(self, name: str) -> bool:
        """Whether one of them is there."""
        return any(path.exists() for path in self.files(name))

    def certify(self, name: str, usage: x509.ObjectIdentifier, hosts: Sequence[str] = ()) -> None:
        """Make a key and its certificate.

        Parameters
        ----------
        name : str
            The common name, and what the files are called by.
        usage : CLIENT or SERVER
        hosts : sequence of str
            Host names and addresses that it is valid for.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._certificate(_subject(name), key.public_key(), authority=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(list(map(_host, hosts))), critical=False
            )
        self._write(name, key, builder.sign(self._key, hashes.SHA256()))

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        issuer = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + datetime.timedelta(days=self._days))
            .add_extension(
                x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True
            )
            .add_extension(_usage(authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
        )

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        cert_path, key_path = self.files(name)
        encoding = serialization.Encoding.PEM
        secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        # Exclusively: what is there is never overwritten, and nobody else reads it from the first moment on.
        with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
        with cert_path.open("xb") as file:
            file.write(certificate.public_bytes(encoding))


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
