// SIMD with four lanes in the compiler's own vectors: SSE2, NEON, or whatever the processor has.

// No guard: simd-inl.h includes it, once for each target.

#include <cmath>
#include <cstdint>

#include "compute_types.h"
#include "target.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace elmo::ELMO_NAMESPACE {

typedef float VF32 __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint32_t VU32 __attribute__((vector_size(16), aligned(4), may_alias));
constexpr int64_t LANES = 4;
constexpr int TILE_ROWS_F32 = 2, TILE_ROWS_BF16 = 2, TILE_ROWS_INT16 = 2;

ELMO_INLINE VF32 load(const float* p) { return *(const VF32*)p; }
ELMO_INLINE VF32 load(const bf16* p) {
    typedef uint16_t Halves __attribute__((vector_size(8), aligned(2), may_alias));
    return (VF32)(__builtin_convertvector(*(const Halves*)p, VU32) << 16);
}
ELMO_INLINE void store(float* p, VF32 x) { *(VF32*)p = x; }
ELMO_INLINE VF32 set(float x) { return VF32{x, x, x, x}; }
ELMO_INLINE VF32 add(VF32 a, VF32 b) { return a + b; }
ELMO_INLINE VF32 sub(VF32 a, VF32 b) { return a - b; }
ELMO_INLINE VF32 mul(VF32 a, VF32 b) { return a * b; }
#if defined(__aarch64__)
ELMO_INLINE VF32 mul_add(VF32 a, VF32 b, VF32 c) { return vfmaq_f32(c, a, b); }
#else
ELMO_INLINE VF32 mul_add(VF32 a, VF32 b, VF32 c) { return a * b + c; }
#endif
ELMO_INLINE VF32 select(VU32 mask, VF32 a, VF32 b) { return (VF32)((mask & (VU32)a) | (~mask & (VU32)b)); }
ELMO_INLINE VF32 min(VF32 x, VF32 top) { return select((VU32)(x > top), top, x); }  // a NaN stays one
ELMO_INLINE VF32 max(VF32 x, VF32 low) { return select((VU32)(x < low), low, x); }
ELMO_INLINE VF32 round(VF32 x) {         // of numbers far below 2^22
    const VF32 magic = set(12582912.f);  // 1.5 * 2^23: the sum has no bits left for a fraction
    return (x + magic) - magic;
}
ELMO_INLINE VF32 ldexp(VF32 x, VF32 n) {  // x * 2^n, n whole; as far as 2^-126
    typedef int32_t I __attribute__((vector_size(16)));
    n = max(n, set(-126.f));
    return x * (VF32)((__builtin_convertvector(n, I) + 127) << 23);
}
ELMO_INLINE VF32 reciprocal(VF32 x) { return set(1.f) / x; }

ELMO_INLINE void store_bf16(bf16* p, VF32 x) {
    for (int i = 0; i < LANES; i++) p[i] = to_bf16(x[i]);
}
struct VBF16x2 {
    VF32 even, odd;
};
ELMO_INLINE VBF16x2 split_pairs(VU32 x) { return {(VF32)(x << 16), (VF32)(x & 0xffff0000u)}; }
ELMO_INLINE VBF16x2 load_pairs(const bf16* p) { return split_pairs(*(const VU32*)p); }
ELMO_INLINE VBF16x2 broadcast_pair(const bf16* p) { return split_pairs(VU32{} + static_cast<uint32_t>(load_pair(p))); }
ELMO_INLINE VF32 dot_add(VF32 sum, VBF16x2 a, VBF16x2 b) { return mul_add(a.odd, b.odd, mul_add(a.even, b.even, sum)); }

#if defined(__SSE2__)
typedef __m128i VI32, VI16x2;
ELMO_INLINE VI32 load_pairs(const int16_t* p) { return _mm_loadu_si128((const __m128i*)p); }
ELMO_INLINE VI32 broadcast_pair(const int16_t* p) { return _mm_set1_epi32(load_pair(p)); }
ELMO_INLINE VI32 zero_i32() { return _mm_setzero_si128(); }
ELMO_INLINE VI32 dot_add(VI32 sum, VI32 a, VI32 b) { return _mm_add_epi32(sum, _mm_madd_epi16(a, b)); }
ELMO_INLINE VF32 to_f32(VI32 x) { return (VF32)_mm_cvtepi32_ps(x); }
#else
typedef int32_t VI32 __attribute__((vector_size(16), aligned(4), may_alias));
typedef VI32 VI16x2;
ELMO_INLINE VI32 load_pairs(const int16_t* p) { return *(const VI32*)p; }
ELMO_INLINE VI32 broadcast_pair(const int16_t* p) { return VI32{} + load_pair(p); }
ELMO_INLINE VI32 zero_i32() { return VI32{}; }
ELMO_INLINE VI32 dot_add(VI32 sum, VI32 a, VI32 b) {
    const VI32 low_a = (VI32)((VU32)a << 16) >> 16, low_b = (VI32)((VU32)b << 16) >> 16;
    return sum + low_a * low_b + (a >> 16) * (b >> 16);
}
ELMO_INLINE VF32 to_f32(VI32 x) { return __builtin_convertvector(x, VF32); }
#endif
ELMO_INLINE void pin_register(VI32&) {}
ELMO_INLINE void store_int16(int16_t* p, VF32 x) {
    for (int i = 0; i < LANES; i++) p[i] = static_cast<int16_t>(std::lrint(x[i]));
}

}  // namespace elmo::ELMO_NAMESPACE
