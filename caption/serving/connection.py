"""A connection to the demo with time limits.

    uvicorn.Config(app, http=Connection)

Uvicorn limits the time between two requests, but neither the time until the headers of a request
have arrived nor the time until its answer is fetched. Without these limits, enough slow clients
would block all others.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS = 10  # seconds for the headers of a request to arrive
ANSWER = 90  # seconds for all of a request: sending, waiting, captioning, fetching the answer


class Connection(H11Protocol):
    """Closes when headers, or a whole request, take too long."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._state, self._since = None, self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watching.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Check every second which request is open, and whether it has been answered."""
        state = self.cycle, self.cycle is None or self.cycle.response_complete
        if state != self._state:
            self._state, self._since = state, self.loop.time()
        if self.loop.time() - self._since > (HEADERS if state[1] else ANSWER):
            self.transport.abort()
        self._watching = self.loop.call_later(1, self._watch)
