"""Perplexity on text that the model did not see, in each direction, per prediction and per character."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..batching import length_buckets
from ..inference.bilm import BiLM
from ..modeling.collate import collate
from ..modeling.loss import lm_loss, perplexity
from .data.segmentation import make_segmenter, sentences
from .data.text_files import CorpusError, read_lines
from .distributed import DistributedContext


@dataclass
class Perplexity:
    """Full-softmax perplexity of both directions on held-out sentences.

    forward, backward: exp(nll / predictions); every unit is predicted, and the boundary behind the
    sentence. Unknown units count as the one unit <unk>: compare models by `unknown` too.
    per_character_forward, per_character_backward: exp(nll / characters), comparable between word and
    character models. sentences, units, characters: the text's size, boundaries not counted.
    unknown: share of units outside the vocabulary.
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
        """As JSON has it."""
        return asdict(self)


def read_sentences(bilm: BiLM, path: Path) -> list[list[str]]:
    """The sentences of a text file, cut into the units that the model reads."""
    config = bilm.config
    segment = make_segmenter(
        config.units, config.segmenter, config.lang, fold_fullwidth=config.fold_fullwidth
    )
    found = [s for line in read_lines(path) for s in sentences(line, segment, config.max_sentence_length)]
    if not found:
        raise CorpusError(f"The text {path} is empty: give a text with at least one sentence.")
    return found


def evaluate_perplexity(
    bilm: BiLM,
    text: Sequence[Sequence[str]],
    *,
    batch_tokens: int = 4096,
    world: DistributedContext | None = None,
) -> Perplexity:
    """Perplexity of the model on sentences of units, in float32, without dropout.

    world: processes that share the work; each gets the whole result.
    """
    world = world or DistributedContext()
    forward = backward = 0.0
    lengths = [len(sentence) for sentence in text]
    with torch.inference_mode():
        for group in islice(length_buckets(lengths, batch_tokens), world.rank, None, world.size):
            loss = lm_loss(bilm, collate(bilm, [text[i] for i in group]).to(bilm.device))
            forward, backward = forward + loss.forward, backward + loss.backward
    forward, backward = world.all_reduce_sum([forward, backward])
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
    """Sentences spread evenly over `text` that hold about `units` units."""
    total = sum(map(len, text))
    return text[:: max(1, total // units)]
