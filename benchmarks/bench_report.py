"""A report opened in Chromium: size, seconds until it is drawn, and whether hovering over a point says what it is.

Usage: python benchmarks/bench_report.py REPORT.html [...] [--browser chromium] [--repeats 3]

Needs `pip install websocket-client` and a Chromium or Chrome. Each page is opened in a browser of its own, headless, at 1280 by 900 pixels; the time is from the navigation to the moment at which the page says that its plane is drawn, by the page's own clock,
the median over the repeats. Then the pointer is moved onto ten points, evenly chosen, and the tip that appears is read.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import websocket

DRAWN = "document.documentElement.dataset.drawn"


class Page:
    "A page of a headless browser, by its debugging port."

    def __init__(self, browser: str, port: int, profile: str) -> None:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", "--remote-allow-origins=*"]
        command = [browser, *flags, f"--remote-debugging-port={port}", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.number, deadline = 0, time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [p for p in json.load(answer) if p["type"] == "page"]
                self.socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=120)
                return
            except (OSError, IndexError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def __call__(self, method: str, **params: Any) -> Any:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.number:
            pass
        return answer["result"]

    def value(self, expression: str) -> Any:
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()


def opened(page: Page, report: Path) -> float:
    "Milliseconds from the navigation to the drawn plane."
    watch = f"""addEventListener("DOMContentLoaded", () => new MutationObserver(() => {{ if ({DRAWN}) window.drawnAt ??= performance.now(); }})
        .observe(document.documentElement, {{attributes: true}}));
        const seen = setInterval(() => {{ if (document.documentElement && {DRAWN}) {{ window.drawnAt ??= performance.now(); clearInterval(seen); }} }}, 1);"""
    page("Page.enable")
    page("Page.addScriptToEvaluateOnNewDocument", source=watch)
    page("Page.navigate", url=report.resolve().as_uri())
    deadline = time.monotonic() + 120
    while not (found := page.value("window.drawnAt")):
        if time.monotonic() > deadline:
            raise SystemExit(f"{report} was not drawn within two minutes")
        time.sleep(0.05)
    return float(found)


def hovers(page: Page, points: int = 10) -> tuple[int, int, str]:
    "Points over which a tip appears, of how many; and what the first says."
    n, said = page.value("window.attrood.rows"), []
    for i in [n * k // points for k in range(min(points, n))]:
        x, y = page.value(f"window.attrood.place({i})")
        page("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        said.append(
            page.value('document.getElementById("tip").hidden ? "" : document.getElementById("tip").innerText') or ""
        )
    return sum(map(bool, said)), len(said), " / ".join(next(filter(None, said), "").split("\n"))[:80]


def main() -> None:
    "Print the table."
    parser = argparse.ArgumentParser()
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print("| report | MB | seconds to drawn | hover | the first tip |\n|---|---|---|---|---|")
    for report in args.reports:
        times = []
        for k in range(args.repeats):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
                page = Page(args.browser, 9333 + k, profile)
                try:
                    times.append(opened(page, report) / 1000)
                    tips = hovers(page)
                finally:
                    page.close()
        hover = f"{tips[0]} of {tips[1]}"
        print(
            f"| {report} | {report.stat().st_size / 1e6:.2f} | {statistics.median(times):.2f} | {hover} | {tips[2]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
