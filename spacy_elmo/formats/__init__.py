"""Other people's weights: read into a BiLM, exactly, and written for their programs."""

from .bilm_tf import load_bilm_tf, save_bilm_tf
from .elmoformanylangs import load_elmoformanylangs
from .onnx_export import save_onnx
from .simple_elmo import load_simple_elmo
from .tensor_mapping import FormatError

__all__ = [
    "FormatError",
    "load_bilm_tf",
    "load_elmoformanylangs",
    "load_simple_elmo",
    "save_bilm_tf",
    "save_onnx",
]
