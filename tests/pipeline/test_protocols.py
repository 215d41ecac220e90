"""Everything that works with spaCy's own tok2vec works with elmo: renaming, sourcing, entity linker."""

import shutil
import subprocess
import sys
import warnings

import pytest
import spacy
from spacy.kb import InMemoryLookupKB
from spacy.language import Language
from spacy.tokens import Doc, Span, Token
from spacy.training import Example

from .helpers import blank, examples, make_bilm, tagger_config, tok2vec, train

TEXT = "我去银行取钱。"


def tags(nlp):
    return [token.tag_ for token in nlp(TEXT)]


# --- Extensions ---


def test_nothing_is_registered_before_a_component_is_made():
    code = (
        "import spacy, spacy_elmo\n"
        "from spacy.tokens import Doc\n"
        "Doc.set_extension('elmo', default=None)\n"
        "nlp = spacy.blank('zh')\n"
        "try: nlp.add_pipe('elmo')\n"
        "except ValueError as error: print(error)\n"
        "nlp.add_pipe('elmo', name='elmo_zh')\n"
        "print(Doc.get_extension('elmo')[2], Doc.has_extension('elmo_zh'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    lines = done.stdout.splitlines()
    assert "doc._.elmo is already used by another extension: give the component another name" in lines[0]
    assert lines[1] == "None True", done.stderr


@pytest.mark.parametrize("owner", [Doc, Span, Token])
def test_a_name_of_another_extension_registers_nothing(elmo_nlp, owner):
    owner.set_extension("taken", default=None, force=True)
    try:
        with pytest.raises(ValueError, match="another name"):
            elmo_nlp.add_pipe("elmo", name="taken")
        assert sum(each.has_extension("taken") for each in (Doc, Span, Token)) == 1
    finally:
        owner.remove_extension("taken")


# --- Names ---


@pytest.mark.parametrize("upstream", ["*", "elmo"])
def test_consumer_follows_a_renamed_elmo_and_is_loaded_again(char_model, tmp_path, upstream):
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config=tagger_config(upstream=upstream))
    train(nlp, steps=3)
    expected = tags(nlp)
    nlp.rename_pipe("elmo", "renamed")
    assert tags(nlp) == expected
    assert nlp(TEXT)._.renamed is not None
    nlp.to_disk(tmp_path)
    assert tags(spacy.load(tmp_path)) == expected
    nlp.rename_pipe("renamed", "elmo")
    assert tags(nlp) == expected


@pytest.mark.parametrize("upstream", ["*", "elmo"])
def test_a_pipeline_goes_on_after_elmo_was_sourced_under_another_name(char_model, upstream):
    first = blank(char_model)
    first.add_pipe("tagger", config=tagger_config(upstream=upstream))
    train(first, steps=3)
    expected = tags(first)
    second = spacy.blank("zh")
    second.add_pipe("elmo", source=first, name="other")
    for _ in range(2):
        assert tags(first) == expected
        assert first(TEXT)._.elmo is not None
        second.add_pipe("tagger", source=first)
        assert tags(second) == expected
        assert second(TEXT)._.other is not None
        second.remove_pipe("tagger")


# --- Components ---


@Language.component("elmo_test_mentions")
def mentions(doc):
    """北京 is an entity."""
    start = doc.text.find("北京")
    doc.ents = [doc.char_span(start, start + 2, label="LOC")] if start >= 0 else []
    return doc


LISTENER = {"@architectures": "spacy-elmo.ElmoListener.v1"}


def linker_nlp(char_model, model):
    """A pipeline with an entity linker on a tok2vec, and what it is trained on."""
    nlp = blank(char_model)
    nlp.add_pipe("sentencizer", config={"punct_chars": ["。"]})
    nlp.add_pipe("elmo_test_mentions")
    linker = nlp.add_pipe(
        "entity_linker", config={"model": {"@architectures": "spacy.EntityLinker.v2", "tok2vec": model}}
    )

    def kb(vocab):
        kb = InMemoryLookupKB(vocab, entity_vector_length=3)
        kb.add_entity("Q1", 10, [1, 0, 0])
        kb.add_entity("Q2", 10, [0, 1, 0])
        kb.add_alias("北京", ["Q1", "Q2"], [0.5, 0.4])
        return kb

    data = []
    for text, link in [("我爱北京。他打球。", "Q1"), ("他打球。北京很快。", "Q2")]:
        start = text.index("北京")
        gold = {"entities": [(start, start + 2, "LOC")], "links": {(start, start + 2): {link: 1.0}}}
        doc = nlp.make_doc(text)
        gold["sent_starts"] = [1 if i == 0 or doc[i - 1].text == "。" else -1 for i in range(len(doc))]
        data.append(Example.from_dict(doc, gold))
    linker.set_kb(kb)
    return nlp, data


def private_bilm(char_model, **settings):
    bilm = {"@architectures": "spacy-elmo.BiLM.v1", "path": str(char_model)}
    return {"@architectures": "spacy-elmo.ElmoTok2Vec.v1", "bilm": bilm, **settings}


@pytest.mark.parametrize("kind", ["embed", "listener", "private", "private of a width"])
def test_entity_linker(char_model, kind):
    """spaCy predicts on the sentence of a mention, span.as_doc()."""
    models = {
        "embed": tok2vec(),
        "listener": LISTENER,
        "private": private_bilm(char_model),
        "private of a width": private_bilm(char_model, width=16),
    }
    nlp, data = linker_nlp(char_model, models[kind])
    optimizer = nlp.initialize(lambda: data)
    for _ in range(20):
        nlp.update(data, sgd=optimizer, annotates=["sentencizer", "elmo_test_mentions"])
    assert [ent.kb_id_ for eg in data for ent in nlp(eg.text).ents] == ["Q1", "Q2"]


def test_entity_linker_on_a_private_bilm_is_loaded_beside_another_model(char_model, tmp_path):
    """Its path may lead to a model of another width on the machine where it is loaded."""
    path = tmp_path / "bilm"
    make_bilm("char").save(path)
    model = private_bilm(path)
    nlp, data = linker_nlp(char_model, model)
    optimizer = nlp.initialize(lambda: data)
    for _ in range(20):
        nlp.update(data, sgd=optimizer, annotates=["sentencizer", "elmo_test_mentions"])
    links = [[ent.kb_id_ for ent in nlp(eg.text).ents] for eg in data]
    nlp.to_disk(tmp_path / "nlp")
    shutil.rmtree(path)
    make_bilm("char", projection_dim=12).save(path)
    again = spacy.load(tmp_path / "nlp")
    assert [[ent.kb_id_ for ent in again(eg.text).ents] for eg in data] == links
    sourced = spacy.blank("zh")
    for name in again.pipe_names:
        sourced.add_pipe(name, source=again)
    assert [[ent.kb_id_ for ent in sourced(eg.text).ents] for eg in data] == links


def test_a_private_bilm_of_another_width_than_told(char_model):
    model = private_bilm(char_model, width=20)
    nlp = spacy.blank("zh")
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": model}})
    with pytest.raises(ValueError, match="width = 20, but its model has 16"):
        train(nlp, steps=1)


def test_a_component_may_be_updated_by_itself(char_model):
    """`spacy debug model` runs the upstream of spaCy's own listeners only."""
    nlp = blank(char_model)
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}})
    data = examples(nlp)
    nlp.initialize(lambda: data)
    data = examples(nlp)
    nlp.get_pipe("tagger").update(data)
    nlp.get_pipe("tagger").model.predict([example.predicted for example in data])


# --- Nobody listens ---


def heard(nlp, steps=3):
    with warnings.catch_warnings(record=True, action="always") as caught:
        train(nlp, steps)
    return [w for w in caught if "uses its vectors" in str(w.message)]


def test_training_without_a_listener_warns_once(elmo_nlp):
    elmo_nlp.add_pipe("tagger")
    assert len(heard(elmo_nlp)) == 1


def test_training_with_a_listener_does_not_warn(tagger_nlp):
    assert not heard(tagger_nlp)


def test_an_entity_linker_scores_itself(char_model, tmp_path):
    """With use_gold_ents, spaCy predicts on sentences of copies of docs: they lead to no vectors."""
    nlp, data = linker_nlp(char_model, LISTENER)
    optimizer = nlp.initialize(lambda: data)
    for _ in range(20):
        nlp.update(data, sgd=optimizer, annotates=["sentencizer", "elmo_test_mentions"])
    assert nlp.evaluate(data)["nel_micro_f"] == 1.0
    nlp.to_disk(tmp_path / "pipeline")
    assert spacy.load(tmp_path / "pipeline").evaluate(data)["nel_micro_f"] == 1.0
    with nlp.select_pipes(disable="elmo"), pytest.raises(ValueError, match="has not run"):
        nlp.evaluate(data)
