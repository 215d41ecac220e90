// Four lanes: NEON of 64-bit Arm, with its products of bf16 where NATIVE_BF16 is defined.
//
// The processor's other dot products are of int8, which the kernel does not have. Those of int16 are made of two
// widening products each.

typedef float32x4_t V;
constexpr long LANES = 4;
constexpr int ROWS = 6, ROWS_BF16 = 5, ROWS_INT16 = 3;

INLINE V load(const float* p) { return vld1q_f32(p); }
INLINE V load(const bf16* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
INLINE void store(float* p, V x) { vst1q_f32(p, x); }
INLINE V set1(float x) { return vdupq_n_f32(x); }
INLINE V add(V a, V b) { return vaddq_f32(a, b); }
INLINE V sub(V a, V b) { return vsubq_f32(a, b); }
INLINE V mul(V a, V b) { return vmulq_f32(a, b); }
INLINE V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
INLINE V at_most(V x, V top) { return vminq_f32(x, top); }  // a NaN stays one
INLINE V at_least(V x, V low) { return vmaxq_f32(x, low); }
INLINE V nearest(V x) { return vrndnq_f32(x); }
INLINE V ldexp(V x, V n) {  // x * 2^n, n whole; as far as 2^-126
    const int32x4_t whole = vcvtq_s32_f32(vmaxq_f32(n, vdupq_n_f32(-126.f)));
    return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(whole, vdupq_n_s32(127)), 23)));
}
INLINE V reciprocal(V x) { return vdivq_f32(vdupq_n_f32(1.f), x); }

#ifdef NATIVE_BF16
INLINE void store_bf16(bf16* p, V x) { vst1_u16(p, vreinterpret_u16_bf16(vcvt_bf16_f32(x))); }
typedef bfloat16x8_t Pairs;
INLINE Pairs load_pairs(const bf16* p) { return vreinterpretq_bf16_u16(vld1q_u16(p)); }
INLINE Pairs set1_pairs(const bf16* p) { return vreinterpretq_bf16_s32(vdupq_n_s32(two(p))); }
INLINE V dot(V sum, Pairs a, Pairs b) { return vbfdotq_f32(sum, a, b); }
#else
INLINE void store_bf16(bf16* p, V x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));  // a NaN stays one
    vst1_u16(p, vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16));
}
struct Pairs {
    V even, odd;
};
INLINE Pairs pairs(uint32x4_t x) {
    return {vreinterpretq_f32_u32(vshlq_n_u32(x, 16)), vreinterpretq_f32_u32(vandq_u32(x, vdupq_n_u32(0xffff0000u)))};
}
INLINE Pairs load_pairs(const bf16* p) { return pairs(vreinterpretq_u32_u16(vld1q_u16(p))); }
INLINE Pairs set1_pairs(const bf16* p) { return pairs(vdupq_n_u32(static_cast<uint32_t>(two(p)))); }
INLINE V dot(V sum, Pairs a, Pairs b) { return fma(a.odd, b.odd, fma(a.even, b.even, sum)); }
#endif

// Sums of the products of the first four numbers of a register, and of the last four: a pair's stand side by side.
struct Whole {
    int32x4_t first, last;
};
typedef int16x8_t Words;
INLINE Words load_pairs(const int16_t* p) { return vld1q_s16(p); }
INLINE Words set1_pairs(const int16_t* p) { return vreinterpretq_s16_s32(vdupq_n_s32(two(p))); }
INLINE Whole nothing() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
INLINE Whole dot(Whole sum, Words a, Words b) {
    return {vmlal_s16(sum.first, vget_low_s16(a), vget_low_s16(b)), vmlal_high_s16(sum.last, a, b)};
}
INLINE void keep(Words&) {}
INLINE V to_floats(Whole x) { return vcvtq_f32_s32(vpaddq_s32(x.first, x.last)); }
INLINE void store_int16(int16_t* p, V x) { vst1_s16(p, vqmovn_s32(vcvtnq_s32_f32(x))); }
