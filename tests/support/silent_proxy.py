"""A TCP proxy that can lose everything without closing a connection, as a network does that is gone."""

import socket
from contextlib import suppress
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from support.ports import HOST

_BYTES = 65_536


class SilentProxy:
    """Stands before a server. ``lose()`` leaves its connections open and dead for good; new ones are, until ``find()``."""

    def __init__(self, port: int, target: int) -> None:
        self._target = target
        self._lost = Event()
        self._lock = Lock()
        self._sockets: list[socket.socket] = []
        self._links: list[Event] = []
        self._server = socket.create_server((HOST, port))

    def lose(self) -> None:
        """Lose what is sent from now on, in both directions."""
        with self._lock:
            self._lost.set()
            for is_dead in self._links:
                is_dead.set()

    def find(self) -> None:
        """Serve new connections again; those of before stay dead."""
        self._lost.clear()

    def __enter__(self) -> Self:
        """Start serving."""
        Thread(target=self._serve, name="silent-proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        with self._lock:
            for each in (self._server, *self._sockets):
                _close(each)

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection((HOST, self._target))
            except OSError:
                if self._server.fileno() < 0:
                    return
                continue
            is_dead = Event()
            with self._lock:
                self._sockets += [near, far]
                self._links.append(is_dead)
                if self._lost.is_set():
                    is_dead.set()
            for source, target in ((near, far), (far, near)):
                Thread(target=_pump, args=(source, target, is_dead), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, is_dead: Event) -> None:
    with suppress(OSError):
        while data := source.recv(_BYTES):
            if not is_dead.is_set():
                target.sendall(data)
    if not is_dead.is_set():  # nor does a dead connection tell that the other end has closed
        _close(target)
    _close(source)


def _close(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
