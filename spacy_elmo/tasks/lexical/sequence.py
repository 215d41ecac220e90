"""Compute the loss and the prediction of a CRFLayer for batches of sequences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ...batching import minibatch_by_size
from ...errors import ElmoError
from . import crf
from .crf import FORBIDDEN, Packing, Potentials
from .crf_layer import POTENTIALS, potentials_of

Constraints = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Scores of transitions (L, L), first labels (L,) and last labels (L,): 0 or crf.FORBIDDEN."""

PREDICT_TOKENS = 4096  # tokens whose features are in memory together
VITERBI_TOKENS = 16384  # tokens whose back-pointers are in memory together
LARGEST = 1e6  # absolute score: trained ones are below a hundred, and larger ones could outweigh FORBIDDEN


def potentials_with(layer: Model[Any, Any], constraints: Constraints) -> Potentials:
    """Return the learned scores between labels, including constraints, on the layer's device.

    Raises an ElmoError for scores that check_scores refuses.
    """
    ops: Any = layer.ops
    for name in POTENTIALS:
        check_scores(layer.get_param(name), ops.xp)
    return potentials_of(layer, [ops.asarray(each) for each in constraints])


def check_scores(scores: Any, xp: Any) -> None:
    """Raise an ElmoError for scores from which no valid labels follow: NaN, infinite or above LARGEST."""
    if not ((xp.abs(scores) <= LARGEST) | (scores == FORBIDDEN)).all():
        raise ElmoError(
            "The scores of the labels are too large or no numbers, because the training has diverged or the "
            "weights are damaged: train again, with a lower learn_rate if the loss grew."
        )


def predict_in_batches(model: Model[Any, Any], docs: Sequence[Doc]) -> list[Floats2d]:
    """Predict a few docs at a time: the features of many would take hundreds of megabytes."""
    return [Y for batch in minibatch_by_size(docs, PREDICT_TOKENS, len) for Y in model.predict(batch)]


def sequence_loss(
    layer: Model[Any, Any], scores: Sequence[Floats2d], labels: Sequence[np.ndarray], constraints: Constraints
) -> tuple[float, list[Floats2d]]:
    """Compute the summed negative log-likelihood of label sequences, and its gradient for the scores.

    layer: a CRFLayer; the gradients of its transitions are incremented. scores: (n, L) of each sequence.
    labels: (n,) label ids; -1: not annotated, so all labels are possible (Tsuboi et al. 2008). Raises an
    ElmoError for scores that check_scores refuses, as best_labels does.
    """
    xp = layer.ops.xp
    packing = Packing([len(ids) for ids in labels])
    if not packing.n_tokens:
        return 0.0, list(scores)
    packed, ids = packing.pack(scores, xp), packing.pack(labels)
    check_scores(packed, xp)
    potentials = potentials_with(layer, constraints)
    free = crf.marginals(packed, packing, potentials, xp)
    if (ids >= 0).all():
        right = crf.known_marginals(xp.asarray(ids), packed, packing, potentials, xp)
    else:
        right = crf.marginals(forbid_others(packed, ids, xp), packing, potentials, xp)
    for name in POTENTIALS:
        layer.inc_grad(name, (getattr(free, name) - getattr(right, name)).astype("f"))
    d_scores = (free.labels - right.labels).astype("f")
    return free.log_partition - right.log_partition, packing.unpack(d_scores, xp)


def best_labels(
    layer: Model[Any, Any],
    scores: Sequence[Floats2d],
    constraints: Constraints,
    fixed: Sequence[np.ndarray | None] | None = None,
) -> list[np.ndarray]:
    """Find the best label sequences: (n,) label ids of each.

    fixed: label ids that a sequence must keep, -1 for free tokens; None: all are free.
    """
    ops: Any = layer.ops
    potentials = potentials_with(layer, constraints)
    found: list[np.ndarray] = []
    sequences = list(zip(scores, [None] * len(scores) if fixed is None else fixed, strict=True))
    for batch in minibatch_by_size(sequences, VITERBI_TOKENS, lambda sequence: len(sequence[0])):
        some = [unary if ids is None else forbid_others(unary, ids, ops.xp) for unary, ids in batch]
        packing = Packing([len(each) for each in some])
        if packing.n_tokens:
            packed = packing.pack(some, ops.xp)
            check_scores(packed, ops.xp)
            labels = ops.to_numpy(crf.viterbi(packed, packing, potentials, ops.xp))
        else:
            labels = np.zeros(0, dtype=np.int64)
        found += packing.unpack(labels)
    return found


def forbid_others(scores: Floats2d, ids: np.ndarray, xp: Any) -> Floats2d:
    """Return scores (n, L) with all labels but one FORBIDDEN where `ids` (n,) is not -1."""
    allowed = (ids < 0)[:, None] | (ids[:, None] == np.arange(scores.shape[1]))
    found: Floats2d = xp.where(xp.asarray(allowed), scores, xp.float32(FORBIDDEN))
    return found
