"""Telemetry that is kept in memory."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer
from prometheus_client import CollectorRegistry

from services.kit.observe.setup import Telemetry


class Recorded:
    """Metrics and spans in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("test")
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry(self.registry, self.tracer)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The ended spans, in the order of their ends."""
        return self._exporter.get_finished_spans()

    def of_kinds(self, *kinds: SpanKind) -> list[ReadableSpan]:
        """Return the one span of each kind. A server's span may end before or after its caller's."""
        found = []
        for kind in kinds:
            [span] = [span for span in self.spans if span.kind is kind]
            found.append(span)
        return found

    def count(self, metric: str, **labels: str) -> float | None:
        """Return the number of observations of a histogram with these labels; None without any."""
        return self.registry.get_sample_value(f"{metric}_count", labels)
