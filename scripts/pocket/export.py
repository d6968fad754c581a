"""Write a checkpoint as a Hugging Face directory in the LLaDA layout, and read such a directory.

    python scripts/pocket/export.py models/pocket
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file

import vocabulary as v
from model import Llada, Shape

WORK = pathlib.Path("~/.cache/unmask/pocket").expanduser()
BLOCK = "model.transformer.blocks.{}."
CONTEXT = 512


def tensors_of(state, shape):
    """Our names and stacked matrices to LLaDA's names, in bf16."""
    out = {"model.transformer.wte.weight": state["wte"],
           "model.transformer.ln_f.weight": state["ln_f"],
           "model.transformer.ff_out.weight": state["head"]}
    for i in range(shape.layers):
        ours, theirs = f"blocks.{i}.", BLOCK.format(i)
        q, k, value = state[ours + "qkv"].chunk(3)
        gate, up = state[ours + "gate_up"].chunk(2)
        named = {"attn_norm": state[ours + "attn_norm"], "q_proj": q, "k_proj": k, "v_proj": value,
                 "attn_out": state[ours + "attn_out"], "ff_norm": state[ours + "ff_norm"],
                 "ff_proj": gate, "up_proj": up, "ff_out": state[ours + "down"]}
        out |= {f"{theirs}{name}.weight": w for name, w in named.items()}
    return {name: w.to(torch.bfloat16).contiguous() for name, w in out.items()}


def state_of(tensors, shape):
    """The way back, in f32."""
    get = lambda name: tensors[name + ".weight"].float()
    state = {"wte": get("model.transformer.wte"), "ln_f": get("model.transformer.ln_f"),
             "head": get("model.transformer.ff_out")}
    for i in range(shape.layers):
        ours, theirs = f"blocks.{i}.", BLOCK.format(i)
        state |= {ours + "attn_norm": get(theirs + "attn_norm"),
                  ours + "ff_norm": get(theirs + "ff_norm"),
                  ours + "qkv": torch.cat([get(f"{theirs}{x}_proj") for x in "qkv"]),
                  ours + "attn_out": get(theirs + "attn_out"), ours + "down": get(theirs + "ff_out"),
                  ours + "gate_up": torch.cat([get(theirs + "ff_proj"), get(theirs + "up_proj")])}
    return state


def config_of(shape):
    return {
        "architectures": ["LLaDAModelLM"], "model_type": "llada",
        "d_model": shape.width, "n_layers": shape.layers, "n_heads": shape.heads,
        "n_kv_heads": shape.heads, "mlp_hidden_size": shape.mlp, "mlp_ratio": 4,
        "vocab_size": shape.rows, "embedding_size": shape.rows, "max_sequence_length": CONTEXT,
        "block_type": "llama", "block_group_size": 1, "activation_type": "silu",
        "layer_norm_type": "rms", "layer_norm_with_affine": True, "rms_norm_eps": shape.eps,
        "bias_for_layer_norm": False, "attention_layer_norm": False, "include_bias": False,
        "include_qkv_bias": False, "weight_tying": False, "scale_logits": False,
        "input_emb_norm": False, "rope": True, "rope_theta": shape.theta, "rope_full_precision": True,
        "alibi": False, "multi_query_attention": None, "use_cache": False,
        "mask_token_id": v.MASK, "eos_token_id": v.END, "pad_token_id": v.END,
    }


def tokenizer_config():
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = {str(v.ORDINARY + i): {"content": text, **plain, "special": True}
             for i, text in enumerate(v.SPECIALS)}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added,
            "add_bos_token": False, "add_eos_token": False, "clean_up_tokenization_spaces": False,
            "model_max_length": CONTEXT, "chat_template": v.CHAT_TEMPLATE, **special_tokens()}


def special_tokens():
    return {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}


def write(state, tokenizer_path, out, shape=None):
    shape = shape or Shape()
    out.mkdir(parents=True, exist_ok=True)
    texts = {"config.json": config_of(shape), "tokenizer_config.json": tokenizer_config(),
             "special_tokens_map.json": special_tokens(),
             "generation_config.json": {"bos_token_id": v.BOS, "eos_token_id": v.END},
            # what it was trained on: the server's recommended settings
            "unmask.json": {"max_tokens": 64, "block_length": 32, "algorithm": "low_confidence",
                            "temperature": 0}}
    for name, content in texts.items():
        (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    shutil.copyfile(tokenizer_path, out / "tokenizer.json")
    weights = out / "model.safetensors"
    save_file(tensors_of(state, shape), weights, metadata={"format": "pt"})
    weights.chmod(0o644)


def load(directory):
    """(model in f32, encoder) of an exported directory of the default shape."""
    model = Llada()
    model.load_state_dict(state_of(load_file(directory / "model.safetensors"), model.shape))
    return model, v.Encoder(v.load(directory / "tokenizer.json"))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=WORK)
    args = parser.parse_args()
    state = torch.load(args.work / "checkpoint.pt", weights_only=True)
    write(state["model"], args.work / "tokenizer.json", args.out)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{args.out}: {size / 1e6:.2f} MB after {state['done']['tokens'] / 1e6:.2f} M tokens")


if __name__ == "__main__":
    main()
