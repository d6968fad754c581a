"""The log: one line an event, as text or as JSON, with what operators look for."""
import json
import re


def test_every_line_is_an_object(launch):
    server = launch("--log-format", "json", "--log-level", "debug", "--slow-step", "1", "--backend", "ref")
    assert server.post("/v1/completions", {"prompt": "Once", "max_tokens": 2},
                       **{"X-Request-Id": "1001", "X-Client-Request-Id": "theirs"}).status == 200
    assert server.chat(temperature=9).status == 400
    server.get("/health")
    server.stop()
    lines = [json.loads(line) for line in server.errors().splitlines()]
    found = {line["event"]: line for line in lines}
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert found["listening"]["port"] == server.port
    asked = [line for line in lines if line["event"] == "request"]
    assert {(line["route"], line["status"]) for line in asked} == {
        ("/v1/completions", 200), ("/v1/chat/completions", 400), ("/health", 200)}
    assert {**asked[0], "time": "", "ms": 0} == {
        "time": "", "level": "info", "event": "request", "id": "1001", "client_id": "theirs",
        "peer": "127.0.0.1", "route": "/v1/completions", "status": 200, "key": "", "ms": 0}
    assert found["refused"]["field"] == "temperature" and found["refused"]["id"] == asked[1]["id"]
    slow = found["slow_step"]
    assert slow["ms"] >= 1 and slow["requests"] == 1 and slow["scored"] <= slow["rows"]


def test_text_is_the_default_and_slow_steps_are_few(launch):
    server = launch()
    assert server.text().status == 200
    server.stop()
    assert ' info request id="' in server.errors() and "slow_step" not in server.errors()
