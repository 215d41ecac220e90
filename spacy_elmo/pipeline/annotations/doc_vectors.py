"""Store vectors on a Doc, with the tokens that they belong to.

`doc.user_data` holds one record for each component. Its key contains the character at which the vectors
begin, 0 for a whole Doc: ("._.", name, 0, None). spaCy shifts such keys when it cuts a Doc or joins several
(`span.as_doc(copy_user_data=True)`, `Doc.from_docs`), so the records of parts are found there. Records
survive `n_process`, `doc.to_bytes()`, `Doc.copy()` and `DocBin(store_user_data=True)`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
from spacy.tokens import Doc, Token

from ...errors import ElmoError

Record = dict[str, Any]  # fields of Vectors, and `former_names`


class Vectors(NamedTuple):
    """Vectors of n tokens, as a component set them."""

    layers: np.ndarray
    """(L, n, D) float32."""
    static: np.ndarray
    """(n, S) float32, S = 0 for a model without static vectors."""
    orths: np.ndarray
    """(n,) uint64, hashes of the tokens' strings."""
    starts: np.ndarray
    """(n,) uint64, offsets of the tokens in the text."""


# Docs whose tokens were compared with a record -> by component name, the `orths` of that record. After that,
# positions alone show whether tokens were merged or split, at a third of the cost.
_compared: WeakKeyDictionary[Doc, dict[str, np.ndarray]] = WeakKeyDictionary()

# id of `doc.user_hooks` -> the Doc. `span.as_doc()` copies the reference to these hooks, but no user data, so
# the hooks lead from a sentence's Doc, as the entity linker makes it, to the Doc with the vectors.
_owners: dict[int, ref[Doc]] = {}


def write_vectors(
    doc: Doc,
    name: str,
    layers: np.ndarray,
    static: np.ndarray | None = None,
    *,
    orths: np.ndarray | None = None,
    former_names: Sequence[str] = (),
) -> None:
    """Set vectors on a Doc, in place of those that the component `name` set before.

    layers: (L, n, D). static: (n, S). orths: `doc.to_array("ORTH")`, if available. former_names: earlier
    names of the component, which readers may still use.
    """
    orths = doc.to_array("ORTH") if orths is None else orths
    static = np.zeros((len(doc), 0), dtype=np.float32) if static is None else static
    record: Record = {"layers": layers, "static": static, "orths": orths, "starts": doc.to_array("IDX")}
    if former_names:
        record["former_names"] = list(former_names)
    _replace(doc, name, record)


def drop_vectors(doc: Doc, name: str) -> None:
    """Remove the vectors of a component from a Doc."""
    _remove(doc, name)
    if _owner(doc) is not None:
        doc.user_hooks = dict(doc.user_hooks)  # also drop the link to the vectors of another Doc


def _remove(doc: Doc, name: str) -> None:
    for owner, begin, _ in _records(doc):
        if owner == name:
            _user_data(doc).pop(_key(name, begin), None)
    _compared.get(doc, {}).pop(name, None)


def find_vectors(doc: Doc, name: str, *, former: bool = True) -> Vectors | None:
    """Return the vectors that the component `name` set on a Doc; None if there are none.

    They are not compared with the tokens: see check_tokens. If spaCy made the Doc from a part of another one,
    or joined several, their vectors are cut or joined here. former: `name` may be an earlier name of it.
    """
    record = _user_data(doc).get(_key(name))
    if record is None or len(record["orths"]) != len(doc):
        record = _assembled(doc, name, former)
    return None if record is None else _vectors(record)


def vector_names(doc: Doc) -> list[str]:
    """Return the names of the components that set vectors on a Doc."""
    return list(dict.fromkeys(name for name, _, _ in _records(doc)))


def check_tokens(doc: Doc, vectors: Vectors, name: str) -> None:
    """Raise an ElmoError if the vectors were made for other tokens, as after retokenization."""
    if len(vectors.orths) == len(doc) and np.array_equal(vectors.starts, doc.to_array("IDX")):
        compared = _compared.setdefault(doc, {})
        if compared.get(name) is vectors.orths:
            return
        if np.array_equal(vectors.orths, doc.to_array("ORTH")):
            compared[name] = vectors.orths
            return
    raise _other_tokens(doc, vectors, name)


def check_token(token: Token, vectors: Vectors, name: str) -> None:
    """Raise an ElmoError if the vectors at the token's index are not its own. Takes constant time."""
    i, orths, starts = token.i, vectors.orths, vectors.starts
    if len(orths) != len(token.doc) or int(orths[i]) != token.orth or int(starts[i]) != token.idx:
        raise _other_tokens(token.doc, vectors, name)


def _other_tokens(doc: Doc, vectors: Vectors, name: str) -> ElmoError:
    owner = _owner(doc)
    if owner is not None and len(_places(doc, owner, vectors._asdict())) > 1:
        return ElmoError(
            f"doc._.{name} of this part of a Doc is not known, because its tokens occur in several places of "
            "the Doc: use span.as_doc(copy_user_data=True)."
        )
    n = len(vectors.orths)
    now = f"the Doc has {len(doc)} now" if n != len(doc) else "the Doc has others now"
    return ElmoError(
        f"doc._.{name} was made for {n} tokens, but {now}: "
        f'run "{name}" after all components that merge or split tokens.'
    )


# --- Records ---


def _replace(doc: Doc, name: str, record: Record) -> None:
    _remove(doc, name)
    _user_data(doc)[_key(name)] = record
    _compared.setdefault(doc, {})[name] = record["orths"]
    # A new dict: docs that share the old one are parts of another Doc, or of the earlier state of this one.
    doc.user_hooks = dict(doc.user_hooks)
    hooks = id(doc.user_hooks)
    _owners[hooks] = ref(doc, partial(_forget, hooks))


def _forget(hooks: int, owner: ref[Doc]) -> None:
    if _owners.get(hooks) is owner:
        del _owners[hooks]


def _records(doc: Doc) -> list[tuple[str, int, Record]]:
    """Return the records on a Doc: component name, character at which the vectors begin, record."""
    return [
        (key[1], key[2], value)
        for key, value in _user_data(doc).items()
        if isinstance(value, dict) and value.keys() >= set(Vectors._fields) and _is_key(key)
    ]


def _is_key(key: Any) -> bool:
    return isinstance(key, tuple) and len(key) == 4 and key == ("._.", key[1], key[2], None)


def _assembled(doc: Doc, name: str, former: bool) -> Record | None:
    """Return the record of a Doc that has none of its length: from its parts, or from its owner.

    If these lack its tokens, return one of them unchanged, which check_tokens will refuse.
    """
    found = _records(doc)
    parts = [(begin, record) for owner, begin, record in found if owner == name]
    if not parts and former:  # the component may have been renamed
        parts = [(begin, record) for _, begin, record in found if name in record.get("former_names", ())]
        if len(parts) == 1 and len(parts[0][1]["orths"]) == len(doc):
            return parts[0][1]
    if parts:
        record = _joined(doc, sorted(parts, key=lambda part: part[0]))
        fallback = parts[0][1]
    else:
        owner = _owner(doc)
        vectors = None if owner is None else find_vectors(owner, name, former=former)
        if owner is None or vectors is None:
            return None
        fallback = vectors._asdict()
        record = _part(doc, owner, fallback)
    if record is None:
        return fallback
    _replace(doc, name, record)
    return record


def _joined(doc: Doc, parts: Sequence[tuple[int, Record]]) -> Record | None:
    """Return one record of the parts that begin at some characters; None if they lack a token of the Doc."""
    sizes = {(*part["layers"].shape[::2], part["static"].shape[1]) for _, part in parts}
    if len(sizes) > 1:
        return None  # different models
    whole = {
        "layers": _concatenate([part["layers"] for _, part in parts], axis=1),
        "static": _concatenate([part["static"] for _, part in parts]),
        "orths": _concatenate([part["orths"] for _, part in parts]),
        "starts": _concatenate([part["starts"].astype(np.int64) + begin for begin, part in parts]),
    }
    starts = doc.to_array("IDX").astype(np.int64)
    first = int(np.searchsorted(whole["starts"], starts[0])) if len(doc) else 0
    tokens = slice(first, first + len(doc))
    if not np.array_equal(whole["starts"][tokens], starts):
        return None
    return _cut(doc, whole, tokens) if np.array_equal(whole["orths"][tokens], doc.to_array("ORTH")) else None


def _concatenate(arrays: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=axis)


def _owner(doc: Doc) -> Doc | None:
    """Return the Doc from which `span.as_doc()` made this one, while it exists."""
    known = _owners.get(id(doc.user_hooks))
    owner = known() if known else None
    return owner if owner is not None and owner is not doc and owner.user_hooks is doc.user_hooks else None


def _part(doc: Doc, owner: Doc, record: Record) -> Record | None:
    """Return the record of a part of a Doc; None if it is not found, or is in several places that differ."""
    places = _places(doc, owner, record)
    layers = [record["layers"][:, tokens] for tokens in places]
    if not places or not all(np.array_equal(each, layers[0]) for each in layers[1:]):
        return None
    return _cut(doc, record, places[0])


def _places(doc: Doc, owner: Doc, record: Record) -> list[slice]:
    """Return the places in a Doc with vectors from which a part of it may have been made."""
    if not len(doc):
        return [slice(0, 0)]
    if not np.array_equal(record["starts"], owner.to_array("IDX")):
        return []  # retokenized
    n, orths, starts = len(doc), doc.to_array("ORTH"), doc.to_array("IDX")
    places = [
        slice(i, i + n)
        for i in np.flatnonzero(record["orths"] == orths[0]).tolist()
        if np.array_equal(record["orths"][i : i + n], orths)
        and np.array_equal(record["starts"][i : i + n] - record["starts"][i], starts - starts[0])
    ]
    if len(places) > 1 and isinstance(owner.tensor, np.ndarray):  # the part's tensor is a view of the owner's
        places = [
            tokens for tokens in places if np.may_share_memory(doc.tensor, owner.tensor[tokens])
        ] or places
    return places


def _cut(doc: Doc, record: Record, tokens: slice) -> Record:
    """Return the record of some tokens of a record, copied."""
    return {
        "layers": record["layers"][:, tokens].copy(),
        "static": record["static"][tokens].copy(),
        "orths": record["orths"][tokens].copy(),
        "starts": doc.to_array("IDX"),
    }


def _vectors(record: Record) -> Vectors:
    return Vectors(*(record[field] for field in Vectors._fields))


def _user_data(doc: Doc) -> dict[Any, Any]:
    return doc.user_data  # spaCy's type stub declares string keys


def _key(name: str, begin: int = 0) -> tuple[str, str, int, None]:
    return ("._.", name, begin, None)  # spaCy's form of keys, so that records are serialised
