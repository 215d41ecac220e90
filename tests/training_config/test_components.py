"""Every component of `spacy elmo init-config`: written, initialised, learned by heart, saved and loaded."""

import json

import pytest
import spacy
from spacy.cli.train import train

from spacy_elmo.training_config.build import config_text
from spacy_elmo.training_config.components import COMPONENTS
from spacy_elmo.training_config.options import Options, parse_pipeline

from .conftest import QIDS, TEXTS, make_doc

SCORES = {
    "tagger": ["tag_acc"],
    "crf_tagger": ["tag_acc"],
    "morphologizer": ["pos_acc", "morph_acc"],
    "trainable_lemmatizer": ["lemma_acc"],
    "senter": ["sents_f"],
    "parser": ["dep_uas", "dep_las"],
    "ner": ["ents_f"],
    "crf_ner": ["ents_f"],
    "beam_ner": ["ents_f"],
    "entity_linker": ["nel_micro_f"],
    "span_finder": ["spans_sc_f"],
    "spancat": ["spans_sc_f"],
    "spancat_singlelabel": ["spans_sc_f"],
    "textcat": ["cats_score"],
    "textcat_multilabel": ["cats_score"],
    "lexical_analysis": ["token_f", "tag_acc", "ents_f"],
}
"""Scores of what each component has learned, by the names of spaCy's scores."""

STEPS = 40


def describe(doc) -> str:
    """All that a component may have set."""
    groups = {key: [(s.start, s.end, s.label_) for s in spans] for key, spans in doc.spans.items()}
    return str([doc.to_json(), groups])


@pytest.mark.parametrize(
    ("name", "decoder"),
    [(name, "crf") for name in SCORES] + [("ner", "spacy"), ("tagger", "spacy")],
)
def test_is_learnt_by_heart_and_comes_back(
    name, decoder, model, lexicon, corpus, word_corpus, knowledge_base, tmp_path
):
    if name == "beam_ner" and spacy.blank("en").add_pipe(name).scorer is None:
        pytest.skip(f"spaCy {spacy.__version__} does not score beam_ner, with any model")
    of_words = name == "lexical_analysis"
    data = str(word_corpus if of_words else corpus)
    options = Options(
        lang="zh",
        pipeline=tuple(parse_pipeline(name)),
        segmenter="char",
        model=str(model),
        lexicon=str(lexicon),
        decoder=decoder,
        train=data,
        dev=data,
    )
    path = tmp_path / "component.cfg"
    path.write_text(config_text(options, ["A test."]), encoding="utf8")
    overrides = {
        "training.max_steps": STEPS,
        "training.eval_frequency": STEPS // 2,
        "training.dropout": 0.0,
        "training.optimizer.learn_rate": 0.01,
        f"components.{name}.model.tok2vec.encode.width": 24,
        f"components.{name}.model.tok2vec.embed.*.hash.rows": [50] * (2 if of_words else 4),
    }
    if name == "span_finder":
        overrides |= {"components.span_finder.max_length": 2}  # else also from a name to the place after it
    if name == "entity_linker":
        overrides |= {
            "paths.kb": str(knowledge_base),
            "components.entity_linker.entity_vector_length": len(QIDS),
        }
    train(path, tmp_path / "out", overrides=overrides)
    found = json.loads((tmp_path / "out/model-best/meta.json").read_text(encoding="utf8"))["performance"]
    assert {score: found[score] for score in SCORES[name]} == dict.fromkeys(SCORES[name], 1.0)

    nlp = spacy.load(tmp_path / "out/model-best")
    nlp.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    texts = TEXTS if name != "entity_linker" else [make_doc(nlp.vocab, text) for text in TEXTS]
    assert [describe(doc) for doc in nlp.pipe(texts)] == [describe(doc) for doc in again.pipe(texts)]


def test_no_component_is_left_out():
    untrained = {"sentencizer"}
    assert {*SCORES, "reader"} == {*COMPONENTS} - untrained  # tests/tasks/reading trains a reader
