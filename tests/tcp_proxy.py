"""A TCP proxy that can swallow the bytes of exactly those connections on which a client waits for messages."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class TcpProxy:
    """Passes bytes between clients and one server, running while used as a context manager.

    While `deaf` is set, a connection that has sent BRPOP is a black hole: it stays open, and what either side sends is
    taken and dropped.

    Args:
        target: host and port of the server.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        """Listen on a free port."""
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.deaf = threading.Event()
        self.dropped = 0
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Begin."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, with all connections."""
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        """Take connections."""
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [client, server]
            waits = threading.Event()
            threading.Thread(target=self._pass, args=(client, server, waits, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, waits, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, waits: threading.Event, from_client: bool) -> None:
        """Pass the bytes of one direction."""
        try:
            while piece := source.recv(65536):
                if from_client and b"BRPOP" in piece:
                    waits.set()
                if waits.is_set() and self.deaf.is_set():
                    self.dropped += len(piece)
                    continue
                sink.sendall(piece)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
