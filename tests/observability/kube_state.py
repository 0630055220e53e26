"""What kube-state-metrics tells of an autoscaler, where there is no Kubernetes: made up, over real HTTP."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

DECLARED = (
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_spec_max_replicas",
)
"""Every metric of it that rules and dashboards may use."""


class KubeState:
    """An autoscaler of the detector that may have 4 replicas and has `replicas`."""

    def __init__(self) -> None:
        self.replicas = 2
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                values = dict(zip(DECLARED, (told.replicas, 4), strict=True))
                text = "".join(
                    f'{name}{{horizontalpodautoscaler="keda-hpa-twinloop-detector"}} {value}\n'
                    for name, value in values.items()
                )
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
