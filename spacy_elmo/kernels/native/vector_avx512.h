// Sixteen lanes: AVX-512, with its products of bf16 and int16 where NATIVE_BF16 and NATIVE_VNNI are defined.

typedef __m512 V;
constexpr long LANES = 16;
constexpr int ROWS = 6, ROWS_INT16 = 6;
#ifdef NATIVE_BF16
constexpr int ROWS_BF16 = 6;
#else
constexpr int ROWS_BF16 = 4;
#endif

INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
INLINE V load(const bf16* p) {
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}
INLINE void store(float* p, V x) { _mm512_storeu_ps(p, x); }
INLINE V set1(float x) { return _mm512_set1_ps(x); }
INLINE V add(V a, V b) { return _mm512_add_ps(a, b); }
INLINE V sub(V a, V b) { return _mm512_sub_ps(a, b); }
INLINE V mul(V a, V b) { return _mm512_mul_ps(a, b); }
INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
INLINE V at_most(V x, V top) { return _mm512_min_ps(top, x); }  // in this order a NaN stays one
INLINE V at_least(V x, V low) { return _mm512_max_ps(low, x); }
INLINE V nearest(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE V ldexp(V x, V n) { return _mm512_scalef_ps(x, n); }
INLINE V reciprocal(V x) { return _mm512_div_ps(_mm512_set1_ps(1.f), x); }

#ifdef NATIVE_BF16
INLINE void store_bf16(bf16* p, V x) {
    __m256bh half = _mm512_cvtneps_pbh(x);
    memcpy(p, &half, 32);
}
struct Pairs {
    __m512bh both;
};
INLINE Pairs load_pairs(const bf16* p) { return {(__m512bh)_mm512_loadu_si512(p)}; }
INLINE Pairs set1_pairs(const bf16* p) { return {(__m512bh)_mm512_set1_epi32(two(p))}; }
INLINE V dot(V sum, Pairs a, Pairs b) { return _mm512_dpbf16_ps(sum, a.both, b.both); }
#else
INLINE void store_bf16(bf16* p, V x) {
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}
struct Pairs {
    V even, odd;
};
INLINE Pairs pairs(__m512i x) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(0xffff0000u)))};
}
INLINE Pairs load_pairs(const bf16* p) { return pairs(_mm512_loadu_si512(p)); }
INLINE Pairs set1_pairs(const bf16* p) { return pairs(_mm512_set1_epi32(two(p))); }
INLINE V dot(V sum, Pairs a, Pairs b) { return fma(a.odd, b.odd, fma(a.even, b.even, sum)); }
#endif

typedef __m512i Whole, Words;
INLINE Whole load_pairs(const int16_t* p) { return _mm512_loadu_si512(p); }
INLINE Whole set1_pairs(const int16_t* p) { return _mm512_set1_epi32(two(p)); }
INLINE Whole nothing() { return _mm512_setzero_si512(); }
#ifdef NATIVE_VNNI
INLINE Whole dot(Whole sum, Whole a, Whole b) { return _mm512_dpwssd_epi32(sum, a, b); }
#else
INLINE Whole dot(Whole sum, Whole a, Whole b) { return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)); }
#endif
INLINE V to_floats(Whole x) { return _mm512_cvtepi32_ps(x); }
INLINE void keep(Whole&) {}
INLINE void store_int16(int16_t* p, V x) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x)));
}
