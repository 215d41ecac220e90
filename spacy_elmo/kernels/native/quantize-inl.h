// Conversion of rows to the compute type, and of layers as they are handed out.

#if defined(ELMO_QUANTIZE_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_QUANTIZE_INL_H_
#undef ELMO_QUANTIZE_INL_H_
#else
#define ELMO_QUANTIZE_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <cstring>

#include "compute_types.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

// Write a row of n numbers as T; n is rounded up to whole registers. scale: the row's QuantScales::inputs, of int16; it
// becomes NaN or infinite if a number is.
template <class T>
ELMO_INLINE void quantize_row(T* to, const float* from, int64_t n, float*) {
    for (int64_t i = 0; i < n; i += LANES) store_converted(to + i, load(from + i));
}
ELMO_INLINE void quantize_row(int16_t* to, const float* from, int64_t n, float* scale) {
    VF32 largest = set(0.f), poison = set(0.f);  // poison: 0 for finite numbers, else NaN
    for (int64_t i = 0; i < n; i += LANES) {
        VF32 x = load(from + i);
        largest = max(mul(x, set(-1.f)), max(x, largest));
        poison = add(poison, sub(x, x));
    }
    float lanes[LANES], poison_lanes[LANES], row_largest = 0, row_poison = 0;
    store(lanes, largest);
    store(poison_lanes, poison);
    for (int64_t i = 0; i < LANES; i++) {
        if (lanes[i] > row_largest) row_largest = lanes[i];
        row_poison += poison_lanes[i];
    }
    *scale = row_largest + row_poison;
    const VF32 factor = set(row_largest > MIN_SCALE && row_poison == 0 ? 1 / row_largest : 0);
    for (int64_t i = 0; i < n; i += LANES) store_converted(to + i, mul(load(from + i), factor));
}

// Round to half precision, ties to even, which is finer than bf16. Numbers too large for it stay as they are.
ELMO_INLINE float round_to_fp16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const float size = std::fabs(x);
    const float subnormal = std::copysign(size + 0.75f - 0.75f, x);  // below 2^-14 half precision has steps of 2^-24
    bits = (bits + 0xfff + ((bits >> 13) & 1)) & ~0x1fffu;
    float normal;
    memcpy(&normal, &bits, 4);
    return size < 0x1p-14f ? subnormal : size < 65520.f ? normal : x;
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
