"""Structured logs on stderr: JSON lines, or readable ones on a terminal."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from opentelemetry.trace import format_trace_id, get_current_span

from services.kit.observe.repeated_lines import SummingHandler

# These libraries log addresses and headers that can hold codes and tokens.
_CHATTY = ("httpx", "httpcore", "asyncio", "hpack", "grpc", "uvicorn.access")
# SQLAlchemy logs each end of a pool, which says nothing to an operator, under the name of our class.
_POOL = "services.kit.stores.engine.BoundedQueuePool"
_SECRET_WORDS = ("token", "secret", "password", "authorization", "code", "state", "login_code", "verifier", "cookie")
_SAFE_KEYS = frozenset({"status_code", "error_code"})
_SECRET_FREE_TYPES = (int, float, bool, type(None))


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key in _SAFE_KEYS or isinstance(value, _SECRET_FREE_TYPES):
            continue
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "[redacted]"
    return event


def _add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format_trace_id(context.trace_id)
    return event


def _add_service(service: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"service": service, **event}

    return add


def configure_logging(*, service: str, level: str) -> None:
    """Send the records of structlog and of the standard library to stderr in one format. Call once per process."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_service(service),
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        # The default tracebacks show local variables, tokens among them.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not terminal:
        last.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = SummingHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*last, renderer]))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in (*_CHATTY, _POOL):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.clear_contextvars()
    structlog.get_logger().debug("logging configured")
