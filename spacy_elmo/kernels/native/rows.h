// Rows of inputs and states in the type of the products, and of layers as they are handed out. Included once for each
// instruction set, behind products.h.

// A row of n numbers, padding included, as T. by: see Scales; what is not finite shows there.
template <class T>
INLINE void put(T* to, const float* from, long n, float*) {
    for (long i = 0; i < n; i += LANES) store_as(to + i, load(from + i));
}
INLINE void put(int16_t* to, const float* from, long n, float* by) {
    V most = set1(0.f), damage = set1(0.f);
    for (long i = 0; i < n; i += LANES) {
        V x = load(from + i);
        most = at_least(mul(x, set1(-1.f)), at_least(x, most));
        damage = add(damage, sub(x, x));
    }
    float sizes[LANES], damages[LANES], largest = 0, sum = 0;
    store(sizes, most);
    store(damages, damage);
    for (long i = 0; i < LANES; i++) {
        if (sizes[i] > largest) largest = sizes[i];
        sum += damages[i];
    }
    *by = largest + sum;
    const V factor = set1(largest > SMALLEST && sum == 0 ? 1 / largest : 0);
    for (long i = 0; i < n; i += LANES) store_as(to + i, mul(load(from + i), factor));
}

// To half precision and back, which tells more than bf16 does; what is too large for it stays. Ties to even.
INLINE float as_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const float size = std::fabs(x);
    const float few = std::copysign(size + 0.75f - 0.75f, x);  // below 2^-14 its numbers are 2^-24 apart
    bits = (bits + 0xfff + ((bits >> 13) & 1)) & ~0x1fffu;
    float rounded;
    memcpy(&rounded, &bits, 4);
    return size < 0x1p-14f ? few : size < 65520.f ? rounded : x;
}
