"""Consumers: what is learned, which component they listen to, and what happens without it."""

import copy

import numpy as np
import pytest
import spacy
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.util import fix_random_seed

from .helpers import blank, examples, make_bilm, parser_config, tagger_config, train

TEXT = "我去银行取钱。"


def listener_of(nlp, name="tagger"):
    return next(node for node in nlp.get_pipe(name).model.walk() if node.name == "elmo-listener")


def mix_of(nlp, name="tagger"):
    return listener_of(nlp, name).layers[0]


def weights_of(nlp, name="elmo"):
    bilm = nlp.get_pipe(name).model.shims[0].bilm
    return {key: value.clone() for key, value in bilm.state_dict().items()}


def scores(nlp, doc, name="tagger"):
    return nlp.get_pipe(name).model.predict([doc])[0]


def test_training_moves_the_mix_and_nothing_of_the_bilm(tagger_nlp):
    train(tagger_nlp, steps=0)
    before, mix = weights_of(tagger_nlp), copy.deepcopy(mix_of(tagger_nlp).to_dict()["params"][0])
    losses = train(tagger_nlp, steps=20)
    assert set(losses) == {"tagger"}
    after = weights_of(tagger_nlp)
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    for name in ("w", "gamma"):
        assert (mix_of(tagger_nlp).get_param(name) != mix[name]).all()
    doc = tagger_nlp(TEXT)
    assert [token.tag_ for token in doc][:2] == ["PN", "VV"]


def test_a_second_initialization_resets_the_mix(tagger_nlp):
    train(tagger_nlp, steps=5)
    assert mix_of(tagger_nlp).get_param("w").any()
    train(tagger_nlp, steps=0)
    assert not mix_of(tagger_nlp).get_param("w").any()
    assert mix_of(tagger_nlp).get_param("gamma") == 1.0


def test_training_is_reproducible(char_model):
    runs = []
    for _ in range(2):
        fix_random_seed(1)
        nlp = blank(char_model)
        nlp.add_pipe("tagger", config=tagger_config())
        train(nlp, steps=3)
        runs.append(nlp.get_pipe("tagger").model.to_bytes())
    assert runs[0] == runs[1]


def test_dropout_only_in_training(tagger_nlp):
    train(tagger_nlp, steps=1, drop=0.0)
    doc = tagger_nlp.get_pipe("elmo")(tagger_nlp.make_doc(TEXT))
    listener = listener_of(tagger_nlp)
    assert mix_of(tagger_nlp).attrs["mix_dropout"] == 0.5
    np.testing.assert_array_equal(listener.predict([doc])[0], listener.predict([doc])[0])
    noisy = listener([doc], is_train=True)[0][0]
    assert 0.2 < (noisy == 0).mean() < 0.8


def test_width_is_inferred(wide_model):
    nlp = blank(wide_model)
    nlp.add_pipe("tagger", config=tagger_config())
    train(nlp, steps=1)
    assert listener_of(nlp).get_dim("nO") == 24


@pytest.mark.filterwarnings('ignore:.*"jieba" cuts them')
@pytest.mark.parametrize("units", ["char", "word"])
def test_listener_alone_as_tok2vec(char_model, word_model, units):
    nlp = blank(char_model if units == "char" else word_model)
    config = {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": {}}}
    config["model"]["tok2vec"] = {"@architectures": "spacy-elmo.ElmoListener.v1", "mix_dropout": 0.0}
    nlp.add_pipe("tagger", config=config)
    first = train(nlp, steps=1)["tagger"]
    assert train(nlp, steps=30)["tagger"] < first


# --- Several consumers, several components ---


def test_several_consumers_on_one_elmo(tagger_nlp):
    tagger_nlp.add_pipe("morphologizer", config=tagger_config())
    tagger_nlp.add_pipe("ner", config=parser_config("ner"))
    elmo = tagger_nlp.get_pipe("elmo")
    assert elmo.listening_components == ["tagger", "morphologizer", "ner"]
    losses = train(tagger_nlp, steps=15)
    assert set(losses) == {"tagger", "morphologizer", "ner"}
    mixes = [mix_of(tagger_nlp, name).get_param("w") for name in ("tagger", "ner")]
    assert (mixes[0] != mixes[1]).any()
    doc = tagger_nlp(TEXT)
    assert doc[0].tag_ == "PN"
    assert isinstance(doc.ents, tuple)


def test_parser_on_elmo(elmo_nlp):
    elmo_nlp.add_pipe("parser", config={**parser_config("parser"), "min_action_freq": 1})
    train(elmo_nlp, steps=3)
    assert elmo_nlp("他打球").has_annotation("DEP")


def test_two_elmos_by_name(char_model, wide_model):
    nlp = blank(char_model)
    nlp.add_pipe("elmo", name="elmo_law", config={"model": {"path": str(wide_model)}})
    nlp.add_pipe("tagger", config=tagger_config(upstream="elmo"))
    nlp.add_pipe("ner", config=parser_config("ner", upstream="elmo_law"))
    train(nlp, steps=2)
    assert listener_of(nlp, "tagger").get_dim("nO") == 16
    assert listener_of(nlp, "ner").get_dim("nO") == 24
    assert nlp.get_pipe("elmo").listening_components == ["tagger"]
    assert nlp(TEXT)[0].tag_


def test_any_is_the_nearest_before(char_model, wide_model):
    nlp = blank(char_model)
    nlp.add_pipe("elmo", name="elmo_law", config={"model": {"path": str(wide_model)}})
    nlp.add_pipe("tagger", config=tagger_config())
    nlp.add_pipe("elmo", name="elmo_late", config={"model": {"path": str(char_model)}})
    train(nlp, steps=1)
    assert listener_of(nlp).get_dim("nO") == 24
    assert nlp(TEXT)[0].tag_


def test_consumer_follows_a_renamed_elmo(tagger_nlp):
    train(tagger_nlp, steps=1)
    expected = [t.tag_ for t in tagger_nlp(TEXT)]
    tagger_nlp.rename_pipe("elmo", "elmo_renamed")
    assert [t.tag_ for t in tagger_nlp(TEXT)] == expected


@pytest.mark.parametrize("second", ["other_model", "wide_model"])
def test_two_elmos_that_swap_their_names_are_saved(char_model, wide_model, second, tmp_path):
    make_bilm("char", seed=5).save(tmp_path / "other_model")
    path = {"other_model": tmp_path / "other_model", "wide_model": wide_model}[second]
    nlp = blank(char_model)
    nlp.add_pipe("elmo", name="law", config={"model": {"path": str(path)}})
    nlp.add_pipe("tagger", config=tagger_config(upstream="elmo"))
    nlp.add_pipe("tagger", name="law_tagger", config=tagger_config(upstream="law"))
    train(nlp, steps=2)
    expected = [scores(nlp, nlp(TEXT), name) for name in ("tagger", "law_tagger")]
    for old, new in (("elmo", "former"), ("law", "elmo"), ("former", "law")):
        nlp.rename_pipe(old, new)
    nlp.to_disk(tmp_path / "saved")
    for each in (nlp, spacy.load(tmp_path / "saved")):
        found = [scores(each, each(TEXT), name) for name in ("tagger", "law_tagger")]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_listeners_are_counted_once(tagger_nlp):
    elmo = tagger_nlp.get_pipe("elmo")
    elmo.find_listeners(tagger_nlp.get_pipe("tagger"))
    assert len(elmo.listeners) == 1
    (listener,) = elmo.listeners
    assert elmo.remove_listener(listener, "tagger")
    assert not elmo.remove_listener(listener, "tagger")
    assert elmo.listening_components == []


# --- Never silent zeros ---


def test_disabled_elmo(tagger_nlp):
    train(tagger_nlp, steps=1)
    message = '"tagger" needs the vectors of "elmo", which has not run'
    with tagger_nlp.select_pipes(disable="elmo"):
        with pytest.raises(ValueError, match=message):
            tagger_nlp(TEXT)
        with pytest.raises(ValueError, match=message):
            list(tagger_nlp.pipe([TEXT]))
        with pytest.raises(ValueError, match=message):
            tagger_nlp.update(examples(tagger_nlp))
        with pytest.raises(ValueError, match=message):
            tagger_nlp.evaluate(examples(tagger_nlp))
    assert tagger_nlp(TEXT)[0].tag_


def test_disabled_elmo_with_the_very_docs_of_initialization(tagger_nlp):
    data = examples(tagger_nlp)
    tagger_nlp.initialize(lambda: data)
    with pytest.raises(ValueError, match="has not run"):
        tagger_nlp.get_pipe("tagger").predict([data[0].predicted])


def test_one_doc_without_vectors_among_others(tagger_nlp):
    train(tagger_nlp, steps=1)
    tagger = tagger_nlp.get_pipe("tagger")
    good = tagger_nlp(TEXT)
    with pytest.raises(ValueError, match="has not run"):
        tagger.predict([good, tagger_nlp.make_doc("我")])


def test_consumer_before_elmo(elmo_nlp):
    elmo_nlp.add_pipe("tagger", config=tagger_config(), before="elmo")
    with pytest.raises(ValueError, match='listens to "elmo", but there is none before it'):
        train(elmo_nlp)


def test_no_elmo_at_all():
    nlp = spacy.blank("zh")
    nlp.add_pipe("tagger", config=tagger_config())
    with pytest.raises(ValueError, match='listens to "elmo", but there is none before it'):
        train(nlp)


def test_no_elmo_of_that_name(elmo_nlp):
    elmo_nlp.add_pipe("tagger", config=tagger_config(upstream="elmo_law"))
    with pytest.raises(ValueError, match='listens to "elmo_law", but there is none before it'):
        train(elmo_nlp)


def test_removed_elmo(tagger_nlp):
    train(tagger_nlp, steps=1)
    tagger_nlp.remove_pipe("elmo")
    with pytest.raises(ValueError, match="has not run"):
        tagger_nlp(TEXT)


def test_elmo_of_another_width(tagger_nlp, wide_model, tmp_path):
    train(tagger_nlp, steps=1)
    other = blank(wide_model)
    other.get_pipe("elmo").to_disk(tmp_path)
    tagger_nlp.get_pipe("elmo").from_disk(tmp_path)
    with pytest.raises(ValueError, match=r"vectors of width 16, but \"elmo\" gives 24"):
        tagger_nlp(TEXT)


def test_retokenized_between_elmo_and_consumer(tagger_nlp):
    train(tagger_nlp, steps=1)
    doc = tagger_nlp.get_pipe("elmo")(tagger_nlp.make_doc(TEXT))
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[2:4])
    with pytest.raises(ValueError, match="made for 7 tokens, but the Doc has 6"):
        tagger_nlp.get_pipe("tagger")(doc)


# --- Frozen and annotating components ---


@pytest.mark.parametrize(("frozen", "annotating"), [([], []), ([], ["elmo"]), (["elmo"], ["elmo"])], ids=str)
def test_update_with_elmo_frozen_or_annotating(tagger_nlp, frozen, annotating):
    losses = train(tagger_nlp, steps=10, exclude=frozen, annotates=annotating)
    assert losses["tagger"] < 20
    assert tagger_nlp(TEXT)[0].tag_ == "PN"


def test_elmo_frozen_only(tagger_nlp):
    """A component that is updated without the others lets "elmo" run, as long as the pipeline has it."""
    assert train(tagger_nlp, steps=10, exclude=["elmo"])["tagger"] < 20
    data = examples(tagger_nlp)
    tagger_nlp.get_pipe("tagger").update(data)  # as `spacy debug model` does
    assert data[0].predicted._.elmo.layers.shape == (3, 6, 16)


@pytest.mark.parametrize("frozen", [[], ["elmo"]])
def test_initialized_from_a_config(tagger_nlp, tmp_path, frozen):
    """`spacy train` does it so: frozen components are disabled while the others are initialized."""
    corpus = tmp_path / "train.spacy"
    spacy.tokens.DocBin(docs=[eg.reference for eg in examples(tagger_nlp)]).to_disk(corpus)
    config = tagger_nlp.config.copy()
    config["corpora"]["train"]["path"] = config["corpora"]["dev"]["path"] = str(corpus)
    config["corpora"]["train"]["gold_preproc"] = True
    config["training"]["frozen_components"] = config["training"]["annotating_components"] = frozen
    nlp = init_nlp(config)
    data = [Example(nlp.make_doc(eg.text), eg.reference) for eg in examples(nlp)]
    nlp.update(data, exclude=frozen, annotates=frozen)
    assert nlp(TEXT)[0].tag_


def test_empty_docs_and_white_space(tagger_nlp):
    train(tagger_nlp, steps=1)
    docs = list(tagger_nlp.pipe(["", " ", TEXT, ""]))
    assert [len(doc) for doc in docs] == [0, 1, 7, 0]
    tagger_nlp.update([Example.from_dict(tagger_nlp.make_doc(""), {})], drop=0.1)


def test_gradient_accumulation_and_evaluation(tagger_nlp):
    data = examples(tagger_nlp)
    optimizer = tagger_nlp.initialize(lambda: data)
    for part in (data[:2], data[2:]):
        tagger_nlp.update(part, sgd=None)
    before = mix_of(tagger_nlp).get_param("w").copy()
    tagger_nlp.get_pipe("tagger").finish_update(optimizer)
    assert (mix_of(tagger_nlp).get_param("w") != before).any()
    assert 0.0 <= tagger_nlp.evaluate(data)["tag_acc"] <= 1.0
