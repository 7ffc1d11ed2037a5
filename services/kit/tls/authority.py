"""A certificate authority for one installation: `python -m services.kit.tls.authority DIRECTORY` issues certificates.

DIRECTORY gets a folder for each service, with tls.crt, tls.key and ca.crt, and `authority` with the CA's own key, which
no service may read. Certificates that end soon are made anew: run it again, and running services take them over. With
`--every SECONDS` it goes on to renew those that it issued.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.kit.tls.identity import IdentityError, ServiceIdentity

SERVICES = ("auth", "gateway", "mail")
AUTHORITY_LIFE = timedelta(days=3650)
LIFE = timedelta(days=365)
# The part of their life before its end in which certificates are renewed: the last quarter.
_RENEWED_PART = 4
# Certificates are valid from this long ago, since the clocks of machines differ.
_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as PKCS#8 in PEM, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def identity_in(directory: Path, name: str) -> ServiceIdentity:
    """Return the identity of the service `name` whose files `ensure_certificates` wrote to `directory`."""
    folder = directory / name
    return ServiceIdentity(name=name, certificate=folder / "tls.crt", key=folder / "tls.key", ca=folder / "ca.crt")


def ensure_certificates(directory: Path, *, now: datetime, life: timedelta = LIFE) -> list[str]:
    """Issue the CA and the certificates that are missing, unusable or near expiry; return the names issued."""
    authority = _ensure_authority(directory, now=now)
    made = [name for name in SERVICES if not _lasts(identity_in(directory, name), authority, now=now, life=life)]
    _issue_all(directory, made, authority, now=now, life=life)
    return made


def renew_certificates(directory: Path, *, now: datetime, life: timedelta = LIFE) -> list[str]:
    """Renew certificates near expiry, or expired, that the CA in `directory` issued; return the names issued.

    Certificates of another CA, and a directory without a CA, are left alone.
    """
    try:
        authority = read_authority(directory)
    except (OSError, ValueError):
        return []
    own = [name for name in SERVICES if _is_trusted(authority, identity_in(directory, name).ca)]
    made = [name for name in own if not _lasts(identity_in(directory, name), authority, now=now, life=life)]
    _issue_all(directory, made, authority, now=now, life=life)
    return made


def _is_trusted(authority: Issued, file: Path) -> bool:
    with suppress(OSError):
        return file.read_bytes() == authority.certificate_pem
    return False


def _issue_all(directory: Path, names: Iterable[str], authority: Issued, *, now: datetime, life: timedelta) -> None:
    for name in names:
        identity, issued = identity_in(directory, name), issue(authority, name, now=now, life=life)
        identity.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(identity.key, issued.key_pem)
        _write(identity.certificate, issued.certificate_pem)
        _write(identity.ca, authority.certificate_pem)


def create_authority(*, now: datetime) -> Issued:
    """Create a CA that signs certificates of services only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mailroom services")])
    builder = (
        _builder(name, name, key, signer=key, now=now, life=AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return Issued(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Issued, name: str, *, now: datetime, life: timedelta = LIFE) -> Issued:
    """Issue a certificate of the service `name`, for its server and its clients."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(subject, authority.certificate.subject, key, signer=authority.key, now=now, life=life)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    return Issued(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    # Key identifiers tell two authorities of the same name apart while both are trusted.
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def read_authority(directory: Path) -> Issued:
    """Read the CA that `ensure_certificates` wrote to `directory`. Raises OSError or ValueError."""
    folder = directory / "authority"
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{folder / 'ca.key'} was not made here")
    return Issued(x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()), key)


def _ensure_authority(directory: Path, *, now: datetime) -> Issued:
    with suppress(OSError, ValueError):
        known = read_authority(directory)
        # The CA must outlive the certificates that it signs.
        if known.certificate.not_valid_after_utc - now > LIFE:
            return known
    made = create_authority(now=now)
    folder = directory / "authority"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(folder / "ca.key", made.key_pem)
    _write(folder / "ca.crt", made.certificate_pem)
    return made


def _lasts(identity: ServiceIdentity, authority: Issued, *, now: datetime, life: timedelta) -> bool:
    try:
        pem = identity.read(now=now + life / _RENEWED_PART)
    except IdentityError:
        return False
    return pem.ca == authority.certificate_pem


def _write(file: Path, content: bytes) -> None:
    """Replace `file` atomically; only its owner can read it."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        output.write(content)
    unfinished.replace(file)


type _Make = Callable[..., list[str]]


def main(arguments: list[str]) -> None:
    """Issue what is missing, or renew for ever."""
    parser = argparse.ArgumentParser(prog="python -m services.kit.tls.authority")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--every", type=float, metavar="SECONDS", help="renew certificates, at this interval")
    parser.add_argument("--stamp", type=Path, metavar="FILE", help="a file to touch after each renewal, to see it live")
    parser.add_argument("--days", type=float, default=LIFE.days, help="the life of new certificates")
    options = parser.parse_args(arguments)
    life = timedelta(days=options.days)
    if options.every is None:
        _report(ensure_certificates, options.directory, life)
        return
    # Told to stop between two looks: nothing is left undone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    while True:
        _report(renew_certificates, options.directory, life)
        if options.stamp is not None:
            options.stamp.touch()
        time.sleep(options.every)


def _report(make: _Make, directory: Path, life: timedelta) -> None:
    for service in make(directory, now=datetime.now(UTC), life=life):
        sys.stdout.write(f"made a certificate for {service}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
