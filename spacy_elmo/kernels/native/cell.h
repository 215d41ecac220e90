// A step of an LSTM cell in vectors. Included once for each instruction set, behind rows.h.

constexpr float LOG2E = 1.44269504088896341f;
constexpr float LARGEST = 40.f;  // of exponents of 2: three factors 1 + 2^40 fit into a float

// 2^x for x up to LARGEST, and what is larger as that. The polynomials are 1 at 0, so that tanh(0) is 0; their relative errors are 9e-8
// (T = float) and 3e-6 (T = bf16, whose own rounding is 4e-3).
template <class T>
INLINE V exp2_within(V x) {
    V n = nearest(x), r = sub(x, n), p;
    if (sizeof(T) == 4) {
        p = fma(set1(1.326472726e-03f), r, set1(9.671512700e-03f));
        p = fma(p, r, set1(5.550733744e-02f));
        p = fma(p, r, set1(2.402224208e-01f));
        p = fma(p, r, set1(6.931469776e-01f));
    } else {
        p = fma(set1(9.582853184e-03f), r, set1(5.590642514e-02f));
        p = fma(p, r, set1(2.402409861e-01f));
        p = fma(p, r, set1(6.931241934e-01f));
    }
    return ldexp(fma(p, r, set1(1.f)), n);
}
template <class T>
INLINE V exp2(V x) {
    return exp2_within<T>(at_most(x, set1(LARGEST)));
}

// Gates (i, f, g, o as exponents, see pack_gates) and cell state to the next cell state and o * tanh(c).
//   c = c / (1 + F) + (1 - G) / ((1 + I) (1 + G)),  I = e^-i, F = e^-f, G = e^-2g, over one denominator
template <class T>
INLINE V step(const V* gates, V* c, float clip) {
    const V one = set1(1.f);
    V i = add(exp2<T>(gates[0]), one), f = add(exp2<T>(gates[1]), one), g = exp2<T>(gates[2]);
    V ig = mul(i, add(g, one));
    V state = mul(fma(*c, ig, mul(sub(one, g), f)), reciprocal(mul(f, ig)));
    state = at_least(at_most(state, set1(clip)), set1(-clip));
    *c = state;
    V o = add(exp2<T>(gates[3]), one), e = exp2<T>(mul(state, set1(-2.f * LOG2E)));
    return mul(sub(one, e), reciprocal(mul(o, add(one, e))));
}
