"""Compute losses and gradients of one batch, before the optimizer's step."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...inference.bilm import BiLM
from ...kernels.cudnn import no_tf32
from ...modeling.cross_entropy import ChunkedCrossEntropy
from ...modeling.loss import DirectionInputs, Leaves, LMLoss, count_targets, direction_inputs
from ...modeling.lstm import Dropout, reverse_padded
from ...modeling.token_encoder import TokenBatch
from ...seeds import derive_seed
from .candidate_sampling import Candidates, CandidateSampler, sampled_softmax_loss

Gradients = list[tuple[Tensor, Tensor]]  # (parameter, gradient)


class TrainStep:
    """Computes the losses and gradients of one batch; on the CPU both directions run in parallel.

    The directions share only the embedding below and the softmax above, so each gets half of the cores: two
    threads with half of the work each lose less time than splitting every small product. Gradients are summed
    in a fixed order, so a step gives the same bits every time.

    Args:
        bilm: The model.
        dropout: Rate on the input of every LSTM layer and of the softmax.
        dtype: Type of the products (bfloat16); None: that of the weights.
        n_samples: Units of a sampled softmax; None: the full softmax.
    """

    def __init__(
        self,
        bilm: BiLM,
        *,
        dropout: float = 0.0,
        dtype: torch.dtype | None = None,
        n_samples: int | None = None,
    ):
        """Set up the sampler, the random generators and the threads."""
        self.bilm, self.dropout, self.dtype = bilm, dropout, dtype
        self._sampler = (
            None if n_samples is None else CandidateSampler(len(bilm.vocab), n_samples, bilm.device)
        )
        self.generators = [torch.Generator(bilm.device) for _ in range(2)]  # for the dropout masks
        self.n_threads = torch.get_num_threads()
        self.runs_directions_in_threads = bilm.device.type == "cpu" and self.n_threads > 1
        self.use_fused_kernels = False  # see LSTMStack.forward
        self.map_directions: Callable[..., Iterable[Any]] = map  # over the directions
        if self.runs_directions_in_threads:
            half = (self.n_threads // 2,)
            self.map_directions = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=half).map

    @property
    def has_static_shapes(self) -> bool:
        """Whether all shapes depend only on the shape of the batch, not on its content."""
        return (
            self._sampler is None
            and self.bilm.device.type != "cpu"
            and self.bilm.token_encoder.char_cnn is None
        )

    def __call__(self, batch: TokenBatch, seed: int) -> LMLoss:
        """Add the gradients of the batch's mean loss to the parameters.

        On a GPU, this returns before the gradients are computed. batch: preferably on the CPU, even if the
        model is on a GPU. seed: seed of the dropout masks.
        """
        n = count_targets(batch)
        batch = batch.to(self.bilm.device)
        self.seed(seed)
        with no_tf32() if batch.input_ids.is_cuda else nullcontext():
            sums, gradients = self.loss_and_grads(batch, seed)
        accumulate(gradients)
        return LMLoss(sums, n)

    def seed(self, seed: int) -> None:
        """Seed the dropout masks of a step."""
        for side, generator in enumerate(self.generators):
            generator.manual_seed(derive_seed(seed, f"dropout {side}"))

    def loss_and_grads(self, batch: TokenBatch, seed: int) -> tuple[Tensor, Gradients]:
        """Return the sums of losses (2,), and gradients. A parameter that is used twice has two gradients.

        seed: seed of a sampled softmax. Dropout continues from the state of its generators.
        """
        bilm = self.bilm
        below = _leaf_params(bilm.token_encoder)
        inputs = functional_call(bilm.token_encoder, below, (batch,))
        sides = direction_inputs(
            bilm, batch, *(x.detach() for x in inputs), static_shapes=self.has_static_shapes
        )
        # The shapes depend on the sample, so it is read before long computations start on a GPU.
        drawn = [
            self._sample(side.targets, derive_seed(seed, f"candidates {i}")) for i, side in enumerate(sides)
        ]
        (forward, ahead), (backward, back) = self.map_directions(
            self._direction, sides, self.generators, drawn
        )
        with torch.no_grad():
            found: Gradients = []
            for side, grads in zip(sides, (ahead, back), strict=True):
                found += zip(_trainable(side.direction), grads[3:], strict=True)
            found.append((bilm.softmax_weight, ahead[1].add_(back[1])))
            found.append((bilm.softmax_bias, ahead[2].add_(back[2])))
            d_inputs = [ahead[0], reverse_padded(back[0], batch.lengths)]
            if inputs[0] is inputs[1]:
                inputs, d_inputs = inputs[:1], [d_inputs[0] + d_inputs[1]]
        grads = torch.autograd.grad(inputs, _requires_grad(below), d_inputs, allow_unused=True)
        found += [(p, g) for p, g in zip(_trainable(bilm.token_encoder), grads, strict=True) if g is not None]
        return torch.stack([forward, backward]), found

    def _sample(self, targets: Tensor, seed: int) -> Candidates | None:
        return None if self._sampler is None else self._sampler.sample(targets, seed)

    def _direction(
        self, side: "DirectionInputs", generator: torch.Generator, drawn: Candidates | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss of one direction, and its gradients for the input, the softmax and the LSTMs."""
        shared = (side.x, self.bilm.softmax_weight, self.bilm.softmax_bias)
        x, weight, bias = (t.detach().requires_grad_() for t in shared)
        dropout = Dropout(self.dropout, generator) if self.dropout else None
        leaves = _leaf_params(side.direction)
        side = replace(side, x=x)
        hidden = side.predict(
            leaves, dropout=dropout, dtype=self.dtype, use_fused_kernels=self.use_fused_kernels
        )
        if drawn is None:
            loss = ChunkedCrossEntropy.apply(hidden, weight, bias, side.targets, self.dtype)
        else:
            loss = sampled_softmax_loss(hidden, weight, bias, side.targets, drawn, self.dtype)
        mean = loss / (2 * side.n)
        return loss.detach(), torch.autograd.grad(mean, [x, weight, bias, *_requires_grad(leaves)])


def accumulate(gradients: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Add gradients to those of the parameters."""
    for parameter, gradient in gradients:
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.add_(gradient)


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _leaf_params(module: nn.Module) -> Leaves:
    """Return the parameters by name as new leaves, so that autograd state ends with the step."""
    return {name: p.detach().requires_grad_(p.requires_grad) for name, p in module.named_parameters()}


def _requires_grad(leaves: Leaves) -> list[Tensor]:
    return [leaf for leaf in leaves.values() if leaf.requires_grad]


@contextmanager
def limited_torch_threads(n: int) -> Iterator[None]:
    """Run with `n` threads in torch's operations: idle ones would spin while the two directions work."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
