"""Every backend, instruction set and precision gives the layers of the plain network, whatever the batch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modeling.helpers import ENCODERS, WORDS, layers, make_bilm

from spacy_elmo.inference.backends import available_backends
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.inference.encode import encode
from spacy_elmo.inference.inputs import input_vectors
from spacy_elmo.modeling.vocab import Vocab

BACKENDS = available_backends()
ROUGH = ("bf16", "int16")
PRECISIONS = ("f32", *ROUGH)
SENTENCE = ["我", "爱", "北京", "天安门", "？未知", "，", "Linux"]
SIZES = [
    {},
    {"projection_dim": 5, "hidden_size": 5},
    {"projection_dim": 5, "hidden_size": 7, "cell_clip": 0.2, "proj_clip": 0.1},
    {
        "projection_dim": 7,
        "hidden_size": 7,
        "cell_clip": 0.2,
        "proj_clip": 0.1,
        "use_skip_connections": False,
    },
    {"projection_dim": 64, "hidden_size": 64, "n_layers": 3},
    {"projection_dim": 65, "hidden_size": 130, "proj_clip": 0.5},
    {"projection_dim": 32, "hidden_size": 300, "n_layers": 1},
    {"projection_dim": 530, "hidden_size": 600},  # more inputs than a segment of the kernel has
]


def soften(bilm: BiLM) -> BiLM:
    """Weights of the size of trained ones: with large ones, the gates of a random model are options."""
    with torch.no_grad():
        for name, parameter in bilm.named_parameters():
            if "_lm." in name and parameter.dim() == 2:
                parameter.div_(0.4 * parameter.shape[1] ** 0.5)
    return bilm


MODELS = {str(options): soften(make_bilm(**options)) for options in [*ENCODERS.values(), *SIZES[1:]]}
UNITS = [*WORDS, "未知", "京北", "一个很长很长的词", " ", "<s>"]
sentences = st.lists(st.lists(st.sampled_from(UNITS), max_size=10), max_size=70)


@pytest.fixture(scope="module", autouse=True)
def some_threads():
    """Batches are shared out among threads, also on a machine with one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosines of the vectors of two arrays."""
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_f32_is_like_the_plain_network(name, backend):
    bilm = MODELS[name]
    for sentence in (SENTENCE, ["我"], SENTENCE * 9):
        found = encode(bilm, [sentence], backend=backend)[0]
        np.testing.assert_allclose(found, layers(bilm, sentence), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ROUGH)
def test_rounded_products_are_close_to_the_plain_network(name, backend, precision):
    bilm = MODELS[name]
    for sentence in (SENTENCE, ["我"], SENTENCE * 3):
        found = encode(bilm, [sentence], precision=precision, backend=backend)[0]
        assert cosines(found, layers(bilm, sentence)).min() >= 0.9995


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1e-20, 0.01, 1.0, 1e20])
def test_int16_holds_the_largest_sums(backend, size):
    """Every weight and every input as large as any next to it, so that no sum could be larger."""
    bilm = make_bilm(projection_dim=300, hidden_size=300)
    with torch.no_grad():
        for name, parameter in bilm.named_parameters():
            parameter.fill_(size if "embedding" in name else 1 / 300 if "_lm." in name else 0)
    found = encode(bilm, [SENTENCE], precision="int16", backend=backend)[0]
    np.testing.assert_allclose(found, layers(bilm, SENTENCE), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ROUGH)
def test_rounded_products_give_what_half_precision_holds(name, backend, precision):
    if (backend, precision) == ("torch", "int16"):
        pytest.skip("torch has no products of int16: these are float32")
    for found in encode(MODELS[name], [SENTENCE, [], ["我"]], precision=precision, backend=backend):
        np.testing.assert_array_equal(found.astype(np.float16).astype(np.float32), found)


@pytest.mark.parametrize("precision", ROUGH)
def test_layers_too_large_for_half_precision_stay(precision):
    bilm = make_bilm(projection_dim=6, hidden_size=12)
    with torch.no_grad():
        bilm.token_encoder.embedding.weight.fill_(1e5)
    found = encode(bilm, [SENTENCE], precision=precision)[0]
    np.testing.assert_allclose(found[0], encode(bilm, [SENTENCE])[0][0], rtol=1e-6)
    assert found[0].max() > 65504
    assert np.isfinite(found).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gates_far_from_zero(backend):
    """Sigmoid and tanh over all that a float can be: nothing overflows, and the ends are exact."""
    bilm = make_bilm(projection_dim=6, hidden_size=6, n_layers=1)
    for size in (1e-6, 0.3, 30.0, 1e6, 1e30):
        with torch.no_grad():
            bilm.token_encoder.embedding.weight.normal_(std=size)
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(
                encode(bilm, [SENTENCE], backend=backend)[0][1], layers(bilm, SENTENCE)[1], atol=1e-5
            )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_damaged_weights_show(backend, precision):
    bilm = make_bilm()
    with torch.no_grad():
        bilm.forward_lm.layers[0].weight_ih_l0[3, 2] = float("nan")
    found = encode(bilm, [SENTENCE], precision=precision, backend=backend)[0]
    assert np.isnan(found[1, :, :6]).all()
    assert np.isfinite(found[1:, :, 6:]).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_damaged_vector_shows_from_there_on(backend, precision):
    bilm = make_bilm()
    place = 3
    with torch.no_grad():
        bilm.token_encoder.embedding.weight[bilm.vocab.id(SENTENCE[place]), 1] = float("nan")
    other = ["我", "爱"]
    found, beside = encode(bilm, [SENTENCE, other], precision=precision, backend=backend)
    assert np.isnan(found[1:, place:, :6]).all()
    assert np.isnan(found[1:, : place + 1, 6:]).all()
    assert np.isfinite(found[1:, :place, :6]).all()
    assert np.isfinite(found[1:, place + 1 :, 6:]).all()
    assert np.isfinite(beside).all()


@settings(max_examples=12, deadline=None)
@given(sentences=sentences, batch_tokens=st.sampled_from([1, 40, 300, 4096]), data=st.data())
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sentence_has_the_same_bits_in_every_batch(backend, precision, sentences, batch_tokens, data):
    bilm = MODELS[data.draw(st.sampled_from(sorted(MODELS)))]
    alone = [encode(bilm, [sentence], precision=precision, backend=backend)[0] for sentence in sentences]
    order = data.draw(st.permutations(range(len(sentences))))
    mixed = [sentences[i] for i in order]
    together = encode(bilm, mixed, batch_tokens=batch_tokens, precision=precision, backend=backend)
    for i, found in zip(order, together, strict=True):
        np.testing.assert_array_equal(found, alone[i])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_bits_in_a_large_batch_of_a_large_model(backend, precision):
    bilm = make_bilm(projection_dim=128, hidden_size=512, seed=3)
    generator = np.random.default_rng(0)
    texts = [list(generator.choice(UNITS, n)) for n in generator.integers(1, 40, 150)]
    together = encode(bilm, texts, precision=precision, backend=backend, batch_tokens=10**6)
    longest = sorted(range(150), key=lambda i: len(texts[i]))
    for i in (*longest[-3:], *longest[60:90], *longest[:3]):  # also those whose rows are the last of a tile
        alone = encode(bilm, [texts[i]], precision=precision, backend=backend)[0]
        np.testing.assert_array_equal(together[i], alone)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "sizes",
    [
        {"projection_dim": 250, "hidden_size": 3001},
        {"projection_dim": 901, "hidden_size": 901},
        {"projection_dim": 8, "hidden_size": 90_000, "proj_clip": 0.5},
    ],
)
def test_few_sentences_and_large_weights_on_any_number_of_threads(sizes, precision):
    """Threads that share the steps of a direction, more of them than blocks of a product, too."""
    bilm = soften(make_bilm(n_layers=1, **sizes))
    texts = [list(UNITS[:7]), list(UNITS[3:5]), list(UNITS[:3])]
    torch.set_num_threads(1)
    alone = encode(bilm, texts, precision=precision, backend=BACKENDS[0])
    for threads in (2, 3, 12):
        torch.set_num_threads(threads)
        for a, b in zip(encode(bilm, texts, precision=precision, backend=BACKENDS[0]), alone, strict=True):
            np.testing.assert_array_equal(a, b)
    near = 1e-5 if precision == "f32" else 0.15
    np.testing.assert_allclose(alone[1], layers(bilm, texts[1]), atol=near)


@pytest.mark.parametrize("backend", BACKENDS)
def test_new_weights_are_seen(backend):
    bilm = make_bilm()

    def now() -> np.ndarray:
        return encode(bilm, [SENTENCE], backend=backend)[0]

    def check(before: np.ndarray) -> np.ndarray:
        assert np.abs(now() - before).max() > 1e-3
        np.testing.assert_allclose(now(), layers(bilm, SENTENCE), atol=1e-5)
        return now()

    found = now()
    with torch.no_grad():
        bilm.backward_lm.layers[1].weight_hh_l0.mul_(1.5)
    found = check(found)
    bilm.load_state_dict(make_bilm(seed=1).state_dict())
    found = check(found)
    bilm.load_state_dict(make_bilm(seed=2).state_dict(), assign=True)
    found = check(found)
    bilm.token_encoder.embedding.weight = torch.nn.Parameter(bilm.token_encoder.embedding.weight * 2)
    found = check(found)
    bilm.vocab = Vocab(WORDS[::-1])
    check(found)


def test_new_weights_of_an_encoder_are_seen():
    bilm = make_bilm(**ENCODERS["both"])
    before = bilm.encode([SENTENCE])[0]
    with torch.no_grad():
        bilm.token_encoder.char_cnn.convolutions[0].weight.mul_(2)
    after = bilm.encode([SENTENCE])[0]
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, layers(bilm, SENTENCE), atol=1e-5)


@pytest.mark.parametrize("name", ["wide table", "char_cnn", "both"])
@settings(max_examples=20, deadline=None)
@given(batches=st.lists(st.lists(st.lists(st.text("京北天安门我爱x", max_size=5), max_size=5), max_size=4)))
def test_the_cache_of_units_changes_nothing_and_keeps_its_budget(name, batches):
    bilm = MODELS[str(ENCODERS[name])]
    room = input_vectors.CachedInputs(
        bilm.token_encoder,
        bilm.vocab,
        bilm.config,
        dtype=torch.float32,
        budget=5 * 4 * bilm.config.projection_dim,
    )
    largest = 5  # a call gets all of its units
    with torch.inference_mode():
        for batch in batches:
            inputs = room.encode(batch)
            largest = max(largest, len({unit for sentence in batch for unit in sentence}))
            assert len(room) <= largest
            for sentence, rows in zip(batch, inputs.ids, strict=True):
                expected = bilm.encode([sentence])[0][0, :, :6]
                np.testing.assert_array_equal(inputs.vectors[rows].numpy()[1:-1], expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("options", [SIZES[4], SIZES[5]], ids=str)
def test_of_a_damaged_batch_nothing_is_left_for_the_next(options, precision, backend):
    bilm, damaged = MODELS[str(options)], make_bilm(**options)
    with torch.no_grad():
        for parameter in damaged.parameters():
            parameter.fill_(float("nan"))
    batch = [SENTENCE] * 60
    before = encode(bilm, batch, precision=precision, backend=backend)
    for _ in range(3):
        assert np.isnan(encode(damaged, batch, precision=precision, backend=backend)[0]).all()
        for one, other in zip(encode(bilm, batch, precision=precision, backend=backend), before, strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_model_serves_several_threads():
    bilm = make_bilm(**ENCODERS["both"])
    texts = [[f"{i}京", "北京", "我"] * (1 + i % 3) for i in range(60)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: bilm.encode([text])[0], texts))
    for text, one in zip(texts, found, strict=True):
        np.testing.assert_array_equal(one, make_bilm(**ENCODERS["both"]).encode([text])[0])
