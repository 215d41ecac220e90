// An LSTM layer of one direction in training: its arrays, and the forward pass.
//
// Step t has the first batch_sizes[t] sentences. Its units have numbers offsets[t].., an even number of them, so that
// two stand side by side where units are the inputs of a product.

#if defined(ELMO_LSTM_TRAINING_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_LSTM_TRAINING_INL_H_
#undef ELMO_LSTM_TRAINING_INL_H_
#else
#define ELMO_LSTM_TRAINING_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <vector>

#include "aligned_buffer.h"
#include "args.h"
#include "compute_types.h"
#include "gemm-inl.h"
#include "gemm_amx-inl.h"
#include "lstm_blocks-inl.h"
#include "lstm_cell-inl.h"
#include "packed_operands-inl.h"
#include "parallel_for.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

constexpr int64_t MIN_THREAD_ROWS = 32;  // sentences of a thread: two tiles

inline int64_t round_up_to_even(int64_t n) { return n + (n & 1); }

// Sentences of each thread: the first one, an even number, and the end of the last thread's.
inline std::vector<int64_t> thread_rows(int64_t n_sentences, int64_t n_threads) {
    const int64_t n = max_of(1, min_of(n_threads, n_sentences / MIN_THREAD_ROWS));
    std::vector<int64_t> cuts(1, 0);
    for (int64_t i = 1; i < n; i++) cuts.push_back(round_up_to_even(i * n_sentences / n));
    cuts.push_back(n_sentences);
    return cuts;
}

// B sentences, T steps, P projection, H cells; K and M: P and H rounded up; N: units of all steps, rounded up; G:
// gates.
template <class T>
struct LSTMTraining {
    const LSTMShape& s;
    int64_t B, n_steps, P, H, K, M, n_blocks, G, N, P_row, H_row;
    std::vector<int64_t> offsets;  // (T + 1,)
    // What the forward pass saves for the backward pass.
    T *x, *h, *m;  // (N, K), (N, K), (N, M): inputs, states before them, o * tanh(c)
    T* gates;      // of each step: [n_blocks][even(b)][GATES][LANES]
    float* c;      // of each step: [n_blocks][even(b)][LANES]
    int64_t saved_bytes;

    LSTMTraining(const LSTMShape& shape, char* saved)
        : s(shape),
          B(s.n_sentences),
          n_steps(s.n_steps),
          P(s.projection_dim),
          H(s.hidden_size),
          K(round_up(P, RhsTraits<T>::k_multiple)),
          M(round_up(H, max_of(RhsTraits<T>::k_multiple, LANES))),
          n_blocks((H + LANES - 1) / LANES),
          G(n_blocks * BLOCK),
          P_row(round_up(P, BLOCK)),
          H_row(round_up(H, BLOCK)),
          offsets(1, 0) {
        for (int64_t t = 0; t < n_steps; t++) offsets.push_back(offsets.back() + round_up_to_even(s.batch_sizes[t]));
        N = round_up(offsets.back(), K_GROUP);
        Arena arena(saved);
        const int64_t rows = N + TypeTraits<T>::spare_rows;
        x = arena.alloc<T>(rows * K);
        h = arena.alloc<T>(rows * K);
        m = arena.alloc<T>(rows * M);
        gates = arena.alloc<T>(N * G);
        c = arena.alloc<float>(N * n_blocks * LANES);
        saved_bytes = arena.bytes();
    }
    // Row of a matrix of gates (4H, P) that is output o of the blocks; null: padding.
    template <class Float>
    Float* gate_row(Float* w, int64_t o) const {
        const int64_t cell = o / BLOCK * LANES + o % LANES, gate = o % BLOCK / LANES;
        return cell < H ? w + (gate * H + cell) * P : nullptr;
    }
    T* gates_of(int64_t t, int64_t block) const {
        return gates + offsets[t] * G + block * round_up_to_even(s.batch_sizes[t]) * BLOCK;
    }
    float* c_of(int64_t t, int64_t block) const {
        return c + (offsets[t] * n_blocks + block * round_up_to_even(s.batch_sizes[t])) * LANES;
    }
    // Place of a unit in the caller's arrays (B, T, P).
    int64_t unit(int64_t row, int64_t t) const { return (row * n_steps + t) * P; }
    // Rows first..last of step t: how many of them it has.
    int64_t rows_of(int64_t t, int64_t first, int64_t last) const {
        return max_of(0, min_of(last, s.batch_sizes[t]) - first);
    }
    // Fill rows (N, width) of padding with zeros: those that make a step's number even, and those after the last step.
    void clear_padding(T* rows, int64_t width) const {
        for (int64_t t = 0; t < n_steps; t++)
            if (s.batch_sizes[t] & 1) memset(rows + (offsets[t + 1] - 1) * width, 0, width * sizeof(T));
        memset(rows + offsets.back() * width, 0, (N - offsets.back()) * width * sizeof(T));
    }
};

template <class T>
ELMO_INLINE VF32 sigmoid(VF32 x) {
    return reciprocal(add(exp2<T>(mul(x, set(-LOG2E))), set(1.f)));
}
template <class T>
ELMO_INLINE VF32 tanh(VF32 x) {
    const VF32 e = exp2<T>(mul(x, set(-2.f * LOG2E)));
    return mul(sub(set(1.f), e), reciprocal(add(set(1.f), e)));
}

// LANES cells of n rows from their sums (n, BLOCK): gates (n, BLOCK), c (n, LANES), m (n, m_row). c_prev: null where
// the states before are zero.
template <class T>
ELMO_ATTR static void forward_cells(int64_t n, const float* sums, const float* bias, const float* c_prev, T* gates,
                                    float* c, T* m, int64_t m_row) {
    const VF32 bias_i = load(bias), bias_f = load(bias + LANES);
    const VF32 bias_g = load(bias + 2 * LANES), bias_o = load(bias + 3 * LANES);
    for (int64_t r = 0; r < n; r++, sums += BLOCK, gates += BLOCK, c += LANES, m += m_row) {
        const VF32 i = sigmoid<T>(add(load(sums), bias_i)), f = sigmoid<T>(add(load(sums + LANES), bias_f));
        const VF32 g = tanh<T>(add(load(sums + 2 * LANES), bias_g));
        const VF32 o = sigmoid<T>(add(load(sums + 3 * LANES), bias_o));
        const VF32 state = c_prev ? mul_add(f, load(c_prev + r * LANES), mul(i, g)) : mul(i, g);
        store(c, state);
        store_converted(m, mul(o, tanh<T>(state)));
        store_converted(gates, i);
        store_converted(gates + LANES, f);
        store_converted(gates + 2 * LANES, g);
        store_converted(gates + 3 * LANES, o);
    }
}

// Packed weights of the forward pass: (K, G), (K, G), (M, P).
template <class T>
struct ForwardWeights {
    AlignedBuffer<T> packed;
    PackedRhs<T> w_ih, w_hh, w_hr;
    AlignedBuffer<float> bias;  // (G,)
    explicit ForwardWeights(const LSTMTraining<T>& l)
        : packed(2 * PackedRhs<T>::size(l.K, l.G) + PackedRhs<T>::size(l.M, l.P)),
          w_ih{packed.get(), l.K},
          w_hh{w_ih.data + PackedRhs<T>::size(l.K, l.G), l.K},
          w_hr{w_hh.data + PackedRhs<T>::size(l.K, l.G), l.M},
          bias(l.G) {}
};

template <class T>
ELMO_ATTR static void pack_forward_weights(const LSTMTraining<T>& l, const LSTMForwardArgs& a,
                                           const ForwardWeights<T>& w) {
    pack_output_rows([&](int64_t o) { return l.gate_row(a.w_ih, o); }, l.G, l.P, w.w_ih);
    pack_output_rows([&](int64_t o) { return l.gate_row(a.w_hh, o); }, l.G, l.P, w.w_hh);
    if (l.s.has_projection) pack_output_rows([&](int64_t o) { return a.w_hr + o * l.H; }, l.P, l.H, w.w_hr);
    for (int64_t o = 0; o < l.G; o++) {
        const int64_t cell = o / BLOCK * LANES + o % LANES;
        if (cell < l.H) w.bias.get()[o] = a.bias[o % BLOCK / LANES * l.H + cell];
    }
}

// Sentences first..last of the forward pass.
template <class T>
ELMO_ATTR static void forward_rows(const LSTMTraining<T>& l, const LSTMForwardArgs& a, const ForwardWeights<T>& w,
                                   int64_t first, int64_t last) {
    const int64_t max_rows = last - first + MAX_SPARE_ROWS;
    const AlignedBuffer<float> scratch(max_rows * BLOCK, false), y(max_rows * l.P_row, false);
    for (int64_t t = 0; t < l.n_steps; t++) {
        const int64_t n = l.rows_of(t, first, last);
        for (int64_t r = n; r < last - first; r++) memset(a.y + l.unit(first + r, t), 0, l.P * sizeof(float));
        if (!n) continue;
        const int64_t at = l.offsets[t] + first;
        T *x = l.x + at * l.K, *h = l.h + at * l.K, *m = l.m + at * l.M;
        for (int64_t r = 0; r < n; r++) {
            convert_row(x + r * l.K, a.x + l.unit(first + r, t), l.P, l.K);
            for (int64_t i = l.n_blocks * LANES; i < l.M; i++) m[r * l.M + i] = 0;  // padding that no block fills
        }
        const auto inputs = PackedLhs<T>::row_major(x, l.K), states = PackedLhs<T>::row_major(t ? h : nullptr, l.K);
        for (int64_t i = 0; i < l.n_blocks; i++) {
            const int64_t j = serpentine(i, l.n_blocks, t);
            const T* next = w.w_ih.at(0, (i + 1 < l.n_blocks ? serpentine(i + 1, l.n_blocks, t) : j) * BLOCK);
            multiply_two(inputs, w.w_ih, states, w.w_hh, n, j * BLOCK, next, scratch.get(), BLOCK);
            forward_cells(n, scratch.get(), w.bias.get() + j * BLOCK, t ? l.c_of(t - 1, j) + first * LANES : nullptr,
                          l.gates_of(t, j) + first * BLOCK, l.c_of(t, j) + first * LANES, m + j * LANES, l.M);
        }
        if (l.s.has_projection)
            for (int64_t o = 0; o < l.P; o += BLOCK)
                multiply(PackedLhs<T>::row_major(m, l.M), n, w.w_hr, 0, l.M, o, {y.get() + o, l.P_row, false});
        const int64_t n_following = t + 1 < l.n_steps ? min_of(last, l.s.batch_sizes[t + 1]) - first : 0;
        for (int64_t r = 0; r < n; r++) {
            float *to = a.y + l.unit(first + r, t), *from = y.get() + r * l.P_row;
            if (!l.s.has_projection)
                for (int64_t i = 0; i < l.H; i++) from[i] = to_float(m[r * l.M + i]);
            memcpy(to, from, l.P * sizeof(float));
            if (r < n_following) convert_row(l.h + (l.offsets[t + 1] + first + r) * l.K, from, l.P, l.K);
        }
    }
}

template <class T>
ELMO_ATTR static Status lstm_forward(const LSTMForwardArgs& a) {
    const LSTMTraining<T> l(a.shape, a.saved);
    const ForwardWeights<T> w(l);
    pack_forward_weights(l, a, w);
    l.clear_padding(l.x, l.K);
    l.clear_padding(l.h, l.K);
    l.clear_padding(l.m, l.M);
    memset(l.h, 0, l.offsets[1] * l.K * sizeof(T));
    const std::vector<int64_t> cuts = thread_rows(l.B, l.s.n_threads);
    return parallel_for(l.s.n_threads, static_cast<int64_t>(cuts.size()) - 1, [&](int64_t i) {
        const TileScope tiles;
        forward_rows(l, a, w, cuts[i], cuts[i + 1]);
    });
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
