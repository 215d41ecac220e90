// Weights in the order in which the products read them.
#pragma once

#include "model.h"

namespace elmo {

template <class T>
static T convert(float x);
template <>
float convert<float>(float x) { return x; }
template <>
bf16 convert<bf16>(float x) { return to_bf16(x); }

// A block of weights: rows of `w` (N, K) by lane of each of its registers, -1: zeros.
template <class T>
static void pack_block(const float* w, long K, const long* rows, const float* scale, long registers, long lanes, T* to) {
    const long pair = sizeof(T) == 2 ? 2 : 1, all = registers * lanes;
    for (long i = 0; i < all; i++)
        for (long k = 0; rows[i] >= 0 && k < K; k++)
            to[((k / pair) * all + i) * pair + k % pair] = convert<T>(w[rows[i] * K + k] * scale[i / lanes]);
}

// Gates as exponents of 2: sigmoid(x) = 1 / (1 + 2^(-x log2 e)), tanh(x) the same of 2x.
template <class T>
static void pack_layer(const Model& m, Layer& layer, const float* const* weights) {
    const float log2e = 1.44269504088896341f;
    const float exponents[GATES] = {-log2e, -log2e, -2 * log2e, -log2e}, as_they_are[GATES] = {1, 1, 1, 1};
    const long V = m.lanes, row = GATES * V, blocks = (m.H + V - 1) / V;
    std::vector<long> rows(row);
    layer.gates = Buffer<char>(blocks * 2 * m.K * row * sizeof(T));
    layer.bias = Buffer<float>(blocks * row);
    T* to = reinterpret_cast<T*>(layer.gates.get());
    for (long j = 0; j < blocks; j++, to += m.K * row) {
        for (long i = 0; i < row; i++) {
            long unit = j * V + i % V;
            rows[i] = unit < m.H ? i / V * m.H + unit : -1;
            if (unit < m.H) layer.bias.get()[j * row + i] = weights[2][rows[i]] * exponents[i / V];
        }
        pack_block<T>(weights[0], m.P, rows.data(), exponents, GATES, V, to);
        pack_block<T>(weights[1], m.P, rows.data(), exponents, GATES, V, to + blocks * m.K * row);
    }
    if (!m.projects) return;
    layer.project = Buffer<char>(m.P_row / row * m.M * row * sizeof(T));
    to = reinterpret_cast<T*>(layer.project.get());
    for (long first = 0; first < m.P; first += row, to += m.M * row) {
        for (long i = 0; i < row; i++) rows[i] = first + i < m.P ? first + i : -1;
        pack_block<T>(weights[3], m.H, rows.data(), as_they_are, GATES, V, to);
    }
}

// weights: (O, PIECES, I); bias: (O, PIECES).
template <class T>
static void pack_maxout(Maxout& m, long V, const float* weights, const float* bias) {
    const float as_they_are[PIECES] = {1, 1, 1};
    const long row = PIECES * V, blocks = (m.O + V - 1) / V;
    std::vector<long> rows(row);
    m.weights = Buffer<char>(blocks * m.K * row * sizeof(T));
    m.bias = Buffer<float>(blocks * row);
    T* to = reinterpret_cast<T*>(m.weights.get());
    for (long j = 0; j < blocks; j++, to += m.K * row) {
        for (long i = 0; i < row; i++) {
            long unit = j * V + i % V;
            rows[i] = unit < m.O ? unit * PIECES + i / V : -1;
            if (unit < m.O) m.bias.get()[j * row + i] = bias[rows[i]];
        }
        pack_block<T>(weights, m.I, rows.data(), as_they_are, PIECES, V, to);
    }
}

}  // namespace elmo
