"""Linear-chain CRF (Lafferty et al. 2001): gradients, marginals and the best path, in numpy or cupy.

Sequences are packed as in torch's PackedSequence: sorted by length, longest first, step by step, so that the
rows of one step are adjacent and no step computes padding. Letters: B sequences, N tokens of all of them,
L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # NumPy or CuPy

FORBIDDEN = -1e9
"""The score of a transition or a label that is not allowed."""
MIN_EXPONENT = -600.0
"""exp() of less is 0 in float64, even after one product with another such factor has been renormalised."""
TINY = 1e-300


class Packing:
    """Positions of the tokens of sequences in their packed form.

    lengths: lengths of the sequences, 0 allowed.
    """

    def __init__(self, lengths: Sequence[int]):
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.order = np.argsort(-self.lengths, kind="stable")
        longest = int(self.lengths.max(initial=0))
        # Number of sequences with a token at each step, and the first row of each step.
        self.sizes = len(lengths) - np.searchsorted(np.sort(self.lengths), np.arange(longest), side="right")
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        rank = np.empty(len(lengths), dtype=np.int64)
        rank[self.order] = np.arange(len(lengths))
        steps = np.concatenate([np.arange(n) for n in self.lengths]) if len(lengths) else np.zeros(0, "l")
        sequence = np.repeat(np.arange(len(lengths)), self.lengths)
        self.rows = self.starts[steps] + rank[sequence]
        """(N,) the packed row of each token, tokens in the order of the sequences."""
        self.reversed_rows = self.starts[self.lengths[sequence] - 1 - steps] + rank[sequence]
        """(N,) the same where each sequence is read from its end."""
        self.n_tokens = int(self.lengths.sum())

    def steps(self) -> list[tuple[int, int]]:
        """Return (first row, row after the last) of each step."""
        return list(zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True))

    def pack(self, arrays: Sequence[Array], xp: Any = np) -> Array:
        """Pack arrays (n, F) of sequences to (N, F)."""
        flat = xp.concatenate(list(arrays))
        out = xp.empty_like(flat)
        out[xp.asarray(self.rows)] = flat
        return out

    def unpack(self, packed: Array, xp: Any = np) -> list[Array]:
        """Invert pack."""
        flat = packed[xp.asarray(self.rows)]
        ends = np.cumsum(self.lengths)
        return [flat[end - n : end] for n, end in zip(self.lengths, ends, strict=True)]


@dataclass
class Potentials:
    """Scores of label sequences: sum of emissions, transitions, and those of the first and last label.

    transitions: (L, L), from the row's label to the column's. start, end: (L,).
    """

    transitions: Array
    start: Array
    end: Array


@dataclass
class Marginals:
    """Probabilities of labels, and the other values for a gradient.

    Attributes:
        labels: (N, L) packed, probability of each label at each token.
        transitions: (L, L), expected number of each transition, summed over sequences.
        start: (L,), expected number of first labels.
        end: (L,), expected number of last labels.
        log_partition: Sum over sequences.
    """

    labels: Array
    transitions: Array
    start: Array
    end: Array
    log_partition: float


@dataclass
class Lattice:
    """Scaled forward and backward variables (Rabiner 1989, section V.A), packed.

    alpha, beta: (N, L), alpha * beta are the marginals. weights: (N, L) exp(emission) / scale of the token,
    so that a path's probability is a product of weights and transitions. transitions: (L, L) exponentiated.
    """

    alpha: Array
    beta: Array
    weights: Array
    transitions: Array
    log_partition: float


def forward_backward(emissions: Array, packing: Packing, potentials: Potentials, xp: Any = np) -> Lattice:
    """Run the forward-backward algorithm in float64.

    emissions: (N, L) packed scores. Raises FloatingPointError if the constraints allow no sequence of labels.
    """
    shift = emissions.max(1, keepdims=True).astype(xp.float64)
    weights = xp.exp(xp.maximum(emissions - shift, MIN_EXPONENT))
    weights[emissions <= FORBIDDEN / 2] = 0.0
    transitions = _exp(potentials.transitions, xp)
    start, end = _exp(potentials.start, xp), _exp(potentials.end, xp)
    alpha, scale = xp.empty_like(weights), xp.empty((len(weights), 1))
    steps = packing.steps()
    for step, (first, last) in enumerate(steps):
        size = last - first
        before = start if not step else alpha[steps[step - 1][0] :][:size] @ transitions
        a = before * weights[first:last]
        scale[first:last] = s = a.sum(1, keepdims=True)
        alpha[first:last] = a / xp.maximum(s, TINY)
    weights /= xp.maximum(scale, TINY)
    final = _final_rows(packing, xp)
    z = alpha[final] @ end
    if len(alpha) and not float(xp.minimum(scale.min(), z.min())) > 0.0:
        raise FloatingPointError("The constraints allow no sequence of labels.")
    beta = xp.empty_like(alpha)
    beta[final] = end / z[:, None]
    for step in reversed(range(1, len(steps))):
        first, last = steps[step]
        before = steps[step - 1][0]
        beta[before : before + last - first] = (weights[first:last] * beta[first:last]) @ transitions.T
    log_partition = float(xp.log(scale).sum() + shift.sum() + xp.log(z).sum())
    return Lattice(alpha, beta, weights, transitions, log_partition)


def marginals(emissions: Array, packing: Packing, potentials: Potentials, xp: Any = np) -> Marginals:
    """Compute the marginals of all labels and transitions. Arguments: see forward_backward."""
    lattice = forward_backward(emissions, packing, potentials, xp)
    labels = lattice.alpha * lattice.beta
    first = int(packing.sizes[0]) if len(packing.sizes) else 0
    before = xp.asarray(_previous_rows(packing))
    pairs = lattice.alpha[before].T @ (lattice.weights * lattice.beta)[first:]
    return Marginals(
        labels,
        pairs * lattice.transitions,
        labels[:first].sum(0),
        labels[_final_rows(packing, xp)].sum(0),
        lattice.log_partition,
    )


def known_marginals(
    labels: Array, emissions: Array, packing: Packing, potentials: Potentials, xp: Any = np
) -> Marginals:
    """Return the marginals for known labels: counts; log_partition is the score of the sequences.

    labels: (N,) packed label ids. The other arguments are those of forward_backward.
    """
    one_hot = xp.zeros(emissions.shape)
    one_hot[xp.arange(len(labels)), labels] = 1.0
    first = int(packing.sizes[0]) if len(packing.sizes) else 0
    pairs = one_hot[xp.asarray(_previous_rows(packing))].T @ one_hot[first:]
    found = Marginals(one_hot, pairs, one_hot[:first].sum(0), one_hot[_final_rows(packing, xp)].sum(0), 0.0)
    found.log_partition = float(
        (one_hot * emissions).sum()
        + (found.transitions * potentials.transitions).sum()
        + (found.start * potentials.start).sum()
        + (found.end * potentials.end).sum()
    )
    return found


def path_probability(lattice: Lattice, rows: np.ndarray, labels: np.ndarray) -> float:
    """Compute the probability that consecutive tokens have these labels.

    rows: (n,) the packed rows of the tokens. labels: (n,) label ids.
    """
    steps = lattice.transitions[labels[:-1], labels[1:]] * lattice.weights[rows[1:], labels[1:]]
    ends = lattice.alpha[rows[0], labels[0]] * lattice.beta[rows[-1], labels[-1]]
    return float(ends * steps.prod())


def viterbi(emissions: Array, packing: Packing, potentials: Potentials, xp: Any = np) -> Array:
    """Find the best label sequences: (N, L) packed -> (N,) packed label ids. Ties go to the lower ids."""
    into = xp.ascontiguousarray(potentials.transitions.T)  # (to, from)
    pointers = xp.zeros(emissions.shape, dtype=xp.int32)
    scores = xp.empty_like(emissions)
    steps = packing.steps()
    for step, (first, last) in enumerate(steps):
        if not step:
            scores[first:last] = potentials.start + emissions[first:last]
            continue
        before = steps[step - 1][0]
        paths = scores[before : before + last - first, None, :] + into  # (B, to, from)
        best = paths.argmax(2)
        pointers[first:last] = best
        found = xp.take_along_axis(paths, best[..., None], 2)[..., 0] + emissions[first:last]
        # Relative to the best: the sum over a long sequence would round small differences away in float32.
        scores[first:last] = found - found.max(1, keepdims=True)
    labels = xp.empty(len(emissions), dtype=xp.int64)
    final = _final_rows(packing, xp)
    labels[final] = (scores[final] + potentials.end).argmax(1)
    for step in reversed(range(1, len(steps))):
        first, last = steps[step]
        before = steps[step - 1][0]
        rows = xp.arange(first, last)
        labels[before : before + last - first] = pointers[rows, labels[first:last]]
    return labels


def _exp(scores: Array, xp: Any) -> Array:
    return xp.where(scores > FORBIDDEN / 2, xp.exp(scores.astype(xp.float64)), 0.0)


def _final_rows(packing: Packing, xp: Any) -> Array:
    """Return the packed row of each sequence's last token, (B,), without empty sequences."""
    sizes = np.append(packing.sizes, 0)
    rows = [np.arange(first + sizes[step + 1], last) for step, (first, last) in enumerate(packing.steps())]
    return xp.asarray(np.concatenate([*rows, np.zeros(0, np.int64)]))


def _previous_rows(packing: Packing) -> np.ndarray:
    """Return the packed row before each token that is not the first of its sequence, in packed order."""
    steps = packing.steps()
    rows = [
        np.arange(steps[i - 1][0], steps[i - 1][0] + last - first)
        for i, (first, last) in enumerate(steps)
        if i
    ]
    return np.concatenate([*rows, np.zeros(0, np.int64)])
