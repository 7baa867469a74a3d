"""The demo as a Starlette application: its routes and its error messages.

In: a Captioner. Out: the application; caption.demo lists its addresses.
"""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from caption.captioner import Captioner
from caption.decoding.decode import DecodeOptions
from caption.onnx.page_template import page_html
from caption.pretrained import model_name
from caption.reporting import attention_overlay
from caption.serving import examples
from caption.serving.inference_queue import InferenceQueue, QueueClosed, QueueFull
from prepro.images import BadImage

MAX_BODY = 10 * 1024 * 1024  # bytes of a picture
MAX_WORDS = 50  # in `never`; `must` takes four
SEND_TIMEOUT = 20  # seconds in which a picture must arrive
LIMITS = {
    "beam": 10,
    "n": 10,
    "max_length": 50,
    "seed": 2**31 - 1,
    "run": 9,
}  # of a request's parameters
OWN_FILES, SHARED_FILES = Path(__file__).parent, Path(attention_overlay.__file__).parent
SCRIPTS = (
    "demo.css", "models.js", "queue.js", "asking.js", "history.js", "cards.js", "camera.js",
    "adding.js", "demo.js",
)  # fmt: skip
FILES = {
    **{f"/{name}": OWN_FILES / name for name in SCRIPTS},
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
    captioner: Captioner, host: str = "127.0.0.1", queue: InferenceQueue | None = None,
    others: Sequence[Captioner] = (),
) -> Starlette:  # fmt: skip
    """The demo, with a queue of its own unless one is given; the page shows `others` beside it.

    It answers requests to the names of this machine and to `host` only, which prevents DNS
    rebinding; a `host` that listens on all addresses answers requests to any name.
    """
    names = ["*"] if host in ("0.0.0.0", "::") else ["localhost", "127.0.0.1", "[::1]", host]
    queues = [queue or InferenceQueue(captioner), *map(InferenceQueue, others)]
    pictures = examples.pictures(drawn=not others and captioner and captioner.knows_scenes_only)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette):
        for inference_queue in queues if pictures else ():
            inference_queue.warm_up(pictures[0].data)
        yield
        for inference_queue in queues:
            inference_queue.close()

    app = Starlette(
        routes=[
            Route("/", _page),
            *(Route(path, _file(file)) for path, file in FILES.items()),
            Route("/favicon.ico", lambda _: Response(status_code=204, headers=HEADERS)),
            *(Route(f"/example/{i}", _picture(p)) for i, p in enumerate(pictures)),
            Route("/health", health),
            Route("/api/caption", caption, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)],
        exception_handlers={HTTPException: _error_response, Exception: _internal_error},
        lifespan=lifespan,
    )
    app.state.queues, app.state.examples = queues, pictures
    return app


def _picture(example: examples.Example):
    async def send(_: Request) -> Response:
        return Response(example.data, media_type=example.media_type, headers=HEADERS)

    return send


async def _page(_: Request) -> Response:
    return HTMLResponse(page_html("served"), headers=HEADERS)


def _file(path: Path):
    async def send(_: Request) -> Response:
        return FileResponse(path, headers=HEADERS)

    return send


async def health(request: Request) -> Response:
    """The models that are served, the example pictures, and the length of the queue."""
    queues: list[InferenceQueue] = request.app.state.queues
    models = [_about(queue.captioner) for queue in queues]
    shown = [{"src": f"/example/{i}", "name": p.name, "credit": p.credit} for i, p in
             enumerate(request.app.state.examples)]  # fmt: skip
    waiting = sum(queue.waiting for queue in queues)
    answer = {"status": "ok", "model": models[0], "models": models, "examples": shown}
    return _json(answer | {"waiting": waiting})


def _about(captioner: Captioner) -> dict:
    return {
        "name": model_name(captioner.path),
        "seen": captioner.origin,
        "scenes": captioner.knows_scenes_only,
        "decoder": captioner.run.get("config", {}).get("decoder"),
        "vocabulary": len(captioner.vocabulary),
        "regions": captioner.regions,
        "decoding": {n: getattr(captioner.decoding, n) for n in ("beam", "n", "max_length")},
    }


async def caption(request: Request) -> Response:
    """The captions of the picture in the body."""
    if not _is_own(request):
        raise HTTPException(403, "requests from other sites are refused")
    queues: list[InferenceQueue] = request.app.state.queues
    try:
        parameters = dict(request.query_params)
        run = _parse_int("run", parameters.pop("run", "0"))
        inference_queue = queues[min(run, len(queues) - 1)]
        attention, seed = (
            parameters.pop("attention", "1") != "0",
            _parse_int("seed", parameters.pop("seed", "0")),
        )
        options = parse_options(parameters, inference_queue.captioner.decoding)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            data = await _body(request)
    except (ClientDisconnect, asyncio.CancelledError):  # nobody sends the rest, or Ctrl-C
        raise HTTPException(400, "the picture did not arrive") from None
    except TimeoutError:
        raise HTTPException(408, f"the picture did not arrive within {SEND_TIMEOUT} s") from None
    try:
        return _json(await inference_queue.caption(data, options, seed, attention))
    except BadImage as error:
        raise HTTPException(422, str(error)) from None
    except ValueError as error:  # a word of `must` that the model does not know, say
        raise HTTPException(400, str(error)) from None
    except QueueFull as error:
        raise HTTPException(429, f"{error}; try again", {"Retry-After": "1"}) from None
    except QueueClosed:
        raise HTTPException(503, "the demo was stopped") from None
    except TimeoutError:
        raise HTTPException(
            503, f"no caption within {inference_queue.timeout:g} s; try again"
        ) from None


def _is_own(request: Request) -> bool:
    """Whether a browser sent this from a page of ours; programs send neither header."""
    site, origin = (request.headers.get(name) for name in ("sec-fetch-site", "origin"))
    if site not in (None, "same-origin", "none"):
        return False
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


async def _body(request: Request) -> bytes:
    """The whole body, or status 413 as soon as it is known to be too large."""
    announced, data = request.headers.get("content-length", ""), bytearray()
    if not announced.isdecimal() or float(announced) <= MAX_BODY:  # of any number of digits
        async for chunk in request.stream():
            data += chunk
            if len(data) > MAX_BODY:
                break
        else:
            return bytes(data)
    raise HTTPException(413, f"the picture has more than {MAX_BODY >> 20} MB; make it smaller")


def parse_options(parameters: dict[str, str], defaults: DecodeOptions) -> DecodeOptions:
    """`defaults` with what a request asks; ValueError in words for what may not be parameters."""
    values: dict[str, object] = {}
    for name, text in parameters.items():
        if name in ("must", "never"):
            values[name] = tuple(text.lower().split()[:MAX_WORDS])
            continue
        if name not in ("beam", "n", "max_length", "sample"):
            known = "beam, n, max_length, sample, must, never, seed, run and attention"
            raise ValueError(f"unknown parameter {name[:40]!r}; known are {known}")
        values[name] = text if name == "sample" else _parse_int(name, text)
    beam = values.get("beam", defaults.beam)
    if not values.get("sample") and values.get("n", 1) > beam:
        values["beam"] = values["n"]  # n captions need as many beams
    return replace(defaults, **values)


def _parse_int(name: str, text: str) -> int:
    least = 0 if name in ("seed", "run") else 1
    digits = text if text.isascii() and text.isdecimal() and len(text) <= 12 else "-1"
    if not least <= int(digits) <= LIMITS[name]:
        raise ValueError(f"{name} takes a whole number from {least} to {LIMITS[name]}")
    return int(digits)


def _json(content: dict, status: int = 200, headers: dict | None = None) -> Response:
    return JSONResponse(content, status, {**HEADERS, **(headers or {})})


async def _error_response(_: Request, error: HTTPException) -> Response:
    """The error message as JSON."""
    return _json({"error": error.detail}, error.status_code, dict(error.headers or {}))


async def _internal_error(_: Request, error: Exception) -> Response:
    """Answer with a number that finds the traceback, which uvicorn prints, in the terminal."""
    number = secrets.token_hex(4)
    print(f"caption.demo: failure {number}: {type(error).__name__}", file=sys.stderr)
    words = (
        f"the caption could not be computed; the terminal of the demo shows why (failure {number})"
    )
    return _json({"error": words}, 500)
