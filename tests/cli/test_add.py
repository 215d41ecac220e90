"""`spacy elmo add`: ELMo under the components of configurations that exist."""

import logging

import pytest
import spacy
from spacy.cli.init_config import init_config
from spacy.cli.train import train
from spacy.language import Language
from spacy.util import load_config, load_model_from_config
from thinc.api import Config
from training_config.conftest import NER, corpus, model  # noqa: F401  fixtures

from .helpers import plain, run
from .test_errors import refused

SMALL = {
    "training.max_steps": 2,
    "training.eval_frequency": 2,
}

# Three components, each with a tok2vec of its own; comments as a user writes them.
OWN_TOK2VECS = (
    """
# A pipeline of mine.
[paths]
train = null
dev = null

[nlp]
lang = "zh"
pipeline = [
    "tagger",
    "ner",
    "parser"]

[components]

# What tags.
[components.tagger]
factory = "tagger"
"""
    + NER
    + """
# Reads words.
[components.ner.model.tok2vec]
@architectures = "spacy.Tok2Vec.v2"

[components.ner.model.tok2vec.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = ${components.ner.model.tok2vec.encode.width}
attrs = ["NORM"]
rows = [50]
include_static_vectors = false

[components.ner.model.tok2vec.encode]
@architectures = "spacy.MaxoutWindowEncoder.v2"
width = 16
depth = 1
window_size = 1
maxout_pieces = 2

[components.parser]
factory = "parser"
min_action_freq = 1

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}
gold_preproc = false

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.dev}
gold_preproc = false

[training]
seed = 0
gpu_allocator = null
frozen_components = []"""
)


def quickstart(path, *pipeline, optimize="efficiency"):
    init_config(lang="zh", pipeline=list(pipeline), optimize=optimize, gpu=False).to_disk(path)
    return path


def added(path, out, *args):
    result = run("add", path, out, *args)
    assert result.exit_code == 0, result.output
    assert "could be built" not in plain(result.output)
    return Config().from_disk(out, interpolate=False), plain(result.output)


def train_and_load(path, corpus, folder, **overrides):  # noqa: F811
    data = {"paths.train": str(corpus), "paths.dev": str(corpus)}
    train(path, folder, overrides={**data, **SMALL, **overrides})
    nlp, texts = spacy.load(folder / "model-last"), ["张三去北京。", "", "真好。"]
    nlp.to_disk(folder / "again")
    again = spacy.load(folder / "again")
    assert [doc.to_json() for doc in nlp.pipe(texts)] == [doc.to_json() for doc in again.pipe(texts)]
    return nlp


def test_under_a_shared_tok2vec_and_its_listeners(model, corpus, tmp_path):  # noqa: F811
    path = quickstart(tmp_path / "a.cfg", "tagger", "parser", "textcat")
    config, said = added(path, tmp_path / "b.cfg", "--model", model)
    assert config["nlp"]["pipeline"] == ["elmo", "tok2vec", "tagger", "parser", "textcat"]
    assert "ELMo at its input, for all that listen to it" in said
    assert "unchanged: its model has no tok2vec: spacy.TextCatEnsemble.v2 has one" in said
    assert "L2 = 0.01 decays the mixes, too" in said
    assert "init_tok2vec" not in said
    frequent = {"components.parser.min_action_freq": 1}
    nlp = train_and_load(tmp_path / "b.cfg", corpus, tmp_path, **frequent)
    elmo = nlp.get_pipe("elmo")
    assert elmo.listening_components == ["tok2vec", "tagger", "parser"]
    assert nlp.get_pipe("tok2vec").listening_components == ["tagger", "parser"]
    refused(tmp_path, "add", tmp_path / "b.cfg", tmp_path / "c.cfg", "--model", model, message="already")


def test_under_tok2vecs_of_their_own(model, corpus, tmp_path):  # noqa: F811
    (tmp_path / "a.cfg").write_text(OWN_TOK2VECS, encoding="utf8")
    config, said = added(tmp_path / "a.cfg", tmp_path / "b.cfg", "--model", model)
    assert config["nlp"]["pipeline"] == ["elmo", "tagger", "ner", "parser"]
    ner = config["components"]["ner"]["model"]["tok2vec"]
    assert ner["@architectures"] == "spacy-elmo.ConcatOutput.v1"
    assert ner["tok2vec"]["embed"]["@architectures"] == "spacy-elmo.ConcatEmbed.v1"
    assert ner["tok2vec"]["embed"]["width"] == 16
    reference = "${components.ner.model.tok2vec.tok2vec.encode.width}"
    assert ner["tok2vec"]["embed"]["embed"]["width"] == reference
    assert said.count("ELMo at its input and output") == 3
    text = (tmp_path / "b.cfg").read_text(encoding="utf8")
    assert "# A pipeline of mine.\n[paths]" in text
    assert "# Reads words.\n[components.ner.model.tok2vec]" in text
    nlp = train_and_load(tmp_path / "b.cfg", corpus, tmp_path)
    assert nlp.get_pipe("elmo").listening_components == ["tagger", "ner", "parser"]

    inputs, said = added(tmp_path / "a.cfg", tmp_path / "c.cfg", "--model", model, "--input-only")
    assert inputs["components"]["ner"]["model"]["tok2vec"]["@architectures"] == "spacy.Tok2Vec.v2"


FACTORIES = [
    *("tagger", "morphologizer", "trainable_lemmatizer", "senter", "parser", "ner", "beam_ner"),
    *("span_finder", "spancat", "spancat_singlelabel", "textcat", "textcat_multilabel"),
    *("entity_linker", "crf_ner", "crf_tagger"),
]


def test_under_every_component_with_its_default_model(model, tmp_path):  # noqa: F811
    experimental = [
        name for name in ("experimental_biaffine_parser", "experimental_coref") if Language.has_factory(name)
    ]
    names = [*FACTORIES, *experimental]
    config = Config({"nlp": {"lang": "zh", "pipeline": names}, "components": {}})
    config["components"] = {name: {"factory": name} for name in names}
    config.to_disk(tmp_path / "a.cfg")
    added(tmp_path / "a.cfg", tmp_path / "b.cfg", "--model", model)
    nlp = load_model_from_config(load_config(tmp_path / "b.cfg"), auto_fill=True)
    assert nlp.pipe_names == ["elmo", *names]
    assert nlp.get_pipe("elmo").listening_components == names
    listeners = nlp.get_pipe("elmo").listener_map
    assert {name for name in names if len(listeners[name]) != 2} <= {*experimental}


def test_elmo_that_no_component_listens_to(model, tmp_path):  # noqa: F811
    """`spacy init config -p elmo,ner` writes such a configuration."""
    path = quickstart(tmp_path / "a.cfg", "elmo", "ner")
    config, _ = added(path, tmp_path / "b.cfg", "--model", model)
    assert config["nlp"]["pipeline"] == ["elmo", "tok2vec", "ner"]
    assert config["components"]["elmo"]["model"]["path"] == str(model)


def test_the_pipeline_is_tried_in_silence(model, tmp_path, caplog):  # noqa: F811
    with caplog.at_level(logging.INFO, logger="spacy"):
        added(quickstart(tmp_path / "a.cfg", "tagger", "ner"), tmp_path / "b.cfg", "--model", model)
        assert not caplog.messages
        load_model_from_config(load_config(tmp_path / "b.cfg"), auto_fill=True)
    assert "oneDNN" in caplog.text


def test_of_a_trained_pipeline(model, corpus, tmp_path):  # noqa: F811
    quickstart(tmp_path / "a.cfg", "senter")
    train_and_load(tmp_path / "a.cfg", corpus, tmp_path)
    config, _ = added(tmp_path / "model-last", tmp_path / "b.cfg", "--model", model)
    assert config["nlp"]["pipeline"] == ["elmo", "senter"]
    assert "ConcatOutput" in config["components"]["senter"]["model"]["tok2vec"]["@architectures"]


def test_what_stays_as_it_is(model, tmp_path):  # noqa: F811
    path = quickstart(tmp_path / "a.cfg", "tagger", "senter", "ner")
    config = Config().from_disk(path, interpolate=False)
    config["components"]["senter"] = {"source": "my_pipeline"}
    config["training"]["frozen_components"] = ["ner"]
    config["nlp"]["pipeline"].append("mine")
    config["components"]["mine"] = {"factory": "mine"}
    config.to_disk(path)
    result = plain(run("add", path, tmp_path / "b.cfg", "--model", model).output)
    assert "unchanged: it comes from my_pipeline" in result
    assert "unchanged: it is frozen" in result
    assert "mine unchanged: it has no model" in result
    assert "no pipeline could be built" in result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('listener = "spacy-transformers.TransformerListener.v1"', "a transformer is fine-tuned"),
        ("lang", "The bundled model was trained on Chinese"),
        ("none", "There is no configuration"),
        ("text", "is not a configuration of spaCy"),
        ("reference", "is not a configuration of spaCy"),
        ("circle", "is not a configuration of spaCy"),
        ("empty", "lacks [nlp] pipeline or [components]"),
        ("name", 'has the name "elmo"'),
    ],
)
def test_what_is_refused(change, message, tmp_path):
    path = quickstart(tmp_path / "a.cfg", "ner")
    text = path.read_text(encoding="utf8")
    if change.startswith("listener"):
        config = Config().from_str(text, interpolate=False)
        del config["components"]["tok2vec"]
        config["nlp"]["pipeline"] = ["ner"]
        tok2vec = {"@architectures": "spacy-transformers.TransformerListener.v1"}
        config["components"]["ner"]["model"]["tok2vec"] = tok2vec
        text = config.to_str(interpolate=False)
    texts = {
        "lang": text.replace('lang = "zh"', "lang = ${mine.lang}") + '\n[mine]\nlang = "de"\n',
        "text": "no [config",
        "reference": text + "\n[mine]\na = ${mine.b}\n",
        "circle": text + "\n[mine]\na = ${mine.b}\nb = ${mine.a}\n",
        "empty": '[nlp]\nlang = "zh"\n',
        "name": text.replace("components.tok2vec", "components.elmo"),
    }
    path.write_text(texts.get(change, text), encoding="utf8")
    if change == "none":
        path = tmp_path / "nowhere"
    refused(tmp_path, "add", path, tmp_path / "b.cfg", message=message)


def test_a_model_whose_path_no_configuration_can_hold_is_refused(tmp_path):
    path = quickstart(tmp_path / "a.cfg", "ner")
    message = "--model a$b: a configuration cannot hold a $"
    refused(tmp_path, "add", path, tmp_path / "b.cfg", "--model", "a$b", message=message)


def test_a_file_is_replaced_only_when_wanted(tmp_path):
    path = quickstart(tmp_path / "a.cfg", "ner")
    refused(tmp_path, "add", path, path, message="give --force to replace it")
