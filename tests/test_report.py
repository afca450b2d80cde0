"""The report in a real browser: headless Chromium over its debugging protocol, without a network."""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request

import numpy as np
import pandas as pd
import pytest

from attrood.data.thumbnails import thumbnail
from attrood.entrance.analysis import analyse
from attrood.entrance.published import compare_published
from attrood.entrance.report import report_images, write_report
from attrood.log import bundled_log

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
tornado_websocket = pytest.importorskip("tornado.websocket")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
HOSTILE = {
    0: "</script><script>window.pwned = 1</script>",
    1: "\"'><img src=x onerror=window.pwned=1>.jpg",
    2: "line\nbreak\t.jpg",
    3: "\u202egpj.exe\u2066x",
    4: "{{ 7*7 }}${1}`&amp;&lt;b&gt;",
}


class Browser:
    """A headless Chromium with one tab."""

    def __init__(self, folder):
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        port, end = None, time.time() + 60
        while port is None and time.time() < end:
            found = re.search(r"ws://127\.0\.0\.1:(\d+)/", self.process.stderr.readline())
            port = found and found[1]
        assert port, "Chromium did not start"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as r:
            page = next(t for t in json.load(r) if t["type"] == "page")
        self.loop, self.number, self.events = asyncio.new_event_loop(), 0, []
        self.socket = self.loop.run_until_complete(self._connect(page["webSocketDebuggerUrl"]))
        self.call("Performance.enable", timeDomain="threadTicks")
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    async def _connect(self, url):
        return await tornado_websocket.websocket_connect(url, max_message_size=1 << 28)

    def call(self, method, **params):
        self.number += 1
        return self.loop.run_until_complete(self._call(self.number, method, params))

    async def _call(self, number, method, params):
        await self.socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.read_message(), 60))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def js(self, code):
        result = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, code, seconds=60):
        end = time.time() + seconds
        while not (value := self.js(code)):
            assert time.time() < end, f"{code} never held"
            time.sleep(0.05)
        return value

    def open(self, path, width=1280, height=900, phone=False, dark=False):
        self.call("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank'")
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        start = time.time()
        self.call("Page.navigate", url=path.as_uri())
        self.until("location.protocol === 'file:' && document.documentElement?.dataset.drawn")
        return time.time() - start

    def errors(self):
        bad = [
            e["params"]
            for e in self.events
            if e["method"] == "Runtime.exceptionThrown"
            or (e["method"] == "Log.entryAdded" and e["params"]["entry"]["level"] == "error")
            or (e["method"] == "Runtime.consoleAPICalled" and e["params"]["type"] == "error")
        ]
        return bad + (self.js("window.attroodErrors") or [])

    def requests(self):
        urls = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [u for u in urls if not u.startswith(("file:", "data:", "blob:"))]

    def hover(self, row, crowded=False):
        """Move the mouse to the point of a row; the text of the tip, which in a crowd may be a neighbour's."""
        x, y = self.js(f"attrood.place({row})")
        for step in (8, 0):
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - step, y=y)
        return self.until(
            "(() => { const t = document.getElementById('tip'), d = JSON.parse(document.getElementById('data').textContent);"
            f"return !t.hidden && ({str(crowded).lower()} || t.textContent.includes(d.rows.id[{row}])) ? t.textContent : ''; }})()"
        )

    def screenshot(self, path, full=False):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=full)["data"]))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)


def inked(browser):
    """The share of the plane's pixels that are coloured, not grey."""
    return browser.js(
        "(() => { const c = document.getElementById('canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) if (d[i + 3] && Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 30) n++;"
        "return n / (d.length / 4); })()"
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    b = Browser(tmp_path_factory.mktemp("profile"))
    yield b
    b.close()


@pytest.fixture(scope="module")
def analysis():
    return analyse(bundled_log())


def hostile_scores(analysis):
    scores = analysis.scores.copy()
    for i, name in HOSTILE.items():
        scores.loc[i, "id"] = name
    scores.loc[scores["domain"] == "animals_32px", "domain"] = HOSTILE[1]
    scores["prediction"] = scores["prediction"].replace("gazelle", HOSTILE[0])
    return scores


def shown(text):
    """The text as the page shows it: control and direction marks written out."""
    return text.replace("\n", "\\n").replace("\t", "\\t").replace("\u202e", "\\u202e").replace("\u2066", "\\u2066")


def pictures(ids):
    """A small picture for each id."""
    rng = np.random.default_rng(0)
    return {i: thumbnail(np.kron(rng.integers(0, 256, (12, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)) for i in ids}


@needs_browser
def test_page_works_offline(analysis, browser, tmp_path):
    row = int(analysis.scores[analysis.card.names[analysis.card.plane[0]]].argmax())
    small = pictures([analysis.scores["id"][row], *report_images(analysis.card, analysis.scores, 40)])
    path = write_report(
        tmp_path / "report.html",
        analysis.card,
        analysis.scores,
        analysis.detectors,
        small,
        compare_published(bundled_log()),
    )
    browser.open(path)
    text = browser.hover(row)
    assert all(part in text for part in ("set: ", "why: ", "what to do: ", "on the axes: "))
    assert (
        browser.js("document.querySelector('#tip img').complete && document.querySelector('#tip img').naturalWidth")
        == 96
    )
    assert "best single score" in browser.js("document.getElementById('detectors').textContent")
    assert "✗ differs" in browser.js("document.getElementById('beside-the-published-numbers').textContent")
    assert inked(browser) > 0.002
    browser.js(
        "document.getElementById('ax').selectedIndex = 2, document.getElementById('ax').dispatchEvent(new Event('change')), document.getElementById('theme').click()"
    )
    browser.js("document.querySelector('#legend input').click()")
    assert browser.errors() == [] and browser.requests() == []
    if out := os.environ.get("ATTROOD_SHOTS"):
        from pathlib import Path

        for name, args in {
            "desktop": {},
            "phone": {"width": 390, "height": 844, "phone": True},
            "dark": {"dark": True},
            "phone_dark": {"width": 390, "height": 844, "phone": True, "dark": True},
        }.items():
            browser.open(path, **args)
            time.sleep(0.5)
            browser.screenshot(Path(out) / f"{name}.png")


@needs_browser
def test_drawn_points_are_the_rows(analysis, browser, tmp_path):
    browser.open(write_report(tmp_path / "report.html", analysis.card, analysis.scores))
    assert browser.js("attrood.drawn()") == browser.js("attrood.total") == len(analysis.scores)
    browser.js("document.querySelectorAll('#legend input')[0].click()")
    assert browser.js("attrood.drawn()") == len(analysis.scores) - (analysis.scores["role"] == "id").sum()
    rows = browser.js("JSON.parse(document.getElementById('data').textContent).rows")
    assert rows["id"] == analysis.scores["id"].tolist()
    assert np.allclose(np.transpose(rows["z"]), analysis.scores[list(analysis.card.names)], rtol=1e-3, atol=1e-9)


@needs_browser
def test_zoom_and_back(analysis, browser, tmp_path):
    browser.open(write_report(tmp_path / "report.html", analysis.card, analysis.scores))
    before = browser.js("attrood.place(0)")
    browser.js("document.getElementById('in').click()")
    near = browser.js("attrood.place(0)")
    assert near != before
    browser.js("document.getElementById('all').click()")
    assert browser.js("attrood.place(0)") == before
    left, top = browser.js(
        "(() => { const r = document.getElementById('canvas').getBoundingClientRect(); return [r.left, r.top]; })()"
    )
    drag = [("mousePressed", 150, 60), ("mouseMoved", 300, 150), ("mouseMoved", 400, 300), ("mouseReleased", 400, 300)]
    for kind, x, y in drag:
        browser.call("Input.dispatchMouseEvent", type=kind, x=left + x, y=top + y, button="left", clickCount=1)
    assert browser.js("attrood.place(0)") != before
    browser.js("document.getElementById('canvas').dispatchEvent(new Event('dblclick'))")
    assert browser.js("attrood.place(0)") == before and browser.errors() == []


@needs_browser
def test_hostile_names_are_text(analysis, browser, tmp_path):
    path = write_report(
        tmp_path / "report.html",
        analysis.card,
        hostile_scores(analysis),
        pd.DataFrame({"detector": list(HOSTILE.values())}),
        pictures(HOSTILE.values()),
        title=HOSTILE[0],
    )
    browser.open(path)
    for i, name in HOSTILE.items():
        assert shown(name) in browser.js(f"attrood.show({i})")
        assert shown(name) in browser.js("document.getElementById('detail').textContent")
    body = browser.js("document.body.innerText")
    assert shown(HOSTILE[1]) in body and shown(HOSTILE[0]) == browser.js("document.title")
    assert (
        browser.js("typeof window.pwned") == "undefined"
        and browser.js("document.querySelectorAll('img[src=x]').length") == 0
    )
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", browser.js("document.documentElement.innerText"))
    assert browser.errors() == [] and browser.requests() == []


@needs_browser
def test_phone_has_no_sideways_scroll(analysis, browser, tmp_path):
    browser.open(
        write_report(tmp_path / "report.html", analysis.card, hostile_scores(analysis)),
        width=390,
        height=844,
        phone=True,
    )
    assert browser.js("document.documentElement.scrollWidth") <= 390
    assert browser.errors() == []


def many_scores(analysis, rows):
    """Scores of so many rows, with a little noise, so that no two are the same."""
    scores = analysis.scores.iloc[np.arange(rows) % len(analysis.scores)].reset_index(drop=True)
    scores["id"] = [f"train/some_class_name/image-{i:07d}.jpg" for i in range(rows)]
    names = list(analysis.card.names)
    scores[names] += 0.05 * scores[names].std().to_numpy() * np.random.default_rng(0).normal(size=(rows, len(names)))
    return scores


@needs_browser
@pytest.mark.parametrize("rows", [20_000, int(os.environ.get("ATTROOD_ROWS", 100_000))])
def test_many_rows(analysis, browser, tmp_path, rows):
    scores = many_scores(analysis, rows)
    path = write_report(
        tmp_path / "report.html",
        analysis.card,
        scores,
        analysis.detectors,
        pictures(report_images(analysis.card, scores)),
    )
    seconds, size = browser.open(path), path.stat().st_size
    used = next(
        m["value"] for m in browser.call("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration"
    )  # processor time of the page's thread
    print(f"{rows} rows: {size / 1e6:.1f} MB, drawn after {seconds:.2f} s, {used:.2f} s of processor time")
    assert size <= 6e6 and browser.errors() == []
    assert used < 3, f"took {used:.1f} s"
    assert browser.js("attrood.drawn()") == 4000 and browser.js("attrood.total") == rows
    assert inked(browser) > 0.02  # the clouds
    worst = scores.loc[scores["outside"], "excess"].abs().idxmax()
    ids = browser.js("JSON.parse(document.getElementById('data').textContent).rows.id")
    assert scores["id"][worst] in ids
    assert "image-" in browser.hover(ids.index(scores["id"][worst]), crowded=True)
    empty = browser.js(
        "(() => { const d = JSON.parse(document.getElementById('data').textContent); return d.clouds.top; })()"
    )
    assert empty > 1
    if out := os.environ.get("ATTROOD_SHOTS"):
        from pathlib import Path

        browser.screenshot(Path(out) / f"rows-{rows}.png")
