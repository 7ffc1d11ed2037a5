"""The certificate of the IMAP servers, over restarts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.sandbox.certificates import server_tls


def _expiring(ca: Path, key: Path) -> None:
    """Replace the certificate by one that ends tomorrow."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    old, now = x509.load_pem_x509_certificate(ca.read_bytes()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))


class TestServerTls:
    def test_is_the_same_after_a_restart(self, tmp_path: Path) -> None:
        ca = tmp_path / "ca.pem"
        _, first = server_tls(kept=ca)
        _, second = server_tls(kept=ca)
        assert first == second == ca.read_text()
        assert ca.with_suffix(".key").stat().st_mode & 0o777 == 0o600

    def test_is_made_anew_before_it_ends_and_where_its_key_is_another(self, tmp_path: Path) -> None:
        ca, key = tmp_path / "ca.pem", tmp_path / "ca.key"
        _, first = server_tls(kept=ca)
        _expiring(ca, key)
        _, second = server_tls(kept=ca)
        server_tls(kept=tmp_path / "other.pem")
        key.write_bytes((tmp_path / "other.key").read_bytes())
        _, third = server_tls(kept=ca)
        assert len({first, second, third}) == 3

    def test_of_two_sandboxes_without_a_file_differ(self) -> None:
        assert server_tls()[1] != server_tls()[1]
