// A step of an LSTM cell, and the exponential function that it needs.

#if defined(ELMO_LSTM_CELL_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_LSTM_CELL_INL_H_
#undef ELMO_LSTM_CELL_INL_H_
#else
#define ELMO_LSTM_CELL_INL_H_
#endif

#include "compute_types.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

constexpr float LOG2E = 1.44269504088896341f;
constexpr float MAX_CELL_EXPONENT = 40.f;  // of 2: a product of three factors 1 + 2^40 fits into a float
static_assert(3 * (MAX_CELL_EXPONENT + 1) < 128, "the denominator of a cell is finite");

// 2^x for x up to 126. The polynomials are 1 at 0, so that tanh(0) is 0; their relative errors are 9e-8 (T = float) and
// 3e-6 (T = bf16 and int16, whose own rounding is coarser).
template <class T>
ELMO_INLINE VF32 exp2_unclamped(VF32 x) {
    VF32 n = round(x), r = sub(x, n), p;
    if (sizeof(T) == 4) {
        p = mul_add(set(1.326472726e-03f), r, set(9.671512700e-03f));
        p = mul_add(p, r, set(5.550733744e-02f));
        p = mul_add(p, r, set(2.402224208e-01f));
        p = mul_add(p, r, set(6.931469776e-01f));
    } else {
        p = mul_add(set(9.582853184e-03f), r, set(5.590642514e-02f));
        p = mul_add(p, r, set(2.402409861e-01f));
        p = mul_add(p, r, set(6.931241934e-01f));
    }
    return ldexp(mul_add(p, r, set(1.f)), n);
}
// 2^min(x, MAX_CELL_EXPONENT).
template <class T>
ELMO_INLINE VF32 exp2(VF32 x) {
    return exp2_unclamped<T>(min(x, set(MAX_CELL_EXPONENT)));
}

// Update the cell state c and return o * tanh(c). gates: i, f, g, o as exponents of 2, see pack_layer in packing.h.
//   c = c / (1 + F) + (1 - G) / ((1 + I) (1 + G)),  I = e^-i, F = e^-f, G = e^-2g, over one common denominator
template <class T>
ELMO_INLINE VF32 lstm_cell(const VF32* gates, VF32* c, float clip) {
    const VF32 one = set(1.f);
    VF32 i = add(exp2<T>(gates[0]), one), f = add(exp2<T>(gates[1]), one), g = exp2<T>(gates[2]);
    VF32 ig = mul(i, add(g, one));
    VF32 state = mul(mul_add(*c, ig, mul(sub(one, g), f)), reciprocal(mul(f, ig)));
    state = max(min(state, set(clip)), set(-clip));
    *c = state;
    VF32 o = add(exp2<T>(gates[3]), one), e = exp2<T>(mul(state, set(-2.f * LOG2E)));
    return mul(sub(one, e), reciprocal(mul(o, add(one, e))));
}

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
