"""Compute losses and gradients of one batch, before the optimizer's step."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...inference.bilm import BiLM
from ...kernels.cudnn import no_tf32
from ...modeling.cross_entropy import IGNORE_INDEX, ChunkedCrossEntropy
from ...modeling.loss import DirectionInputs, Leaves, LMLoss, count_targets, direction_inputs
from ...modeling.lstm import Dropout, reverse_padded
from ...modeling.token_encoder import LabelledBatch, TokenBatch
from ...seeds import derive_seed
from .candidate_sampling import Candidates, CandidateSampler, sampled_softmax_loss
from .label_head import LabelHead

Gradients = list[tuple[Tensor, Tensor]]  # (parameter, gradient)


@dataclass(frozen=True, eq=False)
class StepLoss(LMLoss):
    """Losses of a training step.

    label_nll: Sum of the losses of the labels, a scalar on the device that computed it; None: no labels.
    n_labels: Number of units with a label.
    """

    label_nll: Tensor | None = None
    n_labels: int = 0


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
        label_head: Predicts the labels of a LabelledBatch; None: no labels.
        label_loss_weight: Weight of the loss of the labels.
    """

    def __init__(
        self,
        bilm: BiLM,
        *,
        dropout: float = 0.0,
        dtype: torch.dtype | None = None,
        n_samples: int | None = None,
        label_head: LabelHead | None = None,
        label_loss_weight: float = 0.0,
    ):
        """Set up the sampler, the random generators and the threads."""
        self.bilm, self.dropout, self.dtype = bilm, dropout, dtype
        self.label_head, self.label_loss_weight = label_head, label_loss_weight
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
    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the biLM, then those of the label head."""
        head = [] if self.label_head is None else self.label_head.parameters()
        return [*self.bilm.parameters(), *head]

    @property
    def has_static_shapes(self) -> bool:
        """Whether all shapes depend only on the shape of the batch, not on its content."""
        return (
            self._sampler is None
            and self.bilm.device.type != "cpu"
            and self.bilm.token_encoder.char_cnn is None
        )

    def __call__(self, batch: TokenBatch, seed: int) -> StepLoss:
        """Add the gradients of the batch's mean loss to the parameters.

        On a GPU, this returns before the gradients are computed. batch: preferably on the CPU, even if the
        model is on a GPU. seed: seed of the dropout masks.
        """
        n, n_labels = count_targets(batch), count_labels(batch)
        batch = batch.to(self.bilm.device)
        self.seed(seed)
        with no_tf32() if batch.input_ids.is_cuda else nullcontext():
            sums, gradients = self.loss_and_grads(batch, seed)
        accumulate(gradients)
        return StepLoss(sums[:2], n, sums[2] if len(sums) == 3 else None, n_labels)

    def seed(self, seed: int) -> None:
        """Seed the dropout masks of a step."""
        for side, generator in enumerate(self.generators):
            generator.manual_seed(derive_seed(seed, f"dropout {side}"))

    def loss_and_grads(self, batch: TokenBatch, seed: int) -> tuple[Tensor, Gradients]:
        """Return the sums of losses, and gradients. A parameter that is used twice has two gradients.

        The sums are those of both directions, (2,), and that of the labels where the batch has some, (3,).
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
        found: Gradients = []
        if isinstance(batch, LabelledBatch) and self.label_head is not None:
            passes = list(self.map_directions(self._forward, sides, self.generators, drawn))
            label_nll, d_states, found = self._label_loss_and_grads(passes, batch)
            ahead, back = self.map_directions(_backward, passes, d_states)
            sums = [passes[0].loss, passes[1].loss, label_nll]
        else:
            (forward, ahead), (backward, back) = self.map_directions(
                self._direction, sides, self.generators, drawn
            )
            sums = [forward, backward]
        with torch.no_grad():
            for side, grads in zip(sides, (ahead, back), strict=True):
                found += zip(_trainable(side.direction), grads[3:], strict=True)
            found.append((bilm.softmax_weight, ahead[1].add_(back[1])))
            found.append((bilm.softmax_bias, ahead[2].add_(back[2])))
            d_inputs = [ahead[0], reverse_padded(back[0], batch.lengths)]
            if inputs[0] is inputs[1]:
                inputs, d_inputs = inputs[:1], [d_inputs[0] + d_inputs[1]]
        grads = torch.autograd.grad(inputs, _requires_grad(below), d_inputs, allow_unused=True)
        found += [(p, g) for p, g in zip(_trainable(bilm.token_encoder), grads, strict=True) if g is not None]
        return torch.stack(sums), found

    def _sample(self, targets: Tensor, seed: int) -> Candidates | None:
        return None if self._sampler is None else self._sampler.sample(targets, seed)

    def _direction(
        self, side: "DirectionInputs", generator: torch.Generator, drawn: Candidates | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss of one direction, and its gradients for the input, the softmax and the LSTMs.

        With one thread, the activations of a direction are freed before the other direction is computed.
        """
        computed = self._forward(side, generator, drawn)
        return computed.loss, _backward(computed)

    def _forward(
        self, side: "DirectionInputs", generator: torch.Generator, drawn: Candidates | None
    ) -> "_ForwardPass":
        shared = (side.x, self.bilm.softmax_weight, self.bilm.softmax_bias)
        x, weight, bias = (t.detach().requires_grad_() for t in shared)
        dropout = Dropout(self.dropout, generator) if self.dropout else None
        leaves = _leaf_params(side.direction)
        side = replace(side, x=x)
        layers = side.layers(
            leaves, dropout=dropout, dtype=self.dtype, use_fused_kernels=self.use_fused_kernels
        )
        hidden = side.softmax_inputs(layers[-1], dropout)
        if drawn is None:
            loss = ChunkedCrossEntropy.apply(hidden, weight, bias, side.targets, self.dtype)
        else:
            loss = sampled_softmax_loss(hidden, weight, bias, side.targets, drawn, self.dtype)
        inputs = [x, weight, bias, *_requires_grad(leaves)]
        return _ForwardPass(loss.detach(), loss / (2 * side.n), layers, inputs)

    def _label_loss_and_grads(
        self, passes: Sequence["_ForwardPass"], batch: LabelledBatch
    ) -> tuple[Tensor, list[Tensor], Gradients]:
        """Return the sum of the label losses, the gradients of both directions' states, and the head's.

        The weighted sum is divided by the predictions of one direction, as are those of the language models:
        gradients of several processes then add up, whatever labels each of them has.
        """
        assert self.label_head is not None
        assert batch.labels is not None
        states = [torch.stack(each.layers).float().mean(0).detach().requires_grad_() for each in passes]
        head = _leaf_params(self.label_head)
        nll = functional_call(self.label_head, head, (*states, batch.lengths, batch.labels))
        mean = self.label_loss_weight * nll / (batch.lengths - 1).clamp(min=0).sum()
        *d_states, d_weight, d_bias = torch.autograd.grad(mean, [*states, *head.values()])
        return (
            nll.detach(),
            d_states,
            list(zip(self.label_head.parameters(), (d_weight, d_bias), strict=True)),
        )


@dataclass(frozen=True)
class _ForwardPass:
    """A direction before its backward pass.

    Attributes:
        loss: Sum of its losses, detached.
        mean: Its part of the training loss.
        layers: Output of each layer, (B, T, P).
        inputs: Tensors whose gradients are wanted.
    """

    loss: Tensor
    mean: Tensor
    layers: list[Tensor]
    inputs: list[Tensor]


def _backward(computed: _ForwardPass, d_states: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return the gradients of a pass's inputs. d_states: gradient of the mean of its layers, (B, T, P)."""
    if d_states is None:
        return torch.autograd.grad(computed.mean, computed.inputs)
    d_layer = d_states / len(computed.layers)
    outputs = [computed.mean, *computed.layers]
    d_outputs = [None, *(d_layer.to(layer.dtype) for layer in computed.layers)]
    return torch.autograd.grad(outputs, computed.inputs, d_outputs)


def count_labels(batch: TokenBatch) -> int:
    """Return the number of units with a label. Waits for the GPU if the batch is there."""
    if not isinstance(batch, LabelledBatch) or batch.labels is None:
        return 0
    return int((batch.labels != IGNORE_INDEX).sum())


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
