"""The softmax over the units and its loss, in chunks: no matrix of all predictions and all units is kept."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..kernels.fused_ops import column_sums, fused_ops_for

LOGIT_CHUNK, GPU_LOGIT_CHUNK = 512, 4096  # predictions whose logits are held at once


ALIGNED = 64  # a GPU's products want rows of a multiple of this many units


IGNORE_INDEX = -1  # a target that is left out


class ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of -log softmax(x W^T + b)[target], in chunks, so that no N x V matrix is kept.

    The gradient is computed on the way forward, while a chunk's logits are there; products run in the
    type of `x`, the softmax itself in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, chunk: int) -> Tensor:
        """x: (N, P); weight: (V, P); bias: (V,); targets: (N,), also IGNORE_INDEX. Returns a scalar."""
        units = len(weight)
        w, b = weight.detach().to(x.dtype), bias.detach()
        if x.is_cuda and units % ALIGNED:
            w = F.pad(w, (0, 0, 0, -units % ALIGNED))
            b = F.pad(b, (0, -units % ALIGNED), value=-math.inf)
        d_x, d_weight, d_bias = (
            torch.empty_like(x),
            torch.zeros_like(w, dtype=weight.dtype),
            torch.zeros_like(b),
        )
        loss = torch.zeros((), device=x.device)
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            logits = F.linear(x[rows], w)  # (n, V)
            part, d_logits = _cross_entropy(logits, b, targets[rows])
            loss += part
            if any(ctx.needs_input_grad[:3]):
                d_bias += column_sums(d_logits)
                d_x[rows] = d_logits @ w
                d_weight += d_logits.t() @ x[rows]
        ctx.save_for_backward(d_x, d_weight[:units], d_bias[:units])
        return loss

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        d_x, d_weight, d_bias = ctx.saved_tensors
        return d_x * d_loss.to(d_x.dtype), d_weight * d_loss, d_bias * d_loss, None, None


def logit_chunk_size(device: torch.device) -> int:
    """Predictions whose logits are held at once: a GPU needs more of them to be busy."""
    return GPU_LOGIT_CHUNK if device.type == "cuda" else LOGIT_CHUNK


def _cross_entropy(logits: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor | float, Tensor]:
    """Sum of -log softmax(logits + bias)[target] and the logits' gradient (n, V), which takes their place."""
    ops = fused_ops_for(logits)
    if ops is not None:
        return ops.cross_entropy(logits, bias, targets), logits
    scores = logits.float() + bias
    scores -= scores.amax(1, keepdim=True)
    counted, targets = (targets >= 0)[:, None], targets.clamp(min=0)[:, None]
    of_target = scores.gather(1, targets)
    total = scores.exp_().sum(1, keepdim=True)
    gradient = scores.div_(total)
    gradient.scatter_add_(1, targets, torch.full_like(total, -1.0)).mul_(counted)
    return ((total.log() - of_target) * counted).sum(), gradient.to(logits.dtype)
