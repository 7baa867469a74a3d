"""The demo as a web application: what it serves, what it refuses, and in which words.

In: a Captioner. Out: a Starlette application, see caption.demo for its addresses.
"""

import asyncio
import contextlib
import secrets
import sys
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from caption.captioner import Captioner
from caption.decoding.decode import DecodeOptions
from caption.reporting import attention_overlay
from caption.serving.inference_queue import Full, InferenceQueue
from prepro.images import BadImage

MAX_BODY = 10 * 1024 * 1024  # bytes of a picture
SENDING = 20  # seconds that a sender may take
MOST = {"beam": 10, "n": 10, "max_length": 50, "seed": 2**31 - 1}  # of what a request may ask
OWN_FILES, SHARED_FILES = Path(__file__).parent, Path(attention_overlay.__file__).parent
FILES = {
    "/": OWN_FILES / "demo.html",
    "/demo.js": OWN_FILES / "demo.js",
    "/page.css": SHARED_FILES / "page.css",
    "/attention.js": SHARED_FILES / "attention.js",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


def application(
    captioner: Captioner, host: str = "127.0.0.1", inference_queue: InferenceQueue | None = None
) -> Starlette:
    """The demo; `inference_queue` is one of its own unless given.

    It answers to the names of this machine and to `host` alone, so that no other site's name can be
    made to point here; a `host` that listens everywhere answers to any name.
    """
    names = ["*"] if host in ("0.0.0.0", "::") else ["localhost", "127.0.0.1", "[::1]", host]
    inference_queue = inference_queue or InferenceQueue(captioner)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette):
        yield
        inference_queue.close()

    app = Starlette(
        routes=[
            *(Route(path, _file(file)) for path, file in FILES.items()),
            Route("/favicon.ico", lambda _: Response(status_code=204, headers=HEADERS)),
            Route("/health", health),
            Route("/api/caption", caption, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)],
        exception_handlers={HTTPException: _refusal, Exception: _accident},
        lifespan=lifespan,
    )
    app.state.inference_queue = inference_queue
    return app


def _file(path: Path):
    async def send(_: Request) -> Response:
        return FileResponse(path, headers=HEADERS)

    return send


async def health(request: Request) -> Response:
    """What is served here, and how many pictures wait."""
    inference_queue: InferenceQueue = request.app.state.inference_queue
    model = {
        "decoder": inference_queue.captioner.run.get("config", {}).get("decoder"),
        "vocabulary": len(inference_queue.captioner.vocabulary),
        "regions": inference_queue.captioner.regions,
        "decoding": {
            n: getattr(inference_queue.captioner.decoding, n) for n in ("beam", "n", "max_length")
        },
    }
    return _json({"status": "ok", "model": model, "waiting": inference_queue.waiting})


async def caption(request: Request) -> Response:
    """The captions of the picture in the body."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "this page serves no other site")
    inference_queue: InferenceQueue = request.app.state.inference_queue
    try:
        asked = dict(request.query_params)
        attention, seed = asked.pop("attention", "1") != "0", _whole("seed", asked.pop("seed", "0"))
        options = asked_for(asked, inference_queue.captioner.decoding)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    try:
        async with asyncio.timeout(SENDING):
            data = await _body(request)
    except TimeoutError:
        raise HTTPException(408, f"the picture did not arrive within {SENDING} s") from None
    try:
        return _json(await inference_queue.caption(data, options, seed, attention))
    except BadImage as error:
        raise HTTPException(422, str(error)) from None
    except Full as error:
        raise HTTPException(429, f"{error}; try again", {"Retry-After": "1"}) from None
    except TimeoutError:
        raise HTTPException(
            503, f"no caption within {inference_queue.patience:g} s; try again"
        ) from None


async def _body(request: Request) -> bytes:
    """All of the body, or 413 as soon as it is known to be too much."""
    announced, data = request.headers.get("content-length", ""), bytearray()
    if not announced.isdecimal() or int(announced[:12]) <= MAX_BODY:
        async for chunk in request.stream():
            data += chunk
            if len(data) > MAX_BODY:
                break
        else:
            return bytes(data)
    raise HTTPException(413, f"the picture has more than {MAX_BODY >> 20} MB; make it smaller")


def asked_for(asked: dict[str, str], defaults: DecodeOptions) -> DecodeOptions:
    """`defaults` with what a request asks; ValueError in words for what may not be asked."""
    values: dict[str, object] = {}
    for name, text in asked.items():
        if name not in ("beam", "n", "max_length", "sample"):
            known = "beam, n, max_length, sample, seed and attention"
            raise ValueError(f"{name[:40]!r} is no parameter; these are: {known}")
        values[name] = text if name == "sample" else _whole(name, text)
    beam = values.get("beam", defaults.beam)
    if not values.get("sample") and values.get("n", 1) > beam:
        values["beam"] = values["n"]  # n captions need as many beams
    return replace(defaults, **values)


def _whole(name: str, text: str) -> int:
    least = 0 if name == "seed" else 1
    if not text.isascii() or not text.isdecimal() or not least <= int(text[:12]) <= MOST[name]:
        raise ValueError(f"{name} takes a whole number from {least} to {MOST[name]}")
    return int(text)


def _json(content: dict, status: int = 200, headers: dict | None = None) -> Response:
    return JSONResponse(content, status, {**HEADERS, **(headers or {})})


async def _refusal(_: Request, error: HTTPException) -> Response:
    """Any status in words."""
    return _json({"error": error.detail}, error.status_code, dict(error.headers or {}))


async def _accident(_: Request, error: Exception) -> Response:
    """The trace, which uvicorn prints, is for the terminal; the answer has a number to find it."""
    number = secrets.token_hex(4)
    print(f"caption.demo: failure {number}: {type(error).__name__}", file=sys.stderr, flush=True)
    words = f"something failed here; the terminal says what (failure {number})"
    return _json({"error": words}, 500)
