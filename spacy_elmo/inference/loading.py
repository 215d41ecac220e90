"""Load model folders as biLMs.

Pretraining and formats write model folders, and the component reads them. modeling.serialization defines
their content.
"""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..atomic_io import PathLike
from ..errors import ElmoError, ModelFolderError
from ..modeling import quantization, serialization
from ..modeling.config import BiLMConfig
from .bilm import BiLM
from .installed_models import installed_models

BUNDLED_MODEL = "zh_elmo_sm"

__all__ = [
    "BUNDLED_MODEL",
    "ModelFolderError",
    "build_from_tensors",
    "bundled_model_path",
    "from_bytes",
    "load",
    "read_config",
    "resolve_model_path",
    "to_bytes",
]


def load(path: PathLike | None = None) -> BiLM:
    """Load the biLM of a model folder. Weights in half precision are converted to float32.

    Args:
        path: The folder; None or "zh_elmo_sm": the bundled model. See resolve_model_path.

    Returns:
        The biLM on the CPU, in evaluation mode.

    Raises:
        ModelFolderError: Something is missing, damaged, or newer than this version of spacy-elmo.
    """
    resolved = resolve_model_path(path)
    return build_from_tensors(serialization.read(resolved), str(resolved))


def to_bytes(bilm: BiLM) -> bytes:
    """Return a model folder as bytes."""
    return serialization.pack(bilm.config, bilm.vocab, bilm.state_dict())


def from_bytes(data: bytes) -> BiLM:
    """Build a biLM from the bytes of to_bytes. Raises a ModelFolderError."""
    return build_from_tensors(serialization.unpack(data), "the bytes")


def bundled_model_path() -> Path:
    """Return the folder of the model that ships inside the package. Raises a ModelFolderError."""
    bundled = Path(str(files("spacy_elmo.models"))) / BUNDLED_MODEL
    if not bundled.is_dir():
        raise ModelFolderError(
            f"This installation of spacy-elmo has no bundled model ({BUNDLED_MODEL}): "
            "reinstall it, or give the path of a model folder."
        )
    return bundled


def resolve_model_path(path: PathLike | None) -> Path:
    """Return a model folder. None, or "zh_elmo_sm" if no such path exists, means the bundled model.

    Where no such path exists, a name may be that of an installed model, see installed_models.
    Raises a ModelFolderError for a name that is neither.
    """
    if path is None or (str(path) == BUNDLED_MODEL and not Path(path).exists()):
        return bundled_model_path()
    if str(path).isidentifier() and not Path(path).exists():
        models = installed_models()
        if str(path) not in models:
            names = ", ".join([BUNDLED_MODEL, *sorted(models)])
            raise ModelFolderError(
                f"The model folder {path} does not exist, and no installed model has this name: "
                f"check the path, or give an installed model ({names})."
            )
        return models[str(path)]
    return Path(path)


def read_config(path: PathLike | None = None) -> BiLMConfig:
    """Read the sizes and switches of a model folder, without its weights. Raises a ModelFolderError."""
    resolved = resolve_model_path(path)
    return serialization.config_of(serialization.read_json(resolved), str(resolved))


def build_from_tensors(contents: serialization.Contents, source: str) -> BiLM:
    """Build a biLM from given weights.

    source: names their origin in a ModelFolderError if they do not fit.
    """
    config, vocab, tensors = contents
    try:
        with torch.device("meta"), _SkipRandomInit():  # random weights would be discarded
            bilm = BiLM(config, vocab)
    except ElmoError as error:
        raise ModelFolderError(f"The vocabulary of {source} does not fit its settings: {error}") from error
    expected = bilm.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        have, want = (tuple(d[name].shape) if name in d else "nothing" for d in (tensors, expected))
        if have != want:
            raise ModelFolderError(
                f"The weights of {source} hold {have} for {name}, expected {want}: copy the model again."
            )
        if name in tensors and not _is_finite(tensors[name]):
            raise ModelFolderError(
                f"The weights of {source} hold NaN or infinite values in {name}: copy the model again."
            )
    weights = {name: t if name == quantization.STATIC_TENSOR else t.float() for name, t in tensors.items()}
    bilm.load_state_dict(weights, assign=True)
    for name, parameter in bilm.named_parameters():
        parameter.requires_grad_(not name.endswith("bias_hh_l0"))
    return bilm.eval()


def _is_finite(tensor: torch.Tensor) -> bool:
    """Return whether all values are finite, by the extremes in one pass without another tensor."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    return all(bool(extreme.isfinite()) for extreme in tensor.aminmax())


class _SkipRandomInit(TorchFunctionMode):
    """Skip nn.init.normal_, for which torch would import its compiler on the meta device.

    The import takes 800 modules, one second and 80 MB, for weights that are discarded.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return None if func is nn.init.normal_ else func(*args, **(kwargs or {}))
