"""Models, health, version and metrics: cases 37-40."""
import json
import math
import re
import socket

import pytest

from child import TIMEOUT
from unmask_server import CHAT, chat


@pytest.mark.case(37)
def test_models(shared):
    listed = shared.get("/v1/models").json
    assert listed["object"] == "list" and len(listed["data"]) == 1
    model = listed["data"][0]
    assert (model["id"], model["object"], model["owned_by"]) == ("tiny", "model", "unmask")
    assert model["created"] > 1_500_000_000 and model["max_model_len"] == 1024
    assert model["diffusion"]["mask_token_id"] == 582 and model["aliases"] == ["alias/name"]
    assert "batch_invariant" in model["supported_features"]
    for path in ("/v1/models/tiny", "/v1/models/alias/name", "/v1/models/alias%2Fname"):
        assert shared.get(path).json == model
    shared.get("/v1/models/other").error(404, "model_not_found", "model")


@pytest.mark.case(38, 40)
def test_health_and_version(shared):
    for path in ("/health", "/v1/health", "/ready"):
        assert shared.get(path).json == {"status": "ok"}
    assert shared.get("/health/live").json == {"status": "alive"}
    version = shared.get("/version").json
    assert re.fullmatch(r"\d+\.\d+\.\d+", version["version"]) and version["backend"].startswith("cpu")


def check_text_format(page):
    """What promtool would say: HELP and TYPE before samples, histograms cumulative and complete."""
    kinds, samples = {}, {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds and f"# HELP {name} " in page
            kinds[name] = kind
        elif not line.startswith("#"):
            match = re.fullmatch(r'([a-z0-9_]+)\{((?:[a-z_]+="[^"]*",?)*)\} (\S+)', line)
            assert match, line
            name, labels, value = match.groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in kinds or kinds.get(base) == "histogram", line
            samples.setdefault(name, []).append((dict(re.findall(r'([a-z_]+)="([^"]*)"', labels)),
                                                 float(value)))
    for name, series in samples.items():
        labels = [tuple(sorted(labels.items())) for labels, _ in series]
        assert len(labels) == len(set(labels)), f"a series of {name} stands there twice"
    for name, kind in kinds.items():
        if kind == "histogram":
            buckets = [value for _, value in samples[f"{name}_bucket"]]
            bounds = [float(labels["le"]) for labels, _ in samples[f"{name}_bucket"]]
            assert bounds == sorted(bounds) and bounds[-1] == math.inf and buckets == sorted(buckets)
            assert buckets[-1] == samples[f"{name}_count"][0][1] and samples[f"{name}_sum"]
        else:
            assert samples[name], name
            assert kind == ("counter" if name.endswith("_total") else "gauge"), name
    return kinds, samples


SERIES = """ready start_time_seconds num_requests_running num_requests_waiting kv_cache_usage_ratio batch_occupancy_ratio
    canvas_tokens prompt_tokens_total generation_tokens_total positions_evaluated_total
    tokens_filled_total tokens_revised_total forward_passes_total request_success_total
    requests_rejected_total stream_frames_total e2e_request_latency_seconds request_queue_time_seconds
    time_to_first_draft_seconds time_to_first_token_seconds request_inference_time_seconds
    inter_chunk_latency_seconds denoise_step_duration_seconds step_batch_size request_prompt_tokens
    request_generation_tokens request_params_max_tokens request_denoise_steps request_tokens_per_step
    model_load_seconds build_info model_info requests_started_total http_requests_total""".split()


@pytest.mark.case(39)
def test_every_series_is_there_from_the_start(launch):
    answer = launch().get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    kinds, samples = check_text_format(answer.body.decode())
    assert set(kinds) == {f"unmask_{name}" for name in SERIES}
    reasons = {labels["reason"] for labels, _ in samples["unmask_requests_rejected_total"]}
    assert reasons >= {"queue_full", "queue_timeout", "context_length", "loading", "draining", "auth",
                       "bad_request"}
    handlers = {labels["handler"] for labels, _ in samples["unmask_http_requests_total"]}
    assert handlers >= {"/v1/chat/completions", "/v1/models/{id}", "/health", "/ready", "other"}
    ends = {labels["finished_reason"] for labels, _ in samples["unmask_request_success_total"]}
    assert ends == {"stop", "length", "tool_calls", "abort", "error"}


@pytest.mark.case(39)
def test_one_chat_moves_the_numbers_that_it_should(launch):
    server = launch()
    usage = server.chat(stream=False).json["usage"]
    seen = server.metrics()
    assert seen["prompt_tokens_total"] == usage["prompt_tokens"]
    assert seen["generation_tokens_total"] == usage["completion_tokens"]
    assert seen["forward_passes_total"] == usage["diffusion"]["steps"]
    ends = [seen[f'request_success_total{{finished_reason="{reason}"}}'] for reason in ("stop", "length")]
    assert sorted(ends) == [0, 1]
    assert seen["time_to_first_draft_seconds_count"] == seen["time_to_first_token_seconds_count"] == 1
    assert seen["time_to_first_draft_seconds_sum"] <= seen["time_to_first_token_seconds_sum"]
    assert seen["e2e_request_latency_seconds_count"] == 1
    check_text_format(server.get("/metrics").body.decode())


def test_started_is_ended_plus_rejected(launch):
    server = launch("--max-batch", "1", "--max-queue", "1", "--api-key", "sk-0123456789")
    key = {"Authorization": "Bearer sk-0123456789"}
    for body in (chat(), chat(temperature=9), chat(max_tokens=5000), {"messages": 1}):
        server.post("/v1/chat/completions", body, **key)
    server.post("/v1/chat/completions", chat())
    assert server.post("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 4}, **key).status == 200
    assert server.post("/v1/completions", {"prompt": ["a"] * 3, "max_tokens": 4}, **key).status == 429
    seen = server.metrics()
    assert seen["requests_started_total"] == 8  # a request with two prompts counts as two
    for reason, count in (("auth", 1), ("bad_request", 2), ("context_length", 1), ("queue_full", 1)):
        assert seen[f'requests_rejected_total{{reason="{reason}"}}'] == count
    server.wait_idle()


def test_what_comes_is_counted_wherever_it_ends(launch):
    """Counted on arrival, so that a request that is lost on its way, or counted twice at its end, shows."""
    server = launch("--max-body", "4096", "--max-n", "2")
    server.post(CHAT, chat(n=2))  # two
    server.post(CHAT, chat(n=3))
    server.ask("POST", CHAT, b"x" * 5000, {"Content-Type": "application/json"})  # 413
    server.ask("POST", CHAT, b"{}", {"Content-Type": "text/xml"})  # 415
    server.ask("POST", CHAT, b"{", {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    server.ask("GET", CHAT)  # 405: no generation
    server.post("/v1/chat", chat())  # 404: neither
    for sent in (b"", b"{", b'{"messages"'):  # clients that leave in the middle of their request
        with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as client:
            client.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Content-Length: 100\r\n\r\n%s" % (CHAT.encode(), sent))
    server.send(CHAT, json.dumps(chat(max_tokens=900)).encode()).close()
    server.wait_for_metric("requests_started_total", lambda count: count == 10)
    assert server.wait_idle()["requests_started_total"] == 10
