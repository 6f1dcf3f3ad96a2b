"""A certificate authority of this machine, for ``--tls``: SDKs send bearer tokens over TLS only.

Its key and its certificate lie in the cache directory, the key readable by its owner alone, made once and used again;
clients are told of the certificate (``AWS_CA_BUNDLE``, ``NODE_EXTRA_CA_CERTS``: ``awsllm env`` prints them). It is
constrained to names of this machine (RFC 5280, section 4.2.1.10), so that whoever takes the key cannot stand in for
anybody else. The server's certificate is made anew for each start and lives for as long as AWS's own do not.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from awsllm.errors import ConfigurationError
from awsllm.store import default_cache_dir

_YEARS = timedelta(days=3650)
_DAYS = timedelta(days=90)
_RENEWED = timedelta(days=30)  # before its end the authority is made anew
_NAMES = ("localhost", "*.localhost", "host.docker.internal")
_ADDRESSES = ("127.0.0.1", "::1")


class Certificates(NamedTuple):
    """Files in PEM: the server's certificate with those between it and its authority, its key (PKCS#8), and the
    certificate of an authority that clients do not know yet."""

    certificate: Path
    key: Path
    authority: Path | None = None


@contextlib.contextmanager
def local_certificates(directory: Path | None = None) -> Iterator[Certificates]:
    """The certificate of a server at this machine's names and addresses, which is there while the block lasts.
    ``directory`` is the authority's, in the cache unless given. Raises ``ConfigurationError`` where it cannot be
    made."""
    place = directory or default_cache_dir() / "tls"
    try:
        from cryptography import x509  # noqa: F401
    except ImportError as error:
        raise ConfigurationError("--tls needs an extra: pip install 'awsllm[serve]'") from error
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(place):
            authority, key = _authority(place)
        made = _server(place, authority, key)
    except OSError as error:
        raise ConfigurationError(f"certificates cannot be written to {place}: {error.strerror or error}") from error
    try:
        yield Certificates(*made, authority=place / "ca.pem")
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _authority(place: Path) -> tuple[Any, Any]:
    """The authority's certificate and key, from their files or made."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    certificate_file, key_file = place / "ca.pem", place / "ca.key"
    with contextlib.suppress(OSError, ValueError):
        key: Any = serialization.load_pem_private_key(key_file.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        fits = certificate.public_key() == key.public_key()
        if fits and certificate.not_valid_after_utc > datetime.now(UTC) + _RENEWED:
            return certificate, key
    certificate, key = _made_authority()
    _write(key_file, _key_pem(key))
    _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return certificate, key


def _made_authority() -> tuple[Any, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"awsllm on {os.uname().nodename}"[:64])])
    names: list[Any] = [x509.DNSName("localhost"), x509.DNSName("host.docker.internal")]
    names += [x509.IPAddress(ipaddress.ip_network(address)) for address in _ADDRESSES]
    certificate = (
        _builder(name, name, key.public_key(), _YEARS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=names, excluded_subtrees=None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, _sha256())
    )
    return certificate, key


def _server(place: Path, authority: Any, authority_key: Any) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    certificate = (
        _builder(
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]),
            authority.subject,
            key.public_key(),
            _DAYS,
        )
        .add_extension(x509.SubjectAlternativeName(_alternatives()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority_key, _sha256())
    )
    encoding = serialization.Encoding.PEM
    chain = certificate.public_bytes(encoding) + authority.public_bytes(encoding)
    return _written(place, "server-", ".pem", chain), _written(place, "server-", ".key", _key_pem(key))


def _alternatives() -> list[Any]:
    from cryptography import x509

    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    return [*map(x509.DNSName, _NAMES), *addresses]


def _builder(subject: Any, issuer: Any, public_key: Any, lasting: timedelta) -> Any:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + lasting)
    )


def _usage(*, signs_certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sha256() -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


# --- files -----------------------------------------------------------------------------------------------------------


def _key_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def _write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """A file that is there whole or not at all."""
    written = _written(path.parent, f".{path.name}-", "", data)
    written.chmod(mode)
    written.replace(path)


def _written(directory: Path, prefix: str, suffix: str, data: bytes) -> Path:
    """A new file that its owner alone reads."""
    handle, name = tempfile.mkstemp(suffix, prefix, directory)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return Path(name)


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Two servers that start at once make one authority."""
    try:
        import fcntl
    except ImportError:  # Windows: the last writer wins, and each reads what is there
        yield
        return
    with (place / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
