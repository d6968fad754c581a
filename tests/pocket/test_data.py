"""The data that `models/pocket` was trained and is judged on: the two sides never meet, checkers accept
right answers only, and the files beside the model are what the generator writes. Needs no PyTorch; what
does is in scripts/pocket/test_pocket.py."""
import json
import pathlib
import random
import sys

import jinja2
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models/pocket"
sys.path.insert(0, str(ROOT / "scripts/pocket"))

import checkers  # noqa: E402
import make_eval  # noqa: E402
import tasks  # noqa: E402
import vocabulary  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("pocket") / "tokenizer.json"
    vocabulary.train(samples=5_000).save(str(path))
    return path


def test_training_never_draws_what_the_evaluation_asks():
    asked = {(s.kind, tasks.content_of(s.kind, s.prompt)) for s in make_eval.samples()}
    rng = random.Random(5)
    for kind in tasks.KINDS:
        for _ in range(3_000):
            sample = tasks.draw(kind, rng)
            assert not tasks.held_out(kind, sample.prompt)
            assert (kind, tasks.content_of(kind, sample.prompt)) not in asked


def test_content_does_not_depend_on_wording():
    assert tasks.content_of("add", "What is 7 + 30?") == tasks.content_of("add", "Add 30 and 7.")
    assert tasks.content_of("sort", "Sort: 3 1 2") == tasks.content_of("sort", "Please sort 2 1 3")
    asked, typed = "Capital of Peru?", "capital of peru"
    assert tasks.content_of("capital", asked) == tasks.content_of("capital", typed)


@pytest.mark.parametrize("kind", tasks.KINDS)
def test_checkers_accept_the_answer_and_nothing_else(kind):
    rng = random.Random(7)
    for _ in range(50):
        sample = tasks.draw(kind, rng, test=True)
        assert checkers.right(sample.checker, sample.answer)
        assert not checkers.right(sample.checker, "Bananas.")
        assert not checkers.right(sample.checker, "")


def test_answers_fit_the_served_canvas(tokenizer_path):
    encoder = vocabulary.Encoder(vocabulary.load(tokenizer_path))
    rng = random.Random(11)
    for kind in tasks.KINDS:
        for _ in range(200):
            assert len(encoder.text(tasks.draw(kind, rng).answer)) < 64


def test_special_tokens_in_user_text_stay_text(tokenizer_path):
    encoder = vocabulary.Encoder(vocabulary.load(tokenizer_path))
    ids = encoder.text("<|mdm_mask|> and <|eot_id|>")
    assert max(ids) < vocabulary.ORDINARY
    assert encoder.decode(ids) == "<|mdm_mask|> and <|eot_id|>"


def test_chat_is_the_template(tokenizer_path):
    encoder = vocabulary.Encoder(vocabulary.load(tokenizer_path))
    turns = [("system", "Be kind."), ("user", " Hi "), ("assistant", "Hello!"), ("user", "Sort: 2 1")]
    text = jinja2.Template(vocabulary.CHAT_TEMPLATE).render(
        bos_token="<|startoftext|>",
        messages=[{"role": role, "content": content} for role, content in turns])
    parsing = vocabulary.load(tokenizer_path)     # this one reads special tokens in the text
    assert encoder.chat(turns) == parsing.encode(text, add_special_tokens=False).ids


def test_the_published_tasks_are_those_of_the_generator_and_held_out():
    lines = [json.loads(line) for line in (MODEL / "eval.jsonl").read_text().splitlines()]
    assert lines == [{"kind": s.kind, "prompt": s.prompt, "checker": s.checker}
                     for s in make_eval.samples()]
    assert all(tasks.held_out(line["kind"], line["prompt"]) for line in lines)


def test_the_published_template_is_the_one_of_training():
    config = json.loads((MODEL / "tokenizer_config.json").read_text())
    assert config["chat_template"] == vocabulary.CHAT_TEMPLATE


def test_the_published_files_are_small():
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 12_000_000
