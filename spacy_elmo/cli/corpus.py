"""`spacy elmo corpus`: text -> sentences -> unit ids on disk."""

from pathlib import Path

import typer
from wasabi import msg

from .app import command, progress


@command("corpus")
def corpus(
    inputs: list[Path] = typer.Argument(..., help="UTF-8 text: .txt, .jsonl, also .gz and .xz, or folders"),
    output: Path = typer.Argument(..., help="Folder to write the corpus to"),
    units: str = typer.Option("char", help='What the biLM will read: "char" or "word"'),
    segmenter: str = typer.Option("char", help='For words, spaCy\'s Chinese segmenter: "jieba", "pkuseg"'),
    lang: str = typer.Option("zh", help="Language, an ISO code as spaCy's"),
    max_sentence: int = typer.Option(128, min=1, help="Cut longer sentences into pieces of this many units"),
) -> None:
    """Cut text into sentences and units and write their ids for pretraining.

    One paragraph a line; in .jsonl the "text" of each line's object. Sentences end after 。！？!?… and at
    line breaks. The folder takes its place only when it is complete.
    """
    from ..bilm.atomic import check_replaceable
    from ..bilm.config import ConfigError
    from ..pretraining.segment import find_files, make_segmenter, read_lines, sentences
    from ..pretraining.shards import MANIFEST, write_corpus

    if units not in ("char", "word"):
        raise ConfigError(f'--units {units} is not known: use "char" or "word".')
    check_replaceable(output, MANIFEST, "a corpus")  # before the work, not after it
    files = find_files(inputs)
    segment = make_segmenter(units, segmenter, lang)
    found = (
        sentence
        for path in files
        for line in progress(read_lines(path), path.name)
        for sentence in sentences(line, segment, max_sentence)
    )
    settings = {
        "units": units,
        "segmenter": segmenter if units == "word" else "char",
        "lang": lang,
        "normalize": True,
        "max_sentence": max_sentence,
    }
    manifest = write_corpus(output, found, settings=settings)
    msg.good(
        f"{output}: {manifest['sentences']:,} sentences, {manifest['tokens']:,} units, "
        f"{manifest['types']:,} of them distinct"
    )
