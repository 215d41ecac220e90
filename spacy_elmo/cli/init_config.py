"""`spacy elmo init-config`: write a complete configuration for `spacy train`."""

from pathlib import Path

import typer
from wasabi import msg

from ..errors import ElmoError
from .app import command


@command("init-config")
def init_config(
    output: Path = typer.Argument(..., help="The configuration to write"),
    pipeline: str = typer.Option(..., "--pipeline", "-p", help="Components, such as tagger,ner,parser"),
    lang: str = typer.Option("zh", "--lang", "-l", help="Language of the text, a code of spaCy"),
    segmenter: str | None = typer.Option(
        None,
        help="Segmenter of Chinese: char, jieba, pkuseg, pkuseg:MODEL; default: char, or jieba for words",
    ),
    elmo: bool = typer.Option(
        True, "--elmo/--no-elmo", help="Use ELMo, or write the same pipeline without it, as a baseline"
    ),
    model: Path | None = typer.Option(None, help="A model folder; default: the bundled model"),
    lexicon: Path | None = typer.Option(None, help="A file of `spacy elmo lexicon`, for lexicon features"),
    decoder: str = typer.Option(
        "crf", help="Decoder of ner and tagger: crf, or spacy for spaCy's own components of these names"
    ),
    gold_preproc: bool = typer.Option(
        False, "--gold-preproc", help="Train on the tokens of the corpus instead of those of the tokenizer"
    ),
    gpu: bool = typer.Option(False, "--gpu", help="Let torch manage the memory of a GPU"),
    train: str | None = typer.Option(None, help="Path of the training data, for [paths] train"),
    dev: str | None = typer.Option(None, help="Path of the development data, for [paths] dev"),
    force: bool = typer.Option(False, "--force", "-F", help="Replace the file if it exists"),
) -> None:
    """Write a complete, commented configuration for `spacy train`.

    spacy elmo init-config ner.cfg --pipeline ner
    """
    from ..atomic_io import write_atomic
    from ..tasks.lexical.lexicon_features import load_lexicon
    from ..training_config.build import config_text
    from ..training_config.header import header_of
    from ..training_config.options import Options, check, parse_pipeline, warnings_of

    options = Options(
        lang=lang,
        pipeline=tuple(parse_pipeline(pipeline)),
        segmenter=segmenter,
        elmo=elmo,
        model=str(model) if model else None,
        lexicon=str(lexicon) if lexicon else None,
        decoder=decoder,
        gold_preproc=gold_preproc,
        gpu=gpu,
        train=train,
        dev=dev,
    )
    check(options)
    check_new_file(output, force=force)
    if elmo:
        check_language(lang, model)
    if lexicon is not None:
        load_lexicon(lexicon)  # raises for a file that is none
    write_atomic(output, config_text(options, header_of(options, str(output))).encode())
    for warning in warnings_of(options):
        msg.warn(warning)
    msg.good(f"{output}: {', '.join(options.pipeline)}{' on ELMo' if elmo else ''}")
    cut_by = options.resolved_segmenter
    tokens = {"": "those of spaCy", "char": "single characters"}.get(cut_by, f"words of {cut_by}")
    msg.info(f"Tokens are {tokens}. The top of the file says how to train.")


def check_new_file(path: Path, *, force: bool) -> None:
    """Raise an ElmoError where a configuration would replace a file, unless that is wanted."""
    if path.is_dir():
        raise ElmoError(f"Cannot write {path}: it is a folder; name a file.")
    if path.exists() and not force:
        raise ElmoError(f"Cannot write {path}: it exists; name another file, or give --force to replace it.")


def check_language(lang: str, model: Path | None) -> None:
    """Raise an ElmoError, or warn, where a model was trained on another language."""
    from ..inference.loading import read_config
    from ..training_config.options import check_bundled

    if model is None:
        check_bundled(lang)
        return
    config = read_config(model)
    if config.lang not in (lang, "xx", "mul") and lang != "xx":
        msg.warn(f'{model} was trained on text in the language "{config.lang}", not "{lang}".')
    if config.units == "word" and lang == "zh":
        msg.info(f"{model} reads words as {config.segmenter} cuts them: use the same segmenter.")
