"""SentencePiece's BPE: tokenizer.model against the `sentencepiece` library itself, on the real
vocabulary and on small ones trained here, and every option of a SentencePiece tokenizer.json against
Hugging Face `tokenizers`."""
import copy
import io
import pathlib
import random
import subprocess
import tempfile

import pytest
import sentencepiece

import text_samples
import tokenizer_client as tc
from test_against_hf import Pair, added

MARK = "\u2581"


@pytest.fixture(scope="module")
def directory():
    with tempfile.TemporaryDirectory() as path:
        yield pathlib.Path(path)


def check_model(directory, model, texts):
    """Ids and text of both on the same bytes of a tokenizer.model."""
    ours = tc.Client(tc.write_model(directory, model))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    rows = ours.encode(texts)
    expected = theirs.encode(texts)
    different = [(t, a, b) for t, a, b in zip(texts, rows, expected, strict=True) if a != b]
    assert not different, f"{len(different)} of {len(texts)} differ, first: {different[0]}"
    assert ours.decode(rows) == theirs.decode(rows)
    return rows


def trained(**options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((text_samples.SENTENCES + text_samples.CODE) * 3), model_writer=out,
        minloglevel=2, **{"model_type": "bpe", "vocab_size": 1200, "byte_fallback": True,
                          "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
                          "hard_vocab_limit": False, **options})
    return out.getvalue()


# ---- tokenizer.model ----

def test_20000_strings_of_the_real_vocabulary(directory):
    rows = check_model(directory / "llama2", tc.llama2_model(), text_samples.texts(11, 20000))
    assert len({i for row in rows for i in row}) > 2000


TRAINED = {
    "plain": {},
    "no blank in front": {"add_dummy_prefix": False},
    "pieces over several words": {"split_by_whitespace": False, "max_sentencepiece_length": 24},
    "pieces with digits and scripts": {"split_by_unicode_script": False, "split_by_number": False},
    "small alphabet": {"character_coverage": 0.98, "vocab_size": 900},
    "user-defined symbols": {"user_defined_symbols": ["<think>", "  ", "中文", "a\u2581b", "thing", "12"]},
    "control symbols": {"control_symbols": ["<|im_start|>", "[MASK]"]},
    "without bos and eos": {"bos_id": -1, "eos_id": -1},
}


@pytest.mark.parametrize("name", TRAINED)
def test_trained_models(directory, name):
    rng = random.Random(12)
    parts = ["<think>", "  ", " ", "中文", "a b", "a\u2581b", "thing", "12", MARK, "<|im_start|>", "[MASK]",
             "<0x41>", "<s>", "</s>", "<unk>", "the ", "x"]
    texts = text_samples.texts(13, 2000) + ["".join(rng.choice(parts) for _ in range(rng.randint(0, 9)))
                                            for _ in range(1000)]
    check_model(directory / name, trained(**TRAINED[name]), texts)


def test_pieces_of_equal_score_go_from_the_left(directory):
    """One rank for many pieces: then the leftmost place is next, whatever piece it makes."""
    rng = random.Random(14)
    base = [("<unk>", 0, tc.UNKNOWN), ("<s>", 0, tc.CONTROL), ("</s>", 0, tc.CONTROL)]
    base += [(f"<0x{byte:02X}>", 0, tc.BYTE) for byte in range(256)]
    base += [(c, -90 - i, tc.NORMAL) for i, c in enumerate(MARK + "abc")]
    texts = ["".join(rng.choice("abc ") for _ in range(rng.randint(1, 40))) for _ in range(300)]
    for round in range(20):
        pieces = {"".join(rng.choice(MARK + "abc") for _ in range(rng.randint(2, 5))) for _ in range(40)}
        model = tc.sentencepiece_model(base + [(p, -rng.randint(1, 4), tc.NORMAL) for p in sorted(pieces)])
        check_model(directory / f"equal {round}", model, texts)


REFUSED = {
    "unigram": ({"model_type": "unigram"}, "unigram"),
    "word": ({"model_type": "word"}, "word"),
    "char": ({"model_type": "char"}, "char"),
    "normalisation": ({"normalization_rule_name": "nmt_nfkc"}, "nmt_nfkc"),
    "white space": ({"remove_extra_whitespaces": True}, "extra white space"),
    "no bytes": ({"byte_fallback": False}, "byte fallback"),
    "suffix": ({"treat_whitespace_as_suffix": True}, "behind words"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_models_are_refused_by_name(directory, name):
    options, word = REFUSED[name]
    path = tc.write_model(directory / name, trained(**options))
    done = subprocess.run([tc.Client(path).tool, path], input=b"", capture_output=True)
    assert done.returncode == 1
    message = done.stderr.decode()
    assert word in message and "tokenizer.model" in message and str(path) in message


# ---- tokenizer.json ----

def variants(document):
    def changed(**fields):
        variant = copy.deepcopy(document)
        variant.update(fields)
        return variant

    def metaspace(**options):
        return changed(normalizer=None, pre_tokenizer={
            "type": "Metaspace", "replacement": MARK, **options})

    for scheme in ("first", "always", "never"):
        for split in (False, True):
            yield f"Metaspace {scheme} {split}", metaspace(prepend_scheme=scheme, split=split)
    yield "Metaspace of old", metaspace(add_prefix_space=True, prepend_scheme="always")
    replace = document["normalizer"]["normalizers"][1]
    yield "no blank in front", changed(normalizer=replace)
    yield "NFC first", changed(normalizer={"type": "Sequence", "normalizers": [
        {"type": "NFC"}, *document["normalizer"]["normalizers"]]})
    yield "no Strip", changed(decoder={"type": "Sequence", "decoders": document["decoder"]["decoders"][:3]})
    variant = changed()
    variant["model"]["ignore_merges"] = True
    yield "ignore_merges", variant
    for name in ("Metaspace", "Prepend"):
        variant = metaspace(prepend_scheme="first", split=False) if name == "Metaspace" else changed()
        added(variant, ("<a>", True, False), ("<a><b>", True, False), ("<b>", False, False),
              ("—!", False, False), ("x\u2581y", False, False), ("é é", False, True),
              # a special one that is normalised would not be skipped by the reference's decode
              ("<c>", True, name == "Metaspace"))
        yield f"added tokens, {name}", variant


def test_every_option_has_the_same_ids(directory):
    texts = text_samples.texts(15, 1500)
    rng = random.Random(16)
    parts = ["<a>", "<b>", "<a><b>", "<c>", " <c>", "é é", "e\u0301 e\u0301", " é é", "—!", " ", "  ", "x", "x y",
             "x\u2581y", MARK, "<s>", "</s>", "<unk>", "<0x41>", "\n", "中", "🫠"]
    texts += ["".join(rng.choice(parts) for _ in range(rng.randint(0, 9))) for _ in range(1500)]
    for name, document in variants(tc.llama2_json()):
        pair = Pair(directory / name, document)
        for parse_special in (False, True):
            try:
                rows = pair.check(texts, parse_special, post_process=parse_special)
                pair.check_decode(rows, skip_special=parse_special)
            except AssertionError as error:
                raise AssertionError(f"{name}, parse_special {parse_special}: {error}") from error


def test_a_text_inside_another_is_only_itself(directory):
    """Whatever a file puts in front of texts: a part's ids behind those of what precedes it give the
    whole back, without a blank between them."""
    document = tc.llama2_json()
    always = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": False}
    texts = ["hello", " hello", "  x", "\n", ".", "", MARK, "\u00e9\U0001f642", *text_samples.texts(21, 300)]
    writers = {"prepend": lambda path: tc.write_tokenizer(path, document),
               "metaspace": lambda path: tc.write_tokenizer(path, {**document, "normalizer": None,
                                                                    "pre_tokenizer": always}),
               "model": lambda path: tc.write_model(path, tc.llama2_model())}
    for name, write in writers.items():
        client = tc.Client(write(directory / f"inside-{name}"))
        before, = client.encode(["start"])
        inside = client.encode(texts, tc.INSIDE)
        whole = client.decode([before + ids for ids in inside])
        for text, back in zip(texts, whole, strict=True):
            assert back == "start" + text.replace(MARK, " "), (name, text)  # a blank by another name
