"""A real browser for tests: Chromium without a window, driven by the DevTools protocol over a websocket.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from base64 import b64decode
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = CHROMIUM is None and (not os.environ.get("CI") or bool(os.environ.get("DATAGEN_NO_BROWSER")))
"""Whether tests of pages are skipped: under CI only where `.ci/run` could not install one, and said so."""
KEYS = {
    "ArrowLeft": ("", 37), "ArrowRight": ("", 39), "Backspace": ("", 8), " ": (" ", 32),
}  # fmt: skip
"""Key → its text and Windows key code; others are letters and digits."""


class Browser:
    """One page. Use as `async with Browser() as page`."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """Every address that the page asked for."""
        self.errors: list[str] = []
        """Uncaught exceptions and what the console calls an error."""
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = count(1)

    async def __aenter__(self) -> Browser:
        assert CHROMIUM is not None
        self._folder = tempfile.TemporaryDirectory(prefix="browser-")
        self._process = await asyncio.create_subprocess_exec(
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--no-first-run",
            "--autoplay-policy=no-user-gesture-required", "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync", "--disable-quic", "--no-proxy-server",
            "--remote-debugging-port=0", f"--user-data-dir={self._folder.name}", "--window-size=1000,1200",
            "about:blank", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._session = aiohttp.ClientSession()
        port = await self._port()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            page = next(target for target in await answer.json() if target["type"] == "page")
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()
        await self._reader
        await self._session.close()
        self._process.terminate()
        await self._process.wait()
        shutil.rmtree(self._folder.name, ignore_errors=True)
        self._folder.cleanup()

    async def _port(self) -> int:
        file = Path(self._folder.name) / "DevToolsActivePort"
        for _ in range(300):
            if file.exists() and (lines := file.read_text().split()):
                return int(lines[0])
            await asyncio.sleep(0.1)
        raise TimeoutError("the browser did not start in 30 s")

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            elif said["method"] == "Network.requestWillBeSent":
                self.requests.append(said["params"]["request"]["url"])
            elif said["method"] == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.errors.append(said["params"]["entry"]["text"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        said = await asyncio.wait_for(self._waiting[number], 30)
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def evaluate(self, code: str) -> Any:
        """The value of a JavaScript expression in the page."""
        said = await self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def until(self, code: str, seconds: float = 20) -> Any:
        """Waits until the expression is true; its value."""
        for _ in range(int(seconds * 20)):
            if value := await self.evaluate(f"!!({code})"):
                return value
            await asyncio.sleep(0.05)
        page = await self.evaluate("document.body.innerText")
        raise TimeoutError(f"not true in {seconds} s: {code}; the page: {page}; its errors: {self.errors}")

    async def open(self, url: str) -> None:
        """Goes to an address."""
        await self.call("Page.navigate", url=url)

    async def press(self, key: str) -> None:
        """One key, down and up."""
        text, code = KEYS.get(key, (key, ord(key.upper()[0])))
        common = {"key": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        await self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def picture(self, path: Path) -> None:
        """A PNG of the whole page."""
        said = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        await asyncio.to_thread(path.write_bytes, b64decode(said["data"]))
