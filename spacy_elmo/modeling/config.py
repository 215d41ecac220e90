"""Define BiLMConfig: all sizes and switches of a biLM, saved as config.json with its weights."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from ..errors import ConfigError

Units = Literal["word", "char"]
TokenEncoderKind = Literal["embedding", "char_cnn", "both"]
Activation = Literal["relu", "tanh"]
CharInput = Literal["unicode", "utf8"]

FORMAT_VERSION = 2

# Bounds above any usable model. config.json has no checksum: without bounds, a damaged or hostile one takes
# minutes or all memory before its values are compared with the weights.
MOST_LAYERS, WIDEST, MOST_ROWS, CLIP = 128, 2**17, 2**31 - 1, 1e30

CHOICES = {
    "units": Units,
    "token_encoder": TokenEncoderKind,
    "activation": Activation,
    "char_input": CharInput,
}
SWITCHES = (
    "use_skip_connections",
    "convolve_padding",
    "stacked_bidirectional",
    "has_softmax",
    "tie_softmax",
    "fold_fullwidth",
)


@dataclass(frozen=True, kw_only=True)
class BiLMConfig:
    """Sizes and switches of a biLM (Peters et al. 2018, section 3). Defaults are those of the small model."""

    units: Units = "char"
    """Units that the model reads: tokens of spaCy ("word"), or characters of the sentence ("char")."""
    token_encoder: TokenEncoderKind = "embedding"
    """Source of a unit's vector: an embedding table, a CNN over its characters, or both, concatenated."""
    projection_dim: int = 128
    """P: width of the embedding layer and of one direction's output; a layer has D = 2P."""
    hidden_size: int = 512
    """H: number of cells of one LSTM layer in one direction."""
    n_layers: int = 2
    """LSTM layers in each direction; the model returns n_layers + 1 layers."""
    use_skip_connections: bool = True
    """Add a layer's input to its output from the second LSTM layer on."""
    cell_clip: float | None = None
    """Clip the cell state to +-this; None: no clipping."""
    proj_clip: float | None = None
    """Clip the projected state to +-this; None: no clipping."""
    embedding_dim: int | None = None
    """Width of the embedding table; None: P, without a linear map after it if it is the only encoder."""
    n_ngrams: int = 0
    """Rows of the n-gram table, for models of characters; 0: none. The forward direction reads the n-grams
    that end at a unit, the backward direction those that begin there."""
    ngram_dim: int | None = None
    """Width of the n-gram vectors, which are added to the first columns of the embedding; None: P."""
    max_ngram_length: int = 3
    """Units of the longest n-grams, 2 to 4; the shortest have 2."""
    n_static_vectors: int = 0
    """Rows of the table of static vectors (of characters and n-grams, or of words), which give a token a
    vector that does not depend on the context (modeling.static_vectors); 0: none."""
    static_dim: int = 128
    """S: width of the static vectors."""
    char_embedding_dim: int = 16
    """Width of a character's vector in the char-CNN."""
    char_filters: tuple[tuple[int, int], ...] = ((1, 32), (2, 32), (3, 64), (4, 128))
    """(width, number) of each convolution of the char-CNN."""
    n_highway: int = 1
    """Highway layers after the convolutions."""
    activation: Activation = "relu"
    """Non-linearity after the convolutions."""
    max_characters_per_token: int = 16
    """Characters (or bytes) of a word that the char-CNN reads, without BOW and EOW."""
    max_unit_length: int | None = None
    """Truncate a unit to this many characters before its lookup, as ELMoForManyLangs does; None: do not."""
    char_input: CharInput = "unicode"
    """Input of the char-CNN: characters of the vocabulary, or the bytes of UTF-8."""
    convolve_padding: bool = False
    """Let the padding after a word take part in the convolutions, as bilm-tf does."""
    stacked_bidirectional: bool = False
    """Let each LSTM layer read both directions of the layer below, as the encoder "lstm" of ELMoForManyLangs
    does. Such a model has two layers, embedding and output, and is not a language model."""
    has_softmax: bool = True
    """False for foreign weights without a softmax, with which a model can only encode."""
    tie_softmax: bool = True
    """Share the softmax weights with the embedding table (token_encoder "embedding" of width P only)."""
    max_sentence_length: int = 128
    """Split longer sentences into parts of at most this many units."""
    fold_fullwidth: bool = True
    """Fold full-width letters and digits (text.normalize)."""
    simplify: bool = False
    """Read traditional characters outside the vocabulary as their simplified forms (modeling.traditional)."""
    lang: str = "zh"
    """Language of the training text, an ISO code as in spaCy."""
    segmenter: str = "char"
    """Segmenter of the training text. Use a word model only with the same segmenter."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Information for people: name, description, licence, sources, perplexity."""

    def __post_init__(self) -> None:
        self._check_types()
        if self.tie_softmax and (
            self.token_encoder != "embedding" or self.effective_embedding_dim != self.projection_dim
        ):
            raise ConfigError(
                'tie_softmax needs token_encoder = "embedding" with embedding_dim equal to projection_dim: '
                "set tie_softmax = false."
            )
        if not self.has_softmax and self.tie_softmax:
            raise ConfigError("tie_softmax needs has_softmax = true: set tie_softmax = false.")
        if self.stacked_bidirectional and self.has_softmax:
            raise ConfigError(
                "stacked_bidirectional layers read the units that a softmax would predict: "
                "set has_softmax = false."
            )
        if (
            self.token_encoder != "embedding"
            and max(w for w, _ in self.char_filters) > self.max_characters_per_token + 2
        ):
            raise ConfigError(
                "A filter of char_filters is wider than a token: raise max_characters_per_token."
            )
        if self.hidden_size < self.projection_dim and not self.stacked_bidirectional:
            raise ConfigError("hidden_size must be at least projection_dim: raise hidden_size.")
        if self.units == "char" and self.token_encoder != "embedding":
            raise ConfigError(
                'units = "char" needs token_encoder = "embedding": a character has no characters of its own.'
            )
        if self.n_ngrams and (
            self.units != "char"
            or self.stacked_bidirectional
            or self.effective_embedding_dim != self.projection_dim
        ):
            raise ConfigError(
                'n_ngrams needs units = "char", embedding_dim equal to projection_dim and '
                "stacked_bidirectional = false: set n_ngrams = 0."
            )
        if self.effective_ngram_dim > self.projection_dim:
            raise ConfigError(
                "ngram_dim must be at most projection_dim, because n-grams are added to the embedding."
            )

    def _check_types(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in get_args(allowed):
                options = " or ".join(f'"{option}"' for option in get_args(allowed))
                raise ConfigError(f'{name} = "{getattr(self, name)}" is not known: use {options}.')
        sizes = ("projection_dim", "hidden_size", "char_embedding_dim", "static_dim")
        wanted: dict[str, tuple[tuple[str, ...], Callable[[Any], bool]]] = {
            f"an integer from 1 to {WIDEST}": (sizes, lambda x: _is_size(x, WIDEST)),
            f"an integer from 1 to {MOST_LAYERS}": (("n_layers",), lambda x: _is_size(x, MOST_LAYERS)),
            "an integer of at least 1": (("max_sentence_length",), _is_size),
            f"null or an integer from 1 to {WIDEST}": (
                ("embedding_dim", "ngram_dim"),
                lambda x: x is None or _is_size(x, WIDEST),
            ),
            "null or an integer of at least 1": (
                ("max_unit_length",),
                lambda x: x is None or _is_size(x),
            ),
            f"an integer from 0 to {MOST_LAYERS}": (("n_highway",), lambda x: _is_count(x, MOST_LAYERS)),
            f"an integer from 0 to {MOST_ROWS}": (("n_ngrams", "n_static_vectors"), _is_count),
            # No weight has this size, so no other check stops a value that fills the memory.
            "an integer from 1 to 10000": (
                ("max_characters_per_token",),
                lambda x: _is_size(x) and x <= 10_000,
            ),
            "2, 3 or 4": (("max_ngram_length",), lambda x: _is_size(x) and 2 <= x <= 4),
            f"null or a number above 0, at most {CLIP:g}": (("cell_clip", "proj_clip"), _is_clip),
            "true or false": (SWITCHES, lambda x: isinstance(x, bool)),
            "a string": (("lang", "segmenter"), lambda x: isinstance(x, str)),
            f"a list of pairs [width, number], with at most {WIDEST} filters in all": (
                ("char_filters",),
                _are_filters,
            ),
            "a section": (("meta",), lambda x: isinstance(x, dict)),
        }
        for what, (names, fits) in wanted.items():
            for name in names:
                if not fits(getattr(self, name)):
                    raise ConfigError(f"{name} = {getattr(self, name)!r} must be {what}.")

    @property
    def effective_embedding_dim(self) -> int:
        """Width of the embedding table."""
        return self.embedding_dim or self.projection_dim

    @property
    def effective_ngram_dim(self) -> int:
        """Width of the n-gram table."""
        return self.ngram_dim or self.projection_dim

    @property
    def total_layers(self) -> int:
        """L: the embedding and the LSTM layers; of stacked bidirectional layers, only the last counts."""
        return 2 if self.stacked_bidirectional else self.n_layers + 1

    @property
    def width(self) -> int:
        """D: width of a layer, both directions together."""
        return 2 * self.projection_dim

    @property
    def static_width(self) -> int:
        """Width of a token's static vector, 0 if the model has none."""
        return self.static_dim if self.n_static_vectors else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BiLMConfig":
        """Build a configuration from JSON values or a config section.

        Raises a ConfigError for an unknown key.
        """
        known = {f.name for f in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(f'"{key}" is not a setting of a biLM: use {", ".join(sorted(known))}.')
        values = dict(values)
        if "char_filters" in values:
            values["char_filters"] = _as_tuples(values["char_filters"])
        return cls(**values)


def _is_size(value: Any, most: int = MOST_ROWS) -> bool:
    return _is_count(value, most) and value >= 1


def _is_count(value: Any, most: int = MOST_ROWS) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_clip(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and 0 < value <= CLIP)


def _are_filters(value: Any) -> bool:
    pairs = isinstance(value, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value)
    sizes = pairs and len(value) > 0 and all(_is_size(number) for pair in value for number in pair)
    return sizes and sum(number for _, number in value) <= WIDEST


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list | tuple) else value
