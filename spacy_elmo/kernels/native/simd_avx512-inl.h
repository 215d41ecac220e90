// SIMD with sixteen lanes: AVX-512, with its products of bf16 and int16 where the target has them.

// No guard: simd-inl.h includes it, once for each target.

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "compute_types.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

typedef __m512 VF32;
constexpr int64_t LANES = 16;
constexpr int TILE_ROWS_F32 = 6, TILE_ROWS_INT16 = 6;
#if ELMO_BF16
constexpr int TILE_ROWS_BF16 = 6;
#else
constexpr int TILE_ROWS_BF16 = 4;
#endif

ELMO_INLINE VF32 load(const float* p) { return _mm512_loadu_ps(p); }
ELMO_INLINE VF32 load(const bf16* p) {
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}
ELMO_INLINE void store(float* p, VF32 x) { _mm512_storeu_ps(p, x); }
ELMO_INLINE VF32 set(float x) { return _mm512_set1_ps(x); }
ELMO_INLINE VF32 add(VF32 a, VF32 b) { return _mm512_add_ps(a, b); }
ELMO_INLINE VF32 sub(VF32 a, VF32 b) { return _mm512_sub_ps(a, b); }
ELMO_INLINE VF32 mul(VF32 a, VF32 b) { return _mm512_mul_ps(a, b); }
ELMO_INLINE VF32 mul_add(VF32 a, VF32 b, VF32 c) { return _mm512_fmadd_ps(a, b, c); }
ELMO_INLINE VF32 min(VF32 x, VF32 top) { return _mm512_min_ps(top, x); }  // in this order a NaN stays one
ELMO_INLINE VF32 max(VF32 x, VF32 low) { return _mm512_max_ps(low, x); }
ELMO_INLINE VF32 round(VF32 x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
ELMO_INLINE VF32 ldexp(VF32 x, VF32 n) { return _mm512_scalef_ps(x, n); }
ELMO_INLINE VF32 reciprocal(VF32 x) { return _mm512_div_ps(_mm512_set1_ps(1.f), x); }

#if ELMO_BF16
ELMO_INLINE void store_bf16(bf16* p, VF32 x) {
    __m256bh half = _mm512_cvtneps_pbh(x);
    memcpy(p, &half, 32);
}
struct VBF16x2 {
    __m512bh both;
};
ELMO_INLINE VBF16x2 load_pairs(const bf16* p) { return {(__m512bh)_mm512_loadu_si512(p)}; }
ELMO_INLINE VBF16x2 broadcast_pair(const bf16* p) { return {(__m512bh)_mm512_set1_epi32(load_pair(p))}; }
ELMO_INLINE VF32 dot_add(VF32 sum, VBF16x2 a, VBF16x2 b) { return _mm512_dpbf16_ps(sum, a.both, b.both); }
#else
ELMO_INLINE void store_bf16(bf16* p, VF32 x) {
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);  // a NaN stays one
    bits = _mm512_mask_or_epi32(bits, nan, bits, _mm512_set1_epi32(0x7fc00000));
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}
struct VBF16x2 {
    VF32 even, odd;
};
ELMO_INLINE VBF16x2 split_pairs(__m512i x) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(0xffff0000u)))};
}
ELMO_INLINE VBF16x2 load_pairs(const bf16* p) { return split_pairs(_mm512_loadu_si512(p)); }
ELMO_INLINE VBF16x2 broadcast_pair(const bf16* p) { return split_pairs(_mm512_set1_epi32(load_pair(p))); }
ELMO_INLINE VF32 dot_add(VF32 sum, VBF16x2 a, VBF16x2 b) { return mul_add(a.odd, b.odd, mul_add(a.even, b.even, sum)); }
#endif

typedef __m512i VI32, VI16x2;
ELMO_INLINE VI32 load_pairs(const int16_t* p) { return _mm512_loadu_si512(p); }
ELMO_INLINE VI32 broadcast_pair(const int16_t* p) { return _mm512_set1_epi32(load_pair(p)); }
ELMO_INLINE VI32 zero_i32() { return _mm512_setzero_si512(); }
#if ELMO_VNNI
ELMO_INLINE VI32 dot_add(VI32 sum, VI32 a, VI32 b) { return _mm512_dpwssd_epi32(sum, a, b); }
#else
ELMO_INLINE VI32 dot_add(VI32 sum, VI32 a, VI32 b) { return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)); }
#endif
ELMO_INLINE VF32 to_f32(VI32 x) { return _mm512_cvtepi32_ps(x); }
ELMO_INLINE void pin_register(VI32&) {}
ELMO_INLINE void store_int16(int16_t* p, VF32 x) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x)));
}

}  // namespace elmo::ELMO_NAMESPACE
