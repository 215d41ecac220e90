"""Decoding, calibration and the network's layers against plain computations."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_elmo.tasks.reading.attention import BidirectionalAttention, length_mask
from spacy_elmo.tasks.reading.bilstm import BiLSTM
from spacy_elmo.tasks.reading.calibration import CalibrationCase, fit_calibration
from spacy_elmo.tasks.reading.decoding import Calibration, best_spans, fit_length_scores, span_scores
from spacy_elmo.tasks.reading.features import match_features, split_windows
from spacy_elmo.tasks.reading.loss import span_loss
from spacy_elmo.tasks.reading.network import BiDAF, BiDAFConfig, Sequences, SpanScores

scores = st.lists(st.floats(-5, 5), min_size=1, max_size=9)


@given(scores, st.data(), st.integers(1, 10))
def test_probabilities_are_those_of_all_allowed_spans(start, data, max_length):
    n = len(start)
    end = data.draw(st.lists(st.floats(-5, 5), min_size=n, max_size=n))
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    window = span_scores(np.array(start), np.array(end), 0.3, allowed, max_length)
    weights = {
        (i, j + 1): np.exp(start[i] + end[j])
        for i in range(n)
        for j in range(i, min(n, i + max_length))
        if allowed[i] and allowed[j]
    }
    total = sum(weights.values()) + np.exp(0.6)
    log_probabilities, no_answer = window.log_probabilities(Calibration())
    assert np.exp(no_answer) == pytest.approx(np.exp(0.6) / total)
    found = best_spans(log_probabilities, 100, 1)
    assert len(found) == (1 if weights else 0)
    for span in found:
        assert span.probability == pytest.approx(max(weights.values()) / total)
        assert weights[span.start - 100, span.end - 100] == pytest.approx(max(weights.values()))


def test_frequent_lengths_score_more():
    scores = fit_length_scores([2, 2, 2, 3, 9, 40], 10, 0.5)
    assert len(scores) == 10
    assert max(scores) == scores[1] == 0.0
    assert scores[2] > scores[5]
    assert fit_length_scores([], 10, 0.5) == fit_length_scores([2], 10, 0.0) == []
    window = span_scores(np.zeros(12), np.zeros(12), 0.0, np.ones(12, dtype=bool), 12, scores)
    (best,) = best_spans(window.log_probabilities(Calibration())[0], 0, 1)
    assert best.end - best.start == 2
    np.testing.assert_allclose(window.spans[:, 0], [*scores, scores[-1], scores[-1]])


@given(st.integers(0, 60), st.integers(1, 20), st.data())
def test_windows_cover_all(length, size, data):
    stride = data.draw(st.integers(1, size))
    windows = split_windows(length, size, stride)
    assert {i for start, end in windows for i in range(start, end)} == set(range(length))
    assert all(0 < end - start <= size for start, end in windows)
    starts = [start for start, _ in windows]
    assert all(0 < b - a <= stride for a, b in pairwise(starts))


def test_matches():
    assert match_features("北京大学", "京大在哪").tolist() == [[0, 0, 0], [1, 0, 1], [1, 1, 0], [0, 0, 0]]


def test_attention_is_the_papers():
    torch.manual_seed(0)
    layer = BidirectionalAttention(6)
    H, U = torch.randn(2, 5, 6), torch.randn(2, 4, 6)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    question_mask = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    a, b = layer(H, U, mask, question_mask)
    w = torch.cat([layer.passage_weight.weight[0], layer.question_weight.weight[0], layer.product_weight])
    h, u = H[1, :3], U[1, :2]
    S = torch.stack([torch.stack([w @ torch.cat([x, y, x * y]) for y in u]) for x in h])
    torch.testing.assert_close(a[1, :3], S.softmax(1) @ u)
    torch.testing.assert_close(b[1], S.max(1).values.softmax(0) @ h)


@pytest.mark.parametrize("training", [False, True])
def test_bilstm_is_torchs_on_each_sequence(training):
    """By the native kernel in training, where there is one."""
    torch.manual_seed(0)
    layer = BiLSTM(5, 16)
    both = torch.nn.LSTM(16, 16, batch_first=True, bidirectional=True)
    for direction, suffix in ((layer.forward_lstm, ""), (layer.backward_lstm, "_reverse")):
        for name, p in direction.named_parameters():
            getattr(both, f"{name}{suffix}").data = p.data
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 5, 2])
    with torch.set_grad_enabled(training):
        out = layer(x, lengths)
    ahead, back = layer.reduction(x).detach().chunk(2, -1)
    for i, n in enumerate(lengths.tolist()):
        expected = torch.cat(
            [both(ahead[i : i + 1, :n])[0][0, :, :16], both(back[i : i + 1, :n])[0][0, :, 16:]], 1
        )
        torch.testing.assert_close(out[i, :n], expected, atol=1e-5, rtol=1e-5)


def test_bilstm_gradients_are_torchs(monkeypatch):
    torch.manual_seed(0)
    layer = BiLSTM(5, 16)
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 5, 2])
    mask, weights = length_mask(lengths, 7, x.device)[..., None], torch.randn(3, 7, 32)

    def gradients():
        layer.zero_grad()
        (layer(x, lengths) * mask * weights).sum().backward()
        return {name: p.grad.clone() for name, p in layer.named_parameters()}

    found = gradients()
    monkeypatch.setattr("spacy_elmo.tasks.reading.bilstm.trains", lambda x: False)
    for name, expected in gradients().items():
        torch.testing.assert_close(found[name], expected, atol=1e-4, rtol=1e-4, msg=name)


def test_scores_do_not_depend_on_padding():
    torch.manual_seed(0)
    network = BiDAF(BiDAFConfig("abcdef", hidden_size=5, char_dim=4)).eval()

    def run(passages, questions, pairs):
        def pad(ids):
            lengths = [len(x) for x in ids]
            rows = [x + [0] * (max(lengths) - len(x)) for x in ids]
            return Sequences(torch.tensor(rows), torch.tensor(lengths), None)

        matches = torch.zeros(len(pairs), max(map(len, passages)), 3)
        return network(pad(passages), pad(questions), torch.tensor(pairs), matches)

    passages, questions = [[2, 3, 4, 5, 6, 7, 1], [5, 4, 3]], [[2, 2], [3, 4, 5, 6]]
    both = run(passages, questions, [(0, 0), (0, 1), (1, 0), (1, 1)])
    for row, (p, q) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        alone = run([passages[p]], [questions[q]], [(0, 0)])
        n = len(passages[p])
        for name in ("start", "end"):
            torch.testing.assert_close(
                getattr(both, name)[row, :n], getattr(alone, name)[0], atol=1e-5, rtol=0
            )
        torch.testing.assert_close(both.no_answer[row], alone.no_answer[0], atol=1e-5, rtol=0)


def test_loss_and_its_gradient():
    rng = np.random.default_rng(0)
    shape = (2, 4)
    start, end, none = (rng.standard_normal(s).astype("f") for s in (shape, shape, (2,)))
    lengths, targets = [4, 3], [[(0, 2), (1, 2)], []]

    def loss(a, b, c):
        return span_loss(SpanScores(a, b, c), lengths, targets)

    def softmax(x):
        return np.exp(x) / np.exp(x).sum()

    p = softmax(np.append(start[0], none[0]))
    e = softmax(np.append(end[0], none[0]))
    expected = -np.log(p[0] + p[1]) - np.log(e[1])
    for scores_of in (start, end):
        expected -= np.log(softmax(np.append(scores_of[1, :3], none[1]))[-1])
    value, grads = loss(start, end, none)
    assert value == pytest.approx(expected, rel=1e-5)
    assert grads.start[1, 3] == grads.end[1, 3] == 0.0, "padding"
    step = np.zeros(shape, dtype="f")
    step[0, 2] = 1e-2
    numeric = (loss(start + step, end, none).loss - loss(start - step, end, none).loss) / 2e-2
    assert grads.start[0, 2] == pytest.approx(numeric / 2, rel=1e-2)  # of the mean over two pairs


def test_calibration_finds_what_made_the_data():
    """Scores that are twice too large and refuse too seldom."""
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(400):
        true = rng.standard_normal(6) * 1.5
        probabilities = np.exp(true) / np.exp(true).sum()
        drawn = rng.choice(6, p=probabilities)
        shown = 2.0 * true
        window = span_scores(shown[:5], np.zeros(5), (shown[5] - 3.0) / 2, np.ones(5, dtype=bool), 1)
        cases.append(CalibrationCase.of([(0, window)], [] if drawn == 5 else [(drawn, drawn + 1)]))
    found = fit_calibration(cases, Calibration())
    assert found.temperature == pytest.approx(2.0, rel=0.25)
    assert found.no_answer_bias == pytest.approx(3.0, abs=1.0)
    assert fit_calibration([], found) == found
