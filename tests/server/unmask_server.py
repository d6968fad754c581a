"""The real binary on a checkpoint: start it, ask it, stop it. No test lives here."""
import contextlib
import http.client
import json
import os
import re
import signal
import socket

from child import BUILD, TIMEOUT, Child, wait_until

BINARY = BUILD / "server/unmask"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def chat(**fields):
    """Body C of the API's checklist, plus what is named."""
    return {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16, "seed": 1, **fields}


def text(**fields):
    return {"prompt": "Once", "max_tokens": 16, "seed": 1, **fields}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def content(self):
        assert self.status == 200, self.body
        choice = self.json["choices"][0]
        return choice["message"]["content"] if "message" in choice else choice["text"]

    def error(self, status, code, param=None):
        """Checks a standard error body and returns its message."""
        assert self.status == status, self.body
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["code"], error["param"]) == (code, param), error
        assert error["message"] and self.headers["x-request-id"]
        return error["message"]


def ended(samples):
    return sum(value for series, value in samples.items()
               if series.startswith(("request_success_total{", "requests_rejected_total{")))


class Server(Child):
    """A running `unmask serve`; by default on a free port, one compute thread."""

    def __init__(self, checkpoint, *options, wait=True, env=None):
        super().__init__([BINARY, "serve", "--model", checkpoint, "--port", "0", "--threads", "1", *options],
                         env={**os.environ, **(env or {})})
        self.port = int(self.wait_for_log(r'listening\b.*?\bport\W{1,3}(\d+)').group(1))
        if wait:
            self.wait_for_log(r'info ready |"event":"ready"')

    def wait_for_log(self, pattern):
        def look():
            ended = self.process.poll() is not None
            match = re.search(pattern, self.errors())
            assert match or not ended, self.errors()[-4000:]
            return match

        return wait_until(look, bool)

    # ---- asking ----

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def ask(self, method, path, body=None, headers=None):
        """One request; a dict goes as JSON, bytes go as they are."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, headers,
                               encode_chunked="Transfer-Encoding" in headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, headers)

    def chat(self, **fields):
        return self.post(CHAT, chat(**fields))

    def text(self, **fields):
        return self.post(TEXT, text(**fields))

    def stream(self, path, body):
        """A streamed answer as it came: (headers, bytes)."""
        answer = self.post(path, {**body, "stream": True})
        assert answer.status == 200, answer.body
        return answer.headers, answer.body

    def open_stream(self, path, body):
        """The socket of a stream that was admitted; what follows `: accepted` is still to be read."""
        client = self.send(path, json.dumps({**body, "stream": True}).encode())
        seen = b""
        while b"accepted\n\n" not in seen:
            part = client.recv(1)
            assert part and (len(seen) < 16 or seen.startswith(b"HTTP/1.1 200 ")), seen
            seen += part
        return client

    def send(self, path, payload):
        """A socket on which the request has been sent, and nothing was read."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        client.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(payload), payload))
        return client

    def metrics(self):
        """Samples of /metrics by `name{labels}` without the model's name."""
        samples = {}
        for line in self.get("/metrics").body.decode().splitlines():
            if not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                series = re.sub(r'model_name="[^"]*",?', "", series).replace("{}", "")
                series = series.removeprefix("unmask_")
                assert series not in samples, series
                samples[series] = float(value)
        return samples

    def wait_for_metric(self, series, predicate):
        return wait_until(lambda: self.metrics()[series], predicate)

    def wait_idle(self):
        """Until nothing runs or waits and the books balance: what was started, which is counted as it comes,
        has also ended or been refused. A request that is still being read is in neither gauge."""
        return wait_until(self.metrics, lambda seen: seen["num_requests_running"] == seen["num_requests_waiting"] == 0
                          and seen["requests_started_total"] == ended(seen))

    # ---- life ----

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        status = self.process.wait(timeout=TIMEOUT)
        log = self.errors()
        assert "ERROR: " not in log and "WARNING: ThreadSanitizer" not in log, log[-8000:]
        return status

    def stop(self):
        """A clean end; sanitizers speak here."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0, self.errors()[-4000:]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def ending(server):
    """(fields, answer) of a chat whose sampled text ends by itself."""
    for seed in range(1, 60):
        fields = {"temperature": 1, "max_tokens": 200, "seed": seed}
        answer = server.chat(**fields)
        if answer.json["choices"][0]["finish_reason"] == "stop":
            return fields, answer
    raise AssertionError("none ended")


def events(raw):
    """The JSON of every `data:` event; checks the framing on the way."""
    assert raw.endswith(b"data: [DONE]\n\n") and b"\r" not in raw
    found = []
    for block in raw.decode().split("\n\n")[:-2]:
        assert "\n" not in block, block
        if block.startswith(": "):
            continue
        assert block.startswith("data: {"), block
        found.append(json.loads(block.removeprefix("data: ")))
    return found


def joined(chunks, index=0):
    """What the deltas of a choice add up to."""
    parts = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] == index:
                parts.append(choice["delta"].get("content", "") if "delta" in choice
                             else choice["text"])
    return "".join(parts)
