"""Results that a biLM of bilm-tf or ELMoForManyLangs computes, step by step in float64, from its tensors."""

import numpy as np

RNG = np.random.default_rng


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(table, ids, kernels, activation):
    """One word's characters (C,) through all convolutions (width, d, n), padding included: (F,)."""
    x = table[ids]  # (C, d)
    features = []
    for kernel, bias in kernels:
        width = len(kernel)
        windows = [np.einsum("wd,wdn->n", x[i : i + width], kernel) for i in range(len(x) - width + 1)]
        features.append(np.max(windows, 0) + bias)
    y = np.concatenate(features)
    return np.tanh(y) if activation == "tanh" else np.maximum(y, 0)


def highway(x, gate, transform):
    """gate lets the transform through. gate: sigmoid's argument; transform: before relu."""
    g = sigmoid(gate)
    return g * np.maximum(transform, 0) + (1 - g) * x


def read(x, cells, *, use_skip_connections, cell_clip, proj_clip, states=None):
    """One direction over (n, P), in its own order: a list of outputs, one a layer.

    cells: (W_x (4H, P), W_h (4H, P), bias (4H,), projection (P, H) or None) of each layer, gates i, f, g, o.
    states: [h, c] of each layer, changed on the way; None: zeros.
    """
    outputs = []
    for depth, (w_x, w_h, bias, projection) in enumerate(cells):
        state = states[depth] if states else [np.zeros(w_h.shape[1]), np.zeros(len(bias) // 4)]
        h, c = state
        rows = []
        for vector in x:
            i, f, g, o = np.split(w_x @ vector + w_h @ h + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            c = np.clip(c, -cell_clip, cell_clip) if cell_clip else c
            h = sigmoid(o) * np.tanh(c)
            if projection is not None:
                h = projection @ h
                h = np.clip(h, -proj_clip, proj_clip) if proj_clip else h
            rows.append(h)
        state[:] = h, c
        y = np.stack(rows)
        x = x + y if use_skip_connections and depth else y
        outputs.append(x)
    return outputs


def stack(embedded, forward, backward, **settings):
    """All layers of a sentence with its boundaries (n + 2, P): (L, n, 2P). forward, backward: see `read`."""
    ahead = read(embedded, forward, **settings)
    back = [y[::-1] for y in read(embedded[::-1], backward, **settings)]
    pairs = [(embedded, embedded), *zip(ahead, back, strict=True)]
    return np.stack([np.concatenate(pair, 1) for pair in pairs])[:, 1:-1]
