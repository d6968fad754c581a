"""What the data generator and the exporter promise.

    python -m pytest scripts/pocket/test_pocket.py
"""

import random

import pytest
import torch

import batches
import checkers
import export
import make_eval
import sampler
import tasks
import train
import vocabulary
from model import Llada


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
    jinja2 = pytest.importorskip("jinja2")
    encoder = vocabulary.Encoder(vocabulary.load(tokenizer_path))
    turns = [("system", "Be kind."), ("user", " Hi "), ("assistant", "Hello!"), ("user", "Sort: 2 1")]
    text = jinja2.Template(vocabulary.CHAT_TEMPLATE).render(
        bos_token="<|startoftext|>",
        messages=[{"role": role, "content": content} for role, content in turns])
    parsing = vocabulary.load(tokenizer_path)     # this one reads special tokens in the text
    assert encoder.chat(turns) == parsing.encode(text, add_special_tokens=False).ids


def test_batches_repeat_and_hide_only_the_canvas(tokenizer_path):
    encoder = vocabulary.Encoder(vocabulary.load(tokenizer_path))
    weights = {kind: 1 for kind in tasks.KINDS}
    first, again = (batches.Source(encoder, 1, 1000, weights, 0.5).pool(3) for _ in range(2))
    for (ids, index, target, weight), other in zip(first, again):
        assert torch.equal(ids, other[0]) and torch.equal(target, other[2])
        assert (ids.flatten()[index] == vocabulary.MASK).all()
        assert (target != vocabulary.MASK).all() and len(weight) == len(index)
        assert len(index) >= len(ids)      # every row has something to learn


def test_a_cut_run_goes_on_exactly(tokenizer_path, tmp_path):
    encoder = vocabulary.Encoder(vocabulary.load(tokenizer_path))

    def steps(trainer, count):
        source = batches.Source(encoder, 1, 300, {"add": 1, "story": 1}, 0.1)
        stream = train.batches_of(source, trainer.done)
        return [trainer.step(next(stream), 0.5) for _ in range(count)]

    straight = steps(train.Trainer(seed=1), 12)
    cut = train.Trainer(seed=1)
    before = steps(cut, 10)
    cut.save(tmp_path / "checkpoint.pt")
    resumed = train.Trainer(seed=2)
    resumed.load(tmp_path / "checkpoint.pt")
    assert before + steps(resumed, 2) == straight


def test_export_keeps_every_weight(tokenizer_path, tmp_path):
    torch.manual_seed(0)
    model = Llada()
    export.write(model.state_dict(), tokenizer_path, tmp_path)
    loaded, encoder = export.load(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.bfloat16().float(), loaded.state_dict()[name])
    canvases, counts = sampler.generate(loaded, [encoder.chat([("user", "Hello")])],
                                        sampler.Policy(canvas=8, block=4))
    assert len(canvases[0]) == 8 and vocabulary.MASK not in sampler.cut(canvases[0])
    assert 1 <= counts["row steps"] <= 8
