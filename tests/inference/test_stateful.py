"""Stateful inference: each row continues from its last sentence, as other systems did."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modeling.helpers import ENCODERS, WORDS, embed, make_bilm, read
from thread_helpers import switch_often

from spacy_elmo.inference import loading

MODELS = {
    "free": make_bilm(),
    "clipped": make_bilm(cell_clip=0.2, proj_clip=0.1),
    "without projection": make_bilm(hidden_size=6),
    "three layers, no skip connections": make_bilm(n_layers=3, use_skip_connections=False),
    "n-grams": make_bilm(**ENCODERS["n-grams"]),
    "char_cnn": make_bilm(token_encoder="char_cnn", tie_softmax=False, max_characters_per_token=6),
}
batches = st.lists(
    st.lists(st.lists(st.sampled_from([*WORDS, "?"]), max_size=4), min_size=1, max_size=3), max_size=4
)


def expected(bilm, history):
    """The layers of the last of a row's sentences: each direction has read all of them, in its own order."""
    embedded = [embed(bilm, sentence) for sentence in history]
    n = len(embedded[-1][0])
    ahead = [y[-n:] for y in read(bilm, "forward", np.concatenate([x for x, _ in embedded]))]
    back = [y[-n:][::-1] for y in read(bilm, "backward", np.concatenate([x[::-1] for _, x in embedded]))]
    pairs = [embedded[-1], *zip(ahead, back, strict=True)]
    return np.stack([np.concatenate(pair, 1) for pair in pairs])[:, 1:-1]


@settings(max_examples=15, deadline=None)
@given(batches=batches)
@pytest.mark.parametrize("name", MODELS)
def test_each_row_goes_on_from_its_last_sentence(name, batches):
    bilm = MODELS[name]
    bilm.reset_states()
    rows = {}
    for batch in batches:  # an empty sentence is its two boundaries
        for row, layers in enumerate(bilm.encode(batch, stateful=True)):
            rows.setdefault(row, []).append(batch[row])
            np.testing.assert_allclose(layers, expected(bilm, rows[row]), atol=1e-5)


def test_the_ordinary_way_is_cold_and_changes_no_state():
    bilm = make_bilm()
    cold = bilm.encode([["我"]])[0]
    first, second = (bilm.encode([["我"]], stateful=True)[0] for _ in range(2))
    np.testing.assert_allclose(first, cold, atol=1e-6)
    assert np.abs(second[1:] - first[1:]).max() > 1e-3
    np.testing.assert_array_equal(bilm.encode([["我"]])[0], cold)
    other = copy.deepcopy(bilm)
    third = bilm.encode([["我"]], stateful=True)[0]
    np.testing.assert_array_equal(other.encode([["我"]], stateful=True)[0], third)
    bilm.reset_states()
    np.testing.assert_array_equal(bilm.encode([["我"]], stateful=True)[0], first)
    assert bilm.encode([], stateful=True) == []


def test_a_saved_model_carries_nothing(tmp_path):
    bilm = make_bilm()
    first = bilm.encode([["我"]], stateful=True)[0]
    bilm.save(tmp_path / "model")
    again = loading.load(tmp_path / "model").encode([["我"]], stateful=True)[0]
    np.testing.assert_allclose(again, first, atol=1e-6)  # mapped weights lie elsewhere: other roundings


def test_batches_of_threads_come_one_after_another():
    """Each thread's batches are whole: both directions continue from the states of the same batch before."""
    bilm = make_bilm(n_layers=3)
    batch = [[list(WORDS[:3]), list(WORDS[1:])]] * 40
    single = [bilm.encode(each, stateful=True) for each in batch]
    bilm.reset_states()
    with switch_often(), ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: bilm.encode(each, stateful=True), batch))
    for each in single:  # in some order
        matching = [i for i, other in enumerate(found) if all(map(np.array_equal, each, other))]
        assert matching
        del found[matching[0]]
