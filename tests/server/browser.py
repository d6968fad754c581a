"""Headless Chromium under its DevTools protocol, over a pair of pipes. No test lives here."""
import base64
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

from child import TIMEOUT

PROGRAM = shutil.which("chromium")
# The sandbox needs rights that containers lack; the pages are our own server's.
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
           "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking",
           "--force-color-profile=srgb")
FD_MIN = 10  # above those that the program expects: it reads commands from 3 and answers on 4


def high(fd):
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FD_MIN)
    os.close(fd)
    return copy


class Browser:
    """One running program. Pages are made by open()."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self.out = map(high, os.pipe())
        self.incoming, answers = map(high, os.pipe())

        def take_pipes():
            os.dup2(theirs, 3)
            os.dup2(answers, 4)

        self.process = subprocess.Popen(
            [PROGRAM, *OPTIONS, f"--user-data-dir={self.profile.name}", "about:blank"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=take_pipes, pass_fds=(3, 4))
        os.close(theirs)
        os.close(answers)
        self.buffer, self.number, self.events = b"", 0, []

    def receive(self, end):
        """The next message, an answer or an event."""
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.incoming], [], [], max(0, end - time.monotonic()))
            part = os.read(self.incoming, 1 << 20) if ready else b""
            assert part, "the browser says nothing" if not ready else "the browser has ended"
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        """A command's result; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + TIMEOUT
        while True:
            answer = self.receive(end)
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def open(self, url, **how):
        return Tab(self, url, **how)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.incoming)
        self.profile.cleanup()


class Tab:
    """A page with a profile of its own: no storage is shared with other tabs."""

    def __init__(self, browser, url, width=1200, height=860, phone=False):
        self.browser = browser
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self.context)
        self.session = browser.call("Target.attachToTarget", targetId=target["targetId"],
                                    flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.url = url
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.protocol !== 'about:'")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def eval(self, expression):
        """The value of an expression in the page; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression):
        """Until it is true; its value."""
        end = time.monotonic() + TIMEOUT
        while not (value := self.eval(expression)):
            assert time.monotonic() < end, (expression, self.eval("document.body.innerText"))
            time.sleep(0.02)
        return value

    def text(self, selector):
        """What of an element can be seen."""
        return self.eval(f"document.querySelector({json.dumps(selector)}).innerText")

    def click(self, selector):
        """With the mouse, where the element is."""
        self.eval(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        x, y = self.eval(f"(() => {{ const r = document.querySelector({json.dumps(selector)})"
                         ".getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector, text):
        """Replaces what stands in a field."""
        self.eval(f"document.querySelector({json.dumps(selector)}).focus()")
        self.eval(f"document.querySelector({json.dumps(selector)}).select?.()")
        if text:
            self.call("Input.insertText", text=text)
        else:
            self.key("Delete")

    def key(self, name, shift=False):
        codes = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "Delete": (46, ""),
                 "ArrowLeft": (37, ""), "ArrowRight": (39, ""), "Home": (36, "")}
        code, text = codes[name]
        common = {"key": name, "code": name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path):
        image = self.call("Page.captureScreenshot", format="png")["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(image))

    def events(self, method):
        """Those of this page so far."""
        self.eval("0")  # takes what waits in the pipe
        return [event for event in self.browser.events
                if event.get("sessionId") == self.session and event["method"] == method]

    def wait_event(self, method):
        end = time.monotonic() + TIMEOUT
        while not (found := self.events(method)):
            assert time.monotonic() < end, method
            time.sleep(0.02)
        return found[-1]["params"]

    def fulfill(self, paused, body, content_type, status=200):
        """Answers a request that Fetch holds."""
        self.call("Fetch.fulfillRequest", requestId=paused["requestId"], responseCode=status,
                  responseHeaders=[{"name": "Content-Type", "value": content_type}],
                  body=base64.b64encode(body.encode()).decode())

    def faults(self):
        """What the page complained about: exceptions, errors of the console, refusals of the policy."""
        return ([event["params"]["exceptionDetails"] for event in self.events("Runtime.exceptionThrown")]
                + [event["params"]["entry"]["text"] for event in self.events("Log.entryAdded")]
                + [event["params"]["args"] for event in self.events("Runtime.consoleAPICalled")])

    def requested(self):
        """The URLs that the page asked for."""
        return [event["params"]["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def close(self):
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
        self.browser.events = [event for event in self.browser.events
                               if event.get("sessionId") != self.session]
