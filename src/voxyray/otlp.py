"""Sends spans to an OpenTelemetry collector, with OpenTelemetry's own exporter (extra `otel`).

Its thread sends them in batches; a collector that is slow or away costs spans, and no call waits.
Besides the address everything is set by OpenTelemetry's variables: OTEL_EXPORTER_OTLP_HEADERS,
OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and so on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import voxyray
from voxyray.errors import SettingsError
from voxyray.tracing import Kind, Span

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

_log = logging.getLogger(__name__)

CLOSE_WITHIN_S: Final = 3.0  # of it the collector gets what is still waiting
_SERVICE_NAME: Final = "service.name"


class Sender:
    """Gives spans to the exporter's thread; `send` never waits.

    Raises:
        SettingsError: OpenTelemetry is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import Decision
        except ImportError as error:
            raise SettingsError(
                f"OTEL_EXPORTER_OTLP_ENDPOINT wants traces, which need OpenTelemetry ({error}): "
                "pip install 'voxyray[otel]', or unset it"
            ) from error
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create(_resource(os.environ)),
            id_generator=self._ids,  # type: ignore[arg-type] # its class cannot be named unimported
            shutdown_on_exit=False,  # it would wait half a minute for a collector that is away
        )
        self._exporter = OTLPSpanExporter(url)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("voxyray", voxyray.__version__)
        self._kinds = _kinds()
        self._sampled = Decision.RECORD_AND_SAMPLE

    def send(self, span: Span) -> None:
        """Give a span to the exporter; one that it has no room for is lost."""
        from opentelemetry import trace
        from opentelemetry.context import Context

        context = Context()
        if span.parent_id is not None:
            parent = trace.NonRecordingSpan(self._context(span, span.parent_id))
            context = trace.set_span_in_context(parent, context)
        self._ids.trace_id, self._ids.span_id = span.trace_id, span.span_id
        sent = self._tracer.start_span(
            span.name,
            context,
            kind=self._kinds[span.kind],
            attributes=span.attributes,
            start_time=span.start_ns,
        )
        for event in span.events:
            sent.add_event(event.name, event.attributes, event.at_ns)
        if span.failed:
            sent.set_status(trace.StatusCode.ERROR)
        sent.end(span.end_ns)

    def _context(self, span: Span, parent_id: int) -> SpanContext:
        """Give the parent, which may not have been sent yet, sampled as the call's own span is."""
        from opentelemetry import trace

        decision = self._provider.sampler.should_sample(None, span.trace_id, "call").decision
        sampled = decision is self._sampled
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else 0)
        return trace.SpanContext(span.trace_id, parent_id, is_remote=False, trace_flags=flags)

    async def close(self) -> None:
        """Send what is waiting, for as long as a stopping server can wait."""
        # A daemon: a collector that does not answer must not keep the process either.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_WITHIN_S)
        if closing.is_alive():
            _log.warning("spans are lost: their collector has not taken them")
            self._exporter.shutdown()  # type: ignore[no-untyped-call] # ends the attempts


class _Ids:
    """Gives the ids of the span that is being made; ours are hashes."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id

    def is_trace_id_random(self) -> bool:
        return False


def _resource(environ: Mapping[str, str]) -> dict[str, Any]:
    """Say who we are, unless the environment does."""
    named = environ.get("OTEL_SERVICE_NAME", "").strip() or any(
        each.partition("=")[0].strip() == _SERVICE_NAME
        for each in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    )
    version = {"service.version": voxyray.__version__}
    return version if named else {_SERVICE_NAME: "voxyray", **version}


def _kinds() -> dict[Kind, Any]:
    from opentelemetry.trace import SpanKind

    return {
        "server": SpanKind.SERVER,
        "client": SpanKind.CLIENT,
        "internal": SpanKind.INTERNAL,
    }
