"""Queries that wait for the index: every client has its turn, and none may fill the queue."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from mrsearch.retrieval.indexes.ranking import Ranking
from mrsearch.retrieval.service.cache import Ask


class QueueFullError(RuntimeError):
    """So many queries wait that another should come back later."""


class Flight:
    """An ask that waits or is searched, and how many requests of which clients wait for it."""

    __slots__ = ("answer", "ask", "clients", "in_batch")

    def __init__(self, ask: Ask, answer: asyncio.Future[Ranking]) -> None:
        self.ask, self.answer, self.in_batch = ask, answer, False
        self.clients: dict[str, int] = {}


class FairQueue:
    """Flights in one line per client; batches take from all lines in turn.

    max_waiting: most queries that may wait; None does not bound them.
    """

    def __init__(self, max_waiting: int | None) -> None:
        self._max = max_waiting
        self._lines: OrderedDict[str, OrderedDict[Ask, Flight]] = OrderedDict()
        self._flights: dict[Ask, Flight] = {}
        self.waiting = 0
        """Flights that no batch has taken yet."""

    def get(self, ask: Ask) -> Flight | None:
        """The flight of an ask that waits or is searched."""
        return self._flights.get(ask)

    def admit(self, client: str, count: int) -> None:
        """QueueFullError if `client` may not add `count` queries.

        A client may have as many waiting as are still free beside them: however much it asks, there is space for
        others, and together they never exceed the bound.
        """
        if self._max is None or not count:
            return
        ahead = len(self._lines.get(client, ()))
        if ahead + count > self._max - self.waiting:
            raise QueueFullError(
                f"{self.waiting} queries wait already, {ahead} of this client: {count} more do not fit into a queue of "
                f"{self._max}"
            )

    def join(self, client: str, flight: Flight) -> None:
        """Another request of `client` waits for the flight."""
        ask = flight.ask
        if ask not in self._flights:
            self._flights[ask] = flight
            self.waiting += 1
        flight.clients[client] = flight.clients.get(client, 0) + 1
        if not flight.in_batch:
            self._lines.setdefault(client, OrderedDict())[ask] = flight

    def leave(self, client: str, flight: Flight) -> None:
        """A request of `client` waits no more; a flight for which nobody waits is not searched."""
        flight.clients[client] -= 1
        if flight.clients[client]:
            return
        del flight.clients[client]
        if flight.in_batch:
            return
        self._unline(client, flight.ask)
        if not flight.clients:
            del self._flights[flight.ask]
            self.waiting -= 1
            flight.answer.cancel()

    def take(self, most: int | None) -> list[Flight]:
        """The next batch: one flight of each client's line in turn, up to `most`."""
        batch: list[Flight] = []
        while self._lines and (most is None or len(batch) < most):
            client, line = next(iter(self._lines.items()))
            flight = next(iter(line.values()))
            flight.in_batch = True
            self.waiting -= 1
            batch.append(flight)
            for waiting in flight.clients:
                self._unline(waiting, flight.ask)
            if client in self._lines:
                self._lines.move_to_end(client)
        return batch

    def landed(self, flights: Iterable[Flight]) -> None:
        """Forget flights that were answered."""
        for flight in flights:
            self._flights.pop(flight.ask, None)

    def _unline(self, client: str, ask: Ask) -> None:
        line = self._lines[client]
        del line[ask]
        if not line:
            del self._lines[client]
