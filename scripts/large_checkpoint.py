#!/usr/bin/env python3
"""Loads a checkpoint of a released model's full size on this machine, completes a short request and
reports time and memory. The weights are random, made here; the files are deleted at the end.

    large_checkpoint.py llada-8b | dream-7b [--dir DIR] [--keep] [-- arguments of unmask bench]

Needs 17 GB of free disk, 20 GiB of memory and some minutes. Prints what it does; the last lines are
what SPEED.md reports: size, seconds to load, seconds per step, peak resident memory.
"""
import argparse
import array
import json
import pathlib
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import make_tiny_checkpoint as tiny
import tiny_families

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARD_BYTES = 5 << 30
SPARE_BYTES = 1 << 30
PATTERN = 7_340_033  # elements; prime, so that no two rows of a matrix are alike


def llada_plan():
    d, mlp, rows = 4096, 12288, 126464
    block = [("attn_norm", [d]), ("q_proj", [d, d]), ("k_proj", [d, d]), ("v_proj", [d, d]),
             ("attn_out", [d, d]), ("ff_norm", [d]), ("ff_proj", [mlp, d]), ("up_proj", [mlp, d]),
             ("ff_out", [d, mlp])]
    prefix = "model.transformer."
    plan = [(prefix + "wte.weight", [rows, d])]
    plan += [(f"{prefix}blocks.{i}.{name}.weight", shape) for i in range(32) for name, shape in block]
    plan += [(prefix + "ln_f.weight", [d]), (prefix + "ff_out.weight", [rows, d])]
    shape = {"d_model": d, "n_heads": 32, "n_kv_heads": 32, "n_layers": 32, "mlp_hidden_size": mlp,
             "rows": rows}
    return plan, tiny.config(shape, rows, 126336, 126081, 4096)


def dream_plan():
    d, kv, mlp, rows = 3584, 512, 18944, 152064
    plan = [("model.embed_tokens.weight", [rows, d])]
    for i in range(28):
        layer = f"model.layers.{i}."
        plan.append((layer + "input_layernorm.weight", [d]))
        for name, width in (("q", d), ("k", kv), ("v", kv)):
            plan.append((f"{layer}self_attn.{name}_proj.weight", [width, d]))
            plan.append((f"{layer}self_attn.{name}_proj.bias", [width]))
        plan += [(layer + "self_attn.o_proj.weight", [d, d]),
                 (layer + "post_attention_layernorm.weight", [d]),
                 (layer + "mlp.gate_proj.weight", [mlp, d]),
                 (layer + "mlp.up_proj.weight", [mlp, d]),
                 (layer + "mlp.down_proj.weight", [d, mlp])]
    plan += [("model.norm.weight", [d]), ("lm_head.weight", [rows, d])]
    config = tiny_families.hf_llama_config("DreamModel", "Dream", rows) | {
        "hidden_size": d, "intermediate_size": mlp, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-06, "max_position_embeddings": 131072, "mask_token_id": 151666,
        "bos_token_id": 151643, "eos_token_id": 151643, "pad_token_id": 151643}
    return plan, config


MODELS = {"llada-8b": llada_plan, "dream-7b": dream_plan}


def elements(shape):
    count = 1
    for n in shape:
        count *= n
    return count


def pattern():
    """bf16 values of either sign from 2^-8 to 2^-5: what weights of such widths are like."""
    rng = random.Random(1)
    bits = rng.randbytes(2 * PATTERN)
    return array.array("H", [(b & 0x807F) | ((119 + (b >> 8 & 3)) << 7)
                             for (b,) in struct.iter_unpack("<H", bits)]).tobytes()


def shards_of(plan):
    shards, size = [[]], 0
    for name, shape in plan:
        need = 2 * elements(shape)
        if size + need > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += need
    return shards


def write_shard(path, tensors, block, start):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = 2 * elements(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors:
            left = 2 * elements(shape)
            if len(shape) == 1 and not name.endswith("bias"):
                out.write(b"\x80\x3f" * shape[0])
                continue
            while left > 0:
                part = block[start:start + left]
                out.write(part)
                left -= len(part)
                start = (start + len(part)) % len(block)
    return start


def write(out, plan, config):
    block, start = pattern(), 0
    shards = shards_of(plan)
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for i, (name, tensors) in enumerate(zip(names, shards)):
        began = time.monotonic()
        start = write_shard(out / name, tensors, block, start)
        print(f"{name}: {(out / name).stat().st_size / 1e9:.2f} GB in "
              f"{time.monotonic() - began:.0f} s ({i + 1} of {len(shards)})", flush=True)
    tiny.write_json(out / "model.safetensors.index.json", {
        "metadata": {"total_size": 2 * sum(elements(shape) for _, shape in plan)},
        "weight_map": {tensor: name for name, part in zip(names, shards) for tensor, _ in part}})
    tiny.write_json(out / "config.json", config)
    entries, tokenizer_json = tiny.tokenizer(tiny.SPECIALS)
    tiny.write_json(out / "tokenizer.json", tokenizer_json)
    tiny.write_json(out / "tokenizer_config.json",
                    tiny.tokenizer_config(tiny.SPECIALS, len(entries), tiny.CHAT_TEMPLATE))


def run(command):
    """Wall seconds and peak resident bytes of a child."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, time.monotonic()
    print("$", " ".join(map(str, command)), flush=True)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return time.monotonic() - began, max(before, after) * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--dir", type=pathlib.Path, help="where to put the files; default: a new one "
                        "in the temporary directory")
    parser.add_argument("--keep", action="store_true", help="do not delete the files")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/release/server/unmask")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, bench = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1:]
    plan, config = MODELS[options.model]()
    need = 2 * sum(elements(shape) for _, shape in plan) + SPARE_BYTES
    parent = options.dir or pathlib.Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if free < need:
        sys.exit(f"{parent}: {free / 1e9:.1f} GB are free, {need / 1e9:.1f} GB are needed")
    out = pathlib.Path(tempfile.mkdtemp(prefix=f"unmask-{options.model}-", dir=parent))
    try:
        write(out, plan, config)
        run([options.binary, "inspect", out])
        seconds, peak = run([options.binary, "generate", "--model", out, "--raw", "--max-tokens", "16",
                             "--steps", "4", "--temperature", "0", "the house by the water"])
        print(f"load and a request of 4 steps: {seconds:.0f} s, peak resident {peak / 2**30:.2f} GiB")
        seconds, peak = run([options.binary, "bench", "--model", out, *bench])
        print(f"bench: {seconds:.0f} s, peak resident {peak / 2**30:.2f} GiB")
    finally:
        if options.keep:
            print(f"kept: {out}")
        else:
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
