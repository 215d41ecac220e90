"""Read models of simple_elmo and of the NLPL repository: bilm-tf's files under fixed names."""

from collections.abc import Sequence
from pathlib import Path

from ..atomic_io import PathLike
from ..errors import FormatError
from ..inference.bilm import BiLM
from .archive import ModelArchive, split_lines, unpack_gzip
from .bilm_tf import OPTIONS, VOCAB, WEIGHTS, build
from .hdf5 import open_tensors


def load_simple_elmo(path: PathLike, *, lang: str | None = None, segmenter: str | None = None) -> BiLM:
    """Load the exact biLM of a zip archive, a folder, or an HDF5 file with an options.json next to it.

    In an archive or folder the weights are model.hdf5, or the only HDF5 file. Word models need a vocab.txt
    (or vocab.txt.gz).

    Args:
        path: The archive, folder or HDF5 file.
        lang: Language to record in the model; see load_bilm_tf.
        segmenter: Segmenter to record in the model; see load_bilm_tf.

    Returns:
        The biLM; its layers equal those of bilm-tf.

    Raises:
        FormatError: Something is missing, unexpected or wrong; the message names it.
    """
    location = Path(path)
    if location.is_file() and location.suffix in (".hdf5", ".h5"):
        source, weights = ModelArchive(location.parent), location.name
    else:
        source = ModelArchive(location)
        weights = _weights(source)
    options = source.json(OPTIONS)
    vocab = None if isinstance(options, dict) and "char_cnn" in options else _vocab(source)
    where = source.describe(weights)
    with open_tensors(source.file(weights), where) as stored:
        return build(options, stored, vocab, where, {"lang": lang, "segmenter": segmenter})


def _weights(source: ModelArchive) -> str:
    found = [name for name in source.members if name.endswith(".hdf5")]
    if WEIGHTS in found or not found:
        return WEIGHTS
    if len(found) > 1:
        raise FormatError(f"{source.path} holds {' and '.join(found)}: give the path of one of them.")
    return found[0]


def _vocab(source: ModelArchive) -> Sequence[str] | None:
    if VOCAB in source:
        return source.lines(VOCAB)
    packed = f"{VOCAB}.gz"
    if packed not in source:
        return None
    where = source.describe(packed)
    return split_lines(unpack_gzip(source.read(packed), where), where)
