"""The official OpenAI SDK for Node (tests/server/sdk.mjs): cases 95-99, 102."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from child import TIMEOUT
from unmask_server import TEXT

SCRIPT = pathlib.Path(__file__).with_name("sdk.mjs")
MODULES = os.environ.get("UM_NODE_MODULES", "")

pytestmark = pytest.mark.skipif(not shutil.which("node") or not pathlib.Path(MODULES, "openai").is_dir(),
                                reason="node or the npm packages are missing: run scripts/setup test")


def run(server, scenario):
    result = subprocess.run(["node", str(SCRIPT), scenario, f"http://127.0.0.1:{server.port}/v1"],
                            capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_create_with_response(shared):
    seen = run(shared, "create")
    assert seen["content"] == shared.chat().content and seen["steps"] >= 1
    assert seen["id"] == seen["header"] and seen["id"].startswith("req_")


def test_stream_iterates_to_its_end(shared):
    assert run(shared, "stream") == {"content": shared.chat().content, "finishes": 1}


def test_final_completion_of_the_stream_helper(shared):
    whole, seen = shared.chat().json, run(shared, "final")
    assert seen == {"content": whole["choices"][0]["message"]["content"], "role": "assistant",
                    "finish": whole["choices"][0]["finish_reason"], "usage": whole["usage"]}


def test_completions_and_models(shared):
    assert run(shared, "completions") == {"text": shared.text().content, "models": ["tiny"],
                                          "retrieved": "tiny"}


def test_refused_requests_are_not_retried(shared):
    seen = run(shared, "refused")
    assert seen["attempts"] == ["0", "0"] and seen["missing"] == "NotFoundError"
    error = seen["error"]
    assert (error["name"], error["code"], error["param"]) == (
        "BadRequestError", "decimal_above_max_value", "temperature")
    assert error["requestID"].startswith("req_")


def long_stream(server):
    return server.open_stream(TEXT, {"prompt": [5] * 8, "max_tokens": 400})


def test_a_full_queue_is_retried_twice(slow):
    streams = long_stream(slow), long_stream(slow)
    seen = run(slow, "full")
    assert seen["attempts"] == ["0", "1", "2"] and seen["error"]["name"] == "RateLimitError"
    assert seen["error"]["requestID"].startswith("req_")
    for stream in streams:
        stream.close()


def test_timeouts_leave_nothing_behind(launch):
    """The queue has room for an attempt that comes before the last one is seen to be gone."""
    server = launch("--backend", "ref", "--max-batch", "1")
    seen = run(server, "timeout")
    assert seen["attempts"] == ["0", "1", "2"]
    assert seen["error"]["name"] == "APIConnectionTimeoutError"
    server.wait_for_metric('request_success_total{finished_reason="abort"}', lambda n: n == 3)
    server.wait_idle()


def test_an_error_in_mid_stream_is_raised(launch):
    seen = run(launch("--backend", "ref", "--request-timeout", "1"), "broken")
    assert seen["name"] == "APIError" and seen["code"] == "generation_timeout"


def test_abort_frees_the_slot(slow):
    run(slow, "abort")
    slow.wait_idle()
    assert slow.metrics()['request_success_total{finished_reason="abort"}'] == 1
