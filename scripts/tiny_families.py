"""Tiny checkpoints of the families beside LLaDA, for make_tiny_checkpoint.py: each in the layout of
its release (names of tensors and keys, files of the tokenizer, chat template), with random weights.
"""
import math
import pathlib

import make_tiny_checkpoint as tiny

ROOT = pathlib.Path(__file__).resolve().parent.parent
D, HEADS, KV_HEADS, HEAD, LAYERS, MLP = 64, 4, 2, 16, 3, 176
CONTEXT = 1024
LOUD = ("q_proj", "k_proj", "v_proj", "o_proj", "attn_out", "c_attn", "attn.c_proj")


def bound(name, dimensions, inputs):
    """As in the LLaDA checkpoint: loud attention keeps masked positions from all saying the same."""
    stem = name.rsplit(".", 1)[0]
    return math.sqrt(3 / dimensions[inputs]) * (4 if stem.endswith(LOUD) else 1)


def fill(plan, inputs=1):
    """(name, dimensions, values) for (name, dimensions); `inputs`: which dimension is the input's."""
    items = []
    for number, (name, dimensions) in enumerate(plan):
        values = tiny.noise(number, math.prod(dimensions))
        if len(dimensions) == 1 and name.endswith("bias"):
            values = [0.05 * v for v in values]
        elif len(dimensions) == 1:
            values = [1 + 0.1 * v for v in values]
        else:
            scale = bound(name, dimensions, 1 if "emb" in name or "wpe" in name else inputs)
            values = [scale * v for v in values]
        items.append((name, dimensions, values))
    return items


def padded(rows):
    """As in released models, the last rows have no token."""
    return -(-rows // tiny.ROWS_MULTIPLE) * tiny.ROWS_MULTIPLE


def hf_llama_plan(rows, qkv_bias, tied):
    k = KV_HEADS * HEAD
    plan = [("model.embed_tokens.weight", [rows, D])]
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        plan.append((layer + "input_layernorm.weight", [D]))
        for name, width in (("q", D), ("k", k), ("v", k)):
            plan.append((f"{layer}self_attn.{name}_proj.weight", [width, D]))
            if qkv_bias:
                plan.append((f"{layer}self_attn.{name}_proj.bias", [width]))
        plan += [(layer + "self_attn.o_proj.weight", [D, D]),
                 (layer + "post_attention_layernorm.weight", [D]),
                 (layer + "mlp.gate_proj.weight", [MLP, D]),
                 (layer + "mlp.up_proj.weight", [MLP, D]),
                 (layer + "mlp.down_proj.weight", [D, MLP])]
    plan.append(("model.norm.weight", [D]))
    return plan if tied else plan + [("lm_head.weight", [rows, D])]


def hf_llama_config(architecture, model_type, rows, **more):
    return {"architectures": [architecture], "model_type": model_type, "hidden_size": D,
            "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "vocab_size": rows,
            "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
            "rope_scaling": None, "hidden_act": "silu", "tie_word_embeddings": False,
            "torch_dtype": "bfloat16", **more}


def write_byte_level(out, specials, first, **config):
    """vocab.json, merges.txt and added_tokens.json, for releases without a tokenizer.json."""
    entries, merges = tiny.byte_vocabulary()
    tiny.write_json(out / "vocab.json", {entry: i for i, entry in enumerate(entries)})
    tiny.replace(out / "merges.txt", ("#version: 0.2\n" + "".join(
        f"{a} {b}\n" for a, b in merges)).encode())
    if specials:
        tiny.write_json(out / "added_tokens.json",
                        {text: first + i for i, text in enumerate(specials)})
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    tiny.write_json(out / "tokenizer_config.json", {
        "add_prefix_space": False, "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {str(first + i): {"content": text, **flags, "special": True}
                                 for i, text in enumerate(specials)}, **config})
    return entries


# ---- the families -------------------------------------------------------------------------------


def write_dream(out, dtype, shards):
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"]
    first = len(tiny.byte_vocabulary()[0])
    rows = padded(first + len(specials))
    entries = write_byte_level(out, specials, first, tokenizer_class="DreamTokenizer",
                               bos_token="<|beginoftext|>", eos_token="<|endoftext|>",
                               pad_token="<|endoftext|>", mask_token="<|mask|>", errors="replace",
                               model_max_length=131072)
    (out / "chat_template.jinja").write_bytes((ROOT / "tests/text/chatml.jinja").read_bytes())
    items = fill(hf_llama_plan(rows, qkv_bias=True, tied=False))
    tiny.scale_row(items[0][2], D, first + specials.index("<|mask|>"), 0.05)
    tiny.quieten(items[-1][2], D, entries, first)
    tiny.write_weights(out, items, dtype, shards)
    end = first + specials.index("<|endoftext|>")
    tiny.write_json(out / "config.json", hf_llama_config(
        "DreamModel", "Dream", rows, bos_token_id=end, eos_token_id=end, pad_token_id=end,
        mask_token_id=first + specials.index("<|mask|>"), use_sliding_window=False,
        sliding_window=None, max_window_layers=LAYERS, use_mrope=False, use_cache=False))
    tiny.write_json(out / "generation_config.json", {
        "alg": "origin", "alg_temp": None, "eps": 0.001, "steps": 512, "temperature": 0.0,
        "top_k": None, "top_p": None, "mask_token_id": None, "eos_token_id": end})


def write_mmada(out, dtype, shards):
    """LLaDA's layout; ids of image codes follow the text tokens and have no text."""
    codes = 64
    entries, tokenizer_json = tiny.tokenizer(tiny.SPECIALS)
    first = len(entries)
    rows = padded(first + len(tiny.SPECIALS) + codes)
    begin, end, mask = (first + tiny.SPECIALS.index(text) for text in (
        "<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>"))
    shape = {"d_model": D, "n_heads": HEADS, "n_kv_heads": HEADS, "kv_width": D,
             "n_layers": LAYERS, "mlp_hidden_size": MLP, "rows": rows}
    items = list(tiny.tensors(shape, lambda name, dimensions: bound(name + ".", dimensions, 1)))
    tiny.scale_row(items[0][2], D, mask, 0.05)
    tiny.quieten(items[-1][2], D, entries, first)
    tiny.write_weights(out, items, dtype, shards)
    config = tiny.config(shape, rows, mask, end, CONTEXT)
    config |= {"architectures": ["MMadaModelLM"], "model_type": "mmada", "bos_token_id": begin,
               "llm_vocab_size": first + len(tiny.SPECIALS), "new_vocab_size": rows,
               "codebook_size": codes, "num_new_special_tokens": 0, "num_vq_tokens": 256}
    tiny.write_json(out / "config.json", config)
    tiny.write_json(out / "tokenizer.json", tokenizer_json)
    tiny.write_json(out / "tokenizer_config.json", tiny.tokenizer_config(
        tiny.SPECIALS, first, tiny.CHAT_TEMPLATE.replace("\\n\\n", "\\n")))


def write_illada(out, dtype, shards):
    """Hugging Face's names, a tied head, and no key for the mask: <[MASK]> is id 5."""
    specials = ["<|startoftext|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>",
                "<|end_header_id|>", "<[MASK]>"]
    entries, tokenizer_json = tiny.tokenizer(specials, first=0, first_entry=len(specials))
    rows = padded(len(specials) + len(entries))
    items = fill(hf_llama_plan(rows, qkv_bias=False, tied=True))
    tiny.write_weights(out, items, dtype, shards)
    tiny.write_json(out / "config.json", hf_llama_config(
        "ILLaDAForCausalLM", "illada", rows, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        attention_bias=False, mlp_bias=False, layer_norm_eps=None) | {"tie_word_embeddings": True})
    tiny.write_json(out / "tokenizer.json", tokenizer_json)
    tiny.write_json(out / "tokenizer_config.json",
                    tiny.tokenizer_config(specials, 0, tiny.CHAT_TEMPLATE))


def write_diffugpt(out, dtype, shards):
    """Names of the training wrapper, Conv1D matrices as [in][out], no head; the mask is an ordinary
    token, here the last merge."""
    first = len(tiny.byte_vocabulary()[0])
    entries = write_byte_level(out, ["<|endoftext|>"], first, tokenizer_class="GPT2Tokenizer",
                               bos_token="<|endoftext|>", eos_token="<|endoftext|>",
                               unk_token="<|endoftext|>")
    rows, mask = first + 1, first - 1
    body = "denoise_model."
    plan = [("embed_tokens.weight", [rows, D]), (body + "wpe.weight", [CONTEXT, D])]
    for i in range(LAYERS):
        layer = f"{body}h.{i}."
        plan += [(layer + "ln_1.weight", [D]), (layer + "ln_1.bias", [D]),
                 (layer + "attn.c_attn.weight", [D, 3 * D]), (layer + "attn.c_attn.bias", [3 * D]),
                 (layer + "attn.c_proj.weight", [D, D]), (layer + "attn.c_proj.bias", [D]),
                 (layer + "ln_2.weight", [D]), (layer + "ln_2.bias", [D]),
                 (layer + "mlp.c_fc.weight", [D, 4 * D]), (layer + "mlp.c_fc.bias", [4 * D]),
                 (layer + "mlp.c_proj.weight", [4 * D, D]), (layer + "mlp.c_proj.bias", [D])]
    plan += [(body + "ln_f.weight", [D]), (body + "ln_f.bias", [D])]
    tiny.write_weights(out, fill(plan, inputs=0), dtype, shards)
    tiny.write_json(out / "config.json", {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": D, "n_head": HEADS,
        "n_layer": LAYERS, "n_positions": CONTEXT, "n_ctx": CONTEXT, "n_inner": None,
        "vocab_size": rows, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-05,
        "scale_attn_weights": True, "bos_token_id": first, "eos_token_id": first,
        "mask_token_id": mask})
    tiny.write_json(out / "special_tokens_map.json", {
        "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
        "mask_token": entries[mask]})


def sentencepiece_tokenizer():
    """Llama-2's kind: pieces of whole words with their space, single characters, bytes."""
    space = "\u2581"
    words = [space + word for word in tiny.TEXT.split()]
    merges = tiny.learn_merges(words, tiny.MERGES)
    characters = sorted({c for word in words for c in word} | set("ABCDEFGHIJKLMNOPQRSTUVWXYZ.,?!"))
    entries = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)),
               *("".join(pair) for pair in merges), *characters]
    assert len(set(entries)) == len(entries)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return entries, {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": entries[i], **flags, "special": True}
                         for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": space},
            {"type": "Replace", "pattern": {"String": " "}, "content": space}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                     {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "<s>", "type_id": 1}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": space}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False,
                  "vocab": {entry: i for i, entry in enumerate(entries)},
                  "merges": [" ".join(pair) for pair in merges]},
    }


def write_diffullama(out, dtype, shards):
    """config.json is a plain Llama's; the tokenizer's mask token is an ordinary piece."""
    entries, tokenizer_json = sentencepiece_tokenizer()
    rows, mask = padded(len(entries)), 259 + tiny.MERGES - 1
    items = fill(hf_llama_plan(rows, qkv_bias=False, tied=False))
    tiny.write_weights(out, items, dtype, shards)
    tiny.write_json(out / "config.json", hf_llama_config(
        "LlamaForCausalLM", "llama", rows, bos_token_id=1, eos_token_id=2, attention_bias=False,
        mlp_bias=False, pretraining_tp=1, mask_token_id=mask))
    tiny.write_json(out / "tokenizer.json", tokenizer_json)
    tiny.write_json(out / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "legacy": True, "tokenizer_class": "LlamaTokenizer",
        "model_max_length": 1e30})
    tiny.write_json(out / "special_tokens_map.json", {
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": entries[mask]})


WRITERS = {"dream": write_dream, "mmada": write_mmada, "diffullama": write_diffullama,
           "diffugpt": write_diffugpt, "illada": write_illada}
