"""The tiny checkpoints: two writers that agree, and files that Hugging Face's libraries read."""
import json
import os
import pathlib
import struct
import subprocess
import sys

import jinja2
import pytest
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("UM_BUILD_DIR", ROOT / "build" / "release"))


def make(out, *arguments):
    subprocess.run([sys.executable, ROOT / "scripts/make_tiny_checkpoint.py", "--out", out,
                    *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return out


def tensors(directory):
    """{name: (file, dtype, shape, bytes)} over all files of a checkpoint."""
    found = {}
    for path in directory.glob("*.safetensors"):
        content = path.read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:8 + length])
        header.pop("__metadata__")
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            data = content[8 + length + begin:8 + length + end]
            assert name not in found
            found[name] = (path.name, entry["dtype"], entry["shape"], data)
    return found


@pytest.mark.parametrize("kv_heads, dtype, shards",
                         [(4, "f32", 1), (2, "f32", 3), (4, "bf16", 1), (2, "f16", 2)])
def test_both_writers_make_the_same_files(tmp_path, kv_heads, dtype, shards):
    ours = make(tmp_path / "python", "--kind", "hash", "--kv-heads", kv_heads, "--dtype", dtype,
                "--shards", shards)
    theirs = tmp_path / "c"
    theirs.mkdir()
    subprocess.run([BUILD / "tests/support/write_tiny_checkpoint", theirs, str(kv_heads), dtype,
                    str(shards)], check=True)
    assert sorted(p.name for p in ours.iterdir()) == sorted(p.name for p in theirs.iterdir())
    assert len(tensors(ours)) == 21
    assert tensors(ours) == tensors(theirs)
    for path in ours.glob("*.json"):
        assert json.loads(path.read_text()) == json.loads((theirs / path.name).read_text())


def test_hash_values_are_the_published_ones(tmp_path):
    directory = make(tmp_path / "tiny", "--kind", "hash")
    first = struct.unpack("<4f", tensors(directory)["model.transformer.wte.weight"][3][:16])
    published = [0.8 * v for v in (-0.1237474, -0.9519903, -0.9616338, -0.5327335)]
    assert first == pytest.approx(published, abs=1e-7)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return make(tmp_path_factory.mktemp("served"), "--kind", "served")


def test_served_checkpoint_is_the_same_every_time(served, tmp_path):
    again = make(tmp_path / "again", "--kind", "served")
    assert sorted(p.name for p in again.iterdir()) == sorted(p.name for p in served.iterdir())
    for path in served.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_served_tokenizer_returns_every_text(served):
    tokenizer = tokenizers.Tokenizer.from_file(str(served / "tokenizer.json"))
    assert tokenizer.get_vocab_size() >= 512
    for text in ("the water and their house", "Ünïcödé 中文 👩🏽‍💻", "tabs\tand\r\nlines\n\n", "don't 2026"):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == text
    assert len(tokenizer.encode(" the").ids) == 1
    everything = bytes(range(128)).decode()
    assert tokenizer.decode(tokenizer.encode(everything).ids) == everything


def test_served_ids_of_config_and_tokenizer_agree(served):
    tokenizer = tokenizers.Tokenizer.from_file(str(served / "tokenizer.json"))
    config = json.loads((served / "config.json").read_text())
    generation = json.loads((served / "generation_config.json").read_text())
    assert config["mask_token_id"] == tokenizer.token_to_id("<|mdm_mask|>")
    assert config["eos_token_id"] == tokenizer.token_to_id("<|endoftext|>")
    assert config["eos_token_id"] == generation["eos_token_id"]
    assert generation["bos_token_id"] == tokenizer.token_to_id("<|startoftext|>")
    assert config["vocab_size"] >= tokenizer.get_vocab_size()


def test_served_chat_template_renders_as_llada(served):
    source = json.loads((served / "tokenizer_config.json").read_text())
    text = jinja2.Template(source["chat_template"]).render(
        messages=[{"role": "user", "content": " HI\n"}], bos_token=source["bos_token"])
    assert text == ("<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nHI<|eot_id|>"
                    "<|start_header_id|>assistant<|end_header_id|>\n\n")
