// Eight lanes: AVX2 with FMA.

typedef __m256 V;
constexpr long LANES = 8;
constexpr int ROWS = 3, ROWS_BF16 = 2, ROWS_INT16 = 2;

INLINE V load(const float* p) { return _mm256_loadu_ps(p); }
INLINE V load(const bf16* p) {
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}
INLINE void store(float* p, V x) { _mm256_storeu_ps(p, x); }
INLINE V set1(float x) { return _mm256_set1_ps(x); }
INLINE V add(V a, V b) { return _mm256_add_ps(a, b); }
INLINE V sub(V a, V b) { return _mm256_sub_ps(a, b); }
INLINE V mul(V a, V b) { return _mm256_mul_ps(a, b); }
INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
INLINE V at_most(V x, V top) { return _mm256_min_ps(top, x); }  // in this order a NaN stays one
INLINE V at_least(V x, V low) { return _mm256_max_ps(low, x); }
INLINE V nearest(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE V ldexp(V x, V n) {  // x * 2^n, n whole; as far as 2^-126
    n = _mm256_max_ps(_mm256_set1_ps(-126.f), n);
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(x, _mm256_castsi256_ps(power));
}
INLINE V reciprocal(V x) { return _mm256_div_ps(_mm256_set1_ps(1.f), x); }

INLINE void store_bf16(bf16* p, V x) {
    __m256i bits = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    bits = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    bits = _mm256_srli_epi32(bits, 16);
    bits = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
    _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(bits));
}
struct Pairs {
    V even, odd;
};
INLINE Pairs pairs(__m256i x) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)),
            _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xffff0000u)))};
}
INLINE Pairs load_pairs(const bf16* p) { return pairs(_mm256_loadu_si256((const __m256i*)p)); }
INLINE Pairs set1_pairs(const bf16* p) { return pairs(_mm256_set1_epi32(two(p))); }
INLINE V dot(V sum, Pairs a, Pairs b) { return fma(a.odd, b.odd, fma(a.even, b.even, sum)); }

typedef __m256i Whole, Words;
INLINE Whole load_pairs(const int16_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
INLINE Whole set1_pairs(const int16_t* p) { return _mm256_set1_epi32(two(p)); }
INLINE Whole nothing() { return _mm256_setzero_si256(); }
INLINE Whole dot(Whole sum, Whole a, Whole b) {
    Whole product;  // in assembly: GCC adds the sum to it and then copies that back, which takes a third longer
    __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(product) : "x"(a), "x"(b));
    return sum;
}
INLINE void keep(Whole& x) { __asm__("" : "+x"(x)); }  // in a register: GCC would read it anew for each row
INLINE V to_floats(Whole x) { return _mm256_cvtepi32_ps(x); }
INLINE void store_int16(int16_t* p, V x) {
    __m256i whole = _mm256_cvtps_epi32(x);
    whole = _mm256_permute4x64_epi64(_mm256_packs_epi32(whole, whole), 0x08);
    _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(whole));
}
