// Operations on layers at inference: layers of tokens, and the scalar mix. A row's result does not depend on other
// rows.

#if defined(ELMO_TOKEN_OPS_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_TOKEN_OPS_INL_H_
#undef ELMO_TOKEN_OPS_INL_H_
#else
#define ELMO_TOKEN_OPS_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <cstring>

#include "args.h"
#include "compute_types.h"
#include "packed_model.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

// Layers of tokens, out (L, n, D), from states of units. Layer 0 is the mean over a token's units. Above it, the first
// half (forward) is that of the last unit, the second half (backward) that of the first. Tokens without units get
// zeros.
ELMO_ATTR static void pool_tokens(const TokenAlignment& a, float* out) {
    const int64_t half = a.dim / 2, layer_size = a.n_tokens * a.dim;
    int64_t i = 0, sentence = 0, before = 0;  // before: units of the sentences before this one
    for (int64_t token = 0; token < a.n_tokens; token++, out += a.dim) {
        if (i == a.n_indices || a.tokens[i] != token) {
            for (int64_t j = 0; j < a.n_layers; j++) memset(out + j * layer_size, 0, a.dim * sizeof(float));
            continue;
        }
        const int64_t first = a.starts[i], end = ++i < a.n_indices ? a.starts[i] : a.n_units;
        for (int64_t u = first; u < end; u++) {
            while (a.units[u] >= before + a.lengths[sentence]) before += a.lengths[sentence++];
            const int64_t state_size = a.lengths[sentence] * a.dim;  // of a layer
            const float* state = a.states[sentence] + (a.units[u] - before) * a.dim;
            if (u == first) {
                memcpy(out, state, a.dim * sizeof(float));
            } else {
                for (int64_t j = 0; j < a.dim; j++) out[j] += state[j];
            }
            for (int64_t j = 1; j < a.n_layers; j++) {
                float* to = out + j * layer_size;
                if (u == first) memcpy(to + half, state + j * state_size + half, half * sizeof(float));
                if (u + 1 == end) memcpy(to, state + j * state_size, half * sizeof(float));
            }
        }
        const float count = static_cast<float>(end - first);
        for (int64_t j = 0; j < a.dim && end - first > 1; j++) out[j] /= count;
    }
}

// Mean of n numbers, and 1 / sqrt(variance + epsilon).
ELMO_INLINE Moments moments(const float* x, int64_t n, float epsilon) {
    const int64_t whole = n / (2 * LANES) * (2 * LANES);
    VF32 a = set(0.f), b = set(0.f);
    for (int64_t i = 0; i < whole; i += 2 * LANES) {
        a = add(a, load(x + i));
        b = add(b, load(x + i + LANES));
    }
    float sum = sum_of_lanes(add(a, b));
    for (int64_t i = whole; i < n; i++) sum += x[i];
    const float mean = sum / static_cast<float>(n);
    const VF32 means = set(mean);
    a = b = set(0.f);
    for (int64_t i = 0; i < whole; i += 2 * LANES) {
        VF32 p = sub(load(x + i), means), q = sub(load(x + i + LANES), means);
        a = mul_add(p, p, a);
        b = mul_add(q, q, b);
    }
    float squares = sum_of_lanes(add(a, b));
    for (int64_t i = whole; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    return {mean, 1.f / std::sqrt(squares / static_cast<float>(n) + epsilon)};
}

// Tokens first..last of a doc. factors: room for L numbers.
ELMO_ATTR static void scalar_mix(const MixArgs& a, int64_t first, int64_t last, float* factors) {
    const int64_t row = a.dim + a.static_dim;
    for (int64_t t = first; t < last; t++) {
        float shift = 0;
        // Rows are short: the processor's own prefetcher starts too late.
        for (int64_t j = 0; j < a.n_layers && t + 1 < last; j++) {
            const float* next = a.layers + (j * a.n_tokens + t + 1) * a.dim;
            for (int64_t i = 0; i < a.dim; i += 16) __builtin_prefetch(next + i);
        }
        for (int64_t j = 0; j < a.n_layers; j++) {
            factors[j] = a.weights[j];
            if (!a.moments) continue;
            const Moments found = moments(a.layers + (j * a.n_tokens + t) * a.dim, a.dim, a.epsilon);
            a.moments[t * a.n_layers + j] = found;
            factors[j] *= found.scale;
            shift += factors[j] * found.mean;
        }
        for (int64_t i = 0; i < a.dim; i += LANES) {
            VF32 sum = set(-shift);
            for (int64_t j = 0; j < a.n_layers; j++)
                sum =
                    mul_add(set(factors[j]), load_partial(a.layers + (j * a.n_tokens + t) * a.dim + i, a.dim - i), sum);
            store_partial(a.out + t * row + i, sum, a.dim - i);
        }
        if (a.static_dim)
            memcpy(a.out + t * row + a.dim, a.static_vectors + t * a.static_dim, a.static_dim * sizeof(float));
    }
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
