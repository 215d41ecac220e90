"""Read the weights of other systems exactly into a BiLM, and write weights for them."""

from ..errors import FormatError
from .bilm_tf import load_bilm_tf, save_bilm_tf
from .elmoformanylangs import load_elmoformanylangs
from .onnx_export import save_onnx
from .simple_elmo import load_simple_elmo

__all__ = [
    "FormatError",
    "load_bilm_tf",
    "load_elmoformanylangs",
    "load_simple_elmo",
    "save_bilm_tf",
    "save_onnx",
]
