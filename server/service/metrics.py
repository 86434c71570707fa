"""What a monitoring system reads: counters of calls and bytes, gauges of the queue.

Prometheus' text form over plain http on a port of its own, off by default. Nothing in it names a
plate, a prompt or a user.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from server.errors import SettingsError

Gauges = Callable[[], dict[str, float]]


class Metrics:
    """Counters of one server; safe to use from many threads."""

    def __init__(self, gauges: Gauges) -> None:
        """Start at zero.

        Args:
            gauges: asked at every reading: name with labels → value.
        """
        self._gauges = gauges
        self._guard = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()

    def call(self, name: str, status: str, seconds: float) -> None:
        """Count a call."""
        with self._guard:
            self._calls[name, status] += 1
            self._seconds[name] += seconds  # type: ignore[assignment]

    def count(self, name: str, amount: int) -> None:
        """Add to a total."""
        with self._guard:
            self._totals[name] += amount

    def text(self) -> str:
        """Prometheus' text form."""
        lines = ["# TYPE segmatte_calls_total counter"]
        with self._guard:
            for (name, status), number in sorted(self._calls.items()):
                lines.append(f'segmatte_calls_total{{call="{name}",status="{status}"}} {number}')
            lines.append("# TYPE segmatte_call_seconds_total counter")
            for name, seconds in sorted(self._seconds.items()):
                lines.append(f'segmatte_call_seconds_total{{call="{name}"}} {seconds:.6f}')
            for name, number in sorted(self._totals.items()):
                lines.append(f"# TYPE segmatte_{name}_total counter")
                lines.append(f"segmatte_{name}_total {number}")
        typed = set()
        for name, value in sorted(self._gauges().items()):
            family = name.partition("{")[0]
            if family not in typed:
                lines.append(f"# TYPE segmatte_{family} gauge")
                typed.add(family)
            lines.append(f"segmatte_{name} {value:g}")
        return "\n".join(lines) + "\n"


class MetricsServer:
    """Serves the metrics at ``/metrics``."""

    def __init__(self, metrics: Metrics, *, host: str, port: int) -> None:
        """Begin to serve.

        Raises:
            SettingsError: the port is taken.
        """

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/metrics":
                    self.send_error(404)
                    return
                body = metrics.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Readings are no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise SettingsError(
                f"Metrics cannot be served on {host}:{port}: {error.strerror}. Choose another "
                "metrics_port."
            ) from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
