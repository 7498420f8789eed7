"""The page of `datagen review`: Gradio in the browser, on this machine alone.

Nothing leaves the machine: Gradio's own counting is switched off, the page is forbidden to load from anywhere else
(Content-Security-Policy), and calls that another site's page makes in the same browser are refused by their Origin and
Host, since a page without a password must not answer them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import tempfile
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.plugins import needs
from datagen.review.session import Session

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["review"]

TEMPLATES = Path(__file__).parents[1] / "templates"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)
"""Gradio's scripts stand in its page, and what it is given to run is made a function there."""


def review(
    run: Path, *, sample: int = 100, seed: int = 0, reviewer: str, host: str = "127.0.0.1", port: int = 7860,
    browser: bool = True, ready: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Serves the page until Ctrl-C; `ready` is told the address first.

    Raises UsageError for what is no finished run, no loopback address or no free port.
    """
    needs("review", "gradio")
    with listening(host, port) as server, tempfile.TemporaryDirectory(prefix="datagen-review-") as folder:
        session = Session.of(run, sample=sample, seed=seed, reviewer=reviewer, folder=Path(folder))
        address = f"[{host}]" if ":" in host else host
        url = f"http://{address}:{server.getsockname()[1]}/"
        app = application(session)
        ready(f"{len(session.rows)} questions for {reviewer}: {url} (Ctrl-C ends)")
        if browser:
            threading.Timer(0.5, webbrowser.open, [url]).start()
        serve(app, server)
        session.verdicts.close()


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket on a loopback address; port 0 takes a free one."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise UsageError(f"--host {host!r}: give an address of this machine, like 127.0.0.1") from None
    if not address.is_loopback:
        raise UsageError(f"--host {host}: the page has no password: use 127.0.0.1, and reach it by `ssh -L`")
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((str(address), port))
            server.listen()  # who is told the address is answered from now on
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"--port {port}: {why}: name a free one, or 0 for any") from None
        yield server


def application(session: Session) -> FastAPI:
    """The page, its clips, and the guard before both."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    os.environ["GRADIO_TEMP_DIR"] = str(session.clips.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Gradio imports; a reviewer cannot mend it
        import gradio
        from fastapi import FastAPI
        from fastapi.staticfiles import StaticFiles

        def act(call: list[str]) -> str:
            """What the page calls: Gradio gives all arguments as one list."""
            shown, key = call
            return session.act(shown, key)

        with gradio.Blocks(title="datagen review", analytics_enabled=False) as blocks:
            gradio.HTML(
                html_template='<div class="review"></div>',
                css_template=text("review.css"),
                js_on_load=text("review.js"),
                apply_default_css=False,
                server_functions=[act],
            )
        app = FastAPI(openapi_url=None)
        app.mount("/clip", StaticFiles(directory=session.clips.folder))
        app.add_middleware(Guard)
        mounted: FastAPI = gradio.mount_gradio_app(
            app, blocks, "/", footer_links=[], run_history=False, ssr_mode=False, pwa=False, mcp_server=False,
            enable_monitoring=False, theme=gradio.themes.Base(font=["system-ui", "sans-serif"]),
        )  # fmt: skip
    return mounted


def text(name: str) -> str:
    """A file beside the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


class Guard:
    """ASGI middleware: answers this machine's own page only, and forbids that page to load from elsewhere."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host, origin = headers.get(b"host", b""), headers.get(b"origin")
        if not own(host) or (origin is not None and origin != b"http://" + host):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"this page answers its own machine only\n"})
            return

        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, marked)


def own(host: bytes) -> bool:
    """Whether a Host header names this machine, and no name that someone else can point at it."""
    name = host.decode("latin-1").rpartition(":")[0] or host.decode("latin-1")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def serve(app: FastAPI, server: socket.socket) -> None:
    """Answers until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[server])
