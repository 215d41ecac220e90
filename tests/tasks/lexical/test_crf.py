"""The CRF against brute force over all label sequences, and against finite differences."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.tasks.lexical import crf
from spacy_elmo.tasks.lexical.crf import FORBIDDEN, Packing, Potentials

N_LABELS = 3


def make(lengths, seed, *, forbid=True):
    rng = np.random.default_rng(seed)
    emissions = [rng.normal(size=(n, N_LABELS)) for n in lengths]
    potentials = Potentials(*(rng.normal(size=shape) for shape in ((N_LABELS, N_LABELS), N_LABELS, N_LABELS)))
    if forbid:
        potentials.transitions[0, 1] = FORBIDDEN
        potentials.start[2] = FORBIDDEN
    return emissions, potentials


def score(labels, emissions, potentials):
    total = potentials.start[labels[0]] + potentials.end[labels[-1]]
    total += sum(emissions[i, label] for i, label in enumerate(labels))
    return total + sum(potentials.transitions[a, b] for a, b in pairwise(labels))


def brute_force(emissions, potentials):
    """Label marginals (n, L), the log of the sum of all sequences, and the best sequence."""
    n = len(emissions)
    paths = list(product(range(N_LABELS), repeat=n))
    scores = np.array([score(path, emissions, potentials) for path in paths])
    log_z = np.logaddexp.reduce(scores)
    marginals = np.zeros((n, N_LABELS))
    for path, s in zip(paths, scores, strict=True):
        marginals[np.arange(n), path] += np.exp(s - log_z)
    return marginals, log_z, paths[scores.argmax()]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 1000))
def test_marginals_partition_and_best_path_are_those_of_all_sequences(lengths, seed):
    emissions, potentials = make(lengths, seed)
    packing = Packing(lengths)
    packed = packing.pack(emissions)
    expected = [brute_force(e, potentials) for e in emissions]
    found = crf.marginals(packed, packing, potentials)
    for part, (marginals, _, _) in zip(packing.unpack(found.labels), expected, strict=True):
        np.testing.assert_allclose(part, marginals, atol=1e-10)
    assert found.log_partition == pytest.approx(sum(log_z for _, log_z, _ in expected))
    best = packing.unpack(crf.viterbi(packed, packing, potentials))
    assert [tuple(path) for path in best] == [path for _, _, path in expected]


@pytest.mark.parametrize("name", ["emissions", "transitions", "start", "end"])
def test_marginals_are_the_gradient_of_the_log_partition(name):
    lengths = [4, 1, 3]
    emissions, potentials = make(lengths, 7, forbid=False)
    packing = Packing(lengths)
    packed = packing.pack(emissions)
    found = crf.marginals(packed, packing, potentials)
    variable = packed if name == "emissions" else getattr(potentials, name)
    gradient = found.labels if name == "emissions" else getattr(found, name)
    for index in np.ndindex(variable.shape):
        kept, values = variable[index], []
        for step in (1e-5, -1e-5):
            variable[index] = kept + step
            values.append(crf.marginals(packed, packing, potentials).log_partition)
        variable[index] = kept
        assert gradient[index] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-6)


def test_known_labels_are_what_is_forced():
    lengths = [3, 1, 4]
    emissions, potentials = make(lengths, 3, forbid=False)
    packing = Packing(lengths)
    packed = packing.pack(emissions)
    labels = packing.pack([np.array([0, 1, 2]), np.array([1]), np.array([2, 2, 0, 1])])
    forced = np.where(labels[:, None] == np.arange(N_LABELS), packed, FORBIDDEN)
    by_force = crf.marginals(forced, packing, potentials)
    counted = crf.known_marginals(labels, packed, packing, potentials)
    for name in ("labels", "transitions", "start", "end", "log_partition"):
        np.testing.assert_allclose(getattr(counted, name), getattr(by_force, name), atol=1e-9)


def test_the_probability_of_a_part_is_the_sum_over_all_sequences_with_it():
    lengths = [5, 3]
    emissions, potentials = make(lengths, 5)
    packing = Packing(lengths)
    lattice = crf.forward_backward(packing.pack(emissions), packing, potentials)
    part = {1: 2, 2: 0, 3: 2}
    paths = list(product(range(N_LABELS), repeat=5))
    weights = np.exp([score(path, emissions[0], potentials) for path in paths])
    with_part = [all(path[i] == label for i, label in part.items()) for path in paths]
    found = crf.path_probability(lattice, packing.rows[list(part)], np.array(list(part.values())))
    assert found == pytest.approx(weights[with_part].sum() / weights.sum())


def test_scores_far_apart_neither_overflow_nor_vanish():
    packing = Packing([2000])
    emissions = np.random.default_rng(0).normal(size=(2000, N_LABELS)) * 300
    potentials = Potentials(np.eye(N_LABELS) * 50, np.zeros(N_LABELS), np.zeros(N_LABELS))
    found = crf.marginals(emissions, packing, potentials)
    np.testing.assert_allclose(found.labels.sum(1), 1.0, atol=1e-9)
    assert np.isfinite(found.log_partition)


def test_small_differences_count_in_a_long_sequence():
    n = 20_000
    rng = np.random.default_rng(0)
    emissions = (500 + 0.1 * rng.permuted(np.tile(np.arange(N_LABELS), (n, 1)), axis=1)).astype("f")
    zeros = np.zeros(N_LABELS, "f")
    found = crf.viterbi(
        emissions, Packing([n]), Potentials(np.zeros((N_LABELS, N_LABELS), "f"), zeros, zeros)
    )
    np.testing.assert_array_equal(found, emissions.argmax(1))


def test_no_allowed_sequence_is_an_error():
    emissions, potentials = make([2], 0, forbid=False)
    potentials.transitions[:] = FORBIDDEN
    with pytest.raises(FloatingPointError, match="allow"):
        crf.marginals(emissions[0], Packing([2]), potentials)


@given(st.lists(st.integers(0, 6), max_size=6))
def test_unpacking_inverts_packing(lengths):
    arrays = [np.arange(2 * n, dtype=float).reshape(n, 2) + 100 * i for i, n in enumerate(lengths)]
    packing = Packing(lengths)
    packed = packing.pack([*arrays, np.zeros((0, 2))])
    for array, back in zip(arrays, packing.unpack(packed), strict=True):
        np.testing.assert_array_equal(array, back)
