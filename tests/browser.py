"""A real browser for tests, without a library: pages are opened, and what they ask for or complain about is told."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
LOUD = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Network.loadingFailed")


class Chromium:
    """One page of a headless browser, spoken to through pipes (DevTools protocol, messages end in a zero byte)."""

    def __init__(self, home: Path):
        flags = ["--headless", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={home}", "--no-first-run"]
        plumbing = 'exec "$0" "$@" 3<&0 4>&1 >/dev/null 2>&1'
        command = ["sh", "-c", plumbing, BROWSER, *flags, "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin and self.process.stdout
        self.out, self.inbox = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.count, self.rest, self.events, self.session = 0, b"", [], {}
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.inbox, 1 << 20)
            assert more, "the browser has gone"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.count += 1
        os.write(
            self.out,
            json.dumps({"id": self.count, "method": method, "params": params, **self.session}).encode() + b"\0",
        )
        while (answer := self.read()).get("id") != self.count:
            self.events.append(answer)
        return answer["result"]

    def open(self, page: Path) -> list[dict[str, Any]]:
        """What happened until the page was loaded."""
        self.events = []
        self.ask("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())
        return self.events

    def value(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)["result"]["value"]

    def complaints(self, page: Path) -> list[dict[str, Any]]:
        """Requests that leave the machine, and all that a page says on the console, while it is loaded."""
        events = self.open(page)
        requests = [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]
        foreign = [each for each in requests if not each["url"].startswith(("file:", "data:", "blob:"))]
        return foreign + [event for event in events if event["method"] in LOUD]

    def resize(self, width: int) -> None:
        """The window of a phone or of a desk."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=700, deviceScaleFactor=1, mobile=width < 600)

    def width(self) -> int:
        """Of all that is there; more than the window: one would have to scroll sideways."""
        return self.value("document.documentElement.scrollWidth")
