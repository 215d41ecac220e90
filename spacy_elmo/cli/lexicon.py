"""`spacy elmo lexicon`: count the strings of a text and compute their vectors, for lexicon features."""

from pathlib import Path

import typer
from wasabi import msg

from .app import command


@command("lexicon")
def lexicon(
    inputs: list[Path] = typer.Argument(
        ..., help="UTF-8 text files or folders: .txt, .jsonl, also .gz, .xz, .zst"
    ),
    output: Path = typer.Argument(..., help="The lexicon file to write"),
    strings: int = typer.Option(
        200_000, min=2, help="Largest number of entries: characters, and strings of 2 to 4 characters"
    ),
    width: int = typer.Option(64, min=1, help="Width of their vectors"),
    n_process: int = typer.Option(1, help="Processes that segment the text; -1: one per core"),
) -> None:
    """Make a lexicon from text, for the `path` of spacy-elmo.LexiconFeatures.v1.

    The lexicon lists the strings that are most like words, with their counts and with vectors from the units
    next to them. 100 million characters take some minutes.
    """
    from ..atomic_io import END, check_apart, locked, remove_folder, write_atomic
    from ..pretraining.data.corpus import Corpus
    from ..pretraining.data.corpus_builder import SegmentationSettings, build_corpus
    from ..pretraining.lexicon import count_lexicon
    from ..tasks.lexical.lexicon_features import check_lexicon_output, lexicon_bytes, rounded_lexicon

    check_lexicon_output(output)
    check_apart(inputs, output)
    target = output.resolve()
    # The corpus always has this name, so that it replaces one that a killed process left.
    corpus = target.with_name(f".{target.name}.corpus{END}")
    # `locked` makes the folder of the output, and an error there one sentence.
    with locked(output, "a lexicon"):
        build_corpus(inputs, corpus, SegmentationSettings(), n_process=n_process)
        try:
            counted = count_lexicon(Corpus(corpus), strings, width)
        finally:
            remove_folder(corpus)
    write_atomic(output, lexicon_bytes(rounded_lexicon(*counted)))
    msg.good(f"{output}: {len(counted[0]):,} strings with vectors of width {width}")
