"""Text completions: cases 26, 27, 29, 30 as far as this build has them."""
import re

import pytest
import tokenizers

from unmask_server import TEXT, text


@pytest.mark.case(26)
def test_answer_has_the_documented_members(shared):
    body = shared.text().json
    assert body["object"] == "text_completion" and re.fullmatch(r"cmpl-[0-9a-f]{32}", body["id"])
    [choice] = body["choices"]
    assert choice.pop("text") and choice.pop("finish_reason") in ("stop", "length")
    assert choice == {"index": 0, "logprobs": None}


def test_prompts_are_answered_in_order_as_if_alone(shared):
    prompts = ["Once", "The sun", "We"]
    body = shared.text(prompt=prompts).json
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    alone = [shared.text(prompt=prompt) for prompt in prompts]
    assert [choice["text"] for choice in body["choices"]] == [answer.content for answer in alone]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert body["usage"][name] == sum(answer.json["usage"][name] for answer in alone)


@pytest.mark.case(27)
def test_ids_are_the_same_prompt_as_their_text(shared, checkpoint):
    tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ids = tokenizer.encode("The sun and the water").ids
    by_text, by_ids = shared.text(prompt="The sun and the water"), shared.text(prompt=ids)
    assert by_text.content == by_ids.content
    assert by_text.json["usage"]["prompt_tokens"] == len(ids)
    assert shared.text(prompt=[ids, ids]).json["choices"][1]["text"] == by_ids.content


def test_an_empty_prompt_is_a_prompt(shared):
    answer = shared.text(prompt="")
    assert answer.status == 200 and answer.json["usage"]["prompt_tokens"] == 0


def test_sixteen_prompts_are_the_most(shared):
    body = shared.text(prompt=["x"] * 16, max_tokens=2).json
    assert [choice["index"] for choice in body["choices"]] == list(range(16))
    shared.text(prompt=["x"] * 17).error(400, "array_above_max_length", "prompt")


@pytest.mark.case(29)
@pytest.mark.parametrize("fields, code, param", [
    ({"prompt": None}, "missing_required_parameter", "prompt"),
    ({"prompt": []}, "empty_array", "prompt"),
    ({"prompt": ["a", 1]}, "invalid_type", "prompt[1]"),
    ({"prompt": [608]}, "invalid_value", "prompt[0]"),
    ({"prompt": [[1], [-1]]}, "invalid_value", "prompt[1][0]"),
    ({"prompt": [582]}, "invalid_value", "prompt[0]"),
    ({"prompt": [1] * 1024}, "context_length_exceeded", "prompt"),
    ({"prompt": ["ok", "word " * 2000]}, "context_length_exceeded", "prompt"),
    ({"prompt": ["a", "b"], "suffix": "x"}, "invalid_value", "suffix"),
    ({"prompt": [1, 2], "suffix": "x"}, "invalid_value", "suffix"),
    ({"best_of": 2}, "unsupported_parameter", "best_of"),
    ({"echo": True, "suffix": "x"}, "conflicting_parameters", "echo"),
    ({"echo": True, "logprobs": 0}, "conflicting_parameters", "echo"),
    ({"logprobs": 6}, "integer_above_max_value", "logprobs"),
])
def test_bad_field_is_named(shared, fields, code, param):
    shared.text(**fields).error(400, code, param)


def test_neutral_fields_pass(shared):
    answer = shared.post(TEXT, text(suffix="", best_of=1, n=1, echo=False, logprobs=None))
    assert answer.content == shared.text().content
