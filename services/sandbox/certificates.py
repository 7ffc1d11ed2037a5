"""The certificate of the servers that speak TLS, for this machine. It is its own authority."""

import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ("localhost", "127.0.0.1", "::1", "sandbox")
_LIFE = timedelta(days=365)
_SKEW = timedelta(hours=1)
# A certificate is used again while it lasts for longer than this.
_REST = timedelta(days=30)


def server_tls(*, kept: Path | None = None) -> tuple[ssl.SSLContext, str]:
    """Return the context of a server on this machine, and the PEM that clients trust.

    `kept` is the file of that PEM. The key lies beside it, so that clients which have read it go on after a restart.
    """
    with tempfile.TemporaryDirectory() as folder:
        ca = kept or Path(folder) / "ca.pem"
        return ensure_certificate(ca), ca.read_text("ascii")


def ensure_certificate(ca: Path) -> ssl.SSLContext:
    """Return the context of the certificate in this file; make it unless it is there and lasts for a month."""
    key = ca.with_suffix(".key")
    context = _loaded(ca, key)
    if context is None:
        _make(ca, key)
        context = _loaded(ca, key)
    assert context is not None, "a new certificate is not valid"  # noqa: S101 - a fault of this module
    return context


def _loaded(ca: Path, key: Path) -> ssl.SSLContext | None:
    """Return the context of a certificate that is there and lasts for a month."""
    try:
        certificate = x509.load_pem_x509_certificate(ca.read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ca, key)
    except (OSError, ValueError):
        return None
    return context if certificate.not_valid_after_utc - datetime.now(UTC) > _REST else None


def _make(ca: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    ca.write_bytes(_self_signed(private, NAMES).public_bytes(serialization.Encoding.PEM))


def _self_signed(key: ec.EllipticCurvePrivateKey, names: tuple[str, ...]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mailroom sandbox")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(), critical=True)
        .sign(key, hashes.SHA256())
    )


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
