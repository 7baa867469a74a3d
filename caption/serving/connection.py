"""A connection to the demo that nobody can hold: uvicorn's, but for how long it may stand still.

    uvicorn.Config(app, http=Connection)

Uvicorn bounds the time between two requests, not that which a request's headers take to arrive or
its answer takes to be fetched; enough senders of half a line would shut everybody else out.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS = 10  # seconds for the headers of a request to arrive
ANSWER = 90  # seconds for all of a request: sending, waiting, captioning, fetching the answer


class Connection(H11Protocol):
    """Closed when it waits for headers, or works on one request, for longer than it may."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._state, self._since = None, self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watching.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Look every second: the state is which request this is, and whether it is answered."""
        state = self.cycle, self.cycle is None or self.cycle.response_complete
        if state != self._state:
            self._state, self._since = state, self.loop.time()
        if self.loop.time() - self._since > (HEADERS if state[1] else ANSWER):
            self.transport.abort()
        self._watching = self.loop.call_later(1, self._watch)
