"""A headless Chromium that tests drive over its DevTools pipe, with nothing but the standard library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time

#: The programs that are a Chromium, in the order in which they are tried.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

#: Keys that are no text: their name, their code, and the text that pressing them enters.
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "Home": (36, "")}

#: Becomes a program whose descriptors 3 and 4 are two others: where a browser looks for its pipe.
LAUNCHER = """
import fcntl, os, sys
high = [fcntl.fcntl(int(descriptor), fcntl.F_DUPFD, 10) for descriptor in sys.argv[1:3]]
os.dup2(high[0], 3)
os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find():
    """The path of a Chromium; ``None`` if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with one page.

    Args:
        path: the program.
        profile: an empty folder for its files.
    """

    TIMEOUT = 60

    def __init__(self, path, profile):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        flags += [
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ]
        program = [path, *flags, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(to_browser), str(from_browser), *program],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._last = 0
        self._session = None
        self.events = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Performance.enable", timeDomain="threadTicks")
        self.send("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])

    def close(self):
        with contextlib.suppress(OSError, RuntimeError):
            self._session = None
            self.send("Browser.close")
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # --- the protocol ---

    def send(self, method, **parameters):
        """What the browser answers to a command."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def wait_for(self, method):
        """Waits for an event, which may have come already."""
        while not any(event["method"] == method for event in self.events):
            self._receive()

    def _receive(self):
        """The next message; events are kept."""
        until = time.monotonic() + self.TIMEOUT
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0))
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError("the browser has ended" if ready else f"no answer of the browser in {self.TIMEOUT} s")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer = json.loads(message)
        if "method" in answer:
            self.events.append(answer)
        return answer

    # --- what a user does ---

    def open(self, url):
        """Opens an address in a new document."""
        for address in ("about:blank", url):  # an address that differs only behind # would not open a new document
            self.events.clear()
            self.send("Page.navigate", url=address)
            self.wait_for("Page.loadEventFired")

    def look(self, width=1280, height=900, scheme="light", touch=False):
        """Sets the size of the window and the color scheme of the system."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, expression):
        """The value of an expression of JavaScript; of a promise, what it resolves to."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description") or str(result))
        return result["result"].get("value")

    def press(self, *keys):
        """Presses and releases keys: names of :data:`KEYS`, or characters."""
        for key in keys:
            code, text = KEYS.get(key, (ord(key[0].upper()), key))
            fields = {"key": key, "windowsVirtualKeyCode": code, "code": key if key in KEYS else ""}
            self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **fields)
            self.send("Input.dispatchKeyEvent", type="keyUp", **fields)

    def type(self, text):
        """Types characters."""
        self.press(*text)

    def seconds(self):
        """CPU time that scripts, styles and layout have taken in the page's main thread, which other processes do not add to."""
        metrics = {each["name"]: each["value"] for each in self.send("Performance.getMetrics")["metrics"]}
        return sum(metrics[f"{part}Duration"] for part in ("Script", "RecalcStyle", "Layout"))

    def screenshot(self, path):
        """Writes what the window shows as a PNG file."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def errors(self):
        """Exceptions and messages of errors since the page was opened."""
        thrown = [e["params"]["exceptionDetails"] for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        logged = [e["params"]["entry"]["text"] for e in self.events if e["method"] == "Log.entryAdded"]
        return [str(each) for each in (*thrown, *logged)]
