"""The tokenizer of pocket: byte-level BPE with LLaDA's splitting rule, special tokens and template.

    python scripts/pocket/vocabulary.py OUT/tokenizer.json
"""

import os
import pathlib
import random
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        trainers)

import facts
import tasks

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
from make_tiny_checkpoint import CHAT_TEMPLATE, SPLIT  # noqa: E402  LLaDA's, to the letter

ROWS = 1024          # rows of the embedding; the tokenizer uses a few less
ORDINARY = 1014      # byte-level entries, the 256 bytes among them
SPECIALS = ["<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>", "<|start_header_id|>",
            "<|end_header_id|>", "<|eot_id|>"]
BOS, END, MASK, HEADER, HEADER_END, EOT = range(ORDINARY, ORDINARY + len(SPECIALS))


def _corpus(samples, seed):
    """Texts for counting pairs: every role and list often enough to become one token."""
    rng = random.Random(seed)
    kinds = list(tasks.KINDS)
    for _ in range(samples):
        sample = tasks.draw(rng.choice(kinds), rng)
        yield "user\n\n"
        yield sample.prompt
        yield "assistant\n\n"
        yield sample.answer
    for _ in range(samples // 500):
        yield "system"
        yield from facts.SYSTEM_PROMPTS


def train(samples=60_000, seed=1):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(_corpus(samples, seed), trainers.BpeTrainer(
        vocab_size=ORDINARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    assert tokenizer.get_vocab_size() == ORDINARY
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=False, special=True) for text in SPECIALS])
    assert tokenizer.token_to_id("<|eot_id|>") == EOT
    return tokenizer


def load(path):
    return Tokenizer.from_file(os.fspath(path))


class Encoder:
    """Text to ids; special tokens inside user text stay text.  Short texts repeat, so they are kept."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True
        self.newlines = self.text("\n\n")

    def text(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _header(self, role):
        return [HEADER, *self.text(role), HEADER_END, *self.newlines]

    def chat(self, messages):
        """The template above, rendered to ids: (role, content) pairs, then the assistant's header."""
        ids = [BOS]
        for role, content in messages:
            ids += self._header(role) + self.text(content.strip()) + [EOT]
        return ids + self._header("assistant")


def main():
    path = sys.argv[1]
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    train().save(path)


if __name__ == "__main__":
    main()
