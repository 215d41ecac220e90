"""`spacy elmo corpus`: segment text and write unit ids to disk."""

from pathlib import Path

import typer
from wasabi import msg

from .app import command


@command("corpus")
def corpus(
    inputs: list[Path] = typer.Argument(
        ..., help="UTF-8 text files or folders: .txt, .jsonl, also .gz, .xz, .zst"
    ),
    output: Path = typer.Argument(..., help="Folder to write the corpus to"),
    units: str = typer.Option("char", help='Units that the biLM reads: "char" or "word"'),
    segmenter: str = typer.Option(
        "char",
        help='Segmenter for words: one of spaCy\'s for Chinese ("jieba", "pkuseg", or "pkuseg:MODEL" with a '
        "name or folder), or the name or folder of a pipeline",
    ),
    lang: str = typer.Option("zh", help="Language of the text, an ISO code as in spaCy"),
    max_sentence_length: int = typer.Option(
        128, min=1, help="Split longer sentences into equal parts of at most this many units"
    ),
    dedup: bool = typer.Option(False, "--dedup", help="Keep only the first of equal lines"),
    min_count: int = typer.Option(1, min=1, help="Smallest count of a unit in the vocabulary"),
    max_vocab: int = typer.Option(1_000_000, min=1, help="Largest size of the vocabulary"),
    n_process: int = typer.Option(1, help="Processes that segment the text; -1: one per core"),
    backend: str = typer.Option("loky", help='"loky" (this machine), "dask" or "ray" (a cluster)'),
) -> None:
    """Split text into sentences and units, and write their ids for pretraining.

    Each line is a paragraph; in .jsonl, the "text" of each line's object. A sentence ends after 。！？!?… or
    at a line break. The folder appears only when it is complete. An interrupted run continues with the same
    command.
    """
    from ..errors import ConfigError
    from ..pretraining.data.corpus_builder import SegmentationSettings, build_corpus

    if units not in ("char", "word"):
        raise ConfigError(f'--units {units} is not known: use "char" or "word".')
    if units == "char" and segmenter != "char":
        raise ConfigError(f"--segmenter {segmenter} is for words: give --units word, too.")
    manifest = build_corpus(
        inputs,
        output,
        SegmentationSettings(
            units=units, segmenter=segmenter, lang=lang, max_sentence_length=max_sentence_length
        ),
        n_process=n_process,
        backend=backend,
        dedup=dedup,
        min_count=min_count,
        max_vocab=max_vocab,
    )
    text = manifest["text"]
    if n_invalid := text["invalid_bytes"]:
        times = "once" if n_invalid == 1 else f"{n_invalid:,} times"
        msg.warn(
            f"Invalid text was replaced by U+FFFD {times}: bytes that are not UTF-8, or, in .jsonl, halves "
            "of surrogate pairs"
        )
    if dedup:
        msg.info(f"{text['duplicate_lines']:,} of {text['lines']:,} lines were duplicates and were skipped")
    msg.good(
        f"{output}: {manifest['sentences']:,} sentences, {manifest['tokens']:,} units, "
        f"{manifest['distinct']:,} distinct"
    )
