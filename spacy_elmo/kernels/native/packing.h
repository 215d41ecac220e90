// Weights in the order in which the products read them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "aligned_buffer.h"
#include "compute_types.h"
#include "packed_model.h"

namespace elmo {

constexpr float NO_SCALING[GATES] = {1, 1, 1, 1};  // of the registers of a block
static_assert(PIECES <= GATES, "NO_SCALING serves a Maxout, too");

template <class T>
inline T convert(float x);
template <>
inline float convert<float>(float x) {
    return x;
}
template <>
inline bf16 convert<bf16>(float x) {
    return to_bf16(x);
}
template <>
inline int16_t convert<int16_t>(float x) {
    return static_cast<int16_t>(std::lrint(x));
}

// The number that 1 of type T stands for in a row of n weights.
template <class T>
inline float weight_scale(const float*, int64_t) {
    return 1;
}
template <>
inline float weight_scale<int16_t>(const float* w, int64_t n) {
    float largest = 0;
    for (int64_t i = 0; i < n; i++) largest = std::fmax(largest, std::fabs(w[i]));
    return largest > MIN_SCALE ? largest / MAX_WEIGHT : 1;
}

// Where a block goes: its weights, and the scales of its outputs in int16 (null for other types).
template <class T>
struct PackedBlock {
    T* weights;
    float* scales;
};

// Pack a block from W (N, K). rows: the row of W for each of its outputs, lane by lane; -1: zeros. factors: of each
// register.
template <class T>
void pack_block(const float* w, int64_t K, const int64_t* rows, const float* factors, int64_t n_registers,
                int64_t lanes, PackedBlock<T> to) {
    const int64_t pair = sizeof(T) == 2 ? 2 : 1, n_outputs = n_registers * lanes;
    std::vector<float> row(K);
    for (int64_t i = 0; i < n_outputs; i++) {
        if (rows[i] < 0) continue;
        for (int64_t k = 0; k < K; k++) row[k] = w[rows[i] * K + k] * factors[i / lanes];
        const float scale = weight_scale<T>(row.data(), K);
        for (int64_t k = 0; k < K; k++)
            to.weights[((k / pair) * n_outputs + i) * pair + k % pair] = convert<T>(row[k] / scale);
        if (to.scales) to.scales[i] = scale / MAX_INPUT;
    }
}

// Pack the two halves of a block for AMX tiles, `n_inputs` inputs from one to the other.
template <class T>
void pack_halves(const float* w, int64_t K, const int64_t* rows, const float* factors, int64_t lanes, int64_t n_inputs,
                 T* to) {
    const int64_t half = GATES / 2, n_outputs = half * lanes;
    pack_block<T>(w, K, rows, factors, half, lanes, {to, nullptr});
    pack_block<T>(w, K, rows + n_outputs, factors + half, half, lanes, {to + n_inputs * n_outputs, nullptr});
}

inline bool all_finite(const float* x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!std::isfinite(x[i])) return false;
    return true;
}

// An int16 cannot be NaN. Weights that are not finite show in the results because their scales are NaN.
inline void poison_scales(const AlignedBuffer<float>& scales, int64_t n) {
    std::fill_n(scales.get(), n, std::numeric_limits<float>::quiet_NaN());
}

// Pack W (N, K) in blocks of 4V outputs. K_packed: K, rounded up; scales: of int16, null for other types.
template <class T>
void pack_matrix(const float* w, int64_t N, int64_t K, int64_t K_packed, int64_t lanes, bool tiled, T* to,
                 float* scales) {
    const int64_t block = GATES * lanes;
    std::vector<int64_t> rows(block);
    for (int64_t first = 0; first < N; first += block, to += K_packed * block) {
        for (int64_t i = 0; i < block; i++) rows[i] = first + i < N ? first + i : -1;
        if (tiled) pack_halves<T>(w, K, rows.data(), NO_SCALING, lanes, K_packed, to);
        else pack_block<T>(w, K, rows.data(), NO_SCALING, GATES, lanes, {to, scales ? scales + first : nullptr});
    }
}

// Pack a layer: w_ih, w_hh (4H, P), bias (4H,), w_hr (P, H) or null. The gates become exponents of 2, so that no factor
// is left for the cells: sigmoid(x) = 1 / (1 + 2^(-x log2 e)), and tanh(x) = 2 sigmoid(2x) - 1.
template <class T>
void pack_layer(const PackedModel& m, PackedLayer& layer, const float* const* weights) {
    const float log2e = 1.44269504088896341f;
    const float exponents[GATES] = {-log2e, -log2e, -2 * log2e, -log2e};
    const int64_t V = m.lanes, block = GATES * V, n_blocks = (m.H + V - 1) / V;
    std::vector<int64_t> rows(block);
    layer.gates = AlignedBuffer<char>(n_blocks * 2 * m.K * block * sizeof(T));
    layer.bias = AlignedBuffer<float>(n_blocks * block);
    const bool scaled = m.type == INT16;
    const int64_t n_scales = 2 * n_blocks * block + m.P_row;
    layer.scales = AlignedBuffer<float>(scaled ? n_scales : 0);
    T* to = reinterpret_cast<T*>(layer.gates.get());
    for (int64_t j = 0; j < n_blocks; j++, to += m.K * block) {
        for (int64_t i = 0; i < block; i++) {
            const int64_t cell = j * V + i % V;
            rows[i] = cell < m.H ? i / V * m.H + cell : -1;
            if (cell < m.H) layer.bias.get()[j * block + i] = weights[2][rows[i]] * exponents[i / V];
        }
        if (m.tiled) {
            T* tiles = reinterpret_cast<T*>(layer.gates.get()) + 2 * j * m.K * block;
            pack_halves<T>(weights[0], m.P, rows.data(), exponents, V, m.K, tiles);
            pack_halves<T>(weights[1], m.P, rows.data(), exponents, V, m.K, tiles + m.K * block);
            continue;
        }
        float* input_scales = scaled ? layer.scales.get() + j * block : nullptr;
        float* state_scales = scaled ? input_scales + n_blocks * block : nullptr;
        pack_block<T>(weights[0], m.P, rows.data(), exponents, GATES, V, {to, input_scales});
        pack_block<T>(weights[1], m.P, rows.data(), exponents, GATES, V, {to + n_blocks * m.K * block, state_scales});
    }
    if (m.projects) {
        layer.projection = AlignedBuffer<char>(m.P_row / block * m.M * block * sizeof(T));
        pack_matrix<T>(weights[3], m.P, m.H, m.M, V, m.tiled, reinterpret_cast<T*>(layer.projection.get()),
                       scaled ? layer.scales.get() + 2 * n_blocks * block : nullptr);
    }
    const bool finite = all_finite(weights[0], 4 * m.H * m.P) && all_finite(weights[1], 4 * m.H * m.P) &&
                        all_finite(weights[2], 4 * m.H) && (!m.projects || all_finite(weights[3], m.P * m.H));
    if (scaled && !finite) poison_scales(layer.scales, n_scales);
}

// Pack a Maxout for AMX tiles: the registers of all its blocks one after another, GATES at a time.
template <class T>
void pack_maxout_tiles(const PackedMaxout& m, int64_t V, const float* weights, T* to) {
    const int64_t block = GATES * V, n_registers = tiled_registers(m, V);
    std::vector<int64_t> rows(block);
    for (int64_t first = 0; first < n_registers; first += GATES, to += m.K * block) {
        for (int64_t i = 0; i < block; i++) {
            const int64_t reg = first + i / V, output = reg / PIECES * V + i % V;
            rows[i] = output < m.O ? output * PIECES + reg % PIECES : -1;
        }
        pack_halves<T>(weights, m.I, rows.data(), NO_SCALING, V, m.K, to);
    }
}

// weights: (O, PIECES, I); bias: (O, PIECES).
template <class T>
void pack_maxout(PackedMaxout& m, int64_t V, const float* weights, const float* bias) {
    const int64_t block = PIECES * V, n_blocks = (m.O + V - 1) / V;
    std::vector<int64_t> rows(block);
    const int64_t n_outputs = m.tiled ? tiled_registers(m, V) * V : n_blocks * block;
    m.weights = AlignedBuffer<char>(m.K * n_outputs * sizeof(T));
    m.bias = AlignedBuffer<float>(n_blocks * block);
    const bool scaled = m.type == INT16;
    m.scales = AlignedBuffer<float>(scaled ? n_blocks * block : 0);
    T* to = reinterpret_cast<T*>(m.weights.get());
    for (int64_t j = 0; j < n_blocks; j++, to += m.K * block) {
        for (int64_t i = 0; i < block; i++) {
            const int64_t output = j * V + i % V;
            rows[i] = output < m.O ? output * PIECES + i / V : -1;
            if (output < m.O) m.bias.get()[j * block + i] = bias[rows[i]];
        }
        float* scales = scaled ? m.scales.get() + j * block : nullptr;
        if (!m.tiled) pack_block<T>(weights, m.I, rows.data(), NO_SCALING, PIECES, V, {to, scales});
    }
    if (m.tiled) pack_maxout_tiles<T>(m, V, weights, reinterpret_cast<T*>(m.weights.get()));
    const bool finite = all_finite(weights, m.O * PIECES * m.I) && all_finite(bias, m.O * PIECES);
    if (scaled && !finite) poison_scales(m.scales, n_blocks * block);
}

}  // namespace elmo
