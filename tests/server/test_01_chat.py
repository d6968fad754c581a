"""Chat completions, not streamed: cases 1-3, 5, 6, 8, 9, 11-14, 17-21, 23, 24 of the API."""
import json
import re
import time

import pytest

from child import SANITIZED
from unmask_server import CHAT, TEXT, chat


@pytest.mark.case(1)
def test_answer_has_the_documented_members(shared):
    answer = shared.chat()
    body = answer.json
    assert answer.status == 200 and re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
    assert set(body) == {"id", "object", "created", "model", "system_fingerprint", "service_tier",
                         "choices", "usage"}
    assert body["object"] == "chat.completion" and body["service_tier"] == "default"
    [choice] = body["choices"]
    message = choice.pop("message")
    assert message.pop("content") and message == {"role": "assistant", "refusal": None,
                                                  "annotations": []}
    assert choice["index"] == 0 and choice["logprobs"] is None
    assert choice["finish_reason"] in ("stop", "length")
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "audio_tokens": 0}
    assert usage["diffusion"]["cache"] == "exact" and usage["diffusion"]["steps"] >= 1


@pytest.mark.case(2)
def test_ids_and_fingerprint_have_their_forms(shared):
    before = int(time.time())
    first, second = shared.chat().json, shared.chat().json
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", first["id"]) and first["id"] != second["id"]
    assert re.fullmatch(r"fp_[0-9a-f]{10}", first["system_fingerprint"])
    assert first["system_fingerprint"] == second["system_fingerprint"]
    assert before <= first["created"] <= time.time() and first["model"] == "tiny"


@pytest.mark.case(3)
def test_seed_decides_sampled_text(shared):
    texts = [shared.chat(temperature=0.8, seed=seed).content for seed in (5, 5, 6, 7, 8)]
    assert texts[0] == texts[1] and len(set(texts)) >= 3


@pytest.mark.case(5)
def test_budget_bounds_the_answer(shared):
    one = shared.chat(max_tokens=1).json
    tokens = one["usage"]["completion_tokens"]
    assert one["choices"][0]["finish_reason"] == ("length" if tokens == 1 else "stop") and tokens <= 1
    both = shared.chat(max_tokens=9, max_completion_tokens=2).json
    assert both["usage"]["completion_tokens"] <= 2


@pytest.mark.case(6)
def test_without_a_budget_the_free_context_bounds_it(shared):
    ids = [5] * 1019
    body = shared.post("/v1/completions", {"prompt": ids}).json
    assert body["usage"]["prompt_tokens"] == 1019 and body["usage"]["completion_tokens"] <= 5


@pytest.mark.case(8)
def test_stop_string_cuts_the_text_and_is_the_reason(shared):
    whole = shared.chat(max_tokens=32)
    marker = whole.content[8:11]
    cut = shared.chat(max_tokens=32, stop=marker)
    assert cut.content == whole.content[:whole.content.index(marker)]
    assert cut.json["choices"][0]["finish_reason"] == "stop"
    assert shared.chat(max_tokens=32, stop=["\x01", "\x02", "\x03", marker]).content == cut.content
    assert shared.chat(max_tokens=32, stop=[]).content == whole.content


@pytest.mark.case(7, 8, 9, 10, 14, 17, 18, 19, 23, 24, 25)
@pytest.mark.parametrize("field, value, code, param", [
    ("temperature", 2.1, "decimal_above_max_value", "temperature"),
    ("temperature", -0.1, "decimal_below_min_value", "temperature"),
    ("temperature", "1", "invalid_type", "temperature"),
    ("stop", ["a"] * 5, "array_above_max_length", "stop"),
    ("stop", [""], "invalid_value", "stop[0]"),
    ("messages", [], "empty_array", "messages"),
    ("messages", None, "missing_required_parameter", "messages"),
    ("messages", "Hi", "invalid_type", "messages"),
    ("messages", [{"role": "wizard", "content": "x"}], "invalid_value", "messages[0].role"),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
     "unsupported_value", "messages[0].content[0].type"),
    ("stream_options", {"include_usage": True}, "invalid_value", "stream_options"),
    ("n", 0, "integer_below_min_value", "n"),
    ("n", 1000, "integer_above_max_value", "n"),
    ("top_p", 1.5, "decimal_above_max_value", "top_p"),
    ("functions", [], "unsupported_parameter", "functions"),
    ("function_call", "auto", "unsupported_parameter", "function_call"),
    ("audio", {}, "unsupported_parameter", "audio"),
    ("web_search_options", {}, "unsupported_parameter", "web_search_options"),
    ("moderation", True, "unsupported_parameter", "moderation"),
    ("modalities", ["audio"], "unsupported_parameter", "modalities"),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
     "unsupported_parameter", "response_format"),
    ("tools", [{"type": "function", "function": {"name": "f"}}], "unsupported_parameter", "tools"),
])
def test_bad_field_is_named(shared, field, value, code, param):
    shared.chat(**{field: value}).error(400, code, param)


@pytest.mark.case(9, 10)
def test_values_at_the_borders_pass(shared):
    assert [shared.chat(temperature=t).status for t in (0, 1, 2)] == [200] * 3
    assert [shared.chat(top_p=p).status for p in (0, 1)] == [200] * 2
    # the likeliest token is all that is left, at any temperature
    assert shared.chat(top_p=0, temperature=1).content == shared.chat(temperature=0).content


@pytest.mark.case(11)
def test_optional_fields_may_be_null(shared):
    names = """model max_completion_tokens max_tokens temperature top_p seed n stop stream stream_options
        logprobs top_logprobs logit_bias frequency_penalty presence_penalty response_format tools
        tool_choice parallel_tool_calls prediction reasoning_effort verbosity modalities metadata store
        user service_tier diffusion functions function_call audio web_search_options moderation
        safety_identifier prompt_cache_key prompt_cache_retention prompt_cache_options top_k min_p
        repetition_penalty min_tokens ignore_eos stop_token_ids skip_special_tokens
        add_generation_prompt continue_final_message chat_template_kwargs diffusing realtime
        reasoning_summary reasoning_summary_wait steps block_length threshold alg""".split()
    answer = shared.chat(**dict.fromkeys(names))
    assert answer.status == 200 and "x-unmask-ignored" not in answer.headers


@pytest.mark.case(12)
def test_unknown_field_is_ignored_aloud(shared, launch):
    answer = shared.chat(foo=1)
    assert answer.status == 200 and answer.headers["x-unmask-ignored"] == "foo"
    launch("--strict-params").chat(foo=1).error(400, "unknown_parameter", "foo")


@pytest.mark.case(13)
def test_fields_without_effect_pass_in_silence(shared):
    answer = shared.chat(user="u", metadata={"a": "b"}, store=True, service_tier="flex",
                         verbosity="low", prompt_cache_key="k", safety_identifier="s")
    assert answer.status == 200 and "x-unmask-ignored" not in answer.headers


@pytest.mark.case(17)
def test_text_parts_are_joined_by_newlines(shared):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    answers = [shared.chat(messages=[{"role": role, "content": content}, {"role": "user", "content": "x"}])
               for role, content in (("system", "one\ntwo"), ("developer", parts))]
    assert answers[0].content == answers[1].content
    assert answers[0].json["usage"] == answers[1].json["usage"]


def test_user_text_never_becomes_a_special_token(shared):
    """A spelled-out mask is text: 12 characters of it make more than one token."""
    plain = shared.chat(messages=[{"role": "user", "content": ""}]).json["usage"]["prompt_tokens"]
    for special in ("<|mdm_mask|>", "<|eot_id|>"):
        answer = shared.chat(messages=[{"role": "user", "content": special}])
        assert answer.status == 200
        assert answer.json["usage"]["prompt_tokens"] >= plain + 4


@pytest.mark.case(78)
def test_nul_and_any_unicode_are_legal_in_a_prompt(shared):
    assert shared.chat(messages=[{"role": "user", "content": "a\0b \U0001f600 \u0301 \ufffe"}]).status == 200


@pytest.mark.case(20)
def test_overlong_prompts_are_refused_with_both_phrases(shared):
    for fields in ({"messages": [{"role": "user", "content": "word " * 3000}]}, {"max_tokens": 1020}):
        message = shared.chat(**fields).error(400, "context_length_exceeded", "messages")
        assert "maximum context length is 1024 tokens" in message
        assert "exceeds the context window" in message


@pytest.mark.parametrize("path, body, size", [
    (CHAT, lambda n: chat(messages=[{"role": "user", "content": "word " * n}]), 200_000),
    (CHAT, lambda n: chat(messages=[{"role": "user", "content": "a" * n}]), 500_000),
    (TEXT, lambda n: {"prompt": [5] * n}, 500_000),
], ids=["words", "one letter", "ids"])
def test_refusing_a_huge_prompt_costs_no_more_than_n_log_n(shared, path, body, size):
    """Processor time of the server: for four times the prompt four times as much, not sixteen."""
    def cost(n):
        before = shared.cpu_seconds()
        shared.post(path, body(n)).error(400, "context_length_exceeded", "prompt" if path == TEXT else "messages")
        return shared.cpu_seconds() - before

    cost(size)  # the first pays for memory that is used again
    clock_tick = 0.01
    assert cost(4 * size) <= 8 * (cost(size) + clock_tick)


def test_memory_of_a_huge_body_is_given_back(launch):
    """As a tree these 6 MB are some 300; afterwards the server is about as small as before."""
    server = launch()
    before = server.resident_kib()
    for _ in range(3):
        server.ask("POST", CHAT, b'{"a":[' + b"{}," * 2_000_000 + b"0]}").error(
            400, "missing_required_parameter", "messages")
    assert SANITIZED or server.resident_kib() < before + 64 * 1024  # they keep freed memory


def test_names_end_where_their_strings_end(shared):
    """U+0000 is legal in a prompt; elsewhere nothing may hide behind it."""
    content = [{"type": "text\0", "text": "x"}]
    shared.chat(messages=[{"role": "user\0", "content": "x"}]).error(400, "invalid_value", "messages[0].role")
    shared.chat(messages=[{"role": "user", "content": content}]).error(
        400, "unsupported_value", "messages[0].content[0].type")
    for key, code in (("algorithm", "unsupported_value"), ("eos_rule", "invalid_value")):
        shared.chat(diffusion={key: "random\0" if key == "algorithm" else "none\0"}).error(
            400, code, f"diffusion.{key}")


def test_metadata_counts_characters(shared):
    assert shared.chat(metadata={"\u00e9" * 64: "\u00e9" * 512}).status == 200
    shared.chat(metadata={"\u00e9" * 65: ""}).error(400, "string_above_max_length", "metadata")
    shared.chat(metadata={"k": "\u00e9" * 513}).error(400, "string_above_max_length", "metadata.k")


@pytest.mark.case(21)
def test_model_names(shared):
    for name in ("tiny", "alias/name", ""):
        answer = shared.chat(model=name)
        assert answer.status == 200 and answer.json["model"] == "tiny"
    for name in ("gpt-4o", "tiny\0", "\0"):
        shared.chat(model=name).error(404, "model_not_found", "model")
    shared.chat(model=5).error(400, "invalid_type", "model")


def test_owner_of_a_request_does_not_change_the_answer(shared):
    assert shared.chat(user="someone").content == shared.chat().content


@pytest.mark.case(81)
def test_body_is_json_whatever_curl_calls_it(shared):
    payload = json.dumps(chat()).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert shared.ask("POST", CHAT, payload, form).content == shared.chat().content
