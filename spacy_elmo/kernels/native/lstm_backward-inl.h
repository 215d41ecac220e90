// An LSTM layer of one direction in training: the backward pass.

#if defined(ELMO_LSTM_BACKWARD_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_LSTM_BACKWARD_INL_H_
#undef ELMO_LSTM_BACKWARD_INL_H_
#else
#define ELMO_LSTM_BACKWARD_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <vector>

#include "aligned_buffer.h"
#include "args.h"
#include "compute_types.h"
#include "gemm-inl.h"
#include "gemm_amx-inl.h"
#include "lstm_training-inl.h"
#include "packed_operands-inl.h"
#include "packing.h"
#include "parallel_for.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

constexpr int64_t GRADIENT_UNITS = 1024;  // units whose share of the weights' gradients is added at once
constexpr int64_t TRANSPOSED = 64;        // columns that are written at a time while blocks become matrices
static_assert(GRADIENT_UNITS % K_GROUP == 0, "a chunk of units is whole groups of inputs");

// LANES cells of one row. d_m: the gradient of o * tanh(c); d_c: that of the cell state, of the step after on entry and
// of the step before on return. d_sums: those of the four gates' sums.
template <class T>
ELMO_INLINE void backward_cell(const T* gates, const float* c_prev, const float* c, const float* d_m, float* d_c,
                               VF32* d_sums) {
    const VF32 one = set(1.f);
    const VF32 i = load(gates), f = load(gates + LANES), g = load(gates + 2 * LANES), o = load(gates + 3 * LANES);
    const VF32 t = tanh<T>(load(c)), dm = load(d_m);
    const VF32 dc = mul_add(mul(dm, o), sub(one, mul(t, t)), load(d_c));
    d_sums[0] = mul(mul(dc, g), mul(i, sub(one, i)));
    d_sums[1] = c_prev ? mul(mul(dc, load(c_prev)), mul(f, sub(one, f))) : set(0.f);
    d_sums[2] = mul(mul(dc, i), sub(one, mul(g, g)));
    d_sums[3] = mul(mul(dm, t), mul(o, sub(one, o)));
    store(d_c, mul(dc, f));
}

// LANES cells of some rows: what the forward pass saved, see forward_cells.
template <class T>
struct SavedCells {
    const T* gates;
    const float* c_prev;  // null: zeros
    const float* c;
};

// LANES cells of n rows; d_m (n, BLOCK), d_c (n, LANES). The gradients of the gates' sums go to outputs `output`.. of
// rows of an lhs, and to inputs `unit`.. of an rhs.
template <class T>
ELMO_ATTR static void backward_cells(int64_t n, SavedCells<T> cells, const float* d_m, float* d_c, PackedLhs<T> lhs,
                                     PackedRhs<T> rhs, int64_t unit, int64_t output) {
    for (int64_t r = 0; r < n; r += 2) {
        VF32 d[2][GATES];
        for (int k = 0; k < GATES; k++) d[1][k] = set(0.f);
        for (int64_t i = 0; i < min_of(2, n - r); i++) {
            const int64_t at = r + i;
            backward_cell(cells.gates + at * BLOCK, cells.c_prev ? cells.c_prev + at * LANES : nullptr,
                          cells.c + at * LANES, d_m + at * BLOCK, d_c + at * LANES, d[i]);
            for (int64_t k = 0; k < GATES; k++) store_converted(lhs.at(at, output + k * LANES), d[i][k]);
        }
        for (int64_t k = 0; k < GATES; k++) store_pair(rhs.at(unit + r, output + k * LANES), d[0][k], d[1][k]);
    }
}

// Packed weights of the backward pass: (K, H), (G, P), (G, P).
template <class T>
struct BackwardWeights {
    AlignedBuffer<T> packed;
    PackedRhs<T> w_hr, w_hh, w_ih;
    explicit BackwardWeights(const LSTMTraining<T>& l)
        : packed(PackedRhs<T>::size(l.K, l.H) + 2 * PackedRhs<T>::size(l.G, l.P)),
          w_hr{packed.get(), l.K},
          w_hh{w_hr.data + PackedRhs<T>::size(l.K, l.H), l.G},
          w_ih{w_hh.data + PackedRhs<T>::size(l.G, l.P), l.G} {}
};

// Arrays of the backward pass, in the caller's workspace.
template <class T>
struct BackwardWorkspace {
    int64_t F;              // rows of the gradients of w_ih, w_hh and the bias: 2P + 1
    T* d_h;                 // (N, K) gradients of the states
    PackedRhs<T> d_sums;    // (N, G) gradients of the gates' sums
    PackedRhs<T> m;         // (GRADIENT_UNITS, H) of a chunk of units
    PackedLhs<T> inputs;    // (F, GRADIENT_UNITS) x, h and 1 of a chunk of units
    PackedLhs<T> d_states;  // (P, GRADIENT_UNITS)
    float* d_gates;         // [n_blocks][F][BLOCK] gradients of w_ih, w_hh and the bias
    float* d_projection;    // [H / BLOCK][P][BLOCK]
    int64_t bytes;
    BackwardWorkspace(const LSTMTraining<T>& l, char* memory) : F(2 * l.P + 1) {
        constexpr int64_t spare = TypeTraits<T>::spare_rows;
        Arena arena(memory);
        d_h = arena.alloc<T>((l.N + spare) * l.K);
        d_sums = {arena.alloc<T>(PackedRhs<T>::size(l.N, l.G)), l.N};
        m = {arena.alloc<T>(PackedRhs<T>::size(GRADIENT_UNITS, l.H)), GRADIENT_UNITS};
        inputs = PackedLhs<T>::grouped(arena.alloc<T>(PackedLhs<T>::size(F, GRADIENT_UNITS)), F, GRADIENT_UNITS);
        d_states = PackedLhs<T>::grouped(arena.alloc<T>(PackedLhs<T>::size(l.P, GRADIENT_UNITS)), l.P, GRADIENT_UNITS);
        d_gates = arena.alloc<float>(l.n_blocks * (F + spare) * BLOCK);
        d_projection = arena.alloc<float>(l.H_row * (l.P + spare));
        bytes = arena.bytes();
    }
    float* d_gates_of(int64_t block) const { return d_gates + block * (F + TypeTraits<T>::spare_rows) * BLOCK; }
    float* d_projection_of(int64_t block, int64_t P) const {
        return d_projection + block * (P + TypeTraits<T>::spare_rows) * BLOCK;
    }
};

// Buffers of the sentences first..last of one thread.
template <class T>
struct BackwardRows {
    int64_t first, last;
    AlignedBuffer<float> scratch;  // (n, BLOCK) sums of a block
    AlignedBuffer<float> d_prev;   // (n, P_row) gradients of the states of the step before
    AlignedBuffer<float> d_c;      // (n_blocks, n, LANES)
    AlignedBuffer<T> sums;
    PackedLhs<T> d_sums;  // (n, G) of one step
    BackwardRows(const LSTMTraining<T>& l, int64_t first, int64_t last)
        : first(first),
          last(last),
          scratch((size() + MAX_SPARE_ROWS) * BLOCK, false),
          d_prev((size() + MAX_SPARE_ROWS) * l.P_row),
          d_c(l.n_blocks * size() * LANES),
          sums(PackedLhs<T>::size(size(), l.G)),
          d_sums(PackedLhs<T>::grouped(sums.get(), size(), l.G)) {}
    int64_t size() const { return last - first; }
};

// The cells of step t, n rows, from the gradients of its states (N, K).
template <class T>
ELMO_ATTR static void backward_blocks(const LSTMTraining<T>& l, const BackwardWeights<T>& w,
                                      const BackwardWorkspace<T>& k, const BackwardRows<T>& rows, int64_t t,
                                      int64_t n) {
    const int64_t first = rows.first, at = l.offsets[t] + first;
    float* scratch = rows.scratch.get();
    for (int64_t o = 0; o < l.H; o += BLOCK) {
        if (l.s.has_projection) {
            multiply(PackedLhs<T>::row_major(k.d_h + at * l.K, l.K), n, w.w_hr, 0, l.K, o, {scratch, BLOCK, false});
        } else {
            for (int64_t r = 0; r < n; r++)
                convert_row(scratch + r * BLOCK, rows.d_prev.get() + r * l.P_row + o, min_of(BLOCK, l.H - o), BLOCK);
        }
        for (int64_t j = o / LANES; j < min_of(l.n_blocks, o / LANES + GATES); j++) {
            const SavedCells<T> cells = {l.gates_of(t, j) + first * BLOCK,
                                         t ? l.c_of(t - 1, j) + first * LANES : nullptr, l.c_of(t, j) + first * LANES};
            backward_cells(n, cells, scratch + (j * LANES - o), rows.d_c.get() + j * rows.size() * LANES, rows.d_sums,
                           k.d_sums, at, j * BLOCK);
        }
    }
}

// Sentences first..last of the backward pass.
template <class T>
ELMO_ATTR static void backward_rows(const LSTMTraining<T>& l, const LSTMBackwardArgs& a, const BackwardWeights<T>& w,
                                    const BackwardWorkspace<T>& k, int64_t first, int64_t last) {
    const BackwardRows<T> rows(l, first, last);
    float *scratch = rows.scratch.get(), *d_prev = rows.d_prev.get();
    for (int64_t t = l.n_steps - 1, n_following = 0; t >= 0; t--) {
        const int64_t n = l.rows_of(t, first, last);
        for (int64_t r = n; r < last - first; r++) memset(a.d_x + l.unit(first + r, t), 0, l.P * sizeof(float));
        if (!n) continue;
        for (int64_t r = 0; r < n; r++) {
            const float* d_y = a.d_y + l.unit(first + r, t);
            float* d_state = d_prev + r * l.P_row;
            for (int64_t i = 0; i < l.P; i++) d_state[i] = r < n_following ? d_state[i] + d_y[i] : d_y[i];
            convert_row(k.d_h + (l.offsets[t] + first + r) * l.K, d_state, l.P, l.K);
        }
        backward_blocks(l, w, k, rows, t, n);
        for (int64_t o = 0; t && o < l.P; o += BLOCK)
            multiply(rows.d_sums, n, w.w_hh, 0, l.G, o, {d_prev + o, l.P_row, false});
        for (int64_t o = 0; o < l.P; o += BLOCK) {
            multiply(rows.d_sums, n, w.w_ih, 0, l.G, o, {scratch, BLOCK, false});
            for (int64_t r = 0; r < n; r++)
                memcpy(a.d_x + l.unit(first + r, t) + o, scratch + r * BLOCK, min_of(BLOCK, l.P - o) * sizeof(float));
        }
        n_following = n;
    }
}

// K_GROUP units from `unit` on become inputs `at`.. of the products that give the weights' gradients.
template <class T>
ELMO_ATTR static void transpose_units(const LSTMTraining<T>& l, const BackwardWorkspace<T>& k, int64_t unit,
                                      int64_t at) {
    transpose(l.x + unit * l.K, l.K, K_GROUP, l.P, k.inputs, 0, at);
    transpose(l.h + unit * l.K, l.K, K_GROUP, l.P, k.inputs, l.P, at);
    for (int64_t j = 0; j < K_GROUP; j++) *k.inputs.at(2 * l.P, at + j) = convert<T>(1.f);
    if (!l.s.has_projection) return;
    transpose(k.d_h + unit * l.K, l.K, K_GROUP, l.P, k.d_states, 0, at);
    const T* m = l.m + unit * l.M;
    for (int64_t j = 0; j < K_GROUP; j += 2, m += 2 * l.M)
        for (int64_t o = 0; o < l.H; o += LANES) store_pair(k.m.at(at + j, o), load(m + o), load(m + l.M + o));
}

// Gradients of the weights, from those of all units.
template <class T>
ELMO_ATTR static void weight_gradients(const LSTMTraining<T>& l, const BackwardWorkspace<T>& k) {
    const int64_t n_threads = l.s.n_threads, n_outputs = l.s.has_projection ? l.H_row / BLOCK : 0;
    for (int64_t begin = 0; begin < l.N; begin += GRADIENT_UNITS) {
        const int64_t n = min_of(GRADIENT_UNITS, l.N - begin);
        parallel_for(n_threads, n / K_GROUP,
                     [&](int64_t i) { transpose_units(l, k, begin + i * K_GROUP, i * K_GROUP); });
        parallel_for(n_threads, l.n_blocks + n_outputs, [&](int64_t j) {
            const TileScope tiles;
            if (j < l.n_blocks) {
                multiply(k.inputs, k.F, k.d_sums, begin, n, j * BLOCK, {k.d_gates_of(j), BLOCK, begin > 0});
            } else {
                const int64_t o = j - l.n_blocks;
                multiply(k.d_states, l.P, k.m, 0, n, o * BLOCK, {k.d_projection_of(o, l.P), BLOCK, begin > 0});
            }
        });
    }
}

// Copy the weights' gradients from blocks to matrices as torch has them.
template <class T>
ELMO_ATTR static void store_weight_gradients(const LSTMTraining<T>& l, const BackwardWorkspace<T>& k,
                                             const LSTMBackwardArgs& a) {
    for (int64_t j = 0; j < l.n_blocks; j++) {
        const float* from = k.d_gates_of(j);
        for (int64_t matrix = 0; matrix < 2; matrix++)
            for (int64_t p = 0; p < l.P; p += TRANSPOSED)
                for (int64_t o = 0; o < BLOCK; o++) {
                    float* to = l.gate_row(matrix ? a.d_w_hh : a.d_w_ih, j * BLOCK + o);
                    for (int64_t i = p; to && i < min_of(l.P, p + TRANSPOSED); i++)
                        to[i] = from[(matrix * l.P + i) * BLOCK + o];
                }
        for (int64_t o = 0; o < BLOCK; o++) {
            const int64_t cell = j * LANES + o % LANES;
            if (cell < l.H) a.d_bias[o / LANES * l.H + cell] = from[2 * l.P * BLOCK + o];
        }
    }
    for (int64_t o = 0; l.s.has_projection && o < l.H; o += BLOCK)
        for (int64_t p = 0; p < l.P; p++)
            memcpy(a.d_w_hr + p * l.H + o, k.d_projection_of(o / BLOCK, l.P) + p * BLOCK,
                   min_of(BLOCK, l.H - o) * sizeof(float));
}

template <class T>
ELMO_ATTR static Status lstm_backward(const LSTMBackwardArgs& a) {
    const LSTMTraining<T> l(a.shape, a.saved);
    const BackwardWorkspace<T> k(l, a.workspace);
    const BackwardWeights<T> w(l);
    if (l.s.has_projection)
        pack_input_rows([&](int64_t p) { return p < l.P ? a.w_hr + p * l.H : nullptr; }, l.H, w.w_hr);
    pack_input_rows([&](int64_t o) { return l.gate_row(a.w_hh, o); }, l.P, w.w_hh);
    pack_input_rows([&](int64_t o) { return l.gate_row(a.w_ih, o); }, l.P, w.w_ih);
    l.clear_padding(k.d_h, l.K);
    for (int64_t unit = l.offsets.back(); unit < l.N; unit += 2)
        for (int64_t o = 0; o < l.G; o += LANES) store_pair(k.d_sums.at(unit, o), set(0.f), set(0.f));
    const std::vector<int64_t> cuts = thread_rows(l.B, l.s.n_threads);
    const Status status = parallel_for(l.s.n_threads, static_cast<int64_t>(cuts.size()) - 1, [&](int64_t i) {
        const TileScope tiles;
        backward_rows(l, a, w, k, cuts[i], cuts[i + 1]);
    });
    if (status != OK) return status;
    weight_gradients(l, k);
    store_weight_gradients(l, k, a);
    return OK;
}

// bytes[0]: of the activations that the forward pass saves; bytes[1]: of the workspace of the backward pass.
template <class T>
static void lstm_workspace(const LSTMShape& shape, int64_t* bytes) {
    const LSTMTraining<T> l(shape, nullptr);
    bytes[0] = l.saved_bytes;
    bytes[1] = BackwardWorkspace<T>(l, nullptr).bytes;
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
