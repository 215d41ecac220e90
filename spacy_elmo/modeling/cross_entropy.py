"""Compute the softmax over the units and its loss in chunks, without a matrix of all logits."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..kernels.fused_ops import column_sums, fused_ops_for
from ..kernels.native_training import softmax_loss, trains

LOGIT_CHUNK, GPU_LOGIT_CHUNK = 512, 4096  # predictions whose logits are held at once


ALIGNED = 64  # matrix products of a GPU are fastest if rows have a multiple of this many units


IGNORE_INDEX = -1  # target that does not count


class ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of -log softmax(x W^T + b)[target], in chunks, without an N x V matrix.

    The gradient is computed in the forward pass, while the logits of a chunk exist. The softmax itself is
    computed in float32.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, dtype: torch.dtype | None
    ) -> Tensor:
        """Compute the loss, a scalar.

        x: (N, P); weight: (V, P); bias: (V,); targets: (N,), also IGNORE_INDEX.

        dtype: type of the products; None: the type of x.
        """
        gradients = any(ctx.needs_input_grad[:3])
        if trains(x, dtype) and trains(weight):
            use_bf16 = dtype == torch.bfloat16
            loss, found = softmax_loss(x, weight, bias, targets, use_bf16=use_bf16, gradients=gradients)
        else:
            loss, found = _in_chunks(x if dtype is None else x.to(dtype), weight, bias, targets, gradients)
        if gradients:
            ctx.save_for_backward(*found)
            ctx.type = x.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients that the forward pass computed."""
        d_x, d_weight, d_bias = ctx.saved_tensors
        for gradient in (d_x, d_weight, d_bias):  # nothing else uses them
            gradient.mul_(d_loss.to(gradient.dtype))
        return d_x.to(ctx.type), d_weight, d_bias, None, None


def _in_chunks(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, gradients: bool
) -> tuple[Tensor, list[Tensor | None]]:
    """Compute the loss and its gradients for x, weight and bias in torch, and with the fused ops of a GPU."""
    units, chunk = len(weight), logit_chunk_size(x.device)
    w, b = weight.detach().to(x.dtype), bias.detach()
    if x.is_cuda and units % ALIGNED:
        w = F.pad(w, (0, 0, 0, -units % ALIGNED))
        b = F.pad(b, (0, -units % ALIGNED), value=-math.inf)
    d_x, d_weight, d_bias = torch.empty_like(x), torch.zeros_like(w, dtype=weight.dtype), torch.zeros_like(b)
    loss = torch.zeros((), device=x.device)
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        logits = F.linear(x[rows], w)  # (n, V)
        part, d_logits = _cross_entropy(logits, b, targets[rows])
        loss += part
        if gradients:
            d_bias += column_sums(d_logits)
            d_x[rows] = d_logits @ w
            d_weight += d_logits.t() @ x[rows]
    return loss, [d_x, d_weight[:units], d_bias[:units]]


def logit_chunk_size(device: torch.device) -> int:
    """Return how many predictions share a chunk of logits: a GPU needs more of them to be busy."""
    return GPU_LOGIT_CHUNK if device.type == "cuda" else LOGIT_CHUNK


def _cross_entropy(logits: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of -log softmax(logits + bias)[target] and the gradient of the logits, (n, V).

    The gradient overwrites the logits.
    """
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
