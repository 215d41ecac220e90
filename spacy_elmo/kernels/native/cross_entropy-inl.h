// The cross entropy of a softmax over all classes, and its gradients.
//
// Each logit becomes exp(logit - base) where it is computed. base is the logit of the target, so the loss is the
// logarithm of a sum. The target itself is left out of sums and products: the gradient of a confident prediction would
// be lost in rounding. Probabilities are never written: their denominators go into the other operand of a product.

#if defined(ELMO_CROSS_ENTROPY_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_CROSS_ENTROPY_INL_H_
#undef ELMO_CROSS_ENTROPY_INL_H_
#else
#define ELMO_CROSS_ENTROPY_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "aligned_buffer.h"
#include "args.h"
#include "compute_types.h"
#include "cross_entropy_arrays-inl.h"
#include "gemm_amx-inl.h"
#include "lstm_cell-inl.h"
#include "lstm_training-inl.h"
#include "packed_operands-inl.h"
#include "packing.h"
#include "parallel_for.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

ELMO_INLINE VF32 round_as(VF32 x, float) { return x; }
ELMO_INLINE VF32 round_as(VF32 x, bf16) {
    bf16 rounded[LANES];
    store_converted(rounded, x);
    return load(rounded);
}

// Prediction r of the chunk that begins at `begin`: its input as T, and the logit of its target, which is the first
// base.
template <class T>
ELMO_ATTR static void begin_row(const CrossEntropy<T>& k, int64_t begin, int64_t r) {
    const int64_t target = k.a.targets[begin + r];
    T* x = k.x + r * k.K;
    convert_row(x, k.a.x + (begin + r) * k.P, k.P, k.K);
    const float* w = k.a.weight + (target < 0 ? 0 : target) * k.P;
    VF32 sum = set(0.f);
    for (int64_t i = 0; i < k.P; i += LANES) {
        const int64_t n = k.P - i;
        sum = mul_add(load_partial(x + i, n), round_as(load_partial(w + i, n), T()), sum);
    }
    k.base[r] = k.target_logit[r] = sum_of_lanes(sum) + (target < 0 ? 0 : k.a.bias[target]);
}

// Logits of the block of classes from `output` on -> exp(logit - base), at `column` of the rows.
template <class T>
ELMO_ATTR static void exponentiate(const CrossEntropy<T>& k, const SliceArgs<T>& s, int64_t output, int64_t column) {
    const VF32 scale = set(LOG2E), low = set(-126.f), top = set(float(MAX_EXPONENT));
    for (int64_t r = 0; r < s.n; r++) {
        const int64_t place = k.a.targets[s.begin + s.first + r] - output;
        if (place >= 0 && place < BLOCK) s.scores[r * BLOCK + place] = -std::numeric_limits<float>::infinity();
    }
    for (int64_t r = 0; r < s.n; r += 2) {
        VF32 both[2][GATES];
        for (int64_t i = 0; i < 2; i++) {
            const int64_t at = r + i;
            if (at >= s.n) {
                for (int64_t g = 0; g < GATES; g++) both[i][g] = set(0.f);
                break;
            }
            const VF32 base = set(k.base[s.first + at]);
            VF32 sum = load(s.partial + at * LANES);
            for (int64_t g = 0; g < GATES; g++) {
                const VF32 logit = add(load(s.scores + at * BLOCK + g * LANES), load(k.bias + output + g * LANES));
                both[i][g] = exp2_unclamped<T>(max(min(mul(sub(logit, base), scale), top), low));
                sum = add(sum, both[i][g]);
                if (k.with_gradients) store_converted(s.rows.at(at, column + g * LANES), both[i][g]);
            }
            store(s.partial + at * LANES, sum);
        }
        for (int64_t g = 0; k.with_gradients && g < GATES; g++)
            store_pair(k.exps.at(s.first + r, output + g * LANES), both[0][g], both[1][g]);
    }
}

inline bool fits(float sum) { return sum < std::ldexp(1.f, MAX_EXPONENT); }

// The largest logit becomes the base of those predictions whose sums are too large.
template <class T>
ELMO_ATTR static void raise_base(const CrossEntropy<T>& k, const SliceArgs<T>& s) {
    std::vector<float> largest(s.n, -std::numeric_limits<float>::infinity());
    for (int64_t o = 0; o < k.n_classes; o += BLOCK) {
        multiply(s.x, s.n, k.weight, 0, k.K, o, {s.scores, BLOCK, false});
        for (int64_t r = 0; r < s.n; r++)
            for (int64_t i = 0; i < min_of(BLOCK, k.n_classes - o); i++)
                largest[r] = std::fmax(largest[r], s.scores[r * BLOCK + i] + k.bias[o + i]);
    }
    for (int64_t r = 0; r < s.n; r++)
        if (!fits(k.sums[s.first + r])) k.base[s.first + r] = largest[r];
}

// Sums of a slice without the targets, and the products of its exponentials with the weights. Return whether all sums
// fit.
template <class T>
ELMO_ATTR static bool sum_slice(const CrossEntropy<T>& k, const SliceArgs<T>& s) {
    memset(s.partial, 0, s.n * LANES * sizeof(float));
    for (int64_t begin = 0; begin < k.V; begin += SLICE_CLASSES) {
        const int64_t size = min_of(SLICE_CLASSES, k.V - begin);
        for (int64_t o = 0; o < size; o += BLOCK) {
            multiply(s.x, s.n, k.weight, 0, k.K, begin + o, {s.scores, BLOCK, false});
            exponentiate(k, s, begin + o, o);
        }
        for (int64_t p = 0; k.with_gradients && p < k.P; p += BLOCK)
            multiply(s.rows, s.n, k.weight_t, begin, size, p, {k.d_x_of(s.first / SLICE) + p, k.P_row, begin > 0});
    }
    bool all_fit = true;
    for (int64_t r = 0; r < s.n; r++) {
        k.sums[s.first + r] = sum_of_lanes(load(s.partial + r * LANES));
        all_fit = all_fit && (k.a.targets[s.begin + s.first + r] < 0 || fits(k.sums[s.first + r]));
    }
    return all_fit;
}

// Predictions first..first + n of the chunk that begins at `begin`: all but the gradients of weight and bias.
template <class T>
ELMO_ATTR static void run_slice(const CrossEntropy<T>& k, int64_t begin, int64_t first, int64_t n) {
    const TileScope tiles;
    const AlignedBuffer<float> scores((n + MAX_SPARE_ROWS) * BLOCK, false), partial(n * LANES, false);
    const auto x = PackedLhs<T>::row_major(k.x + first * k.K, k.K);
    auto rows = x;
    if (k.with_gradients)
        rows = PackedLhs<T>::grouped(k.slice_exps + first / SLICE * PackedLhs<T>::size(SLICE, SLICE_CLASSES), SLICE,
                                     SLICE_CLASSES);
    const SliceArgs<T> slice = {begin, first, n, x, rows, scores.get(), partial.get()};
    for (int64_t r = 0; r < n; r++) begin_row(k, begin, first + r);
    if (sum_slice(k, slice)) return;
    raise_base(k, slice);
    sum_slice(k, slice);
}

// The gradient of a prediction's input, and the operand of those of the weights. Return its loss.
template <class T>
ELMO_ATTR static double finish_row(const CrossEntropy<T>& k, int64_t begin, int64_t r) {
    const int64_t target = k.a.targets[begin + r];
    const bool counts = target >= 0;
    const double above_base = k.target_logit[r] - static_cast<double>(k.base[r]);
    const double denominator = k.sums[r] + std::exp(above_base);
    if (k.with_gradients) {
        const float factor = counts ? static_cast<float>(1 / denominator) : 0, rest = factor * k.sums[r];
        k.rest[begin + r] = rest;
        const float* from = k.d_x_of(r / SLICE) + r % SLICE * k.P_row;
        const float* w = k.a.weight + (counts ? target : 0) * k.P;
        float* to = k.a.d_x + (begin + r) * k.P;
        for (int64_t i = 0; i < k.P; i++) to[i] = counts ? from[i] * factor - rest * w[i] : 0;
        T* x = k.x + r * k.K;
        for (int64_t i = 0; i < k.K; i += LANES)
            store_partial(x + i, mul(load_partial(x + i, k.K - i), set(factor)), k.K - i);
        *k.inputs.at(k.P, r) = convert<T>(factor);
    }
    if (!counts) return 0;
    return above_base == 0 ? std::log1p(static_cast<double>(k.sums[r])) : std::log(denominator) - above_base;
}

// Add a chunk of n predictions to the gradients of weight and bias.
template <class T>
ELMO_ATTR static Status add_weight_gradients(const CrossEntropy<T>& k, int64_t begin, int64_t n) {
    const int64_t n_threads = k.a.shape.n_threads, padded = round_up(n, K_GROUP);
    memset(k.x + n * k.K, 0, (padded - n) * k.K * sizeof(T));
    for (int64_t r = n; r < padded; r++) *k.inputs.at(k.P, r) = 0;
    for (int64_t r = round_up_to_even(n); r < padded; r += 2)
        for (int64_t o = 0; o < k.V; o += LANES) store_pair(k.exps.at(r, o), set(0.f), set(0.f));
    parallel_for(n_threads, padded / K_GROUP,
                 [&](int64_t i) { transpose(k.x + i * K_GROUP * k.K, k.K, K_GROUP, k.P, k.inputs, 0, i * K_GROUP); });
    return parallel_for(n_threads, k.V / BLOCK, [&](int64_t i) {
        const TileScope tiles;
        multiply(k.inputs, k.F, k.exps, 0, padded, i * BLOCK, {k.d_weight_of(i * BLOCK), BLOCK, begin > 0});
    });
}

// Copy the gradients of weight and bias to the caller's arrays, and add the terms of the targets themselves.
template <class T>
ELMO_ATTR static void store_weight_gradients(const CrossEntropy<T>& k) {
    constexpr int64_t columns = 64;  // written at a time
    const CrossEntropyArgs& a = k.a;
    for (int64_t o = 0; o < k.n_classes; o += BLOCK) {
        const float* from = k.d_weight_of(o);
        for (int64_t p = 0; p < k.P; p += columns)
            for (int64_t i = 0; i < min_of(BLOCK, k.n_classes - o); i++)
                for (int64_t j = p; j < min_of(k.P, p + columns); j++)
                    a.d_weight[(o + i) * k.P + j] = from[j * BLOCK + i];
        memcpy(a.d_bias + o, from + k.P * BLOCK, min_of(BLOCK, k.n_classes - o) * sizeof(float));
    }
    for (int64_t r = 0; r < k.n; r++) {
        if (a.targets[r] < 0) continue;
        const float rest = k.rest[r], *x = a.x + r * k.P;
        float* to = a.d_weight + a.targets[r] * k.P;
        for (int64_t i = 0; i < k.P; i++) to[i] -= rest * x[i];
        a.d_bias[a.targets[r]] -= rest;
    }
}

template <class T>
ELMO_ATTR static Status cross_entropy(const CrossEntropyArgs& a) {
    const CrossEntropy<T> k(a, a.workspace);
    const auto row = [&](int64_t v) { return v < k.n_classes ? a.weight + v * k.P : nullptr; };
    pack_output_rows(row, k.V, k.P, k.weight);
    if (k.with_gradients) pack_input_rows(row, k.P, k.weight_t);
    for (int64_t v = 0; v < k.V; v++) k.bias[v] = v < k.n_classes ? a.bias[v] : -std::numeric_limits<float>::infinity();
    *a.loss = 0;
    for (int64_t begin = 0; begin < k.n; begin += k.chunk) {
        const int64_t n = min_of(k.chunk, k.n - begin);
        const Status status = parallel_for(a.shape.n_threads, (n + SLICE - 1) / SLICE, [&](int64_t i) {
            run_slice(k, begin, i * SLICE, min_of(SLICE, n - i * SLICE));
        });
        if (status != OK) return status;
        for (int64_t r = 0; r < n; r++) *a.loss += finish_row(k, begin, r);
        const Status added = k.with_gradients ? add_weight_gradients(k, begin, n) : OK;
        if (added != OK) return added;
    }
    if (k.with_gradients) store_weight_gradients(k);
    return OK;
}

template <class T>
static int64_t cross_entropy_workspace(const CrossEntropyShape& shape) {
    CrossEntropyArgs a = {};
    a.shape = shape;
    return CrossEntropy<T>(a, nullptr).bytes;
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
