"""The expiry of a process's certificates as a metric."""

from collections.abc import Iterator
from pathlib import Path
from typing import override

from cryptography import x509
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.kit.tls.identity import ServiceIdentity


class CertificateExpiry(Collector):
    """A gauge of when the certificates in the files of an identity expire, read at each scrape.

    A file that cannot be read counts as expired in 1970. Without an identity there is no gauge.
    """

    def __init__(self, registry: CollectorRegistry, identity: ServiceIdentity | None) -> None:
        self._files: dict[str, Path] = {}
        if identity is not None:
            self._files = {"service": identity.certificate, "authority": identity.ca}
            registry.register(self)

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "mailroom_certificate_expires_timestamp_seconds",
            "When the first certificate of the file expires.",
            labels=["certificate"],
        )
        for name, file in self._files.items():
            family.add_metric([name], _expiry(file))
        yield family


def _expiry(file: Path) -> float:
    try:
        return min(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(file.read_bytes())).timestamp()
    except (OSError, ValueError):
        return 0.0
