"""Telemetry that tests look at."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from services.kit.telemetry import Telemetry


class Recorded:
    """Telemetry of which everything is kept in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("test")
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry(self.registry, self.tracer)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """Those that have ended, in that order."""
        return self._exporter.get_finished_spans()

    def count(self, metric: str, **labels: str) -> float | None:
        """How often a histogram was observed with these labels; None: never."""
        return self.registry.get_sample_value(f"{metric}_count", labels)
