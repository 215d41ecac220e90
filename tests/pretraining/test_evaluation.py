"""Perplexity on held-out text."""

import math

import pytest
import torch

from spacy_elmo.errors import CorpusError
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.loss import lm_loss
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining.evaluation import evaluate_perplexity, read_sentences

WORDS = ["我", "北京", "天安门"]


def make(vocab=WORDS, **settings) -> BiLM:
    torch.manual_seed(0)
    defaults = {"units": "word", "projection_dim": 4, "hidden_size": 6, "lang": "xx", "tie_softmax": False}
    return BiLM(BiLMConfig(**{**defaults, **settings}), Vocab(vocab)).eval()


def uniform() -> BiLM:
    bilm = make()
    with torch.no_grad():
        bilm.softmax_weight.zero_()
    return bilm


def test_a_model_that_knows_nothing():
    found = evaluate_perplexity(uniform(), [["我", "北京"], ["天安门", "谁", "我"]])
    assert found.forward == pytest.approx(7, rel=1e-5)  # three words and four specials
    assert found.backward == pytest.approx(7, rel=1e-5)
    # 5 units and 2 boundaries are predicted, 8 characters are read
    assert found.per_character_forward == pytest.approx(math.exp(math.log(7) * 7 / 8), rel=1e-5)
    assert found.per_character_backward == pytest.approx(found.per_character_forward)
    assert (found.sentences, found.units, found.characters, found.unknown) == (2, 5, 8, 0.2)
    assert found.to_dict()["units"] == 5


@pytest.mark.parametrize("batch_tokens", [1, 12, 4096])
def test_perplexity_is_that_of_all_sentences_together(batch_tokens):
    bilm = make()
    text = [["我"] * n + ["北京"] for n in range(8)]
    losses = [lm_loss(bilm, collate(bilm, [sentence])) for sentence in text]
    n = sum(loss.n_targets for loss in losses)
    found = evaluate_perplexity(bilm, text, batch_tokens=batch_tokens)
    assert found.forward == pytest.approx(math.exp(sum(loss.forward for loss in losses) / n), rel=1e-5)
    assert found.backward == pytest.approx(math.exp(sum(loss.backward for loss in losses) / n), rel=1e-5)


def test_the_text_is_cut_as_the_model_reads_it(tmp_path):
    path = tmp_path / "heldout.txt"
    path.write_text("我 北京 １９９８。\n\n谁！天安门\n", encoding="utf8")
    words = read_sentences(make(), path)
    assert words == [["我", "北京", "1998", "。"], ["谁", "！"], ["天安门"]]
    chars = read_sentences(make(vocab=list("我北"), units="char", max_sentence_length=4), path)
    assert ["".join(s) for s in chars] == ["我北京1", "998。", "谁！", "天安门"]


@pytest.mark.parametrize("text", ["", "\n \n　\n"])
def test_empty_text(tmp_path, text):
    (tmp_path / "heldout.txt").write_text(text, encoding="utf8")
    with pytest.raises(CorpusError, match="is empty"):
        read_sentences(make(), tmp_path / "heldout.txt")


def test_missing_and_foreign_text(tmp_path):
    with pytest.raises(CorpusError, match="nowhere"):
        read_sentences(make(), tmp_path / "nowhere")
    (tmp_path / "heldout.txt").write_bytes("我爱北京".encode("gb18030"))
    with pytest.raises(CorpusError, match="line 1 is not UTF-8"):
        read_sentences(make(), tmp_path / "heldout.txt")
