"""HTTP connections of a server that others can reach: bounded headers, bounded time, bounded number."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mrsearch.config.retrieval import Service

HEAD_BYTES = 65_536
"""Request line and headers, or the trailers of a body, may have so many bytes: the parser's work grows faster."""
LINGER_SECONDS = 2.0
"""How long a refusal may take to be read before its connection is cut."""


class _TooLongError(Exception):
    """The head of a request is too long."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's connection, whose requests must come whole, and whose answers must be taken, within `seconds`.

    Beyond `most` connections the one that has waited longest without a request under way is cut. Use `guarded`.
    """

    seconds: float
    most: int
    idle: dict[GuardedProtocol, None]
    """Connections without a whole request, oldest first; one server's connections share it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._arrival: asyncio.TimerHandle | None = None
        self._delivery: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._in_message, self._too_long = False, False
        self._head, self._silent, self._events = 0, 0, 0
        super().connection_made(transport)
        self.idle[self] = None
        self._expect()
        if len(self.connections) > self.most and (oldest := next(iter(self.idle), None)) is not None:
            del self.idle[oldest]
            oldest.cut()

    def cut(self) -> None:
        """End the connection at once; what is being answered learns that nobody is there."""
        self._desert()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._desert()
        self._cancel("_arrival")
        self._cancel("_delivery")
        self.idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._expect()
        events = self._events
        super().data_received(data)
        # Bytes that complete no header and no piece of a body only make the parser's buffers grow.
        self._silent = self._silent + len(data) if events == self._events else 0
        if self._silent > HEAD_BYTES and not self.transport.is_closing():
            self._too_long = True
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read: 431 where its head is too long."""
        if self._too_long:
            self._refuse(b"431 Request Header Fields Too Large", f"a head of more than {HEAD_BYTES} bytes".encode())
        else:
            self._refuse(b"400 Bad Request", msg.encode())

    def on_message_begin(self) -> None:
        self._events += 1
        self._in_message, self._head = True, 0
        self._expect()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._events += 1
        self._grow(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._events += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._events += 1
        self._in_message = False
        self._cancel("_arrival")
        self.idle.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline and not self._in_message:
            self.idle[self] = None
        self._deliver()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._deliver()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel("_delivery")

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._deliver()

    def _grow(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_BYTES:
            self._too_long = True
            raise _TooLongError

    def _expect(self) -> None:
        """A request has begun to come, or may: it has so many seconds."""
        if self._arrival is None:
            # In two halves: after a moment in which the event loop stood still, timers come before what has arrived.
            self._arrival = self.loop.call_later(self.seconds / 2, self._half_time)

    def _half_time(self) -> None:
        self._arrival = self.loop.call_later(self.seconds / 2, self._late)

    def _late(self) -> None:
        self._arrival = None
        if not self._in_message and self.cycle is not None and not self.cycle.response_complete:
            return  # nothing but line ends came while an answer is prepared
        if self._in_message and (self.cycle is None or not self.cycle.response_started):
            self._refuse(b"408 Request Timeout", f"no whole request within {self.seconds:g} s".encode())
        else:
            self.cut()

    def _deliver(self) -> None:
        """What was written has so many seconds to be taken."""
        if self._delivery is None and self.transport.get_write_buffer_size():
            self._delivery = self.loop.call_later(self.seconds, self._stuck)

    def _stuck(self) -> None:
        self._delivery = None
        if self.transport.get_write_buffer_size():
            self.cut()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _desert(self) -> None:
        """uvicorn tells the latest request of a connection that it is lost; an earlier one may be the one answered."""
        self.pipeline.clear()
        for cycle in (self._answering, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _refuse(self, status: bytes, reason: bytes) -> None:
        if self.transport.is_closing():
            return
        head = b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: "
        self._desert()
        self.transport.write(head + str(len(reason)).encode() + b"\r\n\r\n" + reason)
        self.transport.close()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _cancel(self, timer: str) -> None:
        if (handle := getattr(self, timer)) is not None:
            handle.cancel()
            setattr(self, timer, None)


def guarded(service: Service) -> type[asyncio.Protocol]:
    """The connections of one server, with its limits."""
    limits: dict[str, Any] = {"seconds": service.request_seconds, "most": service.max_connections, "idle": {}}
    return type("Guarded", (GuardedProtocol,), limits)
