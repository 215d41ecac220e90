// Four lanes in the compiler's own vectors: SSE2, NEON, or whatever the processor has.

typedef float V __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint32_t U __attribute__((vector_size(16), aligned(4), may_alias));
constexpr long LANES = 4;
constexpr int ROWS = 2, ROWS_BF16 = 2, ROWS_INT16 = 2;

INLINE V load(const float* p) { return *(const V*)p; }
INLINE V load(const bf16* p) {
    typedef uint16_t Halves __attribute__((vector_size(8), aligned(2), may_alias));
    return (V)(__builtin_convertvector(*(const Halves*)p, U) << 16);
}
INLINE void store(float* p, V x) { *(V*)p = x; }
INLINE V set1(float x) { return V{x, x, x, x}; }
INLINE V add(V a, V b) { return a + b; }
INLINE V sub(V a, V b) { return a - b; }
INLINE V mul(V a, V b) { return a * b; }
#if defined(__aarch64__)
INLINE V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
#else
INLINE V fma(V a, V b, V c) { return a * b + c; }
#endif
INLINE V choose(U mask, V a, V b) { return (V)((mask & (U)a) | (~mask & (U)b)); }
INLINE V at_most(V x, V top) { return choose((U)(x > top), top, x); }  // a NaN stays one
INLINE V at_least(V x, V low) { return choose((U)(x < low), low, x); }
INLINE V nearest(V x) {  // of numbers far below 2^22
    const V magic = set1(12582912.f);  // 1.5 * 2^23: no fraction fits behind it
    return (x + magic) - magic;
}
INLINE V ldexp(V x, V n) {  // x * 2^n, n whole; as far as 2^-126
    typedef int32_t I __attribute__((vector_size(16)));
    n = at_least(n, set1(-126.f));
    return x * (V)((__builtin_convertvector(n, I) + 127) << 23);
}
INLINE V reciprocal(V x) { return set1(1.f) / x; }

INLINE void store_bf16(bf16* p, V x) {
    for (int i = 0; i < LANES; i++) p[i] = to_bf16(x[i]);
}
struct Pairs {
    V even, odd;
};
INLINE Pairs pairs(U x) { return {(V)(x << 16), (V)(x & 0xffff0000u)}; }
INLINE Pairs load_pairs(const bf16* p) { return pairs(*(const U*)p); }
INLINE Pairs set1_pairs(const bf16* p) { return pairs(U{} + static_cast<uint32_t>(two(p))); }
INLINE V dot(V sum, Pairs a, Pairs b) { return fma(a.odd, b.odd, fma(a.even, b.even, sum)); }

#if defined(__SSE2__)
typedef __m128i Whole, Words;
INLINE Whole load_pairs(const int16_t* p) { return _mm_loadu_si128((const __m128i*)p); }
INLINE Whole set1_pairs(const int16_t* p) { return _mm_set1_epi32(two(p)); }
INLINE Whole nothing() { return _mm_setzero_si128(); }
INLINE Whole dot(Whole sum, Whole a, Whole b) { return _mm_add_epi32(sum, _mm_madd_epi16(a, b)); }
INLINE V to_floats(Whole x) { return (V)_mm_cvtepi32_ps(x); }
#else
typedef int32_t Whole __attribute__((vector_size(16), aligned(4), may_alias));
typedef Whole Words;
INLINE Whole load_pairs(const int16_t* p) { return *(const Whole*)p; }
INLINE Whole set1_pairs(const int16_t* p) { return Whole{} + two(p); }
INLINE Whole nothing() { return Whole{}; }
INLINE Whole dot(Whole sum, Whole a, Whole b) {
    const Whole low_a = (Whole)((U)a << 16) >> 16, low_b = (Whole)((U)b << 16) >> 16;
    return sum + low_a * low_b + (a >> 16) * (b >> 16);
}
INLINE V to_floats(Whole x) { return __builtin_convertvector(x, V); }
#endif
INLINE void keep(Whole&) {}
INLINE void store_int16(int16_t* p, V x) {
    for (int i = 0; i < LANES; i++) p[i] = static_cast<int16_t>(std::lrint(x[i]));
}
