"""What batches, training and exporter promise; the data has its tests in tests/pocket.

    python -m pytest scripts/pocket/test_pocket.py
"""

import pytest
import torch

import batches
import export
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
