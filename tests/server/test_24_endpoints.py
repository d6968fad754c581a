"""Tokens, models and endpoints that this build has not: cases 35-37, 41."""
import pytest

from unmask_server import chat

CONVERSATION = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "The sun \u4f60\u597d"}]


# ---- tokenize, detokenize ----


@pytest.mark.case(41)
@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_tokens_of_messages_are_those_of_the_chat(shared, prefix):
    answer = shared.post(prefix + "/tokenize", {"messages": CONVERSATION}).json
    assert set(answer) == {"count", "max_model_len", "tokens", "token_strs"}
    assert answer["count"] == len(answer["tokens"]) and answer["max_model_len"] == 1024
    assert answer["token_strs"] is None
    assert answer["count"] == shared.chat(messages=CONVERSATION).json["usage"]["prompt_tokens"]


@pytest.mark.case(41)
@pytest.mark.parametrize("text", ["The sun and the water", "", " \n\t", "\u4f60\u597d \U0001f600 \u00e9", "a\0b"])
def test_texts_come_back_from_their_tokens(shared, text):
    tokens = shared.post("/tokenize", {"prompt": text}).json["tokens"]
    for path in ("/detokenize", "/v1/detokenize"):
        assert shared.post(path, {"tokens": tokens}).json == {"prompt": text}
    assert shared.post("/tokenize", {"content": text}).json["tokens"] == tokens
    assert len(tokens) == shared.text(prompt=text).json["usage"]["prompt_tokens"]


@pytest.mark.case(41)
def test_pieces_are_told_on_request(shared):
    answer = shared.post("/tokenize", {"prompt": "The sun", "return_token_strs": True}).json
    assert len(answer["token_strs"]) == answer["count"] and "".join(answer["token_strs"]) == "The sun"


def test_a_text_from_tokens_is_bounded(shared):
    """A few bytes of the body name a long token: 16 MiB of text are enough."""
    written = shared.post("/tokenize", {"messages": CONVERSATION, "return_token_strs": True}).json
    token, piece = max(zip(written["tokens"], written["token_strs"]), key=lambda pair: len(pair[1]))
    fits = (16 << 20) // len(piece)
    assert len(shared.post("/detokenize", {"tokens": [token] * fits}).json["prompt"]) == fits * len(piece)
    refused = shared.post("/detokenize", {"tokens": [token] * (fits + 1)})
    refused.error(400, "array_above_max_length", "tokens")
    assert str(16 << 20) in refused.json["error"]["message"]


@pytest.mark.case(41)
def test_a_turn_can_stay_open(shared):
    going_on = [*CONVERSATION, {"role": "assistant", "content": "It"}]
    closed = shared.post("/tokenize", {"messages": going_on, "add_generation_prompt": False}).json["count"]
    opened = shared.post("/tokenize", {"messages": going_on, "continue_final_message": True,
                                       "add_generation_prompt": False}).json["count"]
    assert opened < closed


@pytest.mark.case(41)
@pytest.mark.parametrize("path, body, code, param", [
    ("/detokenize", {"tokens": [608]}, "invalid_value", "tokens[0]"),
    ("/detokenize", {"tokens": [1, -1]}, "invalid_value", "tokens[1]"),
    ("/detokenize", {"tokens": "x"}, "invalid_type", "tokens"),
    ("/detokenize", {}, "missing_required_parameter", "tokens"),
    ("/tokenize", {}, "missing_required_parameter", "prompt"),
    ("/tokenize", {"prompt": 5}, "invalid_type", "prompt"),
    ("/tokenize", {"messages": []}, "empty_array", "messages"),
    ("/tokenize", {"prompt": "x", "model": "other"}, "model_not_found", "model"),
])
def test_bad_token_requests_are_refused(shared, path, body, code, param):
    shared.post(path, body).error(404 if code == "model_not_found" else 400, code, param)


@pytest.mark.case(41)
def test_tokenizing_is_not_bounded_by_the_context(shared):
    answer = shared.post("/tokenize", {"prompt": "the " * 3000})
    assert answer.status == 200 and answer.json["count"] > 1024


# ---- models ----


@pytest.mark.case(37)
def test_a_model_with_a_slash_is_found_by_both_spellings(launch):
    server = launch("--model-id", "org/name")
    model = server.get("/v1/models").json["data"][0]
    assert model["id"] == "org/name"
    for path in ("/v1/models/org/name", "/v1/models/org%2Fname", "/v1/models/org%2fname"):
        assert server.get(path).json == model
    for path in ("/v1/models/org%252Fname", "/v1/models/org", "/v1/models/org/name/x"):
        server.get(path).error(404, "model_not_found", "model")
    assert server.chat(model="org/name@fast").json["model"] == "org/name"


@pytest.mark.case(37)
def test_a_model_says_what_it_can(shared):
    model = shared.get("/v1/models/tiny").json
    assert {"infill", "edit", "draft_stream", "batch_invariant"} <= set(model["supported_features"])
    assert not {"tools", "json_mode", "structured_outputs"} & set(model["supported_features"])
    assert model["max_output_length"] <= model["context_length"] == model["max_model_len"]
    assert model["input_modalities"] == model["output_modalities"] == ["text"]


# ---- what is not served ----


@pytest.mark.case(35, 36)
@pytest.mark.parametrize("path, body", [
    ("/v1/embeddings", {"model": "tiny", "input": "x"}), ("/v1/images/generations", {"prompt": "x"}),
    ("/v1/images/generations", {"prompt": "x", "size": "1x1"}), ("/v1/images/edits", {}),
    ("/v1/audio/speech", {}), ("/v1/moderations", {"input": "x"}), ("/v1/assistants", {}),
    ("/v1/threads/t/runs", {}), ("/v1/batches", {}),
])
def test_other_endpoints_are_not_found_and_not_retried(shared, path, body):
    """404, since clients retry every 5xx."""
    shared.post(path, body).error(404, "endpoint_not_supported")


@pytest.mark.case(36)
def test_stored_responses_are_not_served(shared):
    for method, path in (("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1"),
                         ("GET", "/v1/responses/resp_1/input_items")):
        shared.ask(method, path).error(404, "endpoint_not_supported")


# ---- the prompt's end ----


def test_a_last_message_of_the_assistant_can_go_on(shared):
    """The same canvas behind a prompt that ends in the middle of a turn."""
    going_on = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The house"}]
    tokens = shared.post("/tokenize", {"messages": going_on, "continue_final_message": True,
                                       "add_generation_prompt": False}).json["tokens"]
    body = chat(messages=going_on, continue_final_message=True, add_generation_prompt=False)
    answer = shared.post("/v1/chat/completions", body)
    assert answer.json["usage"]["prompt_tokens"] == len(tokens)
    assert answer.content == shared.text(prompt=tokens).content


@pytest.mark.parametrize("fields, param", [
    ({"continue_final_message": True}, "continue_final_message"),  # the last one is the user's
    ({"add_generation_prompt": 1}, "add_generation_prompt"),
])
def test_bad_ends_of_a_prompt_are_named(shared, fields, param):
    answer = shared.chat(**fields)
    assert answer.status == 400 and answer.json["error"]["param"] in (param, "messages"), answer.body
