"""`spacy elmo corpus`: text -> sentences -> unit ids on disk."""

from collections.abc import Iterator
from pathlib import Path

import typer
from tqdm.auto import tqdm
from wasabi import msg

from .app import command, is_interactive


@command("corpus")
def corpus(
    inputs: list[Path] = typer.Argument(..., help="UTF-8 text: .txt, .jsonl, also .gz, .xz, .zst; folders"),
    output: Path = typer.Argument(..., help="Folder to write the corpus to"),
    units: str = typer.Option("char", help='What the biLM will read: "char" or "word"'),
    segmenter: str = typer.Option(
        "char",
        help='For words, spaCy\'s Chinese segmenter ("jieba", "pkuseg", or "pkuseg:MODEL" with a name or '
        "folder), or a pipeline's name or folder",
    ),
    lang: str = typer.Option("zh", help="Language, an ISO code as spaCy's"),
    max_sentence_length: int = typer.Option(
        128, min=1, help="Cut longer sentences into pieces of this many units"
    ),
    dedup: bool = typer.Option(False, "--dedup", help="Of lines that are equal keep only the first"),
    min_count: int = typer.Option(1, min=1, help="List units that occur this often"),
    max_vocab: int = typer.Option(1_000_000, min=1, help="List at most this many distinct units"),
    n_process: int = typer.Option(1, help="Processes that cut the text; -1: one for each core"),
    backend: str = typer.Option("loky", help='Where they run: "loky" (here), "dask" or "ray" (a cluster)'),
) -> None:
    """Cut text into sentences and units and write their ids for pretraining.

    One paragraph a line; in .jsonl the "text" of each line's object. Sentences end after 。！？!?… and at
    line breaks. The folder takes its place only when it is complete; a run that was stopped goes on with
    the same command.
    """
    from ..modeling.config import ConfigError
    from ..pretraining.data.corpus_builder import SegmentationSettings, build_corpus

    if units not in ("char", "word"):
        raise ConfigError(f'--units {units} is not known: use "char" or "word".')
    if n_process < 1 and n_process != -1:
        raise ConfigError(f"--n-process {n_process} is no number of processes: use 1 or more, or -1.")
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
        progress=_progress,
    )
    text = manifest["text"]
    if text["invalid_bytes"]:
        msg.warn(f"{text['invalid_bytes']:,} bytes were not UTF-8 and became U+FFFD")
    if dedup:
        msg.info(f"{text['duplicate_lines']:,} of {text['lines']:,} lines were there before and left out")
    msg.good(
        f"{output}: {manifest['sentences']:,} sentences, {manifest['tokens']:,} units, "
        f"{manifest['distinct']:,} of them distinct"
    )


def _progress(blocks: Iterator[str]) -> Iterator[str]:
    with tqdm(desc="text", unit=" characters", unit_scale=True, disable=not is_interactive()) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))
