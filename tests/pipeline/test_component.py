"""The component "elmo" alone: what it leaves on a Doc, and how it is called."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_elmo.inference import loading
from spacy_elmo.pipeline.layers import bilm as bilm_module

from .helpers import SENTENCES, TEXTS, assert_same, blank, layers_of, make_bilm


def test_layers_and_mean(elmo_nlp):
    doc = elmo_nlp(TEXTS[0])
    assert doc._.elmo.layers.shape == (3, len(doc), 16)
    assert doc._.elmo.layers.dtype == np.float32
    np.testing.assert_allclose(doc._.elmo.mean, doc._.elmo.layers.mean(0), atol=1e-6)


def test_is_what_the_bilm_says(elmo_nlp, char_model):
    doc = elmo_nlp("我去银行取钱。自行车很快。")
    states = loading.load(char_model).encode([list("我去银行取钱。"), list("自行车很快。")], precision="auto")
    np.testing.assert_allclose(doc._.elmo.layers, np.concatenate(states, 1), atol=1e-6)


def test_states_of_a_word_are_those_of_its_ends(elmo_nlp, char_model):
    words = SENTENCES[0][0].split()
    doc = elmo_nlp(Doc(elmo_nlp.vocab, words=words, spaces=[False] * len(words)))
    (states,) = loading.load(char_model).encode([list("".join(words))], precision="auto")
    bank = doc._.elmo.token_vector(doc[2], "lstm2")  # 银行, the characters 2 and 3
    np.testing.assert_allclose(bank[:8], states[2, 3, :8], atol=1e-6)
    np.testing.assert_allclose(bank[8:], states[2, 2, 8:], atol=1e-6)
    np.testing.assert_allclose(doc._.elmo.token_vector(doc[2], 0), states[0, 2:4].mean(0), atol=1e-6)


def test_words_are_units_of_a_word_model(word_model):
    nlp = blank(word_model)
    words = SENTENCES[0][0].split()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        doc = nlp(Doc(nlp.vocab, words=words, spaces=[False] * len(words)))
    (states,) = loading.load(word_model).encode([words], precision="auto")
    np.testing.assert_allclose(doc._.elmo.layers, states, atol=1e-6)


def test_call_pipe_and_processes_agree(elmo_nlp):
    one_by_one = [elmo_nlp(text)._.elmo.layers for text in TEXTS]
    assert_same(one_by_one, layers_of(elmo_nlp))
    assert_same(one_by_one, layers_of(elmo_nlp, batch_size=2))
    assert_same(one_by_one, layers_of(elmo_nlp, n_process=2, batch_size=2))


def test_processes_after_torch_has_used_threads(char_model):
    """A child that waits for its parent's threads would wait for ever (spaCy issues 4667 and 6662)."""
    code = (
        "import torch; torch.set_num_threads(2)\n"
        "import spacy; nlp = spacy.blank('zh')\n"
        f"nlp.add_pipe('elmo', config={{'model': {{'path': {str(char_model)!r}}}}})\n"
        "text = '我去银行取钱。' * 200\n"
        "nlp(text); torch.randn(600, 600) @ torch.randn(600, 600)\n"
        "print(sum(len(doc._.elmo.mean) for doc in nlp.pipe([text] * 4, n_process=2, batch_size=1)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == str(4 * 200 * 7), done.stderr


def test_one_call_of_the_bilm_for_a_batch(elmo_nlp, monkeypatch):
    calls = []
    bilm = elmo_nlp.get_pipe("elmo").model.shims[0].bilm
    encode = type(bilm).encode
    monkeypatch.setattr(type(bilm), "encode", lambda *a, **kw: calls.append(a[1]) or encode(*a, **kw))
    list(elmo_nlp.pipe(TEXTS))
    assert len(calls) == 1
    assert len(calls[0]) == 5


def test_a_batch_goes_through_in_portions_where_states_of_units_are_made(elmo_nlp, monkeypatch):
    words = ["我", "去", "银行", "取钱", "。", "自行车", "很快", "。"]
    docs = [Doc(elmo_nlp.vocab, words=words[i:], spaces=[False] * len(words[i:])) for i in range(len(words))]
    docs += [elmo_nlp.make_doc(text) for text in TEXTS]
    elmo = elmo_nlp.get_pipe("elmo")
    together = elmo.predict(docs)
    monkeypatch.setattr(bilm_module, "MAX_UNITS_IN_FLIGHT", 20)
    calls = []
    bilm = elmo.model.shims[0].bilm
    encode = type(bilm).encode
    monkeypatch.setattr(type(bilm), "encode", lambda *a, **kw: calls.append(a[1]) or encode(*a, **kw))
    assert_same(together, elmo.predict(docs))
    assert len(calls) > 2


def test_long_doc_and_long_token(elmo_nlp):
    words = ["北京", "。"] * 10_000
    doc = elmo_nlp(Doc(elmo_nlp.vocab, words=words, spaces=[False] * len(words)))
    assert doc._.elmo.layers.shape == (3, 20_000, 16)
    np.testing.assert_allclose(doc._.elmo.layers[:, 0], doc._.elmo.layers[:, -2], atol=1e-5)
    doc = elmo_nlp(Doc(elmo_nlp.vocab, words=["好" * 3000, "。"], spaces=[False, False]))
    assert np.isfinite(doc._.elmo.layers).all()
    assert doc._.elmo.layers[:, 0].any(axis=1).all()


def test_white_space_gets_zeros(elmo_nlp):
    doc = elmo_nlp(Doc(elmo_nlp.vocab, words=["我", "\n", "去"], spaces=[False] * 3))
    assert not doc._.elmo.layers[:, 1].any()
    assert doc._.elmo.layers[:, 0].any(axis=1).all()


def test_empty_docs_alone(elmo_nlp):
    assert [x.shape for x in layers_of(elmo_nlp, ["", ""])] == [(3, 0, 16)] * 2


# --- doc.tensor ---


def test_vectors_are_contextual(elmo_nlp):
    doc = elmo_nlp("他打球，我打字。")
    np.testing.assert_array_equal(doc.tensor, doc._.elmo.mean)
    np.testing.assert_array_equal(doc[1].vector, doc._.elmo.mean[1])
    assert (doc[1].vector != doc[5].vector).any()
    np.testing.assert_allclose(doc.vector, doc._.elmo.mean.mean(0), atol=1e-6)
    assert doc.has_vector


def test_tensor_of_another_component_stays(elmo_nlp):
    doc = elmo_nlp.make_doc("我去")
    doc.tensor = np.ones((2, 3), dtype="f")
    assert (elmo_nlp(doc).tensor == 1).all()


def test_tensor_can_be_left_alone(char_model):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(char_model)}, "set_tensor": False})
    assert nlp("我去").tensor.size == 0


# --- Names, several components ---


def test_two_components(char_model, wide_model):
    nlp = blank(char_model)
    nlp.add_pipe("elmo", name="elmo_law", config={"model": {"path": str(wide_model)}})
    doc = nlp("我去银行")
    assert doc._.elmo.layers.shape == (3, 4, 16)
    assert doc._.elmo_law.layers.shape == (3, 4, 24)
    assert doc.tensor.shape == (4, 16)


def test_renamed_component(elmo_nlp):
    elmo_nlp.rename_pipe("elmo", "elmo_renamed")
    assert elmo_nlp("我去")._.elmo_renamed.layers.shape == (3, 2, 16)


def test_name_of_another_extension(elmo_nlp):
    Doc.set_extension("taken", default=None, force=True)
    try:
        with pytest.raises(ValueError, match="another name"):
            elmo_nlp.add_pipe("elmo", name="taken")
    finally:
        Doc.remove_extension("taken")


def test_analyze_pipes(elmo_nlp):
    assert elmo_nlp.analyze_pipes()["problems"] == {"elmo": []}


# --- Segmenters ---


def test_word_model_warns_once_of_another_segmenter(word_model):
    nlp = blank(word_model)
    with warnings.catch_warnings(record=True, action="always") as caught:
        list(nlp.pipe(TEXTS))
        nlp("我去")
    assert len([w for w in caught if 'words of the segmenter "jieba"' in str(w.message)]) == 1


def test_no_warning_at_home(tmp_path, char_model):
    make_bilm("word", segmenter="char").save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for model in (tmp_path, char_model):
            blank(model)("我去银行")


def test_model_of_another_language_warns_once(char_model, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo", config={"model": {"path": str(char_model)}})
    with warnings.catch_warnings(record=True, action="always") as caught:
        list(nlp.pipe(TEXTS))
        nlp("我去")
    assert len([w for w in caught if 'in the language "zh"' in str(w.message)]) == 1


@pytest.mark.parametrize(("lang", "model_lang"), [("en", "xx"), ("xx", "zh"), ("en", "en")])
def test_no_warning_of_languages_that_fit(tmp_path, lang, model_lang):
    make_bilm(lang=model_lang).save(tmp_path)
    nlp = spacy.blank(lang)
    nlp.add_pipe("elmo", config={"model": {"path": str(tmp_path)}})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        nlp("我去银行")


def test_unknown_characters_warn_once(char_model):
    nlp = blank(char_model)
    with warnings.catch_warnings(record=True, action="always") as caught:
        nlp("國電腦軟體開發協會臺灣。")
        list(nlp.pipe(["國電腦軟體開發協會臺灣。"] * 3))
    (warning,) = [w for w in caught if "not in the vocabulary" in str(w.message)]
    assert "11 of the 12 units read" in str(warning.message)


@pytest.mark.parametrize(("share", "warned"), [(3, False), (1, True)])
def test_words_may_be_rare(word_model, share, warned):
    """A third of the words is unknown in another domain, all of them in another language."""
    nlp = blank(word_model)
    words = ["银行" if i % share else f"词{i}" for i in range(90)]
    with warnings.catch_warnings(record=True, action="always") as caught:
        nlp.get_pipe("elmo")(Doc(nlp.vocab, words=words, spaces=[False] * len(words)))
    assert any("are not in the vocabulary" in str(w.message) for w in caught) == warned


def test_a_few_unknown_characters_are_no_reason_to_warn(char_model):
    nlp = blank(char_model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        nlp("國電腦")
        nlp("我去银行" * 50)
        nlp("國電腦軟體開發協會臺灣。")  # 14 of more than 200


def test_no_gradient(elmo_nlp):
    _, backprop = elmo_nlp.get_pipe("elmo").model([elmo_nlp.make_doc("我去")], is_train=True)
    with pytest.raises(NotImplementedError, match="frozen"):
        backprop([])


def test_other_number_of_layers():
    bilm = make_bilm(n_layers=1)
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    nlp.get_pipe("elmo").model.shims[0].bilm = bilm
    output = nlp("我去")._.elmo
    assert output.layers.shape == (2, 2, 16)
    with pytest.raises(ValueError, match="layer 'lstm2' does not exist"):
        _ = output.lstm2


# --- Any text ---

ANY: dict = {}  # pipelines by model folder, not one for each example
WORDS_AND_SPACES = st.lists(
    st.tuples(
        st.text(st.one_of(st.sampled_from("我爱。！\n 　ab１😀"), st.characters(codec="utf-8")), min_size=1),
        st.booleans(),
    ),
    max_size=12,
)


@given(WORDS_AND_SPACES)
@settings(max_examples=60, deadline=None)
def test_any_doc(char_model, word_model, pairs):
    for model in (char_model, word_model):
        nlp = ANY.setdefault(model, blank(model))
        nlp.get_pipe("elmo").segmenter = None
        doc = nlp(Doc(nlp.vocab, words=[w for w, _ in pairs], spaces=[s for _, s in pairs]))
        layers = doc._.elmo.layers
        assert layers.shape == (3, len(pairs), 16)
        assert np.isfinite(layers).all()
        assert layers.any(axis=(0, 2)).tolist() == [not token.text.isspace() for token in doc]


def test_a_token_is_the_same_under_another_segmentation(elmo_nlp):
    one, other = (
        elmo_nlp(Doc(elmo_nlp.vocab, words=words.split("|"), spaces=[False] * len(words.split("|"))))
        for words in ("我|去|银行|取|钱|。", "我去|银行|取钱|。")
    )
    np.testing.assert_allclose(one._.elmo.layers[:, 2], other._.elmo.layers[:, 1], atol=1e-6)
    np.testing.assert_allclose(one._.elmo.layers[:, 5], other._.elmo.layers[:, 3], atol=1e-6)
