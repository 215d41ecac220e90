"""Options of `spacy elmo init-config` that contradict each other, and pipelines whose order matters."""

import pytest
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import Config

from spacy_elmo.errors import ElmoError
from spacy_elmo.training_config.build import config_text
from spacy_elmo.training_config.options import Options, check, parse_pipeline

from .conftest import TEXTS, make_doc


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("spancat,span_finder", "spancat needs the spans of span_finder: put span_finder before spancat."),
        ("spancat_singlelabel,span_finder", "spancat_singlelabel needs the spans of span_finder"),
        ("entity_linker,sentencizer", "entity_linker needs the sentences of sentencizer"),
        ("entity_linker,senter,parser", "put senter or parser before entity_linker"),
        ("sentencizer,entity_linker,ner", "entity_linker needs the entities of ner"),
        ("tagger,lexical_analysis", "tagger needs the tokens of lexical_analysis"),
        ("sentencizer,lexical_analysis,entity_linker", "sentencizer needs the tokens of lexical_analysis"),
    ],
)
def test_an_order_in_which_a_component_comes_too_late_is_refused(names, message):
    with pytest.raises(ElmoError, match=message):
        check(Options("zh", parse_pipeline(names)))


@pytest.mark.parametrize(
    ("names", "pipeline"),
    [
        ("senter,ner,entity_linker,parser", ["senter", "ner", "entity_linker", "parser"]),
        ("entity_linker", ["sentencizer", "entity_linker"]),
        ("lexical_analysis,entity_linker", ["lexical_analysis", "sentencizer", "entity_linker"]),
        (
            "textcat,lexical_analysis,entity_linker",
            ["textcat", "lexical_analysis", "sentencizer", "entity_linker"],
        ),
        ("textcat,spancat,lexical_analysis,ner", ["textcat", "spancat", "lexical_analysis", "ner"]),
    ],
)
def test_other_orders_are_accepted(names, pipeline):
    assert parse_pipeline(names) == pipeline
    check(Options("zh", pipeline))


@pytest.mark.parametrize("categorizer", ["spancat", "spancat_singlelabel"])
def test_a_span_categorizer_learns_from_the_spans_of_the_finder(categorizer):
    options = Options("zh", parse_pipeline(f"span_finder,{categorizer}"), segmenter="char", elmo=False)
    config = Config().from_str(config_text(options, ["A test."]), interpolate=False)
    nlp = load_model_from_config(config, auto_fill=True)
    examples = [Example(nlp.make_doc(text), make_doc(nlp.vocab, text)) for text in TEXTS]
    nlp.initialize(lambda: examples)
    losses = nlp.update(examples, annotates=config["training"]["annotating_components"])
    assert categorizer in losses
