// SIMD with eight lanes: AVX2 with FMA.

// No guard: simd-inl.h includes it, once for each target.

#include <immintrin.h>

#include <cstdint>

#include "compute_types.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

typedef __m256 VF32;
constexpr int64_t LANES = 8;
constexpr int TILE_ROWS_F32 = 3, TILE_ROWS_BF16 = 2, TILE_ROWS_INT16 = 2;

ELMO_INLINE VF32 load(const float* p) { return _mm256_loadu_ps(p); }
ELMO_INLINE VF32 load(const bf16* p) {
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}
ELMO_INLINE void store(float* p, VF32 x) { _mm256_storeu_ps(p, x); }
ELMO_INLINE VF32 set(float x) { return _mm256_set1_ps(x); }
ELMO_INLINE VF32 add(VF32 a, VF32 b) { return _mm256_add_ps(a, b); }
ELMO_INLINE VF32 sub(VF32 a, VF32 b) { return _mm256_sub_ps(a, b); }
ELMO_INLINE VF32 mul(VF32 a, VF32 b) { return _mm256_mul_ps(a, b); }
ELMO_INLINE VF32 mul_add(VF32 a, VF32 b, VF32 c) { return _mm256_fmadd_ps(a, b, c); }
ELMO_INLINE VF32 min(VF32 x, VF32 top) { return _mm256_min_ps(top, x); }  // in this order a NaN stays one
ELMO_INLINE VF32 max(VF32 x, VF32 low) { return _mm256_max_ps(low, x); }
ELMO_INLINE VF32 round(VF32 x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
ELMO_INLINE VF32 ldexp(VF32 x, VF32 n) {  // x * 2^n, n whole; as far as 2^-126
    n = _mm256_max_ps(_mm256_set1_ps(-126.f), n);
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(x, _mm256_castsi256_ps(power));
}
ELMO_INLINE VF32 reciprocal(VF32 x) { return _mm256_div_ps(_mm256_set1_ps(1.f), x); }

ELMO_INLINE void store_bf16(bf16* p, VF32 x) {
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));  // a NaN stays one
    bits = _mm256_srli_epi32(_mm256_or_si256(rounded, _mm256_and_si256(nan, _mm256_set1_epi32(0x7fc00000))), 16);
    bits = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
    _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(bits));
}
struct VBF16x2 {
    VF32 even, odd;
};
ELMO_INLINE VBF16x2 split_pairs(__m256i x) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)),
            _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xffff0000u)))};
}
ELMO_INLINE VBF16x2 load_pairs(const bf16* p) { return split_pairs(_mm256_loadu_si256((const __m256i*)p)); }
ELMO_INLINE VBF16x2 broadcast_pair(const bf16* p) { return split_pairs(_mm256_set1_epi32(load_pair(p))); }
ELMO_INLINE VF32 dot_add(VF32 sum, VBF16x2 a, VBF16x2 b) { return mul_add(a.odd, b.odd, mul_add(a.even, b.even, sum)); }

typedef __m256i VI32, VI16x2;
ELMO_INLINE VI32 load_pairs(const int16_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
ELMO_INLINE VI32 broadcast_pair(const int16_t* p) { return _mm256_set1_epi32(load_pair(p)); }
ELMO_INLINE VI32 zero_i32() { return _mm256_setzero_si256(); }
ELMO_INLINE VI32 dot_add(VI32 sum, VI32 a, VI32 b) {
    VI32 product;  // in assembly: GCC adds the sum to it and then copies that back, which takes 1.3 times as long
    __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(a), "x"(b));
    return sum;
}
ELMO_INLINE void pin_register(VI32& x) {  // GCC would load it again for each row
    __asm__("" : "+x"(x));
}
ELMO_INLINE VF32 to_f32(VI32 x) { return _mm256_cvtepi32_ps(x); }
ELMO_INLINE void store_int16(int16_t* p, VF32 x) {
    __m256i whole = _mm256_cvtps_epi32(x);
    whole = _mm256_permute4x64_epi64(_mm256_packs_epi32(whole, whole), 0x08);
    _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(whole));
}

}  // namespace elmo::ELMO_NAMESPACE
