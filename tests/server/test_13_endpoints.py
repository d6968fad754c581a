"""The endpoints beside chat and completions, one by one: tokenize, detokenize, infilling, editing,
templates, Responses, and what the routes of OpenAI that are not served answer."""
import pytest

from unmask_server import CHAT, TEXT, chat, text

FIM, EDIT, RESPONSES = "/v1/fim/completions", "/v1/edit/completions", "/v1/responses"
CODE = ("<|current_file_content|>\ncurrent_file_path: m.py\nword and word\n<|code_to_edit|>\n"
        "hello <|cursor|>world\n<|/code_to_edit|>\nword\n<|/current_file_content|>\n")


def ids_of(server, **body):
    answer = server.post("/tokenize", body)
    assert answer.status == 200, answer.body
    assert answer.json["count"] == len(answer.json["tokens"])
    return answer.json["tokens"]


# ---- tokenizer ----


def test_tokenize_counts_what_a_chat_uses(shared):
    messages = chat()["messages"]
    for path in ("/tokenize", "/v1/tokenize"):
        answer = shared.post(path, {"messages": messages}).json
        assert answer["count"] == len(answer["tokens"]) == shared.chat().json["usage"]["prompt_tokens"]
        assert answer["max_model_len"] == 1024 and answer["token_strs"] is None
    assert len(ids_of(shared, prompt="Once")) == shared.text().json["usage"]["prompt_tokens"]


def test_tokens_are_a_prompt(shared):
    """Case 27."""
    assert shared.text(prompt=ids_of(shared, prompt="Once upon a time")).content == \
        shared.text(prompt="Once upon a time").content


@pytest.mark.parametrize("written", ["", "Once upon a time,\n\tthe end.", "\u65e5\u672c\U0001f642\u00e9", "\0<|eot_id|>"])
def test_detokenize_gives_the_text_back(shared, written):
    for path in ("/detokenize", "/v1/detokenize"):
        answer = shared.post(path, {"tokens": ids_of(shared, prompt=written)})
        assert answer.json == {"prompt": written}


def test_token_texts(shared):
    answer = shared.post("/tokenize", {"content": "the \U0001f642", "return_token_strs": True}).json
    assert len(answer["token_strs"]) == answer["count"]
    readable = "".join(answer["token_strs"])
    assert readable.startswith("the ") and set(readable[4:]) <= {"\U0001f642", "\ufffd"}


def test_a_text_longer_than_the_context_can_be_counted(shared):
    assert len(ids_of(shared, prompt="word " * 3000)) > 1024


def test_how_a_conversation_ends(shared):
    messages = [*chat()["messages"], {"role": "assistant", "content": "Well"}]
    open_end = ids_of(shared, messages=messages, continue_final_message=True, add_generation_prompt=False)
    closed = ids_of(shared, messages=messages)
    assert open_end == closed[:len(open_end)] and len(open_end) < len(closed)
    assert shared.post("/detokenize", {"tokens": open_end}).json["prompt"].endswith("\n\nWell")
    answer = shared.post(CHAT, {**chat(max_tokens=4), "messages": messages, "continue_final_message": True,
                                "add_generation_prompt": False})
    assert answer.json["usage"]["prompt_tokens"] == len(open_end)


def test_what_the_tokenizer_refuses(shared):
    assert shared.post("/detokenize", {"tokens": [10**6]}).status == 400
    assert shared.post("/detokenize", {"tokens": [-1]}).status == 400
    shared.post("/tokenize", {}).error(400, "missing_required_parameter", "prompt")
    shared.post("/tokenize", b"{").error(400, "invalid_json")
    shared.post("/tokenize", {"prompt": "x", "model": "nope"}).error(404, "model_not_found", "model")


def test_counting_tokens_is_no_generation(launch):
    server = launch()
    ids_of(server, prompt="x")
    server.post("/tokenize", {}).error(400, "missing_required_parameter", "prompt")
    samples = server.metrics()
    assert samples["requests_started_total"] == 0
    assert samples['requests_rejected_total{reason="bad_request"}'] == 0


# ---- infilling and editing ----


def test_a_gap_has_the_length_that_was_asked_for(shared):
    """Case 28."""
    body = text(suffix=" the end.", max_tokens=6)
    answer = shared.post(TEXT, body)
    usage = answer.json["usage"]
    assert usage["diffusion"]["canvas_tokens"] == 6
    assert usage["prompt_tokens"] == len(ids_of(shared, prompt="Once")) + \
        len(ids_of(shared, prompt=" the end.", add_special_tokens=False))
    assert shared.text(suffix="").content == shared.text().content
    assert shared.post(FIM, body).content == answer.content  # case 31


def test_the_suffix_is_seen(shared):
    answers = {shared.text(suffix=suffix, max_tokens=8).content for suffix in (" the end.", " of a word", " is")}
    assert len(answers) > 1


def test_an_edit_keeps_the_length_of_its_region(shared):
    """Case 32."""
    answer = shared.post(EDIT, {"messages": [{"role": "user", "content": CODE}], "seed": 1, "max_tokens": 500})
    assert answer.status == 200, answer.body
    region = len(ids_of(shared, prompt="hello world", add_special_tokens=False))
    assert answer.json["usage"]["diffusion"]["canvas_tokens"] == region
    user = {"role": "user", "content": CODE}
    shared.post(EDIT, {"messages": [user, user]}).error(400, "array_above_max_length", "messages")
    for broken in ("code", CODE.replace("code_to_edit", "code"), CODE + "<|code_to_edit|>\n<|/code_to_edit|>\n"):
        shared.post(EDIT, {"messages": [{"role": "user", "content": broken}]}).error(
            400, "invalid_value", "messages[0].content")


def test_an_edit_may_be_given_room(shared):
    body = {"messages": [{"role": "user", "content": CODE}], "seed": 1}
    wide = shared.post(EDIT, {**body, "diffusion": {"infill_length": 12}})
    assert wide.json["usage"]["diffusion"]["canvas_tokens"] == 12
    auto = shared.post(EDIT, {**body, "diffusion": {"infill_length": "auto"}, "max_tokens": 40})
    assert 5 <= auto.json["usage"]["diffusion"]["canvas_tokens"] <= 40
    shared.post(EDIT, {**body, "diffusion": {"infill_length": 2}}).error(400, "invalid_value", "messages[0].content")


def test_an_edit_begins_with_the_old_text(shared):
    body = {"messages": [{"role": "user", "content": CODE}], "seed": 1}
    kept = shared.post(EDIT, {**body, "diffusion": {"noise": 0}})
    assert '"hello wor' in kept.body.decode()  # there is always one token to do
    assert kept.json["usage"]["diffusion"]["steps"] <= \
        shared.post(EDIT, {**body, "diffusion": {"noise": 1}}).json["usage"]["diffusion"]["steps"]


def test_a_template_fills_all_its_gaps(shared):
    parts = [{"text": "The "}, {"gap": 4}, {"text": " is "}, {"gap": 8}, {"text": "."}]
    answer = shared.post(TEXT, {"diffusion": {"template": parts}, "seed": 1})
    assert answer.status == 200, answer.body
    middle = len(ids_of(shared, prompt=" is ", add_special_tokens=False))
    assert answer.json["usage"]["diffusion"]["canvas_tokens"] == 12 + middle
    shared.post(TEXT, {"diffusion": {"template": parts}, "max_tokens": 5}).error(
        400, "conflicting_parameters", "max_tokens")


def test_a_prediction_is_counted(shared):
    """Case 77."""
    answer = shared.chat(max_tokens=16)
    guess = {"type": "content", "content": answer.content}
    body = shared.chat(max_tokens=16, prediction=guess, diffusion={"noise": 0.5})
    assert body.json["usage"]["diffusion"]["steps"] < answer.json["usage"]["diffusion"]["steps"]
    long = {"type": "content", "content": "word " * 100}
    shared.chat(prediction=long).error(400, "invalid_value", "prediction")


def test_every_prompt_has_its_choices(shared):
    """Cases 7 and 26."""
    body = text(prompt=["Once", "The"], n=2, temperature=1, max_tokens=8)
    choices = shared.post(TEXT, body).json["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    alone = [shared.post(TEXT, {**body, "prompt": prompt, "n": 1}).content for prompt in body["prompt"]]
    assert [choices[0]["text"], choices[2]["text"]] == alone
    assert choices[0]["text"] != choices[1]["text"]  # they differ by the choice's number alone
    shared.text(n=0).error(400, "integer_below_min_value", "n")
    shared.text(n=1000).error(400, "integer_above_max_value", "n")


# ---- Responses, and what is not served ----


def test_responses_reads_text_and_items(shared):
    answer = shared.post(RESPONSES, {"input": "Hi", "max_output_tokens": 8, "seed": 1})
    assert answer.status == 200, answer.body
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    assert shared.post(RESPONSES, {"input": items, "max_output_tokens": 8, "seed": 1}).status == 200
    shared.post(RESPONSES, {"input": "Hi", "previous_response_id": "resp_1"}).error(
        400, "unsupported_parameter", "previous_response_id")


@pytest.mark.parametrize("method, path", [
    ("POST", "/v1/embeddings"), ("GET", "/v1/files"), ("POST", "/v1/batches"), ("POST", "/v1/audio/speech"),
    ("POST", "/v1/moderations"), ("POST", "/v1/images/edits"), ("POST", "/v1/images/generations"),
    ("POST", "/v1/assistants"), ("GET", "/v1/threads/t/runs"), ("POST", "/v1/threads"),
    ("GET", "/v1/vector_stores/v/files"), ("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1"),
    ("POST", "/v1/responses/resp_1/cancel"), ("GET", "/v1/chat/completions/models"),
    ("GET", "/v1/fim/completions/models"), ("GET", "/v1/edit/completions/models"),
    ("POST", "/v1/apply/completions")])
def test_what_is_not_served_says_so(shared, method, path):
    shared.ask(method, path).error(404, "endpoint_not_supported")


@pytest.mark.parametrize("path", [FIM, EDIT, RESPONSES, "/tokenize", "/v1/detokenize"])
def test_these_are_posts(shared, path):
    answer = shared.get(path)
    answer.error(405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", [FIM, EDIT, RESPONSES, "/tokenize", "/v1/detokenize"])
def test_all_of_them_need_the_key(launch, path):
    launch("--api-key", "secret-key", wait=False).post(path, {}).error(401, "invalid_api_key")


# ---- what the model's object says ----


def test_presets_are_what_a_request_gets(shared):
    """Case 74, and the object of /v1/models."""
    model = shared.get("/v1/models/tiny").json
    assert {"infill", "edit", "draft_stream", "batch_invariant"} == set(model["supported_features"])
    assert model["max_model_len"] == model["context_length"] == 1024 > model["max_output_length"] > 0
    assert model["input_modalities"] == model["output_modalities"] == ["text"]
    assert model["diffusion"]["family"] == "llada" and model["diffusion"]["revises"] is False
    presets = {**model["diffusion"]["presets"], "recommended": model["diffusion"]["recommended"]}
    assert set(presets) == {"fast", "balanced", "recommended", "max"}
    for name, preset in presets.items():
        for fields in ({"diffusion": {"echo": True, "preset": name}},
                       {"diffusion": {"echo": True}, "model": f"tiny@{name}"}):
            echoed = shared.post(TEXT, text(**fields)).json["diffusion"]
            assert {key: echoed[key] for key in preset} == preset, name
    steps = [presets[name]["steps_per_block"] for name in ("fast", "balanced", "max")]
    assert steps == sorted(steps)


def test_every_generating_endpoint_is_counted(launch):
    """Started is ended plus rejected, whichever endpoint, with a choice for each answer."""
    server = launch()
    edit = {"messages": [{"role": "user", "content": CODE}]}
    for path, body, count in ((FIM, text(max_tokens=4), 1), (EDIT, edit, 1), (TEXT, text(n=3, max_tokens=4), 3),
                              (RESPONSES, {"input": "Hi", "max_output_tokens": 4}, 1), (FIM, {}, 1), (EDIT, {}, 1),
                              (RESPONSES, {}, 1), (TEXT, text(suffix="x" * 9000), 1)):
        before = server.metrics()["requests_started_total"]
        server.post(path, body)
        samples = server.wait_idle()
        assert samples["requests_started_total"] - before == count, (path, body)
    assert samples['requests_rejected_total{reason="bad_request"}'] == 3
    assert samples['requests_rejected_total{reason="context_length"}'] == 1
