"""The extension `doc._.answer(question)`, which finds the reader for a Doc."""

from functools import partial
from typing import Any
from weakref import ReferenceType, ref

from spacy.tokens import Doc

_readers: list[ReferenceType[Any]] = []  # in the order of their creation


def register_reader(reader: Any, extension: str) -> None:
    """Register `doc._.<extension>`, and the reader as one that answers there.

    Raises a ValueError if another extension has the name.
    """
    if not Doc.has_extension(extension):
        Doc.set_extension(extension, method=partial(answer_question, extension=extension))
    method = Doc.get_extension(extension)[1]
    if not (isinstance(method, partial) and method.func is answer_question):
        raise ValueError(
            f"doc._.{extension} is already used by another extension: give the reader another name, "
            'config={"extension": "..."}.'
        )
    _readers[:] = [known for known in _readers if known() is not None]
    if not any(known() is reader for known in _readers):
        _readers.append(ref(reader))


def answer_question(doc: Doc, question: str, top_k: int = 1, *, extension: str) -> Any:
    """Answer a question about a Doc, see Reader.answer.

    The reader of the Doc's own pipeline (with the same vocabulary) answers, or else the last one created.
    """
    readers = [
        reader for known in _readers if (reader := known()) is not None and reader.extension == extension
    ]
    if not readers:
        raise ValueError(f"No loaded pipeline has a reader for doc._.{extension}: load one.")
    usable = [reader for reader in readers if reader.vocab is doc.vocab]
    return (usable or readers)[-1].answer(question, doc, top_k)
