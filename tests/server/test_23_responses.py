"""The Responses endpoint: cases 33, 34."""
import json
import re

import pytest

from unmask_server import ending

RESPONSES = "/v1/responses"


def request(**fields):
    return {"input": "Hi", "max_output_tokens": 16, "seed": 1, **fields}


def events_of(server, **fields):
    """(type, object) of every event of a streamed response; checks their framing."""
    answer = server.post(RESPONSES, request(stream=True, **fields))
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = []
    for block in answer.body.decode().removesuffix("data: [DONE]\n\n").split("\n\n")[:-1]:
        if block.startswith(": "):
            continue
        kind, data = re.fullmatch(r"event: (\S+)\ndata: (\{.*\})", block).groups()
        found.append(json.loads(data))
        assert found[-1]["type"] == kind
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


MEMBERS = {"id", "object", "created_at", "status", "background", "error", "incomplete_details",
           "instructions", "max_output_tokens", "model", "output", "parallel_tool_calls",
           "previous_response_id", "reasoning", "store", "temperature", "text", "tool_choice", "tools",
           "top_logprobs", "top_p", "truncation", "usage", "user", "metadata"}


@pytest.mark.case(33)
def test_the_object_has_its_members(shared):
    answer = shared.post(RESPONSES, request())
    body = answer.json
    assert answer.status == 200 and set(body) >= MEMBERS
    assert re.fullmatch(r"resp_[0-9a-f]{32}", body["id"]) and body["object"] == "response"
    assert body["model"] == "tiny" and body["error"] is None and body["background"] is False
    [item] = body["output"]
    assert re.fullmatch(r"msg_[0-9a-f]{32}", item["id"])
    assert (item["type"], item["role"]) == ("message", "assistant") and item["status"] == body["status"]
    [part] = item["content"]
    chat = shared.chat()
    assert part == {"type": "output_text", "text": chat.content, "annotations": [], "logprobs": []}
    usage, theirs = body["usage"], chat.json["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (
        theirs["prompt_tokens"], theirs["completion_tokens"], theirs["total_tokens"])
    assert usage["input_tokens_details"]["cached_tokens"] == 0
    assert usage["output_tokens_details"]["reasoning_tokens"] == 0
    assert body["temperature"] == 0 and body["text"] == {"format": {"type": "text"}}
    assert (body["store"], body["tools"], body["tool_choice"], body["truncation"]) == (
        False, [], "auto", "disabled")


@pytest.mark.case(33)
def test_a_used_up_budget_makes_it_incomplete(shared):
    body = shared.post(RESPONSES, request(max_output_tokens=1, ignore_eos=True)).json
    assert body["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["max_output_tokens"] == 1


@pytest.mark.case(33)
def test_an_ended_answer_is_complete(shared):
    fields, answer = ending(shared)
    fields["max_output_tokens"] = fields.pop("max_tokens")
    body = shared.post(RESPONSES, {"input": "Hi", **fields}).json
    assert body["status"] == "completed" and body["incomplete_details"] is None
    assert body["output"][0]["content"][0]["text"] == answer.content


@pytest.mark.case(33)
def test_instructions_and_items_are_messages(shared):
    messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "one\ntwo"},
                {"role": "assistant", "content": "three"}, {"role": "user", "content": "Hi"}]
    items = [{"role": "user", "content": [{"type": "input_text", "text": "one"},
                                          {"type": "input_text", "text": "two"}]},
             {"type": "reasoning", "id": "rs_1", "summary": []},
             {"type": "message", "role": "assistant",
              "content": [{"type": "output_text", "text": "three", "annotations": []}]},
             {"role": "user", "content": "Hi"}]
    body = shared.post(RESPONSES, request(instructions="Be brief", input=items)).json
    assert body["output"][0]["content"][0]["text"] == shared.chat(messages=messages).content
    assert body["instructions"] == "Be brief"


@pytest.mark.case(33)
def test_what_is_asked_is_repeated(shared):
    fields = {"metadata": {"a": "b"}, "user": "someone", "temperature": 0.5, "top_p": 0.9,
              "reasoning": {"effort": "low"}, "instructions": "Be brief"}
    body = shared.post(RESPONSES, request(**fields)).json
    assert body["reasoning"]["effort"] == "low"
    for name in ("metadata", "user", "temperature", "top_p", "instructions"):
        assert body[name] == fields[name], name
    silent = request(store=True, safety_identifier="s", prompt_cache_key="k", service_tier="flex",
                     include=["reasoning.encrypted_content"], truncation="disabled", max_tool_calls=3,
                     text={"format": {"type": "text"}, "verbosity": "low"}, parallel_tool_calls=True)
    answer = shared.post(RESPONSES, silent)
    assert answer.status == 200 and "x-unmask-ignored" not in answer.headers, answer.body


@pytest.mark.case(33)
def test_log_probabilities_on_request(shared):
    body = shared.post(RESPONSES, request(include=["message.output_text.logprobs"], top_logprobs=2)).json
    found = body["output"][0]["content"][0]["logprobs"]
    theirs = shared.chat(logprobs=True, top_logprobs=2).json["choices"][0]["logprobs"]["content"]
    assert found == theirs


@pytest.mark.case(33)
@pytest.mark.parametrize("fields, code, param", [
    ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
    ({"conversation": "c"}, "unsupported_parameter", "conversation"),
    ({"background": True}, "unsupported_parameter", "background"),
    ({"prompt": {"id": "x"}}, "unsupported_parameter", "prompt"),
    ({"moderation": {}}, "unsupported_parameter", "moderation"),
    ({"tools": [{"type": "web_search"}]}, "unsupported_value", "tools[0].type"),
    ({"truncation": "auto"}, None, "truncation"),
    ({"input": None}, "missing_required_parameter", "input"),
    ({"input": 5}, "invalid_type", "input"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "unsupported_value", "input[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}, None,
     "input[0].content[0].type"),
    ({"max_output_tokens": 0}, "integer_below_min_value", "max_output_tokens"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, None, None),
    ({"input": "word " * 3000}, "context_length_exceeded", "input"),
])
def test_bad_fields_are_named(shared, fields, code, param):
    answer = shared.post(RESPONSES, {**request(), **fields})
    assert answer.status == 400, answer.body
    error = answer.json["error"]
    assert code in (None, error["code"]) and param in (None, error["param"]), error


@pytest.mark.case(33)
def test_functions_are_refused_where_the_template_has_none(shared):
    tools = [{"type": "function", "name": "f", "parameters": {}, "strict": True}]
    assert shared.post(RESPONSES, request(tools=tools)).status == 400


@pytest.mark.case(34)
def test_events_come_in_their_order(stepwise):
    found = events_of(stepwise, diffusion={"block_length": 4})
    whole = stepwise.post(RESPONSES, request(diffusion={"block_length": 4})).json
    text = whole["output"][0]["content"][0]["text"]
    deltas = [event for event in found if event["type"] == "response.output_text.delta"]
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created", "in_progress", "output_item.added", "content_part.added",
        *["output_text.delta"] * len(deltas), "output_text.done", "content_part.done",
        "output_item.done", whole["status"]]
    assert len(deltas) > 1 and "".join(event["delta"] for event in deltas) == text
    assert all(event["delta"] for event in deltas)
    created, item, done = found[0]["response"], found[2]["item"], found[-1]["response"]
    assert created["status"] == "in_progress" and created["output"] == [] and item["content"] == []
    for event in deltas:
        assert (event["item_id"], event["output_index"], event["content_index"], event["logprobs"]) == (
            item["id"], 0, 0, [])
    assert found[-4]["text"] == text and found[-3]["part"]["text"] == text
    assert found[-2]["item"] == done["output"][0] and done["output"][0]["id"] == item["id"]
    assert created["id"] == done["id"] and done["usage"] == whole["usage"]
    fixed = {name: value for name, value in done.items() if name not in ("id", "created_at", "output")}
    assert fixed == {name: value for name, value in whole.items() if name in fixed}


@pytest.mark.case(34)
def test_a_refused_stream_is_plain_json(shared):
    shared.post(RESPONSES, request(stream=True, temperature=9)).error(
        400, "decimal_above_max_value", "temperature")


@pytest.mark.case(34)
def test_a_failure_in_the_stream_is_an_event(launch):
    server = launch("--backend", "ref", "--request-timeout", "1")
    answer = server.post(RESPONSES, {"input": "Hi", "max_output_tokens": 400, "stream": True})
    kinds = re.findall(r"^event: (\S+)$", answer.body.decode(), re.M)
    assert kinds[0] == "response.created" and kinds[-2:] == ["error", "response.failed"]
    data = [json.loads(line) for line in re.findall(r"^data: (\{.*\})$", answer.body.decode(), re.M)]
    assert data[-2]["code"] == "generation_timeout" and data[-2]["message"]
    assert data[-1]["response"]["status"] == "failed"
    assert data[-1]["response"]["error"]["code"]
    whole = server.post(RESPONSES, {"input": "Hi", "max_output_tokens": 400})
    whole.error(504, "generation_timeout")
