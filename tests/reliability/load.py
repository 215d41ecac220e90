"""Long use: the memory of a process does not grow with what it has read, nor does a document take longer.

The slope is fitted to the memory in use after each part of the work, the first fifth left out.
"""

import gc
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import spacy
from pipeline.helpers import examples, tagger_config
from spacy.language import Language

CHARACTERS = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后，。"
)
POINTS = 40


class Growth(NamedTuple):
    """Numbers of a long run: bytes per unit of work, and time of the last fifth over the second's."""

    bytes_each: float
    slower: float
    megabytes: float


def texts(tokens: int, seed: int = 0) -> Iterator[str]:
    """Documents of 1 to 50,000 characters, few of them long, until there are so many tokens.

    A hundredth of the tokens is the most that one has, so that there are points to measure at.
    """
    rng, longest = random.Random(seed), math.log10(max(10, min(50_000, tokens // 100)))
    while tokens > 0:
        n = min(tokens, int(10 ** rng.uniform(0, longest)))
        tokens -= n
        yield "".join(rng.choices(CHARACTERS, k=n))


def pipe(tokens: int, model: Path | None = None, seed: int = 0) -> Growth:
    """Read `tokens` tokens by nlp.pipe with a model, None: the bundled one."""
    nlp = spacy.blank("zh")
    nlp.max_length = 10**7
    nlp.add_pipe("elmo", config={"model": {"path": None if model is None else str(model)}})
    read, done, begin = [], 0, time.process_time()
    source = texts(tokens, seed)
    for part in range(1, POINTS + 1):
        with nlp.memory_zone():  # spaCy's vocabulary keeps all words otherwise
            some = takewhile_tokens(source, part * tokens / POINTS - done)
            done += sum(len(doc) for doc in nlp.pipe(some, batch_size=16))
        gc.collect()
        read.append((done, _memory(), time.process_time() - begin))
    return _growth(read)


def takewhile_tokens(source: Iterator[str], tokens: float) -> Iterator[str]:
    """Documents of a source until there are so many characters."""
    while tokens > 0:
        text = next(source, None)
        if text is None:
            return
        tokens -= len(text)
        yield text


def update(steps: int, model: Path) -> Growth:
    """Train a tagger that listens to a tiny model for so many steps."""
    nlp: Language = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model)}})
    nlp.add_pipe("tagger", config=tagger_config())
    data = examples(nlp)
    optimizer = nlp.initialize(lambda: data)
    read, begin = [], time.process_time()
    for step in range(1, steps + 1):
        nlp.update(examples(nlp), sgd=optimizer, drop=0.1)
        if step % max(1, steps // POINTS) == 0:
            read.append((step, _memory(), time.process_time() - begin))
    return _growth(read)


def _growth(read: list[tuple[int, int, float]]) -> Growth:
    done, memory, seconds = (np.array(column, dtype=float) for column in zip(*read, strict=True))
    settled = len(done) // 5
    slope = np.polyfit(done[settled:], memory[settled:], 1)[0]
    places = np.searchsorted(done, np.array([0.2, 0.4, 0.8, 1.0]) * done[-1]).clip(max=len(done) - 1)
    early, late = (np.diff(seconds[p])[0] / np.diff(done[p])[0] for p in (places[:2], places[2:]))
    slower = late / early
    return Growth(float(slope), float(slower), memory[-1] / 2**20)


def _memory() -> int:
    """Bytes that are in use now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("Linux alone says what a process has in use")
