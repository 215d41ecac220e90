"""Measure perplexity on held-out text, in each direction, per prediction and per character."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..batching import length_buckets
from ..errors import CorpusError
from ..inference.bilm import BiLM
from ..modeling.collate import collate
from ..modeling.loss import lm_loss, perplexity
from ..progress import progress_bar
from .data.segmentation import make_segmenter, sentences
from .data.text_files import read_files
from .distributed import DistributedContext


@dataclass
class Perplexity:
    """Full-softmax perplexity of both directions on held-out sentences.

    Attributes:
        forward: exp(nll / predictions) of the forward direction. Every unit is predicted, and the boundary
            after the sentence. Unknown units count as the one unit <unk>, so compare models by `unknown` too.
        backward: exp(nll / predictions) of the backward direction.
        per_character_forward: exp(nll / characters), comparable between word and character models.
        per_character_backward: exp(nll / characters) of the backward direction.
        sentences: Number of sentences.
        units: Number of units, without boundaries.
        characters: Number of characters, without boundaries.
        unknown: Share of units outside the vocabulary.
    """

    forward: float
    backward: float
    per_character_forward: float
    per_character_backward: float
    sentences: int
    units: int
    characters: int
    unknown: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def read_sentences(bilm: BiLM, path: Path) -> list[list[str]]:
    """Return the sentences of a text file as lists of the units that the model reads."""
    config = bilm.config
    segment = make_segmenter(
        config.units, config.segmenter, config.lang, fold_fullwidth=config.fold_fullwidth
    )
    found = [s for line in read_files([path]) for s in sentences(line, segment, config.max_sentence_length)]
    if not found:
        raise CorpusError(f"The text {path} is empty: give a text with at least one sentence.")
    return found


def evaluate_perplexity(
    bilm: BiLM,
    text: Sequence[Sequence[str]],
    *,
    batch_tokens: int = 4096,
    context: DistributedContext | None = None,
) -> Perplexity:
    """Measure the perplexity of a model on sentences of units, in float32, without dropout.

    context: processes that share the work; each gets the whole result.
    """
    context = context or DistributedContext()
    forward = backward = 0.0
    lengths = [len(sentence) for sentence in text]
    with torch.inference_mode(), progress_bar("perplexity", sum(lengths), "units") as advance:
        for group in islice(length_buckets(lengths, batch_tokens), context.rank, None, context.size):
            loss = lm_loss(bilm, collate(bilm, [text[i] for i in group]).to(bilm.device))
            forward, backward = forward + loss.forward, backward + loss.backward
            advance(context.size * sum(lengths[i] for i in group))
    forward, backward = context.all_reduce_sum([forward, backward])
    units, characters = sum(lengths), sum(len(unit) for sentence in text for unit in sentence)
    unknown = sum(unit not in bilm.vocab for sentence in text for unit in sentence)
    predictions = units + len(text)
    return Perplexity(
        perplexity(forward, predictions),
        perplexity(backward, predictions),
        perplexity(forward, characters),
        perplexity(backward, characters),
        len(text),
        units,
        characters,
        unknown / units,
    )


def subsample(text: list[list[str]], units: int) -> list[list[str]]:
    """Return sentences with about `units` units in all, spread evenly over `text`."""
    total = sum(map(len, text))
    return text[:: max(1, total // units)]
