"""A proxy before the registry that knows schemas by GUID as well, as Confluent's does and the real one here does not."""

from __future__ import annotations

import threading
import uuid
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from support.ports import HOST

_TOKEN = "bearer-secret"


def guid_of(schema_id: int) -> uuid.UUID:
    """Return the GUID under which the proxy knows the schema with this id."""
    return uuid.UUID(int=(0xC0FFEE << 96) | schema_id)


def header_of(schema_id: int) -> bytes:
    """Return the value of the header by which a record names that schema."""
    return b"\1" + guid_of(schema_id).bytes


class GuidRegistry:
    """Answers ``schemas/guids/...`` by asking for the id in it, and passes all other questions on.

    With ``token`` it answers only who shows that bearer token.
    """

    token = _TOKEN

    def __init__(self, target: str, *, asks_for_token: bool = False) -> None:
        self._server = ThreadingHTTPServer((HOST, 0), _handler(target, _TOKEN if asks_for_token else None))
        self._thread = threading.Thread(target=self._server.serve_forever, name="guid-registry", daemon=True)

    @property
    def url(self) -> str:
        """Where a client connects."""
        return f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(target: str, token: str | None) -> type[BaseHTTPRequestHandler]:
    base = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if token is not None and self.headers.get("Authorization") != f"Bearer {token}":
                self.send_error(401)
                return
            path = self.path
            if path.startswith("/schemas/guids/"):
                guid, _, query = path.removeprefix("/schemas/guids/").partition("?")
                path = f"/schemas/ids/{uuid.UUID(guid).int & 0xFFFFFFFF}?{query}"
            connection = HTTPConnection(base.hostname or "", base.port, timeout=10)
            try:
                connection.request("GET", base.path + path)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
