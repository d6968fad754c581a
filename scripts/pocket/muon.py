"""Muon for the matrices inside the layers: momentum, made orthogonal by five Newton-Schulz steps.

AdamW alone learned fluent text at this size and ignored the prompt; Muon with a small rate learned
the tasks.  Stacked matrices (q, k, v and gate, up) are orthogonalised one by one.
"""

import math

import torch


def orthogonal(stack):
    """The nearest orthogonal matrices, roughly, of a [count, rows, columns] stack, rows <= columns."""
    a, b, c = 3.4445, -4.7750, 2.0315   # quintic that pulls all singular values towards 1
    x = stack.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.float()


class Muon(torch.optim.Optimizer):
    """params: a list of (parameter, number of matrices stacked in its rows)."""

    def __init__(self, params, lr, momentum=0.95, decay=0.05):
        params = list(params)
        super().__init__([p for p, _ in params], {"lr": lr, "momentum": momentum, "decay": decay})
        self.stacked = [count for _, count in params]

    def _directions(self, group):
        """Nesterov momentum of every single matrix, lying (rows <= columns), by shape."""
        by_shape = {}
        for p, count in zip(group["params"], self.stacked):
            buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
            buffer.lerp_(p.grad, 1 - group["momentum"])
            direction = p.grad.lerp(buffer, group["momentum"])
            for index, matrix in enumerate(direction.chunk(count)):
                tall = matrix.shape[0] > matrix.shape[1]
                matrix = matrix.mT if tall else matrix
                by_shape.setdefault(matrix.shape, []).append((p, count, index, tall, matrix))
        return by_shape.values()

    @torch.no_grad()
    def step(self):
        group, = self.param_groups
        for p in group["params"]:
            p.mul_(1 - group["lr"] * group["decay"])
        for entries in self._directions(group):
            updates = orthogonal(torch.stack([entry[-1] for entry in entries]))
            for (p, count, index, tall, _), update in zip(entries, updates):
                target = p.chunk(count)[index]
                scale = math.sqrt(max(1, target.shape[0] / target.shape[1]))
                target.add_(update.mT if tall else update, alpha=-group["lr"] * scale)
