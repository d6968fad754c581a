"""The LLaDA network in plain PyTorch: bidirectional Llama blocks, row i scores position i.

q, k, v and gate, up are stored as one matrix each, because few large products are faster than many
small ones; export.py splits them into LLaDA's tensors.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    rows: int = 1024         # embedding and head
    width: int = 192
    layers: int = 6
    heads: int = 3
    mlp: int = 512
    theta: float = 10000.0
    eps: float = 1e-5

    @property
    def head_dim(self):
        return self.width // self.heads


def _normal(*size, std):
    return nn.Parameter(torch.randn(*size) * std)


def _linear(x, weight):
    """The weight is kept in f32 and used in the precision of x."""
    return F.linear(x, weight.to(x.dtype))


def rope_table(length, shape):
    """cos and sin, each [length, head_dim / 2], in f32."""
    half = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angle = torch.arange(length, dtype=torch.float32)[:, None] * (1.0 / shape.theta ** half)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Half-split rotation of x [batch, heads, length, head_dim]."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def attention(q, k, v):
    """Every position sees every position.  On short rows plain products beat PyTorch's fused kernel,
    whose backward pass took five times as long here."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    return scores.softmax(-1) @ v


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        d, m = shape.width, shape.mlp
        self.shape = shape
        out = 1 / math.sqrt(2 * shape.layers)   # keeps the residual stream from growing with depth
        self.attn_norm = nn.Parameter(torch.ones(d))
        self.qkv = _normal(3 * d, d, std=d ** -0.5)
        self.attn_out = _normal(d, d, std=d ** -0.5 * out)
        self.ff_norm = nn.Parameter(torch.ones(d))
        self.gate_up = _normal(2 * m, d, std=d ** -0.5)
        self.down = _normal(d, m, std=m ** -0.5 * out)

    def forward(self, x, cos, sin):
        batch, length, d = x.shape
        eps = self.shape.eps
        h = F.rms_norm(x, (d,), self.attn_norm.to(x.dtype), eps)
        qkv = _linear(h, self.qkv).view(batch, length, 3 * self.shape.heads, self.shape.head_dim)
        q_k, v = qkv.transpose(1, 2).split([2 * self.shape.heads, self.shape.heads], dim=1)
        q, k = rotate(q_k, cos, sin).chunk(2, dim=1)
        mixed = attention(q, k, v).transpose(1, 2).reshape(batch, length, d)
        x = x + _linear(mixed, self.attn_out)
        h = F.rms_norm(x, (d,), self.ff_norm.to(x.dtype), eps)
        gate, up = _linear(h, self.gate_up).chunk(2, dim=-1)
        return x + _linear(F.silu(gate) * up, self.down)


class Llada(nn.Module):
    def __init__(self, shape=None):
        super().__init__()
        self.shape = shape or Shape()
        d, rows = self.shape.width, self.shape.rows
        self.wte = _normal(rows, d, std=0.1)
        self.blocks = nn.ModuleList(Block(self.shape) for _ in range(self.shape.layers))
        self.ln_f = nn.Parameter(torch.ones(d))
        self.head = _normal(rows, d, std=0.1)

    def forward(self, ids, dtype=None, rows=None):
        """Logits [batch, length, rows of the head]; with `rows` (flat indices) of those positions.
        `dtype` is the precision to compute in; without it that of the weights."""
        dtype = dtype or self.wte.dtype
        cos, sin = (table.to(dtype) for table in rope_table(ids.shape[1], self.shape))
        x = F.embedding(ids, self.wte).to(dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        if rows is not None:
            x = x.reshape(-1, x.shape[-1])[rows]
        x = F.rms_norm(x, (x.shape[-1],), self.ln_f.to(dtype), self.shape.eps)
        return _linear(x, self.head)
