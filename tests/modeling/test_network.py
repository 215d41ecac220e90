"""The network against a plain one in numpy, and what must not influence a vector."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_elmo.errors import ConfigError
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.lstm import reverse_padded
from spacy_elmo.modeling.vocab import Vocab

from .helpers import ENCODERS, WORDS, layers, make_bilm

SENTENCE = ["我", "爱", "北京", "天安门", "？未知", "，", "Linux"]
UNITS = [*WORDS, "未知", "Ｌｉｎｕｘ", "<s>", "</s>", "<pad>", "安", " ", "一个很长很长的词"]
MODELS = {name: make_bilm(**options) for name, options in ENCODERS.items()}
sentences = st.lists(st.lists(st.sampled_from(UNITS), max_size=12), max_size=8)


@pytest.fixture(params=MODELS)
def bilm(request) -> BiLM:
    return MODELS[request.param]


def encode(bilm: BiLM, sentence: list[str]) -> np.ndarray:
    return bilm.encode([sentence])[0]


@pytest.mark.parametrize("name", MODELS)
def test_shapes(name):
    bilm = MODELS[name]
    out = bilm.encode([SENTENCE, [], ["我"]])
    assert [a.shape for a in out] == [(3, 7, 12), (3, 0, 12), (3, 1, 12)]
    assert (bilm.n_layers, bilm.width) == (3, 12)
    assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in out)
    assert bilm.encode([]) == []
    assert [a.shape for a in bilm.encode([[], []])] == [(3, 0, 12)] * 2


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "sentence", [SENTENCE, ["我"], ["<s>", "</s>", "<pad>"]], ids=["long", "one", "marks"]
)
def test_like_the_plain_network(name, sentence):
    np.testing.assert_allclose(encode(MODELS[name], sentence), layers(MODELS[name], sentence), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"cell_clip": 0.1},
        {"proj_clip": 0.05},
        {"cell_clip": 0.2, "proj_clip": 0.1, "use_skip_connections": False},
        {"cell_clip": 0.1, "projection_dim": 6, "hidden_size": 6},
        {"projection_dim": 6, "hidden_size": 6},
        {"n_layers": 1},
        {"n_layers": 3},
        {"n_layers": 3, "use_skip_connections": False, "cell_clip": 0.1, "proj_clip": 0.1},
    ],
    ids=str,
)
def test_like_the_plain_network_with_other_settings(options):
    bilm = make_bilm(**options)
    assert encode(bilm, SENTENCE).shape == (bilm.config.n_layers + 1, 7, 12)
    np.testing.assert_allclose(encode(bilm, SENTENCE), layers(bilm, SENTENCE), atol=1e-5)


@pytest.mark.parametrize("clip", ["cell_clip", "proj_clip"])
def test_a_clip_that_bites_changes_the_layers_and_one_that_does_not_leaves_them(clip):
    free = encode(make_bilm(), SENTENCE)
    assert np.abs(encode(make_bilm(**{clip: 0.05}), SENTENCE)[1:] - free[1:]).max() > 0.01
    np.testing.assert_allclose(encode(make_bilm(**{clip: 1e6}), SENTENCE), free, atol=1e-5)


def test_the_projection_clip_bounds_the_state_and_not_the_skip_connection():
    out = encode(make_bilm(proj_clip=0.05), SENTENCE)
    assert np.abs(out[1]).max() <= 0.05 + 1e-6
    assert 0.05 < np.abs(out[2]).max() <= 0.1 + 1e-6


@pytest.mark.parametrize("name", [name for name in MODELS if name != "n-grams"])
def test_layer_0_is_the_embedding_twice(name):
    bilm = MODELS[name]
    out = encode(bilm, SENTENCE)
    np.testing.assert_array_equal(out[0, :, :6], out[0, :, 6:])
    other = encode(bilm, SENTENCE[::-1])
    np.testing.assert_allclose(out[0], other[0, ::-1], atol=1e-6)  # a unit's own, wherever it stands
    assert np.abs(out[1] - other[1, ::-1]).max() > 0.01


def test_the_directions_are_two_stacks():
    bilm = make_bilm()
    before = encode(bilm, SENTENCE)
    with torch.no_grad():
        for parameter in bilm.backward_lm.parameters():
            parameter.add_(0.5)
    after = encode(bilm, SENTENCE)
    np.testing.assert_array_equal(before[..., :6], after[..., :6])
    assert np.abs(before[1:, :, 6:] - after[1:, :, 6:]).max() > 0.01
    shared = {id(p) for p in bilm.forward_lm.parameters()}
    assert not shared & {id(p) for p in bilm.backward_lm.parameters()}


def test_the_skip_connection_is_there_from_layer_2_on():
    without, with_skip = (encode(make_bilm(use_skip_connections=skip), SENTENCE) for skip in (False, True))
    np.testing.assert_array_equal(without[:2], with_skip[:2])
    # Layer 1 is added to layer 2's output, not to its state.
    np.testing.assert_allclose(with_skip[2], without[2] + without[1], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(sentences=sentences, batch_tokens=st.sampled_from([1, 14, 30, 4096]), data=st.data())
@pytest.mark.parametrize("name", MODELS)
def test_a_vector_depends_on_its_sentence_alone(name, sentences, batch_tokens, data):
    bilm = MODELS[name]
    alone = [bilm.encode([sentence])[0] for sentence in sentences]
    order = data.draw(st.permutations(range(len(sentences))))
    together = bilm.encode([sentences[i] for i in order], batch_tokens=batch_tokens)
    for i, found in zip(order, together, strict=True):
        assert found.shape == alone[i].shape
        assert np.abs(found - alone[i]).max(initial=0) < 1e-5


@pytest.mark.parametrize("options", [{}, {"cell_clip": 0.1, "proj_clip": 0.1}], ids=str)
def test_padding_does_not_reach_a_vector(options):
    bilm = make_bilm(**options)
    batch = collate(bilm, [SENTENCE, ["我"], ["爱", "我"]])
    out = bilm(batch)
    for row, sentence in enumerate([SENTENCE, ["我"], ["爱", "我"]]):
        whole = out[:, row, 1 : 1 + len(sentence)].detach().numpy()
        np.testing.assert_allclose(whole, layers(bilm, sentence), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"cell_clip": 0.1, "proj_clip": 0.1}], ids=["free", "clipped"])
def test_causality(bilm, options):
    bilm = bilm if not options else make_bilm(**options)
    one = encode(bilm, SENTENCE)
    later = encode(bilm, [*SENTENCE[:4], "在", "我", "的"])
    earlier = encode(bilm, ["在", "我", "的", *SENTENCE[3:]])
    ahead, back = slice(0, 6), slice(6, 12)
    np.testing.assert_allclose(one[:, :4, ahead], later[:, :4, ahead], atol=1e-6)
    np.testing.assert_allclose(one[:, 3:, back], earlier[:, 3:, back], atol=1e-6)
    for changed, kept, half in ((later, slice(0, 4), back), (earlier, slice(3, 7), ahead)):
        difference = np.abs(one - changed)[1:, kept, half].max(2)  # (layers, units)
        assert (difference > 1e-6).all()


def test_a_state_is_that_of_the_text_up_to_it():
    bilm = make_bilm()
    whole = encode(bilm, SENTENCE)
    for t in range(len(SENTENCE)):
        np.testing.assert_allclose(whole[:, t, :6], layers(bilm, SENTENCE[: t + 1])[:, -1, :6], atol=1e-5)
        np.testing.assert_allclose(whole[:, t, 6:], layers(bilm, SENTENCE[t:])[:, 0, 6:], atol=1e-5)


def test_unknown_units_of_a_table_are_one_unit():
    bilm = MODELS["table"]
    np.testing.assert_array_equal(encode(bilm, ["我", "谁"]), encode(bilm, ["我", "哪"]))
    assert np.abs(encode(bilm, ["我", "谁"]) - encode(bilm, ["我", "爱"])).max() > 0.01
    np.testing.assert_array_equal(encode(bilm, ["<s>"]), encode(bilm, ["谁"]))  # not the boundary


def test_full_width_forms_are_folded_when_the_model_says_so():
    folding, exact = make_bilm(), make_bilm(fold_fullwidth=False)
    exact.vocab = Vocab(WORDS, fold_fullwidth=False)
    for bilm, same in ((folding, True), (exact, False)):
        assert (encode(bilm, ["Ｌｉｎｕｘ"]) == encode(bilm, ["Linux"])).all() == same


@pytest.mark.parametrize("name", ["char_cnn", "both"])
class TestCharacters:
    def embeddings(self, name, units):
        return encode(MODELS[name], units)[0, :, :6]

    def test_unknown_words_differ_by_their_characters(self, name):
        # 京北 and 安天 are words that the vocabulary does not have, of characters that it has
        one, other = self.embeddings(name, ["京北", "安天"])
        assert np.abs(one - other).max() > 1e-3

    def test_a_word_is_cut_at_max_characters(self, name):
        long, cut, short = self.embeddings(name, ["天安门天安门北京", "天安门天安门", "天安门天安"])
        np.testing.assert_allclose(long, cut, atol=1e-6)
        assert np.abs(cut - short).max() > 1e-4

    def test_unknown_characters_are_one_character(self, name):
        one, other, known = self.embeddings(name, ["北狗", "北猫", "北我"])
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.abs(one - known).max() > 1e-4

    def test_a_word_spelled_like_a_boundary_is_a_word(self, name):
        bilm = MODELS[name]
        batch = collate(bilm, [["<s>"]])
        boundary, word, end = bilm(batch)[0, 0, :, :6].detach().numpy()
        assert np.abs(boundary - word).max() > 1e-3
        assert np.abs(boundary - end).max() > 1e-3

    def test_the_order_of_characters_matters(self, name):
        one, other = self.embeddings(name, ["北京", "京北"])
        assert np.abs(one - other).max() > 1e-4


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_reverse_is_its_own_inverse_and_leaves_the_padding(lengths):
    x = torch.arange(len(lengths) * 6).view(len(lengths), 6)
    back = reverse_padded(x, torch.tensor(lengths))
    assert torch.equal(reverse_padded(back, torch.tensor(lengths)), x)
    for row, turned, n in zip(x, back, lengths, strict=True):
        assert turned.tolist() == [*row[:n].flip(0).tolist(), *row[n:].tolist()]


def test_a_char_cnn_needs_characters():
    config = BiLMConfig(units="word", token_encoder="char_cnn", tie_softmax=False)
    with pytest.raises(ConfigError, match="vocabulary with characters"):
        BiLM(config, Vocab(WORDS))
