// The arrays of the cross entropy, in the caller's workspace.

#if defined(ELMO_CROSS_ENTROPY_ARRAYS_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_CROSS_ENTROPY_ARRAYS_INL_H_
#undef ELMO_CROSS_ENTROPY_ARRAYS_INL_H_
#else
#define ELMO_CROSS_ENTROPY_ARRAYS_INL_H_
#endif

#include <cstdint>

#include "aligned_buffer.h"
#include "args.h"
#include "compute_types.h"
#include "gemm-inl.h"
#include "packed_operands-inl.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

constexpr int64_t SLICE = 256;                  // predictions of a thread at once
constexpr int64_t SLICE_CLASSES = 512;          // classes whose exponentials are multiplied while they are in the cache
constexpr int64_t MAX_CHUNK_NUMBERS = 8 << 20;  // predictions times classes of a chunk
constexpr int64_t MAX_CHUNK_SLICES = 8;
constexpr int MAX_EXPONENT = 100;  // of 2; where a sum is larger, base becomes the largest logit
static_assert(SLICE_CLASSES % BLOCK == 0 && SLICE_CLASSES % K_GROUP == 0 && SLICE % K_GROUP == 0, "whole blocks");

// P inputs; K: P rounded up; V: classes, rounded up; F: P + 1, the rows of the gradients of weight and bias.
template <class T>
struct CrossEntropy {
    const CrossEntropyArgs& a;
    int64_t n, P, n_classes, K, V, P_row, F, chunk, bytes;
    bool with_gradients;
    T* x;                                      // (chunk, K) inputs; then each divided by the sum of its row
    PackedRhs<T> weight;                       // (K, V)
    float *bias, *base, *target_logit, *sums;  // (V,), (chunk,) x 3
    T* slice_exps = nullptr;                   // (SLICE, SLICE_CLASSES) exponentials of each slice of the chunk
    PackedRhs<T> weight_t = {};                // (V, P)
    PackedRhs<T> exps = {};                    // (chunk, V) exponentials
    PackedLhs<T> inputs = {};                  // (F, chunk) x / sum, and 1 / sum
    float* d_x = nullptr;                      // (SLICE + spare, P_row) of each slice
    float* d_weight = nullptr;                 // [V / BLOCK][F + spare][BLOCK]
    float* rest = nullptr;                     // (n,) probability of all classes but the target
    CrossEntropy(const CrossEntropyArgs& args, char* memory)
        : a(args),
          n(a.shape.n_targets),
          P(a.shape.n_inputs),
          n_classes(a.shape.n_classes),
          K(round_up(P, RhsTraits<T>::k_multiple)),
          V(round_up(n_classes, max_of(BLOCK, K_GROUP))),
          P_row(round_up(P, BLOCK)),
          F(P + 1),
          chunk(max_of(1, min_of(MAX_CHUNK_SLICES, MAX_CHUNK_NUMBERS / V / SLICE)) * SLICE),
          with_gradients(a.shape.with_gradients) {
        constexpr int64_t spare = TypeTraits<T>::spare_rows;
        const int64_t n_slices = chunk / SLICE;
        Arena arena(memory);
        x = arena.alloc<T>((chunk + spare) * K);
        weight = {arena.alloc<T>(PackedRhs<T>::size(K, V)), K};
        bias = arena.alloc<float>(V);
        base = arena.alloc<float>(chunk);
        target_logit = arena.alloc<float>(chunk);
        sums = arena.alloc<float>(chunk);
        if (with_gradients) {
            slice_exps = arena.alloc<T>(n_slices * PackedLhs<T>::size(SLICE, SLICE_CLASSES));
            weight_t = {arena.alloc<T>(PackedRhs<T>::size(V, P)), V};
            exps = {arena.alloc<T>(PackedRhs<T>::size(chunk, V)), chunk};
            inputs = PackedLhs<T>::grouped(arena.alloc<T>(PackedLhs<T>::size(F, chunk)), F, chunk);
            d_x = arena.alloc<float>(n_slices * (SLICE + spare) * P_row);
            d_weight = arena.alloc<float>(V * (F + spare));
            rest = arena.alloc<float>(n);
        }
        bytes = arena.bytes();
    }
    float* d_x_of(int64_t slice) const { return d_x + slice * (SLICE + TypeTraits<T>::spare_rows) * P_row; }
    float* d_weight_of(int64_t first_class) const { return d_weight + first_class * (F + TypeTraits<T>::spare_rows); }
};

// A slice of a chunk: n predictions from `first` on. rows: where its exponentials go, with gradients; partial (n,
// LANES): their sums; scores (n, BLOCK): of a block of classes.
template <class T>
struct SliceArgs {
    int64_t begin, first, n;
    PackedLhs<T> x, rows;
    float* scores;
    float* partial;
};

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
