// SIMD with four lanes: NEON of 64-bit Arm, with its products of bf16 where the target has them.
//
// Other dot products of the processor take int8, which the kernel does not use. Those of int16 are made of two widening
// products each.

// No guard: simd-inl.h includes it, once for each target.

#include <arm_neon.h>

#include <cstdint>

#include "compute_types.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

typedef float32x4_t VF32;
constexpr int64_t LANES = 4;
constexpr int TILE_ROWS_F32 = 6, TILE_ROWS_BF16 = 5, TILE_ROWS_INT16 = 3;

ELMO_INLINE VF32 load(const float* p) { return vld1q_f32(p); }
ELMO_INLINE VF32 load(const bf16* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
ELMO_INLINE void store(float* p, VF32 x) { vst1q_f32(p, x); }
ELMO_INLINE VF32 set(float x) { return vdupq_n_f32(x); }
ELMO_INLINE VF32 add(VF32 a, VF32 b) { return vaddq_f32(a, b); }
ELMO_INLINE VF32 sub(VF32 a, VF32 b) { return vsubq_f32(a, b); }
ELMO_INLINE VF32 mul(VF32 a, VF32 b) { return vmulq_f32(a, b); }
ELMO_INLINE VF32 mul_add(VF32 a, VF32 b, VF32 c) { return vfmaq_f32(c, a, b); }
ELMO_INLINE VF32 min(VF32 x, VF32 top) { return vminq_f32(x, top); }  // a NaN stays one
ELMO_INLINE VF32 max(VF32 x, VF32 low) { return vmaxq_f32(x, low); }
ELMO_INLINE VF32 round(VF32 x) { return vrndnq_f32(x); }
ELMO_INLINE VF32 ldexp(VF32 x, VF32 n) {  // x * 2^n, n whole; as far as 2^-126
    const int32x4_t whole = vcvtq_s32_f32(vmaxq_f32(n, vdupq_n_f32(-126.f)));
    return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(whole, vdupq_n_s32(127)), 23)));
}
ELMO_INLINE VF32 reciprocal(VF32 x) { return vdivq_f32(vdupq_n_f32(1.f), x); }

#if ELMO_BF16
ELMO_INLINE void store_bf16(bf16* p, VF32 x) { vst1_u16(p, vreinterpret_u16_bf16(vcvt_bf16_f32(x))); }
typedef bfloat16x8_t VBF16x2;
ELMO_INLINE VBF16x2 load_pairs(const bf16* p) { return vreinterpretq_bf16_u16(vld1q_u16(p)); }
ELMO_INLINE VBF16x2 broadcast_pair(const bf16* p) { return vreinterpretq_bf16_s32(vdupq_n_s32(load_pair(p))); }
ELMO_INLINE VF32 dot_add(VF32 sum, VBF16x2 a, VBF16x2 b) { return vbfdotq_f32(sum, a, b); }
#else
ELMO_INLINE void store_bf16(bf16* p, VF32 x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));  // a NaN stays one
    vst1_u16(p, vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16));
}
struct VBF16x2 {
    VF32 even, odd;
};
ELMO_INLINE VBF16x2 split_pairs(uint32x4_t x) {
    return {vreinterpretq_f32_u32(vshlq_n_u32(x, 16)), vreinterpretq_f32_u32(vandq_u32(x, vdupq_n_u32(0xffff0000u)))};
}
ELMO_INLINE VBF16x2 load_pairs(const bf16* p) { return split_pairs(vreinterpretq_u32_u16(vld1q_u16(p))); }
ELMO_INLINE VBF16x2 broadcast_pair(const bf16* p) {
    return split_pairs(vdupq_n_u32(static_cast<uint32_t>(load_pair(p))));
}
ELMO_INLINE VF32 dot_add(VF32 sum, VBF16x2 a, VBF16x2 b) { return mul_add(a.odd, b.odd, mul_add(a.even, b.even, sum)); }
#endif

// Sums of the products of the first four numbers of a register, and of the last four: a pair's stand side by side.
struct VI32 {
    int32x4_t first, last;
};
typedef int16x8_t VI16x2;
ELMO_INLINE VI16x2 load_pairs(const int16_t* p) { return vld1q_s16(p); }
ELMO_INLINE VI16x2 broadcast_pair(const int16_t* p) { return vreinterpretq_s16_s32(vdupq_n_s32(load_pair(p))); }
ELMO_INLINE VI32 zero_i32() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
ELMO_INLINE VI32 dot_add(VI32 sum, VI16x2 a, VI16x2 b) {
    return {vmlal_s16(sum.first, vget_low_s16(a), vget_low_s16(b)), vmlal_high_s16(sum.last, a, b)};
}
ELMO_INLINE void pin_register(VI16x2&) {}
ELMO_INLINE VF32 to_f32(VI32 x) { return vcvtq_f32_s32(vpaddq_s32(x.first, x.last)); }
ELMO_INLINE void store_int16(int16_t* p, VF32 x) { vst1_s16(p, vqmovn_s32(vcvtnq_s32_f32(x))); }

}  // namespace elmo::ELMO_NAMESPACE
