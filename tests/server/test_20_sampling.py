"""Choices, log-probabilities, biases, penalties, limits of the sampling, presets: cases 7, 15, 16,
22, 24-26, 47, 49, 56, 74, 75."""
import math

import pytest

from unmask_server import CHAT, TEXT, chat, ending, events, joined, text

# ---- several choices ----


@pytest.mark.case(7)
def test_choices_are_numbered_and_counted_together(shared):
    body = shared.chat(n=3, temperature=1).json
    contents = [choice["message"]["content"] for choice in body["choices"]]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert len(set(contents)) > 1
    alone = shared.chat(temperature=1).json
    assert contents[0] == alone["choices"][0]["message"]["content"]
    assert body["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]
    tokens = sum(len(shared.post("/tokenize", {"prompt": content}).json["tokens"]) > 0 for content in contents)
    assert tokens == 3 and body["usage"]["completion_tokens"] > alone["usage"]["completion_tokens"]
    assert body["usage"]["total_tokens"] == (
        body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"])


@pytest.mark.case(7)
def test_the_number_of_choices_is_bounded(launch, shared):
    assert len(shared.chat(n=8, max_tokens=2).json["choices"]) == 8
    for n, code in ((0, "integer_below_min_value"), (9, "integer_above_max_value"),
                    (1000, "integer_above_max_value")):
        shared.chat(n=n).error(400, code, "n")
    launch("--max-n", "2").chat(n=3).error(400, "integer_above_max_value", "n")


@pytest.mark.case(26)
def test_prompts_times_choices_are_in_order(shared):
    body = shared.text(prompt=["Once", "The sun"], n=2, temperature=1).json
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    for number, prompt in enumerate(("Once", "The sun")):
        alone = shared.text(prompt=prompt, n=2, temperature=1).json["choices"]
        assert [choice["text"] for choice in alone] == [
            choice["text"] for choice in body["choices"][2 * number:2 * number + 2]]


@pytest.mark.case(47)
def test_choices_of_a_stream_begin_in_order_and_end_once(shared):
    body = chat(n=3, temperature=1, max_tokens=32, diffusion={"block_length": 8})
    chunks = events(shared.stream(CHAT, body)[1])
    for index, chunk in enumerate(chunks[:3]):
        [choice] = chunk["choices"]
        assert choice["index"] == index and choice["delta"]["role"] == "assistant"
    for index, whole in enumerate(shared.post(CHAT, body).json["choices"]):
        mine = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        assert joined(chunks, index) == whole["message"]["content"]
        assert [choice["finish_reason"] for choice in mine if choice["finish_reason"]] == [
            whole["finish_reason"]]
        assert mine[-1]["delta"] == {} and mine[-1]["finish_reason"]


# ---- log-probabilities ----


def rows(choice):
    """(token, logprob, bytes, alternatives) of a chat choice's log-probabilities."""
    assert set(choice["logprobs"]) == {"content", "refusal"} and choice["logprobs"]["refusal"] is None
    return choice["logprobs"]["content"]


@pytest.mark.case(15)
@pytest.mark.parametrize("temperature", [0, 1])
def test_each_token_has_its_probability_and_the_likeliest(shared, temperature):
    body = shared.chat(logprobs=True, top_logprobs=2, temperature=temperature, max_tokens=24).json
    [choice] = body["choices"]
    found = rows(choice)
    assert len(found) == body["usage"]["completion_tokens"]
    for row in found:
        assert set(row) == {"token", "logprob", "bytes", "top_logprobs"}
        assert -9999 <= row["logprob"] <= 0 and len(row["top_logprobs"]) == 2
        first, second = row["top_logprobs"]
        assert set(first) == {"token", "logprob", "bytes"}
        assert first["logprob"] >= second["logprob"] and first["logprob"] >= row["logprob"]
        assert math.exp(first["logprob"]) + math.exp(second["logprob"]) <= 1 + 1e-5
        if temperature == 0:  # what was committed was the likeliest
            assert row["token"] == first["token"] and row["logprob"] == first["logprob"]
    said = b"".join(bytes(row["bytes"]) for row in found)
    assert said.decode(errors="replace") == choice["message"]["content"]


@pytest.mark.case(15)
def test_log_probabilities_do_not_change_the_answer(shared):
    for temperature in (0, 1):
        plain = shared.chat(temperature=temperature)
        asked = shared.chat(temperature=temperature, logprobs=True)
        assert asked.content == plain.content
        assert all(row["top_logprobs"] == [] for row in rows(asked.json["choices"][0]))
        assert shared.chat(temperature=temperature, logprobs=False).json["choices"][0]["logprobs"] is None


@pytest.mark.case(15)
def test_log_probabilities_ignore_temperature_bias_and_filters(shared):
    """They are of the raw logits: in the only step of a canvas they are those of the plain request."""
    one_step = {"max_tokens": 1, "logprobs": True, "top_logprobs": 20,
                "diffusion": {"block_length": 1, "steps_per_block": 1}}
    plain = rows(shared.chat(**one_step).json["choices"][0])[0]["top_logprobs"]
    for fields in ({"temperature": 2}, {"top_p": 0.5, "temperature": 1}, {"min_p": 0.5, "temperature": 1},
                   {"logit_bias": {"5": 50}}, {"seed": 9, "temperature": 1}):
        answer = shared.chat(**{**one_step, **fields}).json
        if answer["usage"]["completion_tokens"]:
            [row] = rows(answer["choices"][0])
            assert row["top_logprobs"] == plain


@pytest.mark.case(15)
@pytest.mark.parametrize("fields, code, param", [
    ({"top_logprobs": 2}, "conflicting_parameters", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": -1}, "integer_below_min_value", "top_logprobs"),
    ({"logprobs": 1}, "invalid_type", "logprobs"),
])
def test_bad_log_probabilities_are_named(shared, fields, code, param):
    shared.chat(**fields).error(400, code, param)


@pytest.mark.case(15)
def test_streamed_log_probabilities_are_those_of_the_whole(shared):
    body = chat(logprobs=True, top_logprobs=3, temperature=1, max_tokens=32,
                diffusion={"block_length": 8})
    whole = rows(shared.post(CHAT, body).json["choices"][0])
    streamed = []
    for chunk in events(shared.stream(CHAT, body)[1]):
        for choice in chunk["choices"]:
            if choice["logprobs"]:
                streamed += rows(choice)
    assert streamed == whole


@pytest.mark.case(15)
def test_completions_have_their_own_form_of_them(shared):
    body = shared.text(logprobs=2, max_tokens=16).json
    [choice] = body["choices"]
    found = choice["logprobs"]
    assert set(found) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    count = body["usage"]["completion_tokens"]
    assert all(len(found[name]) == count for name in found)
    assert "".join(found["tokens"]) == choice["text"]
    assert found["text_offset"] == [len("".join(found["tokens"][:i])) for i in range(count)]
    for token, logprob, tops in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"]):
        assert logprob <= 0 and 1 <= len(tops) <= 3 and token in tops
    shared.text(logprobs=6).error(400, "integer_above_max_value", "logprobs")
    shared.text(logprobs=2, echo=True).error(400, "conflicting_parameters", "echo")


# ---- biases and penalties ----


def ids_of(server, string):
    return server.post("/tokenize", {"prompt": string, "add_special_tokens": False}).json["tokens"]


@pytest.mark.case(16)
def test_a_biased_token_is_absent_or_everywhere(shared):
    first = rows(shared.chat(logprobs=True).json["choices"][0])[0]["token"]
    [token] = ids_of(shared, first)
    answer = shared.chat(logit_bias={str(token): -100}, logprobs=True).json
    assert first not in [row["token"] for row in rows(answer["choices"][0])]
    answer = shared.chat(logit_bias={str(token): 100}).json
    assert answer["choices"][0]["message"]["content"] == first * 16


@pytest.mark.case(16)
@pytest.mark.parametrize("bias, code, param", [
    ({"abc": 1}, "invalid_value", "logit_bias"), ({"608": 1}, "invalid_value", "logit_bias"),
    ({"-1": 1}, "invalid_value", "logit_bias"), ({"582": 1}, "invalid_value", "logit_bias"),  # the mask
    ({"1": 101}, "decimal_above_max_value", "logit_bias.1"),
    ({"1": -101}, "decimal_below_min_value", "logit_bias.1"),
    ({"1": "x"}, "invalid_type", "logit_bias.1"), ([1], "invalid_type", "logit_bias"),
])
def test_bad_biases_are_refused(shared, bias, code, param):
    answer = shared.chat(logit_bias=bias)
    assert answer.status == 400
    error = answer.json["error"]
    assert error["code"] == code and error["param"].startswith("logit_bias"), error


def repeats(content):
    words = content.split()
    return len(words) - len(set(words))


@pytest.mark.parametrize("name, value", [("frequency_penalty", 2), ("presence_penalty", 2),
                                         ("repetition_penalty", 1.5)])
def test_penalties_make_repeats_rarer(shared, name, value):
    """One token a step, so that each sees those before it."""
    fields = {"max_tokens": 64, "temperature": 0, "diffusion": {"block_length": 64, "steps_per_block": 64}}
    plain, penalised = shared.chat(**fields).content, shared.chat(**fields, **{name: value}).content
    assert repeats(penalised) < repeats(plain)


def test_neutral_penalties_change_nothing(shared):
    plain = shared.chat(max_tokens=32).content
    for fields in ({"frequency_penalty": 0}, {"presence_penalty": 0.0}, {"repetition_penalty": 1},
                   {"logit_bias": {}}, {"logit_bias": {"5": 0}}, {"min_p": 0}, {"top_k": 0}, {"top_k": -1}):
        assert shared.chat(max_tokens=32, **fields).content == plain, fields


@pytest.mark.parametrize("fields, code, param", [
    ({"frequency_penalty": 2.1}, "decimal_above_max_value", "frequency_penalty"),
    ({"presence_penalty": -2.1}, "decimal_below_min_value", "presence_penalty"),
    ({"repetition_penalty": 0}, "decimal_below_min_value", "repetition_penalty"),
    ({"min_p": 1.1}, "decimal_above_max_value", "min_p"),
    ({"top_k": -2}, "integer_below_min_value", "top_k"),
    ({"min_tokens": -1}, "integer_below_min_value", "min_tokens"),
    ({"ignore_eos": 1}, "invalid_type", "ignore_eos"),
    ({"stop_token_ids": [608]}, "invalid_value", "stop_token_ids[0]"),
    ({"stop_token_ids": ["5"]}, "invalid_type", "stop_token_ids[0]"),
])
def test_bad_sampling_fields_are_named(shared, fields, code, param):
    shared.chat(**fields).error(400, code, param)


def test_filters_leave_the_likeliest(shared):
    """At any temperature, top_k 1 and min_p 1 are an argmax."""
    greedy = shared.chat(temperature=0).content
    assert shared.chat(temperature=2, top_k=1).content == greedy
    assert shared.chat(temperature=2, min_p=1).content == greedy


# ---- where answers end ----

def test_end_tokens_can_be_put_off_or_ignored(shared):
    fields, answer = ending(shared)
    tokens = answer.json["usage"]["completion_tokens"]
    later = shared.chat(**fields, min_tokens=tokens + 20).json
    assert later["usage"]["completion_tokens"] >= tokens + 20
    never = shared.chat(**fields, ignore_eos=True).json
    assert never["usage"]["completion_tokens"] == 200
    assert never["choices"][0]["finish_reason"] == "length"


@pytest.mark.case(8)
def test_stop_tokens_end_the_answer(shared):
    found = rows(shared.chat(logprobs=True, max_tokens=32).json["choices"][0])
    place, row = next((i, row) for i, row in enumerate(found)
                      if i > 3 and len(ids_of(shared, row["token"])) == 1)
    first = [r["token"] for r in found].index(row["token"])
    answer = shared.chat(max_tokens=32, stop_token_ids=ids_of(shared, row["token"])).json
    assert place >= first
    assert answer["choices"][0]["message"]["content"] == "".join(r["token"] for r in found[:first])
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == first


@pytest.mark.case(49)
@pytest.mark.parametrize("block_length", [1, 4])
def test_a_stop_string_over_a_border_is_never_begun(shared, block_length):
    """One block after the other is a step's text, so most stop strings begin in one and end in a later
    one's; no part of them is sent."""
    fields = {"max_tokens": 32, "temperature": 0, "diffusion": {"block_length": block_length}}
    whole = shared.chat(**fields).content
    for border in range(2, 42, 2):
        stop = whole[border - 2:border + 2]
        cut = whole[:whole.index(stop)]
        chunks = events(shared.stream(CHAT, chat(**fields, stop=stop))[1])
        sent = ""
        for chunk in chunks:
            sent += chunk["choices"][0]["delta"].get("content", "")
            assert cut.startswith(sent)
        assert sent == cut and chunks[-1]["choices"][0]["finish_reason"] == "stop"


# ---- presets ----


def steps(server, **fields):
    answer = server.chat(**{"max_tokens": 64, **fields})
    assert answer.status == 200, answer.body
    return answer.json["usage"]["diffusion"]["steps"]


def echoed(server, **fields):
    fields["diffusion"] = {"echo": True, **fields.get("diffusion", {})}
    answer = server.chat(**fields)
    assert answer.status == 200, answer.body
    return answer.json["diffusion"]


@pytest.mark.case(74)
def test_presets_are_ordered_by_their_steps(shared):
    counts = [steps(shared, diffusion={"preset": name}) for name in ("fast", "balanced", "max")]
    assert counts == sorted(counts) and counts[0] < counts[2]
    assert echoed(shared, diffusion={"preset": "recommended"}) == echoed(shared)
    fast = echoed(shared, diffusion={"preset": "fast"})
    assert (fast["algorithm"], fast["threshold"], fast["steps_per_block"]) == ("threshold", 0.8, 8)
    balanced = echoed(shared, diffusion={"preset": "balanced"})
    assert (balanced["algorithm"], balanced["threshold"], balanced["steps_per_block"]) == ("threshold", 0.9, 16)
    best = echoed(shared, diffusion={"preset": "max"})
    assert (best["algorithm"], best["steps_per_block"]) == ("low_confidence", 32)
    shared.chat(diffusion={"preset": "best"}).error(400, "invalid_value", "diffusion.preset")


@pytest.mark.case(74)
def test_single_settings_are_stronger_than_presets(shared):
    own = echoed(shared, diffusion={"preset": "fast", "threshold": 0.3})
    assert (own["algorithm"], own["threshold"], own["steps_per_block"]) == ("threshold", 0.3, 8)


@pytest.mark.case(74)
def test_listed_presets_are_what_a_request_gets(shared):
    listed = shared.get("/v1/models/tiny").json["diffusion"]["presets"]
    assert set(listed) == {"fast", "balanced", "max"}
    for name, settings in listed.items():
        mine = echoed(shared, diffusion={"preset": name})
        assert settings and {key: mine[key] for key in settings} == settings


@pytest.mark.case(22)
def test_a_suffix_of_the_model_picks_the_preset(shared):
    assert steps(shared, model="tiny@fast") < steps(shared, model="tiny@max")
    for name in ("tiny", "alias/name"):
        answer = shared.chat(model=f"{name}@fast", diffusion={"echo": True}).json
        assert answer["diffusion"] == echoed(shared, diffusion={"preset": "fast"})
        assert answer["model"] == "tiny"
    shared.chat(model="tiny@best").error(404, "model_not_found", "model")


@pytest.mark.case(75)
def test_reasoning_effort_picks_the_preset(shared):
    presets = {name: echoed(shared, diffusion={"preset": name}) for name in ("fast", "recommended", "max")}
    for efforts, name in ((("none", "instant", "minimal", "low"), "fast"), (("medium",), "recommended"),
                          (("high", "xhigh", "max"), "max")):
        for effort in efforts:
            assert echoed(shared, reasoning_effort=effort) == presets[name], effort
    shared.chat(reasoning_effort="extreme").error(400, "invalid_value", "reasoning_effort")
    assert echoed(shared, reasoning_effort="low", diffusion={"preset": "max"}) == presets["max"]
    assert echoed(shared, reasoning_effort="low", model="tiny@max") == presets["max"]
    assert echoed(shared, model="tiny@fast", diffusion={"preset": "max"}) == presets["max"]


# ---- what this build has not ----


@pytest.mark.case(24, 25, 56)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fields, param", [
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "strict": True, "schema": {"type": "object"}}}}, "response_format"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
      "tool_choice": "required"}, "tools"),
])
def test_constrained_answers_are_refused_not_ignored(shared, fields, param, stream):
    answer = shared.chat(stream=stream, **fields)
    assert "not" in answer.error(400, "unsupported_parameter", param)


@pytest.mark.case(24, 25)
def test_their_neutral_values_pass(shared):
    plain = shared.chat().content
    assert shared.chat(response_format={"type": "text"}).content == plain
    assert shared.chat(tools=[], tool_choice="none", parallel_tool_calls=True).content == plain


def test_texts_without_prompt_tokens_can_have_choices(shared):
    assert len(shared.post(TEXT, text(prompt="", n=2)).json["choices"]) == 2
