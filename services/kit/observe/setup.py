"""The metrics registry and the tracer of a process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector

# Seconds. An exporter that cannot reach its collector must not keep the process from ending.
_EXPORT_TIMEOUT = 2


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The registry behind /metrics, and the tracer, None where no traces are collected."""

    registry: CollectorRegistry
    tracer: Tracer | None = None


@contextmanager
def open_telemetry(service: str, *, collector: str | None, version: str = "unknown") -> Iterator[Telemetry]:
    """Yield a registry that holds the metrics of the process, and a tracer that exports to `collector`.

    `version` is the release that the metrics show.

    The collector speaks OTLP over gRPC, for example at `http://collector:4317`; None switches traces off at no cost.
    Spans that are still buffered are exported at the end. The SDK reads OTEL_ variables from the environment for
    sampling, headers and limits.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Gauge("mailroom_build_info", "1, with the release that runs.", ["version"], registry=registry).labels(version).set(
        1
    )
    if collector is None:
        yield Telemetry(registry)
        return
    with _exporting(service, collector) as tracer:
        yield Telemetry(registry, tracer)


@contextmanager
def _exporting(service: str, collector: str) -> Iterator[Tracer]:
    # Importing them takes 70 ms and some megabytes, which only an exporting process pays.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({SERVICE_NAMESPACE: "mailroom", SERVICE_NAME: service})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=collector, timeout=_EXPORT_TIMEOUT)))
    try:
        yield provider.get_tracer("mailroom")
    finally:
        provider.shutdown()
