"""A collector of traces: OTLP over gRPC in, a file of JSON lines out, one span per line."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True)
class TraceCollector:
    """Collects spans sent to `endpoint` in `file`."""

    endpoint: str
    file: Path

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """Return the spans of a trace so far: `service`, `name`, `id`, `parent` and `attributes`."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [span for line in lines if (span := json.loads(line))["trace"] == trace_id]


class _Service(TraceServiceServicer):
    def __init__(self, file: Path) -> None:
        self._file = file

    def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:  # noqa: ARG002, N802 - gRPC's signature
        lines = [json.dumps(span, ensure_ascii=False) + "\n" for span in _spans(request)]
        with self._file.open("a") as file:
            file.writelines(lines)
        return ExportTraceServiceResponse()


def _spans(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield {
                "service": service,
                "trace": span.trace_id.hex(),
                "id": span.span_id.hex(),
                "parent": span.parent_span_id.hex(),
                "name": span.name,
                "attributes": _values(span.attributes),
                # All other parts, for tests that search the whole file.
                "raw": MessageToDict(span),
            }


def _values(attributes: Iterator[KeyValue] | Any) -> dict[str, Any]:
    return {item.key: next(iter(MessageToDict(item.value).values()), None) for item in attributes}


@contextmanager
def trace_collector(file: Path) -> Iterator[TraceCollector]:
    """Collect on a free port of loopback until the block ends."""
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    add_TraceServiceServicer_to_server(_Service(file), server)  # type: ignore[no-untyped-call]  # generated code
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield TraceCollector(f"http://127.0.0.1:{port}", file)
    finally:
        server.stop(grace=1).wait()
