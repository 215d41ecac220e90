// Weights in the order in which the products read them.
#pragma once

#include "model.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace elmo {

template <class T>
static T convert(float x);
template <>
float convert<float>(float x) { return x; }
template <>
bf16 convert<bf16>(float x) { return to_bf16(x); }
template <>
int16_t convert<int16_t>(float x) { return static_cast<int16_t>(std::lrint(x)); }

// What 1 of T stands for in n weights.
template <class T>
static float unit_of(const float*, long) { return 1; }
template <>
float unit_of<int16_t>(const float* w, long n) {
    float largest = 0;
    for (long i = 0; i < n; i++) largest = std::fmax(largest, std::fabs(w[i]));
    return largest > SMALLEST ? largest / MOST_WEIGHT : 1;
}

// A block of weights, each times `scale` of its register: rows of `w` (N, K) by lane, -1: zeros. units: see Scales;
// null where the type has none.
template <class T>
static void pack_block(const float* w, long K, const long* rows, const float* scale, long registers, long lanes, T* to,
                       float* units = nullptr) {
    const long pair = sizeof(T) == 2 ? 2 : 1, all = registers * lanes;
    std::vector<float> row(K);
    for (long i = 0; i < all; i++) {
        if (rows[i] < 0) continue;
        for (long k = 0; k < K; k++) row[k] = w[rows[i] * K + k] * scale[i / lanes];
        const float unit = unit_of<T>(row.data(), K);
        for (long k = 0; k < K; k++) to[((k / pair) * all + i) * pair + k % pair] = convert<T>(row[k] / unit);
        if (units) units[i] = unit / MOST_INPUT;
    }
}

// A block's halves apart, `inputs` inputs from one to the other.
template <class T>
static void pack_halves(const float* w, long K, const long* rows, const float* scale, long lanes, long inputs, T* to) {
    const long half = GATES / 2, outputs = half * lanes;
    pack_block<T>(w, K, rows, scale, half, lanes, to);
    pack_block<T>(w, K, rows + outputs, scale + half, half, lanes, to + inputs * outputs);
}

static bool finite(const float* x, long n) {
    for (long i = 0; i < n; i++)
        if (!std::isfinite(x[i])) return false;
    return true;
}

// No int16 is a NaN: the scales show what is damaged.
static void show_damage(const AlignedBuffer<float>& scales, long n, bool sound) {
    if (!sound) std::fill_n(scales.get(), n, std::numeric_limits<float>::quiet_NaN());
}

// w: (P, H). Behind the scales of the gates stand its own.
template <class T>
static void pack_projection(const Model& m, Layer& layer, const float* w) {
    if (!m.projects) return;
    const float as_they_are[GATES] = {1, 1, 1, 1};
    const long V = m.lanes, row = GATES * V, blocks = (m.H + V - 1) / V;
    std::vector<long> rows(row);
    float* scales = m.type == INT16 ? layer.scales.get() + 2 * blocks * row : nullptr;
    layer.project = AlignedBuffer<char>(m.P_row / row * m.M * row * sizeof(T));
    T* to = reinterpret_cast<T*>(layer.project.get());
    for (long first = 0; first < m.P; first += row, to += m.M * row) {
        for (long i = 0; i < row; i++) rows[i] = first + i < m.P ? first + i : -1;
        if (m.tiles) pack_halves<T>(w, m.H, rows.data(), as_they_are, V, m.M, to);
        else pack_block<T>(w, m.H, rows.data(), as_they_are, GATES, V, to, scales ? scales + first : nullptr);
    }
}

// Gates as exponents of 2: sigmoid(x) = 1 / (1 + 2^(-x log2 e)), tanh(x) the same of 2x.
template <class T>
static void pack_layer(const Model& m, Layer& layer, const float* const* weights) {
    const float log2e = 1.44269504088896341f;
    const float exponents[GATES] = {-log2e, -log2e, -2 * log2e, -log2e};
    const long V = m.lanes, row = GATES * V, blocks = (m.H + V - 1) / V;
    std::vector<long> rows(row);
    layer.gates = AlignedBuffer<char>(blocks * 2 * m.K * row * sizeof(T));
    layer.bias = AlignedBuffer<float>(blocks * row);
    const bool scaled = m.type == INT16;
    const long all = 2 * blocks * row + m.P_row;
    layer.scales = AlignedBuffer<float>(scaled ? all : 0);
    float* scales = scaled ? layer.scales.get() : nullptr;
    T* to = reinterpret_cast<T*>(layer.gates.get());
    for (long j = 0; j < blocks; j++, to += m.K * row) {
        for (long i = 0; i < row; i++) {
            long unit = j * V + i % V;
            rows[i] = unit < m.H ? i / V * m.H + unit : -1;
            if (unit < m.H) layer.bias.get()[j * row + i] = weights[2][rows[i]] * exponents[i / V];
        }
        if (m.tiles) {
            T* block = reinterpret_cast<T*>(layer.gates.get()) + 2 * j * m.K * row;
            pack_halves<T>(weights[0], m.P, rows.data(), exponents, V, m.K, block);
            pack_halves<T>(weights[1], m.P, rows.data(), exponents, V, m.K, block + m.K * row);
            continue;
        }
        float* own = scales ? scales + j * row : nullptr;
        float* other = scales ? own + blocks * row : nullptr;
        pack_block<T>(weights[0], m.P, rows.data(), exponents, GATES, V, to, own);
        pack_block<T>(weights[1], m.P, rows.data(), exponents, GATES, V, to + blocks * m.K * row, other);
    }
    pack_projection<T>(m, layer, weights[3]);
    const bool sound = finite(weights[0], 4 * m.H * m.P) && finite(weights[1], 4 * m.H * m.P) &&
                       finite(weights[2], 4 * m.H) && (!m.projects || finite(weights[3], m.P * m.H));
    if (scaled) show_damage(layer.scales, all, sound);
}

// The registers of all blocks one after another, GATES at a time.
template <class T>
static void pack_in_tiles(const Maxout& m, long V, const float* weights, T* to) {
    const float as_they_are[GATES] = {1, 1, 1, 1};
    const long row = GATES * V, registers = registers_of(m, V);
    std::vector<long> rows(row);
    for (long first = 0; first < registers; first += GATES, to += m.K * row) {
        for (long i = 0; i < row; i++) {
            const long all = first + i / V, unit = all / PIECES * V + i % V;
            rows[i] = unit < m.O ? unit * PIECES + all % PIECES : -1;
        }
        pack_halves<T>(weights, m.I, rows.data(), as_they_are, V, m.K, to);
    }
}

// weights: (O, PIECES, I); bias: (O, PIECES).
template <class T>
static void pack_maxout(Maxout& m, long V, const float* weights, const float* bias) {
    const float as_they_are[PIECES] = {1, 1, 1};
    const long row = PIECES * V, blocks = (m.O + V - 1) / V;
    std::vector<long> rows(row);
    const long outputs = m.tiles ? registers_of(m, V) * V : blocks * row;
    m.weights = AlignedBuffer<char>(m.K * outputs * sizeof(T));
    m.bias = AlignedBuffer<float>(blocks * row);
    const bool scaled = m.type == INT16;
    m.scales = AlignedBuffer<float>(scaled ? blocks * row : 0);
    T* to = reinterpret_cast<T*>(m.weights.get());
    for (long j = 0; j < blocks; j++, to += m.K * row) {
        for (long i = 0; i < row; i++) {
            long unit = j * V + i % V;
            rows[i] = unit < m.O ? unit * PIECES + i / V : -1;
            if (unit < m.O) m.bias.get()[j * row + i] = bias[rows[i]];
        }
        float* scales = scaled ? m.scales.get() + j * row : nullptr;
        if (!m.tiles) pack_block<T>(weights, m.I, rows.data(), as_they_are, PIECES, V, to, scales);
    }
    if (m.tiles) pack_in_tiles<T>(m, V, weights, reinterpret_cast<T*>(m.weights.get()));
    const bool sound = finite(weights, m.O * PIECES * m.I) && finite(bias, m.O * PIECES);
    if (scaled) show_damage(m.scales, blocks * row, sound);
}

}  // namespace elmo
