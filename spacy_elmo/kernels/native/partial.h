// Numbers that do not fill a vector register. Included once for each instruction set, behind lstm.h.

// LANES numbers, the first n of them from p.
template <class T>
INLINE V load_some(const T* p, long n) {
    if (n >= LANES) return load(p);
    T padded[LANES] = {};
    memcpy(padded, p, n * sizeof(T));
    return load(padded);
}
template <class T>
INLINE void store_some(T* p, V x, long n) {
    if (n >= LANES) {
        store_as(p, x);
        return;
    }
    T padded[LANES];
    store_as(padded, x);
    memcpy(p, padded, n * sizeof(T));
}

INLINE float total(V x) {
    float lanes[LANES];
    store(lanes, x);
    float sum = 0;
    for (long i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}
