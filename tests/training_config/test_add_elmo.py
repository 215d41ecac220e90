"""ELMo in configurations with references, and with comments next to headers."""

import pytest
from spacy.training import Example
from spacy.util import load_model_from_config

from spacy_elmo.training_config.add_elmo import add_elmo
from spacy_elmo.training_config.config_text import ConfigText

from .conftest import NER, TEXTS, make_doc

TAGGER = """
[components.tagger]
factory = "tagger"

[components.tagger.model]
@architectures = "spacy.Tagger.v2"
nO = null
normalize = false
"""

NER_WITH_COMMENT = f"""{NER}nO = null

[components.ner.model.tok2vec]  # reads words
"""

EMBED = """
@architectures = "spacy.MultiHashEmbed.v2"
width = 16
attrs = ["NORM"]
rows = [50]
include_static_vectors = false
"""

ENCODE = """
@architectures = "spacy.MaxoutWindowEncoder.v2"
width = 16
depth = 1
window_size = 1
maxout_pieces = 2
"""

TOK2VEC = '@architectures = "spacy.Tok2Vec.v2"\n'
NER_TOK2VEC = (
    f"{TOK2VEC}\n[components.ner.model.tok2vec.embed]  # of hashes{EMBED}"
    f"\n[components.ner.model.tok2vec.encode]{ENCODE}"
)

CNN = """
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = ${vars.width}
depth = 1
embed_size = ${vars.size}
window_size = 1
maxout_pieces = 3
subword_features = ${vars.subwords}
"""


def of(pipeline: str, *sections: str) -> ConfigText:
    first = '[nlp]\nlang = "zh"\npipeline = PIPELINE\n\n[components]\n'
    return ConfigText(first.replace("PIPELINE", pipeline) + "".join(sections))


def added(text: ConfigText, model, *, output: bool = True) -> dict[str, tuple[str, bool]]:
    """Add ELMo, and train a step. Returns what the table says of each component."""
    changes = add_elmo(text, model=str(model), output=output)
    nlp = load_model_from_config(text.parse(), auto_fill=True)
    examples = [Example(nlp.make_doc(each), make_doc(nlp.vocab, each)) for each in TEXTS]
    nlp.initialize(lambda: examples)
    nlp.update(examples)
    assert nlp.get_pipe("elmo").listening_components == [each.component for each in changes if each.changed]
    return {change.component: (change.after, change.changed) for change in changes}


def test_comments_next_to_headers_stay(model):
    text = of('["ner"]', NER_WITH_COMMENT, NER_TOK2VEC)
    assert added(text, model) == {"ner": ("ELMo at its input and output", True)}
    assert "[components.ner.model.tok2vec]  # reads words\n" in str(text)
    assert "[components.ner.model.tok2vec.tok2vec.embed]  # of hashes\n" in str(text)


@pytest.mark.parametrize("output", [True, False])
@pytest.mark.parametrize("end", ["model", "model.tok2vec"])
def test_a_component_that_refers_to_one_with_elmo(end, output, model):
    first = {
        "model": '[components.first]\nfactory = "ner"\nmodel = ${components.ner.model}\n',
        "model.tok2vec": TAGGER.replace("tagger]", "first]").replace("tagger.model]", "first.model]")
        + "tok2vec = ${components.ner.model.tok2vec}\n",
    }[end]
    text = of('["first", "ner"]', first, NER_WITH_COMMENT, NER_TOK2VEC)
    assert added(text, model, output=output)["first"] == ("ELMo by its reference", True)
    assert text.resolve()["nlp"]["pipeline"] == ["elmo", "first", "ner"]


def test_a_component_that_refers_to_a_part_without_elmo(model):
    reference = "tok2vec = ${components.ner.model.tok2vec}\n"
    tok2vec = f"{TOK2VEC}embed = ${{vars.embed}}\n\n[components.ner.model.tok2vec.encode]{ENCODE}"
    variables = f"\n[vars]\n\n[vars.embed]{EMBED}"
    text = of('["tagger", "ner"]', TAGGER, reference, NER_WITH_COMMENT, tok2vec, variables)
    reason = "unchanged: components.tagger.model.tok2vec is not a section of its own"
    assert added(text, model) == {"tagger": (reason, False), "ner": ("ELMo at its output", True)}
    assert text.parse()["nlp"]["pipeline"] == ["tagger", "elmo", "ner"]


def test_an_embed_that_is_a_reference(model):
    header, encode = (
        "\n[components.tagger.model.tok2vec]\n",
        f"\n[components.tagger.model.tok2vec.encode]{ENCODE}",
    )
    embed = "embed = ${components.ner.model.tok2vec.embed}\n"
    text = of('["tagger", "ner"]', TAGGER, header, TOK2VEC, embed, encode, NER_WITH_COMMENT, NER_TOK2VEC)
    assert added(text, model) == {
        "tagger": ("ELMo at its output", True),
        "ner": ("ELMo at its input and output", True),
    }


def test_a_section_in_one_line(model):
    line = 'tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, "depth": 1, "embed_size": 50, '
    line += '"window_size": 1, "maxout_pieces": 2, "subword_features": true, "pretrained_vectors": null}\n'
    text = of('["tagger", "ner"]', TAGGER, line, NER_WITH_COMMENT, NER_TOK2VEC)
    reason = "unchanged: components.tagger.model.tok2vec is not a section of its own"
    assert added(text, model)["tagger"] == (reason, False)


def test_sizes_and_the_pipeline_are_references(model):
    cnn_of_tagger = CNN.replace("depth = 1", "depth = ${components.tagger.model.tok2vec.window_size}")
    variables = '[vars]\nwidth = 16\nsize = 100\nsubwords = true\nnames = ["tagger", "ner"]\n'
    cnn = f"\n[components.tagger.model.tok2vec]{cnn_of_tagger}"
    refers = CNN.replace("vars.width", "components.tagger.model.tok2vec.width")
    refers = refers.replace("vars.size", "components.tagger.model.tok2vec.embed_size")
    text = of("${vars.names}", TAGGER, cnn, NER_WITH_COMMENT, refers, variables)
    assert all(changed for _, changed in added(text, model).values())
    embed = text.resolve()["components"]["ner"]["model"]["tok2vec"]["tok2vec"]["embed"]["embed"]
    assert (embed["width"], embed["rows"]) == (16, [100, 50, 50, 50])
    assert "width = ${vars.width}" in str(text)


def test_listeners_follow_the_width_of_a_shared_cnn(model):
    shared = '\n[components.tok2vec]\nfactory = "tok2vec"\n\n[components.tok2vec.model]' + CNN
    shared = (
        shared.replace("${vars.width}", "16")
        .replace("${vars.size}", "50")
        .replace("${vars.subwords}", "true")
    )
    listener = '\n[components.tagger.model.tok2vec]\n@architectures = "spacy.Tok2VecListener.v1"\n'
    listener += 'upstream = "tok2vec"\nwidth = ${components.tok2vec.model:width}\n'
    text = of('["tok2vec", "tagger"]', shared, TAGGER, listener)
    assert all(changed for _, changed in added(text, model).values())
    assert "width = ${components.tok2vec.model.encode.width}" in str(text)
