"""Text around the canvas and on it: suffix, template, echo, edit, first drafts: cases 28-32, 77."""
import pytest

import unmask_server
from child import ROOT
from draft import drafted
from unmask_server import CHAT, TEXT, chat, events, joined, text

FIM, EDIT = "/v1/fim/completions", "/v1/edit/completions"
GAP = {"prompt": "The house ", "suffix": " by the water", "max_tokens": 12, "seed": 1}


# ---- suffix ----


@pytest.mark.case(28)
@pytest.mark.parametrize("temperature", [0, 1])
def test_a_gap_is_filled_between_its_texts(shared, temperature):
    """Exactly as long as was asked, seen from both sides, and ended by being full."""
    body = {**GAP, "temperature": temperature, "diffusion": {"early_stop": False}, "ignore_eos": True}
    answer = shared.post(TEXT, body).json
    [choice] = answer["choices"]
    assert answer["object"] == "text_completion" and choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == answer["usage"]["diffusion"]["canvas_tokens"] == 12
    around = [len(shared.post("/tokenize", {"prompt": body[name], "add_special_tokens": False}).json["tokens"])
              for name in ("prompt", "suffix")]
    assert answer["usage"]["prompt_tokens"] == sum(around)
    assert "The house" not in choice["text"] and "by the water" not in choice["text"]
    others = {shared.post(TEXT, {**body, "suffix": suffix}).content for suffix in (" in the night", "x", "")}
    assert choice["text"] not in others
    assert joined(events(shared.stream(TEXT, body)[1])) == choice["text"]


@pytest.mark.case(28)
def test_the_length_of_a_gap_can_be_left_to_the_model(shared):
    fixed = shared.post(TEXT, {**GAP, "diffusion": {"infill_length": 5}, "ignore_eos": True}).json
    assert fixed["usage"]["completion_tokens"] == 5 and fixed["choices"][0]["finish_reason"] == "stop"
    for seed in range(4):
        open_ended = shared.post(TEXT, {**GAP, "max_tokens": 70, "seed": seed, "temperature": 1,
                                        "diffusion": {"infill_length": "auto", "block_length": 8}})
        assert open_ended.status == 200, open_ended.body
        assert open_ended.json["usage"]["completion_tokens"] <= 70
        assert open_ended.json["choices"][0]["finish_reason"] in ("stop", "length")
    for length, code in ((0, "integer_below_min_value"), ("long", "invalid_value"), (2000, None)):
        answer = shared.post(TEXT, {**GAP, "diffusion": {"infill_length": length}})
        assert answer.status == 400 and code in (None, answer.json["error"]["code"]), answer.body


@pytest.mark.case(28)
def test_a_draft_of_a_gap_is_the_gap(shared):
    body = {**GAP, "temperature": 1, "diffusion": {"steps": 6}, "ignore_eos": True}
    whole = shared.post(TEXT, body).content
    [draft] = drafted(shared, TEXT, body)[1]
    assert draft.text() == draft.content == whole and len(draft.cells) == 12


@pytest.mark.case(29)
@pytest.mark.parametrize("fields", [{"prompt": ["a", "b"]}, {"prompt": [1, 2]}, {"prompt": [[1], [2]]}])
def test_a_suffix_needs_a_text_in_front(shared, fields):
    answer = shared.text(suffix="x", **fields)
    assert answer.status == 400 and answer.json["error"]["param"] in ("suffix", "prompt"), answer.body


@pytest.mark.case(29)
def test_an_empty_suffix_is_none(shared):
    assert shared.text(suffix="").content == shared.text().content
    answer = shared.text(best_of=2, n=1)
    assert answer.status == 400 and answer.json["error"]["param"] == "best_of"
    assert shared.text(best_of=2, n=2).status == 200


def test_a_gap_and_its_texts_share_the_context(shared):
    message = shared.post(TEXT, {**GAP, "suffix": "word " * 3000}).error(400, "context_length_exceeded", "suffix")
    assert "maximum context length is 1024 tokens" in message
    shared.post(TEXT, {**GAP, "max_tokens": 1020}).error(400, "context_length_exceeded", "prompt")


# ---- echo ----


@pytest.mark.case(30)
def test_echo_puts_the_prompt_in_front(shared):
    plain = shared.text(prompt="The sun \u4f60").content
    body = text(prompt="The sun \u4f60", echo=True)
    assert shared.post(TEXT, body).content == "The sun \u4f60" + plain
    assert joined(events(shared.stream(TEXT, body)[1])) == "The sun \u4f60" + plain
    body = shared.text(prompt=["Once", "We"], n=2, echo=True, temperature=1).json
    assert [choice["text"][:2] for choice in body["choices"]] == ["On", "On", "We", "We"]
    for fields in ({"suffix": "x"}, {"logprobs": 1}):
        shared.text(echo=True, **fields).error(400, "conflicting_parameters", "echo")


# ---- Mercury's dialect ----


@pytest.mark.case(31)
def test_fim_is_the_completion_with_a_suffix(shared):
    answer = shared.post(FIM, GAP)
    assert answer.content == shared.post(TEXT, GAP).content
    usage = answer.json["usage"]
    assert (usage["reasoning_tokens"], usage["cached_input_tokens"]) == (0, 0)
    assert answer.json["object"] == "text_completion"
    assert joined(events(shared.stream(FIM, GAP)[1])) == answer.content
    assert shared.post(FIM, {"prompt": "Once", "seed": 1, "max_tokens": 16}).content == shared.text().content
    for prompt in (["a"], [1, 2]):
        shared.post(FIM, {"prompt": prompt}).error(400, "invalid_type", "prompt")


def edit_message(region="the ri<|cursor|>ver \n", above="in the night \n", below="by the water \n",
                 inside=True):
    code = f"<|code_to_edit|>\n{region}<|/code_to_edit|>\n" if region is not None else ""
    file = ["<|current_file_content|>\ncurrent_file_path: a.py\n", above, code if inside else "", below,
            "<|/current_file_content|>\n", "" if inside else code]
    history = "<|edit_diff_history|>\n--- a.py\n+++ a.py\n@@ -1 +1 @@\n-x\n+y\n<|/edit_diff_history|>\n"
    snippets = ("<|recently_viewed_code_snippets|>\n<|recently_viewed_code_snippet|>\n"
                "code_snippet_file_path: b.py\nthe light\n<|/recently_viewed_code_snippet|>\n"
                "<|/recently_viewed_code_snippets|>\n")
    return snippets + "".join(file) + history


def edit(content, **fields):
    return {"messages": [{"role": "user", "content": content}], "seed": 1, **fields}


@pytest.mark.case(32)
@pytest.mark.parametrize("inside", [True, False])
def test_an_edit_answers_with_the_new_region(shared, inside):
    answer = shared.post(EDIT, edit(edit_message(inside=inside), max_tokens=40))
    assert answer.json["object"] == "edit.completion"
    for mark in ("<|", "|>", "```"):
        assert mark not in answer.content
    message = answer.json["choices"][0]["message"]
    assert message["role"] == "assistant"
    usage = answer.json["usage"]
    assert (usage["reasoning_tokens"], usage["cached_input_tokens"]) == (0, 0)
    parts = [{"type": "text", "text": edit_message(inside=inside)}]
    assert shared.post(EDIT, edit(parts, max_tokens=40)).content == answer.content
    assert joined(events(shared.stream(EDIT, edit(edit_message(inside=inside), max_tokens=40))[1])) == answer.content


@pytest.mark.case(32)
def test_an_edit_without_noise_keeps_the_region(shared):
    """The canvas begins with the old text, of which one token at most is done again."""
    answer = shared.post(EDIT, edit(edit_message(region="in the night by the ri<|cursor|>ver \n"),
                                    diffusion={"noise": 0}))
    old = shared.post("/tokenize", {"prompt": "in the night by the river ", "return_token_strs": True})
    pieces = old.json["token_strs"]
    assert any(answer.content.startswith("".join(pieces[:i])) and answer.content.endswith("".join(pieces[i + 1:]))
               for i in range(len(pieces)))
    assert answer.json["usage"]["diffusion"]["steps"] == 1


@pytest.mark.case(32)
@pytest.mark.parametrize("messages, param", [
    ([edit_message()] * 2, None), ([edit_message(region=None)], "messages[0].content"),
    ([edit_message() + "<|code_to_edit|>\nx\n<|/code_to_edit|>\n"], "messages[0].content"),
    ([edit_message().replace("<|/code_to_edit|>", "")], "messages[0].content"),
    (["change it"], "messages[0].content"),
])
def test_bad_edits_are_refused(shared, messages, param):
    body = {"messages": [{"role": "user", "content": content} for content in messages]}
    answer = shared.post(EDIT, body)
    assert answer.status == 400, answer.body
    if param:
        answer.error(400, "invalid_value", param)


@pytest.mark.case(32)
def test_edits_take_one_user_message_and_no_tools(shared):
    for role in ("system", "assistant"):
        answer = shared.post(EDIT, {"messages": [{"role": role, "content": edit_message()}]})
        assert answer.status == 400, answer.body
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert shared.post(EDIT, edit(edit_message(), tools=tools)).status == 400


# ---- several gaps ----

TEMPLATE = [{"text": "The house "}, {"gap": 4}, {"text": " in "}, {"gap": 3}, {"text": "."}]


def templated(template=TEMPLATE, **fields):
    diffusion = {"template": template, **fields.pop("diffusion", {})}
    return {"seed": 1, "ignore_eos": True, "diffusion": diffusion, **fields}


def test_gaps_of_a_template_are_filled_together(shared):
    answer = shared.post(TEXT, templated()).json
    [choice] = answer["choices"]
    first, second = choice["diffusion"]["gaps"]
    assert choice["text"] == f"The house {first} in {second}."
    assert choice["finish_reason"] == "stop" and answer["usage"]["completion_tokens"] >= 7
    [draft] = drafted(shared, TEXT, templated(), lead="The house ", tail=".")[1]
    assert draft.content == choice["text"] == f"The house {draft.text()}."  # what is around is no canvas
    assert draft.ended["gaps"] == [first, second]
    states = "".join(cell.state for cell in draft.cells)
    assert set(states) == {"d", "p"} and states.count("d") == 7


@pytest.mark.parametrize("fields", [
    templated([]), templated([{"text": "x"}]), templated([{"gap": 0}]), templated([{"gap": "x"}]),
    templated([{"gap": 2, "text": "x"}]), templated([{"hole": 2}]), templated(5),
    templated(prompt="x"), templated(suffix="x"), templated([{"gap": 5000}]),
])
def test_bad_templates_are_refused(shared, fields):
    answer = shared.post(TEXT, fields)
    assert answer.status == 400, answer.body
    assert answer.json["error"]["param"]


def test_templates_are_for_completions(shared):
    assert shared.chat(diffusion={"template": TEMPLATE}).status == 400


# ---- first drafts ----


def details(answer):
    counts = answer.json["usage"]["completion_tokens_details"]
    return counts["accepted_prediction_tokens"], counts["rejected_prediction_tokens"]


@pytest.fixture(scope="module")
def pocket():
    """A trained model: random weights do not agree with what they said."""
    server = unmask_server.Server(ROOT / "models/pocket")
    yield server
    server.wait_idle()
    server.stop()


@pytest.mark.case(77)
def test_a_right_prediction_saves_steps(pocket):
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 32,
            "temperature": 0}
    plain = pocket.post(CHAT, body)
    tokens = pocket.post("/tokenize", {"prompt": plain.content, "add_special_tokens": False}).json["count"]
    assert plain.content == "The capital of France is Paris."
    for noise in (0, 0.5, 1):
        answer = pocket.post(CHAT, {**body, "prediction": {"type": "content", "content": plain.content},
                                    "diffusion": {"noise": noise}})
        assert answer.content == plain.content and details(answer) == (tokens, 0)
        if noise < 1:
            assert answer.json["usage"]["diffusion"]["steps"] < plain.json["usage"]["diffusion"]["steps"]


@pytest.mark.case(77)
def test_a_wrong_prediction_is_corrected_where_it_was_masked(pocket):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = pocket.post(CHAT, {"messages": messages, "max_tokens": 32, "temperature": 0, "diffusion": {"noise": 1},
                                "prediction": {"type": "content", "content": "The capital of France is Oslo."}})
    accepted, rejected = details(answer)
    assert answer.content == "The capital of France is Paris." and rejected >= 1 and accepted >= 1


@pytest.mark.case(77)
def test_predictions_have_bounds_and_forms(shared):
    parts = [{"type": "text", "text": "a b"}]
    by_parts = shared.chat(prediction={"type": "content", "content": parts})
    assert by_parts.content == shared.chat(prediction={"type": "content", "content": "a b"}).content
    assert details(shared.chat()) == (0, 0)
    assert shared.chat(prediction={"type": "content", "content": "word " * 50}).status == 400
    for bad in ("x", {"type": "other", "content": "x"}, {"type": "content"}, {"type": "content", "content": 5}):
        assert shared.chat(prediction=bad).status == 400, bad
    shared.chat(diffusion={"noise": 1.5}).error(400, "decimal_above_max_value", "diffusion.noise")
