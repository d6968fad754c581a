#!/usr/bin/env python3
"""Writes a tiny checkpoint in its family's real layout. Deterministic, under two seconds, Python
alone.

    make_tiny_checkpoint.py --family F --out DIR       small tokenizer, random weights, any text
    make_tiny_checkpoint.py --kind hash --out DIR      LLaDA, 40 ids, weights of the published vectors

`hash` is what tests/support/tiny_checkpoint.h describes: weights that follow from a formula, so that
no file needs to travel; it has no tokenizer and is asked by token ids only. `served` shows that a
server works; its answers are noise. Files are replaced at once, so a server may have the old ones open.
"""
import argparse
import array
import json
import math
import os
import pathlib
import struct
import tempfile

PREFIX = "model.transformer."

# ---- weights ------------------------------------------------------------------------------------


def noise(tensor_number, count):
    """The hash sequence v(t, k) in [-1, 1): uint32 arithmetic, wrapping."""
    mask, out = 0xFFFFFFFF, []
    offset = tensor_number * 40503 + 12345
    for k in range(count):
        h = (k * 2654435761 + offset) & mask
        h = ((h ^ h >> 16) * 2246822519) & mask
        h = ((h ^ h >> 13) * 3266489917) & mask
        out.append((h ^ h >> 16) / 2147483648 - 1)
    return out


def tensors(shape, scale_of):
    """(name, dimensions, values) in the order of their numbers; `scale_of` gives a matrix's bound."""
    d, m, k = shape["d_model"], shape["mlp_hidden_size"], shape["kv_width"]
    block = [("attn_norm", [d]), ("q_proj", [d, d]), ("k_proj", [k, d]), ("v_proj", [k, d]),
             ("attn_out", [d, d]), ("ff_norm", [d]), ("ff_proj", [m, d]), ("up_proj", [m, d]),
             ("ff_out", [d, m])]
    plan = [("wte", [shape["rows"], d])]
    for layer in range(shape["n_layers"]):
        plan += [(f"blocks.{layer}.{name}", dimensions) for name, dimensions in block]
    plan += [("ln_f", [d]), ("ff_out", [shape["rows"], d])]
    for number, (name, dimensions) in enumerate(plan):
        values = noise(number, math.prod(dimensions))
        if len(dimensions) == 1:
            values = [1 + 0.1 * v for v in values]
        else:
            bound = scale_of(name, dimensions)
            values = [bound * v for v in values]
        yield f"{PREFIX}{name}.weight", dimensions, values


def encoded(values, dtype):
    """Little-endian bytes, rounded to f32 first and then to the dtype (nearest, ties to even)."""
    wide = array.array("f", values)
    if dtype == "f32":
        return wide.tobytes()
    if dtype == "f16":
        return struct.pack(f"<{len(wide)}e", *wide)
    words = array.array("I", wide.tobytes())
    return array.array("H", [(w + 0x7FFF + (w >> 16 & 1)) >> 16 for w in words]).tobytes()


def scale_row(matrix, width, row, factor):
    matrix[row * width:(row + 1) * width] = [
        factor * value for value in matrix[row * width:(row + 1) * width]]


# ---- files --------------------------------------------------------------------------------------


def replace(path, content):
    """Writes beside and renames: readers see the old file or the new one, never a part."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as out:
        out.write(content)
    os.chmod(out.name, 0o644)
    os.replace(out.name, path)


def write_json(path, content):
    replace(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def safetensors(items, dtype):
    """One file: header length, JSON header padded to 8 bytes, data without gaps."""
    header, data = {"__metadata__": {"format": "pt"}}, bytearray()
    for name, dimensions, values in items:
        begin = len(data)
        data += encoded(values, dtype)
        header[name] = {"dtype": dtype.upper(), "shape": dimensions,
                        "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(data)


def write_weights(out, items, dtype, shards):
    """Neighbouring tensors go to different shards, so that every layer is split across them."""
    if shards == 1:
        replace(out / "model.safetensors", safetensors(items, dtype))
        (out / "model.safetensors.index.json").unlink(missing_ok=True)
        return
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    for i, name in enumerate(names):
        replace(out / name, safetensors(items[i::shards], dtype))
    elements = sum(math.prod(dimensions) for _, dimensions, _ in items)
    write_json(out / "model.safetensors.index.json", {
        "metadata": {"total_size": elements * (4 if dtype == "f32" else 2)},
        "weight_map": {name: names[i % shards] for i, (name, _, _) in enumerate(items)}})


def config(shape, vocab, mask, end, context):
    """Every key of the released config.json."""
    return {
        "activation_type": "silu", "alibi": False, "alibi_bias_max": 8.0,
        "architectures": ["LLaDAModelLM"], "attention_dropout": 0.0, "attention_layer_norm": False,
        "attention_layer_norm_with_affine": True, "bias_for_layer_norm": False,
        "block_group_size": 1, "block_type": "llama", "d_model": shape["d_model"],
        "embedding_dropout": 0.0, "embedding_size": shape["rows"], "eos_token_id": end,
        "flash_attention": False, "include_bias": False, "include_qkv_bias": False,
        "input_emb_norm": False, "layer_norm_type": "rms", "layer_norm_with_affine": True,
        "mask_token_id": mask, "max_sequence_length": context,
        "mlp_hidden_size": shape["mlp_hidden_size"], "mlp_ratio": 4, "model_type": "llada",
        "multi_query_attention": None, "n_heads": shape["n_heads"],
        "n_kv_heads": shape["n_kv_heads"], "n_layers": shape["n_layers"], "pad_token_id": end,
        "precision": "amp_bf16", "residual_dropout": 0.0, "rms_norm_eps": 1e-05, "rope": True,
        "rope_full_precision": True, "rope_theta": 500000.0, "scale_logits": False,
        "use_cache": False, "vocab_size": vocab, "weight_tying": False,
    }


# ---- the hash-defined checkpoint ----------------------------------------------------------------


def write_hash(out, kv_heads, dtype, shards):
    vocab, mask, end = 40, 37, 35
    shape = {"d_model": 16, "n_heads": 4, "n_kv_heads": kv_heads, "kv_width": 4 * kv_heads,
             "n_layers": 2, "mlp_hidden_size": 24, "rows": vocab}
    items = list(tensors(shape, lambda name, dimensions: 0.8))
    scale_row(items[-1][2], shape["d_model"], mask, 0.0)
    write_weights(out, items, dtype, shards)
    write_json(out / "config.json", config(shape, vocab, mask, end, 1024))
    write_json(out / "generation_config.json", {"eos_token_id": end, "pad_token_id": end})


# ---- the served checkpoint ----------------------------------------------------------------------

# LLaDA's pre-tokeniser and chat template, to the letter.
SPLIT = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
         r"|\s*[\r\n]|\s+(?!\S)|\s+")
CHAT_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}")
SPECIALS = ["<|startoftext|>", "<|endoftext|>", "[CLS]", "[gMASK]", "<|reserved_token_0|>",
            "<|reserved_token_1|>", "<|mdm_mask|>", "<|reserved_token_2|>", "<role>", "</role>",
            "<|arithmetic_start|>", "<|arithmetic_end|>", "<|number_start|>", "<|number_end|>",
            "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
MERGES = 320
ROWS_MULTIPLE = 32  # as in released models, the last rows have no token

# What the merges are counted on; a space before a word belongs to it.
TEXT = """the of and to in is that it was for on are as with his they at be this from have or by one
had not but what all were when we there can an your which their said if do will each about how up out
them then she many some so these would other into has more her two like him see time could no make than
first been its who now people my made over did down only way find use may water long little very after
words called just where most know get through back much before go good new write our used me man too any
day same right look think also around another came come work three word must because does part even place
well such here take why things help put years different away again off went old number great tell men say
small every found still between name should home big give air line set own under read last never us left
end along while might next sound below saw something thought both few those always looked show large often
together asked house world going want school important until form food keep children feet land side without
boy once animals life enough took sometimes four head above kind began almost live page got earth need far
hand high year mother light parts country father let night following picture being study second eyes soon
times story boys since white days ever paper hard near sentence better best across during today others
however sure means knew try told young miles sun ways thing whole hear example heard several change answer
room sea against top turned learn point city play toward five using himself usually"""


def byte_characters():
    """GPT-2's visible stand-ins for the 256 bytes, in the order of their ids."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        characters.setdefault(byte, chr(256 + len(characters) - len(plain)))
    return characters


def learn_merges(words, count):
    """Byte pair encoding: join the most frequent pair, again and again. Ties go to the smaller one."""
    pieces, merges = [list(word) for word in words], []
    while len(merges) < count:
        pairs = {}
        for piece in pieces:
            for pair in zip(piece, piece[1:]):
                pairs[pair] = pairs.get(pair, 0) + 1
        best = max(sorted(pairs), key=pairs.get)
        merges.append(best)
        for piece in pieces:
            at = 0
            while at + 1 < len(piece):
                if (piece[at], piece[at + 1]) == best:
                    piece[at:at + 2] = ["".join(best)]
                at += 1
    return merges


def byte_vocabulary():
    """(entries in the order of their ids, merges) of a byte-level BPE."""
    characters = byte_characters()
    merges = learn_merges([characters[32] + word for word in TEXT.split()], MERGES)
    entries = list(characters.values()) + ["".join(pair) for pair in merges]
    assert len(set(entries)) == len(entries)
    return entries, merges


def tokenizer(specials, first=None, first_entry=0):
    """Special tokens have ids from `first` on (behind the entries), entries from `first_entry` on."""
    entries, merges = byte_vocabulary()
    first = len(entries) if first is None else first
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": False}
    return entries, {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": first + i, "content": text, **flags, "special": True}
                         for i, text in enumerate(specials)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False},
            level]},
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False,
                  "vocab": {entry: first_entry + i for i, entry in enumerate(entries)},
                  "merges": [" ".join(pair) for pair in merges]},
    }


def tokenizer_config(specials, first_special, template):
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_bos_token": False, "add_eos_token": False,
        "added_tokens_decoder": {str(first_special + i): {"content": text, **flags, "special": True}
                                 for i, text in enumerate(specials)},
        "bos_token": "<|startoftext|>", "chat_template": template,
        "clean_up_tokenization_spaces": False, "eos_token": "<|endoftext|>",
        "model_max_length": 1e30, "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def quieten(head, width, entries, first_special):
    """Random weights would answer with stray bytes and special tokens: those rows of the head are
    made short, so that what comes out is mostly words."""
    space, turn = byte_characters()[32], first_special + SPECIALS.index("<|eot_id|>")
    for row in range(len(head) // width):
        entry = entries[row] if row < first_special else ""
        if entry.startswith(space):
            factor = 1.0
        elif row == turn or entry and all("!" <= c <= "~" for c in entry):
            factor = 0.75
        else:
            factor = 0.1
        scale_row(head, width, row, factor)


def write_served(out, dtype, shards, layers):
    entries, tokenizer_json = tokenizer(SPECIALS)
    first = len(entries)
    vocab = -(-(first + len(SPECIALS)) // ROWS_MULTIPLE) * ROWS_MULTIPLE
    end, mask = (first + SPECIALS.index(text) for text in ("<|endoftext|>", "<|mdm_mask|>"))
    shape = {"d_model": 64, "n_heads": 4, "n_kv_heads": 2, "kv_width": 32, "n_layers": layers,
             "mlp_hidden_size": 176, "rows": vocab}
    # Masked positions differ by what they attend to alone. A faint mask and loud attention keep
    # them from all saying the same.
    loud = ("q_proj", "k_proj", "v_proj", "attn_out")
    items = list(tensors(shape, lambda name, dimensions: math.sqrt(3 / dimensions[1]) * (
        4 if name.endswith(loud) else 1)))
    scale_row(items[0][2], shape["d_model"], mask, 0.05)
    quieten(items[-1][2], shape["d_model"], entries, first)
    write_weights(out, items, dtype, shards)
    write_json(out / "config.json", config(shape, vocab, mask, end, 1024))
    write_json(out / "generation_config.json", {"bos_token_id": first, "eos_token_id": end})
    write_json(out / "tokenizer.json", tokenizer_json)
    write_json(out / "tokenizer_config.json", tokenizer_config(SPECIALS, first, CHAT_TEMPLATE))
    write_json(out / "special_tokens_map.json", {
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})


def main():
    import tiny_families  # which is made of this file's parts
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["served", "hash"], default="served")
    parser.add_argument("--family", choices=["llada", *tiny_families.WRITERS], default="llada")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="directory, made if missing")
    parser.add_argument("--kv-heads", type=int, choices=[4, 2], default=4, help="of kind hash")
    parser.add_argument("--dtype", choices=["f32", "bf16", "f16"],
                        help="default: f32 for hash, bf16 for served")
    parser.add_argument("--layers", type=int, default=3, help="of kind served, family llada")
    parser.add_argument("--shards", type=int, default=1)
    options = parser.parse_args()
    if options.shards < 1:
        parser.error(f"--shards is {options.shards}; the minimum is 1")
    if options.kind == "hash" and options.family != "llada":
        parser.error("--kind hash is of the llada family only")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.family != "llada":
        tiny_families.WRITERS[options.family](options.out, options.dtype or "bf16", options.shards)
    elif options.kind == "hash":
        write_hash(options.out, options.kv_heads, options.dtype or "f32", options.shards)
    else:
        write_served(options.out, options.dtype or "bf16", options.shards, options.layers)
    print(f"{options.out}: {options.kind} checkpoint of the {options.family} family")


if __name__ == "__main__":
    main()
