"""A collector of traces on loopback, as OpenTelemetry's exporter meets it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent; `answering` is cleared by whoever wants it slow."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.answering = threading.Event()
        self.answering.set()

    @property
    def resources(self) -> list[dict[str, str]]:
        """What each batch says of its sender."""
        return [
            {each.key: each.value.string_value for each in part.resource.attributes}
            for part in self._parts()
        ]

    @property
    def spans(self) -> list[Any]:
        return [
            span for part in self._parts() for scope in part.scope_spans for span in scope.spans
        ]

    def _parts(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        return [
            part
            for body in self.bodies
            for part in ExportTraceServiceRequest.FromString(body).resource_spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.answering.wait(30)
        self.server.bodies.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect until the block is left."""
    collector = Collector()
    serving = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield collector
    finally:
        collector.answering.set()
        collector.shutdown()
        serving.join()
        collector.server_close()
