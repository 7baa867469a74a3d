"""A server that stops at once: Ctrl-C answers the requests in flight with status 503.

StoppingServer(uvicorn.Config(application(captioner))).run()
"""

import socket

import uvicorn


class StoppingServer(uvicorn.Server):
    """uvicorn.Server for caption.serving.server's application."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for queue in self.config.app.state.queues:
            queue.close()
        await super().shutdown(sockets)
