"""`spacy elmo init-config`: what it writes, and what it refuses."""

import re

import pytest
from spacy.cli.debug_config import debug_config
from thinc.api import Config

from .helpers import plain, run
from .test_errors import refused


def written(path, *args):
    result = run("init-config", path, *args)
    assert result.exit_code == 0, result.output
    return Config().from_disk(path, interpolate=False)


def test_entities_on_characters(tmp_path, capsys):
    path = tmp_path / "ner.cfg"
    config = written(path, "--pipeline", "ner", "--train", "a.spacy", "--dev", "b.spacy")
    assert config["nlp"]["pipeline"] == ["elmo", "ner"]
    assert config["nlp"]["tokenizer"]["segmenter"] == "char"
    assert config["components"]["ner"]["factory"] == "crf_ner"
    assert {"elmo", "lexicon"} <= set(config["components"]["ner"]["model"]["tok2vec"]["embed"]["*"])
    assert config["paths"] == {"train": "a.spacy", "dev": "b.spacy"}
    assert config["training"]["score_weights"]["ents_f"] == 1.0
    debug_config(path)
    assert "Config is valid" in capsys.readouterr().out


def test_several_components_on_words(tmp_path):
    config = written(
        tmp_path / "a.cfg", "-p", "elmo, tagger,parser,ner,textcat", "--decoder", "spacy", "--gpu"
    )
    assert config["nlp"]["pipeline"] == ["elmo", "tagger", "parser", "ner", "textcat"]
    assert config["nlp"]["tokenizer"]["segmenter"] == "jieba"
    factories = {name: section["factory"] for name, section in config["components"].items()}
    assert factories == {name: name for name in config["nlp"]["pipeline"]}
    weights = config["training"]["score_weights"]
    assert sum(weight for weight in weights.values() if weight) == pytest.approx(1.0, abs=0.02)
    assert config["system"]["gpu_allocator"] == "pytorch"


def test_the_same_without_elmo(tmp_path):
    config = written(tmp_path / "a.cfg", "-p", "ner", "--no-elmo")
    assert config["nlp"]["pipeline"] == ["ner"]
    assert set(config["components"]["ner"]["model"]["tok2vec"]["embed"]["*"]) == {"hash", "bigrams"}
    assert "ElmoListener" not in (tmp_path / "a.cfg").read_text(encoding="utf8")


def test_a_linker_gets_sentences_and_spancat_its_finder(tmp_path):
    config = written(tmp_path / "a.cfg", "-p", "ner,entity_linker,span_finder,spancat")
    pipeline = ["elmo", "sentencizer", "ner", "entity_linker", "span_finder", "spancat"]
    assert config["nlp"]["pipeline"] == pipeline
    assert config["training"]["annotating_components"] == ["sentencizer", "span_finder"]
    assert config["components"]["spancat"]["suggester"]["@misc"] == "spacy.preset_spans_suggester.v1"


def test_another_language_and_model(made, tmp_path):
    path, model = tmp_path / "a.cfg", made / "run" / "model"
    result = run("init-config", path, "-l", "en", "-p", "ner", "--model", model)
    assert 'language "zh", not "en"' in plain(result.output)
    config = Config().from_disk(path, interpolate=False)
    assert config["components"]["elmo"]["model"]["path"] == str(model)
    assert config["nlp"]["tokenizer"] == {"@tokenizers": "spacy.Tokenizer.v1"}
    parts = set(config["components"]["ner"]["model"]["tok2vec"]["embed"]["*"])
    assert "elmo" in parts
    assert not parts & {"lexicon", "tagger"}  # both are Chinese


def test_comments_say_why_and_how_to_go_on(tmp_path):
    path = tmp_path / "my ner.cfg"
    written(path, "-p", "ner")
    text = path.read_text(encoding="utf8")
    assert f"#   spacy elmo init-config '{path}' --lang zh --pipeline ner\n" in text
    assert f"#   spacy train '{path}' --output output/'my ner' --paths.train train.spacy" in text
    assert re.search(r"\n# .*\n\[components.elmo\]", text)
    assert text.count("# ") > 15


def test_labels_of_single_characters_are_warned_of(tmp_path):
    result = run("init-config", tmp_path / "a.cfg", "-p", "tagger,parser", "--segmenter", "char")
    assert "tagger and parser would label single characters" in plain(result.output)
    result = run("init-config", tmp_path / "b.cfg", "-p", "lexical_analysis,parser")
    assert "would label" not in plain(result.output)
    result = run("init-config", tmp_path / "c.cfg", "-p", "tagger", "--segmenter", "pkuseg")
    assert "pkuseg needs a model" in plain(result.output)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-p", "nerr"], 'there is no "nerr"; choose from tagger, crf_tagger, morphologizer,'),
        (["-p", "nerr"], "Is it ner?"),
        (["-p", "elmo"], "names no component"),
        (["-p", "sentencizer"], "names no component that learns: add one, such as ner"),
        (["-p", "ner", "--train", "data/$x.spacy"], "--train data/$x.spacy: a configuration cannot hold a $"),
        (["-p", "ner", "--dev", "${paths.train}"], "--dev ${paths.train}"),
        (["-p", "ner", "--model", "a$"], "--model a$"),
        (["-p", "ner", "--lexicon", "a$"], "--lexicon a$"),
        (["-p", "ner,ner"], 'names "ner" twice'),
        (["-p", "ner", "-l", "klingon"], "is not a language of spaCy"),
        (["-p", "ner", "-l", "en"], "The bundled model was trained on Chinese"),
        (["-p", "ner", "-l", "en", "--no-elmo", "--segmenter", "jieba"], "leave it out with --lang en"),
        (["-p", "ner", "--segmenter", "scissors"], "--segmenter scissors is not known"),
        (["-p", "ner", "--decoder", "beam"], "choose from crf, spacy"),
        (["-p", "ner,reader"], "reader is trained alone"),
        (["-p", "ner", "--no-elmo", "--lexicon", "x"], "exclude one another"),
        (
            ["-p", "ner", "--lexicon", "nowhere"],
            "The lexicon nowhere does not exist: check the path, or make",
        ),
        (["-p", "ner", "--lexicon", __file__], "spacy elmo lexicon"),
        (["-p", "ner", "--model", "nowhere"], "The model folder nowhere does not exist"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(tmp_path, args, message):
    refused(tmp_path, "init-config", tmp_path / "a.cfg", *args, message=message)


def test_a_file_is_replaced_only_when_wanted(tmp_path):
    path = tmp_path / "a.cfg"
    path.write_text("mine")
    refused(tmp_path, "init-config", path, "-p", "ner", message="give --force to replace it")
    refused(tmp_path, "init-config", tmp_path, "-p", "ner", "--force", message="it is a folder")
    written(path, "-p", "ner", "--force")
