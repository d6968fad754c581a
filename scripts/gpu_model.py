#!/usr/bin/env python3
"""What a denoising step moves and computes on an H100: the tables of docs/gpu-model.md.

Arithmetic from shapes and published peaks. Nothing here was measured. Prints Markdown.
"""
from __future__ import annotations

from dataclasses import dataclass
from math import ceil

# NVIDIA H100 SXM, from its data sheet: bf16 on tensor cores without sparsity, HBM3, SMs.
PEAK_FLOPS = 989e12
PEAK_BYTES = 3.35e12
SMS = 132
# What a sound kernel reaches of them.
COMPUTE_SHARE = 0.60
MEMORY_SHARE = 0.80
# From one launch to the next where the second needs the first.
LAUNCH_SECONDS = 2.5e-6

CHUNK_ROWS = 256  # core/model/model.c: rows that go through the products of a layer at once
TILE_BYTES = 64 << 20  # the tile that logits, and gate and up, go through on a GPU
ATTENTION_TILE = 64  # kernels/cuda/cuda_attention.h: packed query rows, and keys, of a tile
BLOCK_ROWS = 32  # rows of a request that are scored in a step: a block of its canvas
PRODUCT_TILE = 128  # assumed tile of cuBLASLt, rows and columns


@dataclass(frozen=True)
class Model:
    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int

    @property
    def q(self) -> int:
        return self.heads * self.head_dim

    @property
    def qkv(self) -> int:
        return self.q + 2 * self.kv_heads * self.head_dim

    @property
    def layer_weights(self) -> int:
        return self.width * (self.qkv + self.q + 3 * self.mlp)


MODELS = (
    Model("LLaDA-8B", 32, 4096, 32, 32, 128, 12288, 126464),
    Model("Dream-7B", 28, 3584, 28, 4, 128, 18944, 152064),
)


@dataclass(frozen=True)
class Step:
    """Requests of equal length that share a step."""

    requests: int
    canvas: int

    @property
    def rows(self) -> int:
        return self.requests * self.canvas

    @property
    def scored(self) -> int:
        return self.requests * BLOCK_ROWS


@dataclass(frozen=True)
class Kernel:
    """All launches of one kernel in a step. Bytes: every input read once, every output written
    once, for each launch. Blocks: of one launch."""

    name: str
    launches: int
    blocks: int
    blocks_per_sm: int
    bytes: float
    flops: float

    @property
    def compute_seconds(self) -> float:
        return self.flops / (PEAK_FLOPS * COMPUTE_SHARE)

    @property
    def memory_seconds(self) -> float:
        return self.bytes / (PEAK_BYTES * MEMORY_SHARE)

    @property
    def seconds(self) -> float:
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def waves(self) -> int:
        return ceil(self.blocks / (SMS * self.blocks_per_sm))

    @property
    def filled(self) -> float:
        """Share of the places for blocks that are taken, over all waves."""
        return self.blocks / (self.waves * SMS * self.blocks_per_sm)


def chunks(rows: int, most: int) -> list[int]:
    return [min(most, rows - at) for at in range(0, rows, most)]


def product(name: str, layers: int, parts: list[int], k: int, n: int, out_bytes: int) -> Kernel:
    """[rows x k] by [k x n] in bf16 for each part of the rows, in each layer."""
    blocks = ceil(max(parts) / PRODUCT_TILE) * ceil(n / PRODUCT_TILE)
    moved = sum(2 * k * n + 2 * rows * k + out_bytes * rows * n for rows in parts)
    return Kernel(name, layers * len(parts), blocks, 1, layers * moved,
                  layers * sum(2.0 * rows * k * n for rows in parts))


def by_row(name: str, launches: int, rows: int, blocks: int, row_bytes: int) -> Kernel:
    """A kernel that takes `rows` rows in all its launches together, row by row. Its arithmetic
    hides behind its memory traffic."""
    return Kernel(name, launches, blocks, 8, rows * row_bytes, 0)


def attention(model: Model, step: Step) -> Kernel:
    group = model.heads // model.kv_heads
    tiles = ceil(step.canvas / (ATTENTION_TILE // group))
    keys = ceil(step.canvas / ATTENTION_TILE)
    blocks = step.requests * model.kv_heads * tiles
    # scores twice, but for the last tile, and weights by V
    pairs = (3 * keys - 1) * ATTENTION_TILE * ATTENTION_TILE
    moved = 2 * step.rows * (model.qkv + model.q)
    return Kernel("attention", model.layers, blocks, 2, model.layers * moved,
                  model.layers * blocks * pairs * 2.0 * model.head_dim)


def kernels(model: Model, step: Step, chunk_rows: int = CHUNK_ROWS) -> list[Kernel]:
    rows, scored, layers, width = step.rows, step.scored, model.layers, model.width
    parts, wanted = chunks(rows, chunk_rows), chunks(scored, chunk_rows)
    heads = chunks(scored, TILE_BYTES // (4 * model.vocab))
    chunk, pieces = parts[0], ceil(width / 1024)  # blocks of a row of an elementwise kernel
    # The last layer's MLP runs for the scored rows alone.
    mlp_launches = (layers - 1) * len(parts) + len(wanted)
    mlp_rows = (layers - 1) * rows + scored

    def tiled(of: list[int]) -> list[int]:
        return [piece for part in of for piece in chunks(part, TILE_BYTES // (8 * model.mlp))]

    def mlp(name: str, split, k: int, n: int, out_bytes: int) -> Kernel:
        body = product(name, layers - 1, split(parts), k, n, out_bytes)
        end = product(name, 1, split(wanted), k, n, out_bytes)
        return Kernel(name, body.launches + end.launches, body.blocks, 1, body.bytes + end.bytes,
                      body.flops + end.flops)

    gate_up = mlp("product gate, up", tiled, width, 2 * model.mlp, 4)
    return [
        by_row("embed, gather", 1 + len(wanted), rows + scored, chunk * pieces, 6 * width),
        by_row("rmsnorm", layers * len(parts) + mlp_launches + len(wanted),
               layers * rows + mlp_rows + scored, chunk, 6 * width),
        product("product qkv", layers, parts, width, model.qkv, 4),
        by_row("rope", layers * len(parts), layers * rows, chunk, 6 * model.qkv),
        attention(model, step),
        product("product out", layers, parts, model.q, width, 8),
        gate_up,
        by_row("gated activation", gate_up.launches, mlp_rows,
               max(tiled(parts)) * ceil(model.mlp / 1024), 10 * model.mlp),
        mlp("product down", list, model.mlp, width, 8),
        by_row("mix", 1, scored, scored * pieces, 6 * width),
        product("product head", 1, heads, width, model.vocab, 4),
        by_row("score: prepare, choose", 2 * len(heads), scored, heads[0], 2 * 4 * model.vocab),
        by_row("select", 1, scored, step.requests, 40),
    ]


def step_seconds(model: Model, step: Step, chunk_rows: int = CHUNK_ROWS) -> tuple[float, int]:
    parts = kernels(model, step, chunk_rows)
    launches = sum(kernel.launches for kernel in parts)
    return sum(kernel.seconds for kernel in parts) + launches * LAUNCH_SECONDS, launches


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bound(kernel: Kernel) -> str:
    return "arithmetic" if kernel.compute_seconds > kernel.memory_seconds else "memory"


def kernel_table(model: Model, step: Step) -> str:
    parts = kernels(model, step)
    rows = [[k.name, str(k.launches), f"{k.bytes / 1e6:,.1f}", f"{k.flops / 1e9:,.1f}",
             f"{k.blocks:,}", str(k.waves), f"{100 * k.filled:.0f} %", f"{k.seconds * 1e6:,.0f}",
             bound(k)] for k in parts]
    rows.append(["sum", str(sum(k.launches for k in parts)),
                 f"{sum(k.bytes for k in parts) / 1e6:,.1f}",
                 f"{sum(k.flops for k in parts) / 1e9:,.1f}", "", "", "",
                 f"{sum(k.seconds for k in parts) * 1e6:,.0f}", ""])
    return table(["kernel", "launches", "MB", "GFLOP", "blocks", "waves", "filled", "µs",
                  "bound by"], rows)


STEPS = (Step(1, 64), Step(1, 128), Step(1, 256), Step(1, 512), Step(1, 2048), Step(4, 512),
         Step(16, 128))
PACES = (1, 4, 8)  # committed tokens of a request in a step


def step_table(model: Model) -> str:
    rows = []
    for step in STEPS:
        seconds, launches = step_seconds(model, step)
        whole, _ = step_seconds(model, step, step.rows)
        rows.append([f"{step.requests} x {step.canvas}", f"{launches:,}",
                     f"{launches * LAUNCH_SECONDS * 1e3:.1f}", f"{seconds * 1e3:.1f}",
                     f"{whole * 1e3:.1f}",
                     " / ".join(f"{pace / seconds:,.0f}" for pace in PACES),
                     " / ".join(f"{step.requests * pace / seconds:,.0f}" for pace in PACES)])
    paces = "/".join(map(str, PACES))
    return table(["requests x rows", "launches", "ms of launching", "ms a step", "ms in one chunk",
                  f"tokens/s of a stream at {paces}", f"in sum at {paces}"], rows)


def report() -> str:
    shown = Step(1, 512)
    parts = []
    for model in MODELS:
        weights = 2 * (model.layers * model.layer_weights + 2 * model.vocab * model.width)
        parts += [f"### {model.name}: {weights / 1e9:.1f} GB of weights in bf16", "",
                  f"One request of {shown.canvas} rows, {BLOCK_ROWS} of them scored:", "",
                  kernel_table(model, shown), "", "Steps:", "", step_table(model), ""]
    return "\n".join(parts)


if __name__ == "__main__":
    print(report(), end="")
