"""bilm-tf's and AllenNLP's models against the published vectors and a plain computation from their files."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spacy_elmo
from spacy_elmo.formats import load_bilm_tf
from spacy_elmo.inference import loading

from .helpers import (
    FIXTURES,
    OPTIONS,
    SENTENCE,
    WORDS,
    bilm_tf_layers,
    bilm_tf_tensors,
    options,
    write_bilm_tf,
    write_hdf5,
)

h5py = pytest.importorskip("h5py", reason="reads and writes HDF5")


def loaded(folder, described, tensors, **kwargs):
    return load_bilm_tf(*write_bilm_tf(folder, described, tensors), **kwargs)


# the published model


published = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason="the published data are not beside this checkout"
)


def published_batches():
    lists = json.loads((FIXTURES / "lm_embeddings_sentences.json").read_text(encoding="utf8"))
    batches = [[sentence.split() for sentence in batch] for batch in zip(*lists, strict=True)]
    for i, batch in enumerate(batches):
        wanted = []
        for k in range(len(batch)):
            with h5py.File(FIXTURES / f"lm_embeddings_{k}.hdf5") as file:
                wanted.append(np.concatenate(file[str(i)][:], axis=-1))  # (n, 32)
        yield batch, wanted


@pytest.fixture(scope="module")
def published_bilm():
    return load_bilm_tf(FIXTURES / "options.json", FIXTURES / "lm_weights.hdf5")


@published
def test_published_vectors_with_the_carried_state(published_bilm):
    published_bilm.reset_states()
    n = 0
    for batch, wanted in published_batches():
        for layers, top in zip(published_bilm.encode(batch, stateful=True), wanted, strict=True):
            np.testing.assert_allclose(layers[2], top, atol=1e-6, rtol=1e-5)
            n += len(top)
    assert n > 500


@published
def test_published_vectors_of_the_first_batch_need_no_state(published_bilm):
    batches = list(published_batches())
    for layers, top in zip(published_bilm.encode(batches[0][0]), batches[0][1], strict=True):
        np.testing.assert_allclose(layers[2], top, atol=1e-6, rtol=1e-5)
    later = published_bilm.encode(batches[1][0])
    assert max(np.abs(x[2] - y).max() for x, y in zip(later, batches[1][1], strict=True)) > 0.1


@published
def test_published_weights_by_the_plain_computation(published_bilm):
    described = json.loads((FIXTURES / "options.json").read_text())
    with h5py.File(FIXTURES / "lm_weights.hdf5") as file:
        tensors = {}
        file.visititems(lambda name, x: tensors.update({name: x[:]} if hasattr(x, "shape") else {}))
    wanted = bilm_tf_layers(described, tensors, SENTENCE)
    np.testing.assert_allclose(published_bilm.encode([SENTENCE])[0], wanted, atol=1e-5)


# random models in the same layout


VARIANTS = {
    "ordinary": OPTIONS,
    "without skip connections": options({"use_skip_connections": False}),
    "cell clip triggers": options({"cell_clip": 0.2}),
    "projection clip triggers": options({"proj_clip": 0.1}),
    "both clips trigger": options({"cell_clip": 0.3, "proj_clip": 0.2}),
    "no clips": options({"cell_clip": None, "proj_clip": None}),
    "one layer": options({"n_layers": 1}),
    "three layers": options({"n_layers": 3}),
    "tanh": options(activation="tanh"),
    "no highways": options(n_highway=0),
    "no projection behind the CNN": options(filters=[[1, 3], [3, 3]]),
    "no projection in the cells": options({"dim": 6, "proj_clip": 0.1}),
    "261 characters": options(n_characters=261),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_exact(name, tmp_path):
    described = VARIANTS[name]
    tensors = bilm_tf_tensors(described)
    bilm = loaded(tmp_path, described, tensors)
    wanted = bilm_tf_layers(described, tensors, SENTENCE)
    np.testing.assert_allclose(bilm.encode([SENTENCE])[0], wanted, atol=1e-5)
    if "trigger" in name:  # the clip does something
        without = {**described, "lstm": {**described["lstm"], "cell_clip": None, "proj_clip": None}}
        assert np.abs(bilm_tf_layers(without, tensors, SENTENCE) - wanted).max() > 0.01


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.text(max_size=60), max_size=4), min_size=1, max_size=3))
def test_any_words_in_any_batch(bilm_and_tensors, sentences):
    bilm, tensors = bilm_and_tensors
    for layers, sentence in zip(bilm.encode(sentences), sentences, strict=True):
        words = [word.encode("utf8", "ignore").decode() for word in sentence]
        np.testing.assert_allclose(layers, bilm_tf_layers(OPTIONS, tensors, words), atol=1e-5)


@pytest.fixture(scope="module")
def bilm_and_tensors(tmp_path_factory):
    tensors = bilm_tf_tensors(OPTIONS)
    return loaded(tmp_path_factory.mktemp("bilm_tf"), OPTIONS, tensors), tensors


def test_words_are_cut_at_48_bytes(bilm_and_tensors):
    bilm, _ = bilm_and_tensors
    long, cut, short = bilm.encode([["а" * 30, "а" * 24, "а" * 23]])[0][0]
    np.testing.assert_allclose(long, cut, atol=1e-6)
    assert np.abs(cut - short).max() > 1e-4
    within, same, other = bilm.encode([["的" * 16 + "一", "的" * 16 + "丁", "x" + "的" * 16]])[0][0]
    np.testing.assert_allclose(within, same, atol=1e-6)
    assert np.abs(within - other).max() > 1e-4


def test_a_word_spelled_like_a_boundary_is_a_word(bilm_and_tensors):
    bilm, tensors = bilm_and_tensors
    np.testing.assert_allclose(
        bilm.encode([["<S>", "</S>"]])[0], bilm_tf_layers(OPTIONS, tensors, ["<S>", "</S>"]), atol=1e-5
    )


@pytest.mark.parametrize("place", ["front", "back"])
def test_a_row_more_in_the_character_table(place, tmp_path, bilm_and_tensors):
    bilm, tensors = bilm_and_tensors
    table = tensors["char_embed"]
    row = np.zeros_like(table[:1]) if place == "front" else np.full_like(table[:1], 7)
    wide = np.concatenate([row, table] if place == "front" else [table, row])
    other = loaded(tmp_path, OPTIONS, {**tensors, "char_embed": wide})
    np.testing.assert_array_equal(other.encode([SENTENCE])[0], bilm.encode([SENTENCE])[0])


def test_the_names_of_a_single_layer(tmp_path):
    described = options({"n_layers": 1})
    tensors = bilm_tf_tensors(described)
    alone = {name.replace("MultiRNNCell/Cell0/", ""): t for name, t in tensors.items()}
    assert alone.keys() != tensors.keys()
    one, other = loaded(tmp_path / "1", described, tensors), loaded(tmp_path / "2", described, alone)
    np.testing.assert_array_equal(one.encode([SENTENCE])[0], other.encode([SENTENCE])[0])


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_floating_point_types(dtype, tmp_path):
    tensors = {name: t.astype("float16") for name, t in bilm_tf_tensors(OPTIONS).items()}
    bilm = loaded(tmp_path, OPTIONS, {name: t.astype(dtype) for name, t in tensors.items()})
    np.testing.assert_allclose(
        bilm.encode([SENTENCE])[0], bilm_tf_layers(OPTIONS, tensors, SENTENCE), atol=1e-5
    )


# models of words


VOCAB = ["<S>", "</S>", "<UNK>", *WORDS]


def test_a_model_of_words(tmp_path):
    described = {"lstm": OPTIONS["lstm"]}
    tensors = bilm_tf_tensors(described, n_words=len(VOCAB))
    arguments = write_bilm_tf(tmp_path, described, tensors, VOCAB)
    bilm = load_bilm_tf(*arguments, vocab=tmp_path / "vocab.txt")
    sentence = ["the", "cat", "dog", "的", "."]
    ids = [0, *(VOCAB.index(word) if word in VOCAB else 2 for word in sentence), 1]
    wanted = bilm_tf_layers(described, tensors, sentence, embedded=tensors["embedding"][ids])
    np.testing.assert_allclose(bilm.encode([sentence])[0], wanted, atol=1e-5)


def test_the_lines_of_a_vocabulary(tmp_path):
    # Specials anywhere, ends of Windows, a line that they skip, white space, a word twice: the later counts.
    lines = ["the", "<UNK>", "</S>\r", "!!!MAXTERMID", " cat ", "<S>", "the", "\u2028x"]
    described = {"lstm": OPTIONS["lstm"]}
    tensors = bilm_tf_tensors(described, n_words=len(lines) - 1)
    arguments = write_bilm_tf(tmp_path, described, tensors, lines)
    bilm = load_bilm_tf(*arguments, vocab=tmp_path / "vocab.txt")
    ids = [4, 5, 3, 1, 2]
    wanted = bilm_tf_layers(described, tensors, range(3), embedded=tensors["embedding"][ids])
    np.testing.assert_allclose(bilm.encode([["the", "cat", "dog"]])[0], wanted, atol=1e-5)


def test_vectors_of_words_in_place_of_the_char_cnn(tmp_path):
    tensors = bilm_tf_tensors(OPTIONS)
    table = np.random.default_rng(5).normal(size=(len(VOCAB), 6)).astype("float32")
    arguments = write_bilm_tf(tmp_path, OPTIONS, tensors, VOCAB)
    write_hdf5(tmp_path / "vectors.hdf5", {"embedding": table})
    bilm = load_bilm_tf(*arguments, vocab=tmp_path / "vocab.txt", embedding=tmp_path / "vectors.hdf5")
    wanted = bilm_tf_layers(OPTIONS, tensors, ["cat", "?"], embedded=table[[0, 4, 2, 1]])
    np.testing.assert_allclose(bilm.encode([["cat", "?"]])[0], wanted, atol=1e-5)


# what becomes of them


def test_the_model_folder_gives_the_same_bits(tmp_path, bilm_and_tensors):
    bilm, _ = bilm_and_tensors
    bilm.save(tmp_path / "model")
    back = loading.load(tmp_path / "model")
    assert back.config == bilm.config
    np.testing.assert_array_equal(back.encode([SENTENCE])[0], bilm.encode([SENTENCE])[0])


def test_the_names_are_there_without_an_import():
    assert spacy_elmo.formats.load_bilm_tf is load_bilm_tf


def test_language_and_segmenter_are_recorded(tmp_path):
    bilm = loaded(tmp_path, OPTIONS, bilm_tf_tensors(OPTIONS), lang="ru", segmenter="RussianTokenizer")
    assert (bilm.config.lang, bilm.config.segmenter) == ("ru", "RussianTokenizer")
    assert loaded(tmp_path, OPTIONS, bilm_tf_tensors(OPTIONS)).config.segmenter == "Tokenizer"
