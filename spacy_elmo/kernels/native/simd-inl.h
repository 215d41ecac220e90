// The vectors of the target, and what all targets make of them.
//
//   VF32     LANES float32
//   VBF16x2  two bf16 in each lane; VI16x2: two int16; VI32: sums of products of int16
//
// Every simd_*-inl.h defines the same functions on them. Names follow Highway where it has the operation. min and max
// return NaN if their first argument is NaN; mul_add(a, b, c) is a * b + c; dot_add(sum, a, b) adds the products of
// both halves of each lane; ldexp(x, n) is x * 2^n for whole n.

#if defined(ELMO_SIMD_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_SIMD_INL_H_
#undef ELMO_SIMD_INL_H_
#else
#define ELMO_SIMD_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "compute_types.h"
#include "target.h"

#if ELMO_TARGET == ELMO_TARGET_PLAIN
#include "simd_plain-inl.h"
#elif ELMO_TARGET == ELMO_TARGET_AVX2
#include "simd_avx2-inl.h"
#elif ELMO_TARGET == ELMO_TARGET_NEON || ELMO_TARGET == ELMO_TARGET_NEONBF16
#include "simd_neon-inl.h"
#else
#include "simd_avx512-inl.h"
#endif

namespace elmo::ELMO_NAMESPACE {

constexpr int64_t BLOCK = GATES * LANES;  // outputs of a block of weights

static_assert(sizeof(VF32) == LANES * sizeof(float), "a vector has LANES float32");

ELMO_INLINE void store_converted(float* p, VF32 x) { store(p, x); }
ELMO_INLINE void store_converted(bf16* p, VF32 x) { store_bf16(p, x); }
ELMO_INLINE void store_converted(int16_t* p, VF32 x) { store_int16(p, mul(x, set(MAX_INPUT))); }  // of -1 to 1

// The first n of LANES numbers; the others are zero.
template <class T>
ELMO_INLINE VF32 load_partial(const T* p, int64_t n) {
    if (n >= LANES) return load(p);
    T padded[LANES] = {};
    memcpy(padded, p, n * sizeof(T));
    return load(padded);
}
template <class T>
ELMO_INLINE void store_partial(T* p, VF32 x, int64_t n) {
    if (n >= LANES) {
        store_converted(p, x);
        return;
    }
    T padded[LANES];
    store_converted(padded, x);
    memcpy(p, padded, n * sizeof(T));
}

ELMO_INLINE float sum_of_lanes(VF32 x) {
    float lanes[LANES];
    store(lanes, x);
    float sum = 0;
    for (int64_t i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
