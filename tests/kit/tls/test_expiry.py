"""The expiry of certificates as a metric."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.kit.tls.authority import ensure_certificates, identity_in
from services.kit.tls.expiry import CertificateExpiry

NAME = "mailroom_certificate_expires_timestamp_seconds"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def registry(tmp_path: Path) -> CollectorRegistry:
    """A registry with the expiry of a certificate that lasts 30 days."""
    ensure_certificates(tmp_path, now=NOW, life=30 * DAY)
    registry = CollectorRegistry()
    CertificateExpiry(registry, identity_in(tmp_path, "mail"))
    return registry


class TestExpiry:
    def test_is_that_of_the_certificate_and_of_the_authority(self, registry: CollectorRegistry) -> None:
        assert registry.get_sample_value(NAME, {"certificate": "service"}) == (NOW + 30 * DAY).timestamp()
        assert registry.get_sample_value(NAME, {"certificate": "authority"}) == (NOW + 3650 * DAY).timestamp()

    def test_follows_a_renewal(self, registry: CollectorRegistry, tmp_path: Path) -> None:
        ensure_certificates(tmp_path, now=NOW + 29 * DAY, life=30 * DAY)
        assert registry.get_sample_value(NAME, {"certificate": "service"}) == (NOW + 59 * DAY).timestamp()

    @pytest.mark.parametrize("content", [None, b"no certificate"])
    def test_of_a_file_that_cannot_be_read_is_over(
        self, registry: CollectorRegistry, tmp_path: Path, content: bytes | None
    ) -> None:
        file = tmp_path / "mail/tls.crt"
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        assert registry.get_sample_value(NAME, {"certificate": "service"}) == 0

    def test_is_not_shown_without_certificates(self) -> None:
        registry = CollectorRegistry()
        CertificateExpiry(registry, None)
        assert list(registry.collect()) == []
