"""The layer of lexicon features: its table, where it comes from, and that a pipeline keeps it."""

import pickle

import numpy as np
import pytest
import safetensors.numpy
import spacy

from spacy_elmo.errors import ElmoError
from spacy_elmo.tasks.lexical.architectures import build_lexicon_features_v1
from spacy_elmo.tasks.lexical.lexicon import Lexicon
from spacy_elmo.tasks.lexical.lexicon_features import lexicon_bytes, lexicon_from_bytes

from .helpers import MODEL, SENTENCES, make_doc, make_examples, random_table, spans_of, train

STRINGS = ["北京", "上海", "银行", "张"]


@pytest.fixture
def path(tmp_path):
    lexicon = Lexicon(STRINGS, random_table(4).astype(np.float16), np.arange(1, 5))
    file = tmp_path / "lexicon.safetensors"
    file.write_bytes(lexicon_bytes(lexicon))
    return file


def test_the_bundled_model_is_the_default():
    nlp = spacy.blank("zh")
    model = build_lexicon_features_v1()
    model.initialize()
    features = model.predict([make_doc(nlp, "北京大学"), make_doc(nlp, "")])
    assert [f.shape for f in features] == [(4, model.get_dim("nO")), (0, model.get_dim("nO"))]
    groups = features[0].reshape(4, 4, -1).any(-1)
    assert groups[:, 3].all()  # each character by itself
    assert groups[0, 0]  # 北京 begins
    assert groups[1, 2]  # and ends
    assert not groups[0, 2]


def test_a_saved_pipeline_brings_its_table_along(path, tmp_path):
    nlp = spacy.blank("zh")
    embed = {"@layers": "concatenate.v1", "*": {"hash": MODEL["tok2vec"]["embed"]}}
    embed["*"]["lexicon"] = {"@architectures": "spacy-elmo.LexiconFeatures.v1", "path": str(path)}
    model = {**MODEL, "tok2vec": {**MODEL["tok2vec"], "embed": embed}}
    nlp.add_pipe("crf_ner", config={"model": model})
    train(nlp, make_examples(nlp))
    nlp.to_disk(tmp_path / "pipeline")
    path.unlink()
    loaded = spacy.load(tmp_path / "pipeline")
    for text, spans in SENTENCES:
        assert spans_of(loaded(text)) == spans
    found = [node for node in loaded.get_pipe("crf_ner").model.walk() if node.name == "elmo-lexicon"]
    (doc,) = [make_doc(loaded, "北京")]
    np.testing.assert_array_equal(found[0].predict([doc])[0][0, :3], random_table(4).astype(np.float16)[0])


def test_bytes_and_pickle_keep_a_lexicon(path):
    lexicon = lexicon_from_bytes(path.read_bytes())
    assert lexicon.strings == STRINGS
    assert lexicon_bytes(lexicon) == path.read_bytes()
    model = build_lexicon_features_v1(str(path))
    model.initialize()
    copied = pickle.loads(pickle.dumps(model))
    path.unlink()
    assert copied.shims[0].lexicon.strings == STRINGS


@pytest.mark.parametrize("data", [b"", b"x" * 100])
def test_another_file_is_refused(path, data):
    path.write_bytes(data)
    model = build_lexicon_features_v1(str(path))
    with pytest.raises(ElmoError, match="spacy elmo lexicon"):
        model.initialize()


@pytest.mark.parametrize(
    ("vectors", "weights"),
    [
        (np.full((4, 3), np.nan), np.ones(4)),
        (np.ones((4, 3)), np.array([1.0, np.inf, 1.0, 1.0])),
        (np.ones((4, 3)), -np.ones(4)),
        (np.full((4, 3), 1e300), np.ones(4)),
        (np.ones((4, 3)), np.ones((4, 1))),
        (np.ones((4, 3, 1)), np.ones(4)),
        (np.ones(4), np.ones(4)),
        (np.ones((4, 0)), np.ones(4)),
    ],
)
def test_a_damaged_table_is_refused(vectors, weights):
    strings = np.frombuffer("\n".join(STRINGS).encode(), dtype=np.uint8)
    data = safetensors.numpy.save({"strings": strings, "vectors": vectors, "weights": weights})
    with pytest.raises(ElmoError, match="is damaged"):
        lexicon_from_bytes(data)


def test_docs_do_not_touch_one_another(path):
    nlp = spacy.blank("zh")
    model = build_lexicon_features_v1(str(path))
    model.initialize()
    docs = [make_doc(nlp, text) for text in ("去北", "京上海", "", "银行")]
    for doc, together in zip(docs, model.predict(docs), strict=True):
        np.testing.assert_array_equal(model.predict([doc])[0], together)
