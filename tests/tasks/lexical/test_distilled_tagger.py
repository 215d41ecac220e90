"""The distilled tagger: its computation, its file, and that a pipeline keeps it."""

import numpy as np
import pytest
import safetensors.torch
import spacy
import torch
from torch.nn import functional as F

from spacy_elmo.errors import ElmoError
from spacy_elmo.pipeline.architectures import build_bilm_v1
from spacy_elmo.pipeline.layer_weights import collect_layer_weights
from spacy_elmo.tasks.lexical.architectures import build_distilled_tagger_v1
from spacy_elmo.tasks.lexical.distilled_tagger import DistilledTagger, TaggerWeights, load_tagger, save_tagger

from .helpers import MODEL, SENTENCES, make_examples, spans_of, train

LAYERS, WIDTH, PROJECTION, HIDDEN = 3, 512, 6, 4


def make_weights(width: int = WIDTH) -> TaggerWeights:
    rng = np.random.default_rng(0)
    lstm = ((4 * HIDDEN, PROJECTION), (4 * HIDDEN, HIDDEN), (4 * HIDDEN,))
    shapes = ((LAYERS,), (1,), (PROJECTION, width), (PROJECTION,), *lstm, *lstm)
    return TaggerWeights(*((rng.normal(size=shape) / 4).astype(np.float16).astype("f") for shape in shapes))


@pytest.fixture
def path(tmp_path):
    save_tagger(tmp_path / "tagger.safetensors", make_weights(), ["B-n", "I-n"], "made by a test")
    return tmp_path / "tagger.safetensors"


def config(path):
    embed = {
        "@layers": "concatenate.v1",
        "*": {
            "hash": MODEL["tok2vec"]["embed"],
            "tagger": {
                "@architectures": "spacy-elmo.DistilledTagger.v1",
                "path": None if path is None else str(path),
            },
        },
    }
    return {"model": {**MODEL, "tok2vec": {**MODEL["tok2vec"], "embed": embed}}}


def test_the_computation_is_that_of_torch(path):
    model = DistilledTagger(path)
    model.set_dim("nL", LAYERS)
    model.set_dim("nI", WIDTH)
    model.initialize()
    weights = TaggerWeights(*map(torch.from_numpy, make_weights()))
    lstm = torch.nn.LSTM(PROJECTION, HIDDEN, bidirectional=True)
    with torch.no_grad():
        for parameter, value in zip(
            lstm.parameters(),
            (
                *weights[4:6],
                weights.forward_b,
                torch.zeros(4 * HIDDEN),
                *weights[7:9],
                weights.backward_b,
                torch.zeros(4 * HIDDEN),
            ),
            strict=True,
        ):
            parameter.copy_(value)
        layers = [torch.randn(LAYERS, n, WIDTH) for n in (5, 0, 1)]
        found = model.predict([each.numpy() for each in layers])
        assert [each.shape for each in found] == [(5, 2 * HIDDEN), (0, 2 * HIDDEN), (1, 2 * HIDDEN)]
        for each, states in zip(layers, found, strict=True):
            if each.shape[1]:
                normalized = F.layer_norm(each, (WIDTH,))
                mixed = weights.gamma * torch.einsum("l,lnd->nd", torch.softmax(weights.w, 0), normalized)
                projected = F.relu(F.linear(mixed, weights.projection_W, weights.projection_b))
                np.testing.assert_allclose(states, lstm(projected)[0].numpy(), atol=0.02)  # bfloat16


def test_the_weights_are_frozen_and_saved_with_the_pipeline(path, tmp_path):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    nlp.add_pipe("crf_ner", config=config(path))
    train(nlp, make_examples(nlp))
    nlp.to_disk(tmp_path / "pipeline")
    path.unlink()
    loaded = spacy.load(tmp_path / "pipeline")
    for text, spans in SENTENCES:
        assert spans_of(loaded(text)) == spans
    (node,) = [
        node for node in loaded.get_pipe("crf_ner").model.walk() if node.name == "elmo-distilled-tagger"
    ]
    assert collect_layer_weights(loaded) == []  # they are nothing that the task has learned
    mix, relu, _ = node.layers[0].layers
    np.testing.assert_array_equal(mix.get_param("w"), make_weights().w)
    np.testing.assert_array_equal(relu.layers[0].get_param("W"), make_weights().projection_W)


def test_listeners_are_replaced_by_private_layers(path, tmp_path):
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    settings = config(path)
    listener = {"@architectures": "spacy-elmo.ElmoListener.v1", "layer_norm": True}
    settings["model"]["tok2vec"]["embed"]["*"]["elmo"] = listener
    nlp.add_pipe("crf_ner", config=settings)
    train(nlp, make_examples(nlp), steps=30)
    expected = [spans_of(nlp(text)) for text, _ in SENTENCES]
    places = [f"model.tok2vec.embed.*.{name}" for name in ("elmo", "tagger")]
    with pytest.raises(ValueError, match="not the path of a listener"):
        nlp.replace_listeners("elmo", "crf_ner", [places[0], "model.tok2vec.embed.*.hash"])
    nlp.replace_listeners("elmo", "crf_ner", places)
    nlp.remove_pipe("elmo")
    assert [spans_of(nlp(text)) for text, _ in SENTENCES] == expected
    nlp.to_disk(tmp_path / "pipeline")
    path.unlink()
    loaded = spacy.load(tmp_path / "pipeline")
    assert [spans_of(loaded(text)) for text, _ in SENTENCES] == expected


def test_the_bundled_tagger_reads_the_bundled_model():
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    nlp.add_pipe("crf_ner", config=config(None))
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    assert nlp("我在北京").ents is not None


def test_another_width_is_refused(tmp_path):
    save_tagger(tmp_path / "tagger", make_weights(width=7), [], "made by a test")
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo")
    nlp.add_pipe("crf_ner", config=config(tmp_path / "tagger"))
    with pytest.raises(ElmoError, match="reads 3 layers of width 7, and this biLM has 3 of width 512"):
        nlp.initialize(lambda: make_examples(nlp))


def test_a_bilm_that_is_not_frozen_is_refused():
    model = build_distilled_tagger_v1(bilm=build_bilm_v1(frozen=False))
    with pytest.raises(ValueError, match="cannot fine-tune a biLM: set frozen = true"):
        model.initialize()


@pytest.mark.parametrize("data", [b"", b"not a file of tensors", b"\xff" * 64])
def test_other_files_are_refused(data, tmp_path):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ElmoError, match="is not a distilled tagger"):
        load_tagger(tmp_path / "file")
    with pytest.raises(ElmoError, match="There is no distilled tagger"):
        load_tagger(tmp_path / "missing")


def test_a_type_of_numbers_that_numpy_lacks_is_refused(tmp_path):
    tensors = {name: torch.tensor(value).bfloat16() for name, value in make_weights()._asdict().items()}
    (tmp_path / "tagger").write_bytes(safetensors.torch.save(tensors))
    with pytest.raises(ElmoError, match="not a distilled tagger"):
        load_tagger(tmp_path / "tagger")


def test_damaged_weights_are_refused(tmp_path):
    weights = make_weights()
    for bad in (weights._replace(forward_b=weights.forward_b[1:]), weights._replace(w=weights.w * np.nan)):
        save_tagger(tmp_path / "tagger", bad, [], "made by a test")
        with pytest.raises(ElmoError, match="is damaged"):
            load_tagger(tmp_path / "tagger")
        (tmp_path / "tagger").unlink()
