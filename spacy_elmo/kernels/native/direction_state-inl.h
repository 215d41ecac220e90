// The buffers of one direction of a biLM over a packed batch: inputs from unit vectors and n-grams, states, outputs.

#if defined(ELMO_DIRECTION_STATE_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_DIRECTION_STATE_INL_H_
#undef ELMO_DIRECTION_STATE_INL_H_
#else
#define ELMO_DIRECTION_STATE_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <vector>

#include "aligned_buffer.h"
#include "compute_types.h"
#include "gemm-inl.h"
#include "packed_model.h"
#include "quantize-inl.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

constexpr int64_t MAX_SHARED_ROWS = 64;  // rows of several steps that share a pass over the weights of the inputs

// B sentences, T steps, N units of all steps. Rows of a step follow each other; sentences that have ended are missing.
template <class T>
struct DirectionState {
    const PackedModel& model;
    const DirectionArgs& args;
    int64_t n_steps;
    std::vector<int64_t> batch_sizes;  // (T,) rows of each step
    std::vector<int64_t> offsets;      // (T + 1,) first row of each step among the N
    AlignedBuffer<float> current;      // (N, P_row) the layer's input, then its output
    AlignedBuffer<T> inputs;           // (N, P_row) the same as T; empty for float32
    AlignedBuffer<float> c;            // (H_row / V, B, V) cell states
    AlignedBuffer<float> y;            // (B, H_row or P_row) outputs before their clip
    AlignedBuffer<T> m;                // (B, H_row) inputs of the projection; AMX: see lstm_amx-inl.h
    AlignedBuffer<T> h;                // (B, P_row) states
    AlignedBuffer<float> input_scales, m_scales, h_scales;  // (N,), (B,), (B,) of int16, see QuantScales
    AlignedBuffer<float> input_sums;                        // of all blocks, over the inputs of steps that share a pass
    AlignedBuffer<float> scratch;                           // sums of a block, for each thread
    static constexpr int64_t SPARE = TypeTraits<T>::spare_rows;
    explicit DirectionState(const DirectionArgs& a);
    float* c_of(int64_t block) const { return c.get() + block * args.n_sentences * LANES; }
    T* gemm_inputs() const;
};
template <>
inline float* DirectionState<float>::gemm_inputs() const {
    return current.get();
}
template <class T>
inline T* DirectionState<T>::gemm_inputs() const {
    return inputs.get();
}

// Rows of each step. Two steps are saved: all sentences begin with the same boundary, so the first step has one row;
// and nothing reads the output at the last boundary.
static std::vector<int64_t> batch_sizes_of(const DirectionArgs& a) {
    std::vector<int64_t> sizes(a.lengths[0] - 1, 1);
    int64_t b = a.n_sentences;
    for (int64_t i = 1; i < a.lengths[0] - 1; sizes[i++] = b)
        while (a.lengths[b - 1] - 1 <= i) b--;
    return sizes;
}

static std::vector<int64_t> offsets_of(const std::vector<int64_t>& sizes) {
    std::vector<int64_t> offsets(1, 0);
    for (int64_t b : sizes) offsets.push_back(offsets.back() + b);
    return offsets;
}

// Whether rows have padding that products read. It has to be zero; everything else is written before it is read.
static bool has_padding(const PackedModel& m) {
    return m.P != m.P_row || m.M != static_cast<int64_t>(round_up(m.H, LANES));
}

template <class T>
DirectionState<T>::DirectionState(const DirectionArgs& a)
    : model(*a.model),
      args(a),
      n_steps(a.lengths[0] - 1),
      batch_sizes(batch_sizes_of(a)),
      offsets(offsets_of(batch_sizes)),
      current(offsets.back() * a.model->P_row, has_padding(*a.model)),
      inputs(sizeof(T) == 4 ? 0 : (offsets.back() + SPARE) * a.model->P_row, has_padding(*a.model)),
      c(a.n_sentences * a.model->H_row, false),
      y((a.n_sentences + SPARE) * (a.model->projects ? a.model->P_row : a.model->H_row), has_padding(*a.model)),
      m(a.model->projects ? (a.n_sentences + SPARE) * a.model->H_row : 0, has_padding(*a.model)),
      h((a.n_sentences + SPARE) * a.model->P_row, has_padding(*a.model)),
      input_scales(offsets.back()),
      m_scales(a.n_sentences),
      h_scales(a.n_sentences),
      input_sums((MAX_SHARED_ROWS + SPARE) * (a.model->H_row / LANES) * BLOCK, false),
      scratch((a.n_sentences + SPARE) * a.team_size * BLOCK, false) {}

// Place of a row's unit of step t in its sentence.
ELMO_INLINE int64_t unit_index(const DirectionArgs& a, int64_t row, int64_t t) {
    return a.direction ? a.lengths[row] - 1 - t : t;
}

// Write a row of a layer into the caller's array, without the boundaries.
ELMO_INLINE void store_output(const DirectionArgs& a, int64_t layer, int64_t row, int64_t unit, const float* from) {
    const PackedModel& model = *a.model;
    const int64_t n = a.lengths[row] - 2;
    if (unit < 1 || unit > n) return;
    float* to = a.out[row] + layer * a.layer_strides[row] + ((unit - 1) * 2 + a.direction) * model.P;
    if (model.type != FLOAT32) {
        for (int64_t i = 0; i < model.P; i++) to[i] = round_to_fp16(from[i]);
    } else {
        memcpy(to, from, model.P * sizeof(float));
    }
}

// The vector that is added for a unit: its own for k = 0, else that of the n-gram of k + 1 units that this direction
// has read completely at the unit; null: none.
ELMO_INLINE const float* embedding_row(const DirectionArgs& a, int64_t row, int64_t unit, int64_t k) {
    if (!k) return a.vectors + a.ids[row][unit] * a.model->P;
    const int64_t end = a.direction ? unit + k : unit;
    const int64_t ngram = end < a.lengths[row] ? a.ngram_rows[row][end * a.n_ngram_orders + k - 1] : 0;
    return ngram ? a.ngram_vectors + ngram * a.ngram_dim : nullptr;
}

// Prefetch the vectors of a unit: a sentence's rows are scattered across a table of many megabytes.
ELMO_INLINE void prefetch_unit(const DirectionArgs& a, int64_t row, int64_t unit) {
    for (int64_t k = 0; k <= a.n_ngram_orders; k++) {
        const float* vector = embedding_row(a, row, unit, k);
        const int64_t n = k ? a.ngram_dim : a.model->P;
        for (int64_t i = 0; vector && i < n; i += CACHE_LINE / sizeof(float)) __builtin_prefetch(vector + i);
    }
}

// x = scale * unit vector + n-gram vectors, added in this order: the torch backend has the same bits.
ELMO_INLINE void embed_unit(const DirectionArgs& a, int64_t row, int64_t unit, float* x) {
    const float* vector = embedding_row(a, row, unit, 0);
    for (int64_t i = 0; i < a.model->P; i++) x[i] = vector[i] * a.scale;
    for (int64_t k = 1; k <= a.n_ngram_orders; k++) {
        vector = embedding_row(a, row, unit, k);
        for (int64_t i = 0; vector && i < a.ngram_dim; i++) x[i] += vector[i];
    }
}

// Fill the inputs of the first layer, and write them as layer 0.
template <class T>
ELMO_ATTR static void embed(DirectionState<T>& d) {
    const DirectionArgs& a = d.args;
    const int64_t P_row = d.model.P_row;
    for (int64_t t = 0; t < d.n_steps; t++) {
        for (int64_t row = 0; row < d.batch_sizes[t]; row++) {
            const int64_t unit = unit_index(a, row, t), at = (d.offsets[t] + row) * P_row;
            if (row + 1 < d.batch_sizes[t]) prefetch_unit(a, row + 1, unit_index(a, row + 1, t));
            float* x = d.current.get() + at;
            embed_unit(a, row, unit, x);
            if (sizeof(T) != 4) quantize_row(d.inputs.get() + at, x, P_row, d.input_scales.get() + d.offsets[t] + row);
            store_output(a, 0, row, unit, x);
        }
    }
}

// The states of step t from its outputs: clip them, keep them for the next step, and write the layer's output, with its
// skip connection.
template <class T>
ELMO_ATTR static void finish_step(DirectionState<T>& d, int64_t layer, int64_t t) {
    const PackedModel& model = d.model;
    const int64_t y_row = model.projects ? model.P_row : model.H_row;
    const VF32 top = set(model.proj_clip), low = set(-model.proj_clip);
    for (int64_t row = 0; row < d.batch_sizes[t]; row++) {
        float* y = d.y.get() + row * y_row;
        const int64_t n = d.offsets[t] + row, at = n * model.P_row;
        float* x = d.current.get() + at;
        for (int64_t i = 0; i < model.P; i += LANES) {
            VF32 state = max(min(load(y + i), top), low);
            store(y + i, state);
            if (model.skip && layer) state = add(state, load(x + i));
            store(x + i, state);
        }
        quantize_row(d.h.get() + row * model.P_row, y, model.P, d.h_scales.get() + row);
        if (sizeof(T) != 4) quantize_row(d.inputs.get() + at, x, model.P, d.input_scales.get() + n);
        store_output(d.args, layer + 1, row, unit_index(d.args, row, t), x);
    }
}

// Copy the states of the only row of the first step to all rows: all have read the same boundary.
template <class T>
static void broadcast_first_step(DirectionState<T>& d) {
    const int64_t P_row = d.model.P_row, n = d.args.n_sentences;
    for (int64_t block = 0; block < d.model.H_row / LANES; block++)
        for (int64_t row = 1; row < n; row++) memcpy(d.c_of(block) + row * LANES, d.c_of(block), LANES * sizeof(float));
    for (int64_t row = 1; row < n; row++) {
        memcpy(d.h.get() + row * P_row, d.h.get(), P_row * sizeof(T));
        d.h_scales.get()[row] = d.h_scales.get()[0];
    }
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
