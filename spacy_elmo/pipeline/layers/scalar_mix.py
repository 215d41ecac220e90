"""Scalar mix of the layers as a thinc layer: gamma * sum_j softmax(w)_j h_j."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy
from thinc.api import Model, Ops

from ...kernels import token_ops

Array = Any  # of numpy or cupy, float32


EPSILON = 1e-5  # added to a variance: white space has vectors of zeros
SMALLEST = 1e-30  # weight of a layer that is left out; it has a logarithm


class MixInputs(NamedTuple):
    """Inputs of a mix with static vectors."""

    layers: Sequence[Array]
    """(L, n, D) each."""
    static: Sequence[Array]
    """(n, S) each."""


def ScalarMix(
    n_layers: int | None = None,
    *,
    mix_dropout: float = 0.5,
    weight_penalty: float = 0.001,
    layer_norm: bool = False,
    fixed_gamma: float | None = None,
    fixed_weights: Sequence[float] | None = None,
) -> Model[Any, Any]:
    """Create the layer Y = gamma * sum_j softmax(w)_j h_j (Peters et al. 2018, equation 1).

    Shapes: List[Floats3d (L, n, D)] -> List[Floats2d (n, D)]. The input is constant, unless
    attrs["input_gradient"] is set.
    With static vectors, MixInputs -> [mix; static], (n, D + S), without dropout of the static part.
    Parameters: w (L,), initially zeros (a plain average); gamma (1,), initially one.

    Args:
        n_layers: L; None: set the dimension nL before initialize.
        mix_dropout: Probability that a value of the mix is dropped in training. Not named `dropout_rate`,
            because spaCy's `set_dropout_rate` would overwrite it with the component's rate.
        weight_penalty: lambda of the penalty lambda * ||w||^2 (section 3.3), which pulls the mix towards the
            plain average. It counts once per token: spaCy's taggers and parsers sum their loss over tokens,
            so the balance of both terms depends neither on the batch size nor on gradient accumulation.
        layer_norm: Normalise each h_j to mean 0 and variance 1 over the columns of a token before the
            weighting (section 3.2), without parameters.
        fixed_gamma: A gamma that is not trained; None: gamma is trained.
        fixed_weights: Weights of the layers, in place of softmax(w), that are not trained: (1, 0, 0) is layer
            0 alone. They are divided by their sum. None: w is trained.
    """
    if not 0.0 <= mix_dropout < 1.0:
        raise ValueError(
            f"mix_dropout = {mix_dropout} is not a rate: give a number of at least 0 and below 1."
        )
    if weight_penalty < 0.0:
        raise ValueError(f"weight_penalty = {weight_penalty} is negative: give 0 or more.")
    if fixed_weights is not None and (min(fixed_weights, default=-1) < 0 or not sum(fixed_weights)):
        raise ValueError(
            f"fixed_weights = {fixed_weights}: give a number for each layer, none negative and not all 0."
        )
    return Model(
        "elmo-scalar-mix",
        forward,
        init=init,
        dims={"nL": n_layers},
        params={"w": None, "gamma": None},
        attrs={
            "mix_dropout": mix_dropout,
            "weight_penalty": weight_penalty,
            "layer_norm": layer_norm,
            "fixed_gamma": fixed_gamma,
            "fixed_weights": None if fixed_weights is None else list(fixed_weights),
            "input_gradient": False,  # for a biLM that is fine-tuned
        },
    )


def forward(
    model: Model[Any, Any], X: Sequence[Array] | MixInputs, is_train: bool
) -> tuple[list[Array], Callable[..., Any]]:
    """Return the mixed layers, and a backprop function that computes the gradients of w and gamma."""
    xp = model.ops.xp
    w, gamma = model.get_param("w"), model.get_param("gamma")
    layers, extra = X if isinstance(X, MixInputs) else (X, None)
    H: list[Array] = [model.ops.asarray(h) for h in layers]
    static = None if extra is None else [model.ops.asarray(b) for b in extra]
    s = _softmax(xp, w)  # (L,)
    Ys, norms = _mix(xp, gamma * s, H, static, model.attrs["layer_norm"])  # (n, D + S) each
    parts = _apply_dropout(model, Ys, [h.shape[2] for h in H]) if is_train else [None] * len(Ys)

    def backprop(dYs: Sequence[Array]) -> list[Any]:
        products = xp.zeros_like(w)  # (L,), products of the layers with the gradient
        dX = []
        for h, norm, dY, part in zip(H, norms, dYs, parts, strict=True):
            d_mix = dY[:, : h.shape[2]]
            d = d_mix if part is None else d_mix * part
            if norm is None:
                products += xp.einsum("lnd,nd->l", h, d)
            else:
                each = xp.einsum("lnd,nd->ln", h, d) - norm.mean * d.sum(-1)
                products += (norm.scale * each).sum(-1)
            if model.attrs["input_gradient"]:
                dX.append(_input_gradient(gamma * s, h, norm, d))
        ds = gamma * products
        dw = s * (ds - s @ ds) + 2.0 * model.attrs["weight_penalty"] * sum(h.shape[1] for h in H) * w
        if model.attrs["fixed_weights"] is None:
            model.inc_grad("w", dw.astype("f"))
        if model.attrs["fixed_gamma"] is None:
            model.inc_grad("gamma", (s @ products).reshape(1).astype("f"))
        return dX

    return Ys, backprop


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Set w and gamma to their initial values, again in a second initialization."""
    w = model.ops.alloc1f(model.get_dim("nL"))
    fixed, gamma = model.attrs["fixed_weights"], model.attrs["fixed_gamma"]
    if fixed is not None:
        if len(fixed) != len(w):
            raise ValueError(
                f"fixed_weights = {fixed}: the biLM has {len(w)} layers, give a number for each."
            )
        w += model.ops.asarray1f(numpy.log(numpy.maximum(fixed, SMALLEST)).astype("f"))
    model.set_param("w", w)
    model.set_param("gamma", model.ops.alloc1f(1) + (1.0 if gamma is None else gamma))


def dropout_mask(ops: Ops, shape: tuple[int, ...], rate: float) -> Array | None:
    """Return a float32 mask: zero with probability `rate`, else 1 / (1 - rate); None if nothing is dropped.

    Each value uses 16 random bits of a generator that is seeded from NumPy's global one, and thus by spaCy's
    seed. thinc's own mask draws a float64 for each value, which takes several times as long.
    """
    if not rate:
        return None
    if ops.xp is not numpy:
        kept = ops.xp.random.uniform(0.0, 1.0, shape, dtype="f") >= rate
        return kept * ops.xp.float32(1.0 / (1.0 - rate))
    size = int(numpy.prod(shape))
    words = numpy.random.SFC64(numpy.random.randint(2**31)).random_raw(-(-size // 4))  # 64 bits each
    threshold = min(round(rate * 2**16), 2**16 - 1)
    kept = words.view(numpy.uint16)[:size].reshape(shape) >= threshold
    return kept * numpy.float32(1.0 / (1.0 - threshold / 2**16))


def _apply_dropout(model: Model[Any, Any], Ys: Sequence[Array], widths: Sequence[int]) -> list[Array | None]:
    """Apply dropout to the first columns of each array, in place. Return the mask of each, or None."""
    mixed = [y[:, :width] for y, width in zip(Ys, widths, strict=True)]
    mask = dropout_mask(model.ops, (sum(y.size for y in mixed),), model.attrs["mix_dropout"])
    if mask is None:
        return [None] * len(Ys)
    parts = _split_like(mask, mixed)
    for y, part in zip(mixed, parts, strict=True):
        y *= part
    return parts


class _Norm(NamedTuple):
    """Mean and scale of the normalised layers (h - mean) * scale, for h (L, n, D)."""

    mean: Array
    """(L, n)."""
    scale: Array
    """(L, n)."""


def _mix(
    xp: Any, weights: Array, H: Sequence[Array], static: Sequence[Array] | None, layer_norm: bool
) -> tuple[list[Array], Sequence[_Norm | None]]:
    """Return sum_j weights_j h_j of each array, with static vectors, and the normalisations.

    The native kernel computes them if possible.
    """
    if xp is numpy and H and token_ops.available() and all(h.dtype == numpy.float32 for h in H):
        Ys, found = token_ops.scalar_mix(H, weights, EPSILON if layer_norm else None, static)
        return Ys, [None] * len(Ys) if found is None else [_Norm(*each) for each in found]
    norms = [_norm(xp, h) if layer_norm else None for h in H]
    # One by one: a concatenation of all would be larger than any cache.
    Ys = [_weighted(weights, h, norm) for h, norm in zip(H, norms, strict=True)]
    if static is not None:
        Ys = [xp.hstack([y, extra]) for y, extra in zip(Ys, static, strict=True)]
    return Ys, norms


def _input_gradient(weights: Array, h: Array, norm: _Norm | None, d: Array) -> Array:
    """Return the gradient (L, n, D) of layers h, from that of their mix, d (n, D)."""
    dH = weights[:, None, None] * d
    if norm is None:
        return dH
    scale = norm.scale[..., None]
    x = (h - norm.mean[..., None]) * scale
    return scale * (dH - dH.mean(-1, keepdims=True) - x * (dH * x).mean(-1, keepdims=True))


def _norm(xp: Any, h: Array) -> _Norm:
    mean = h.mean(-1)
    variance = xp.einsum("lnd,lnd->ln", h, h) / h.shape[2] - mean**2
    return _Norm(mean, 1 / xp.sqrt(xp.maximum(variance, 0) + EPSILON))


def _weighted(weights: Array, h: Array, norm: _Norm | None) -> Array:
    """Return sum_j weights_j h_j, (L, n, D) -> (n, D), without BLAS, whose threads would wait for torch's."""
    if norm is not None:
        weights = (weights[:, None] * norm.scale)[..., None]  # (L, n, 1)
    y = weights[0] * h[0]
    for weight, layer in zip(weights[1:], h[1:], strict=True):
        y += weight * layer
    if norm is not None:
        y -= (weights * norm.mean[..., None]).sum(0)
    return y


def _split_like(flat: Array, like: Sequence[Array]) -> list[Array]:
    """Split a flat array into arrays with the shapes of others."""
    ends = accumulate(y.size for y in like)
    return [flat[end - y.size : end].reshape(y.shape) for end, y in zip(ends, like, strict=True)]


def _softmax(xp: Any, w: Any) -> Any:
    e = xp.exp(w - w.max())
    return e / e.sum()
