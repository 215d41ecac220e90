// Operands of products in training, where weights change with every step.
//
// A product is lhs (n, K) times rhs (K, N). N stands in blocks. Either operand may be filled piece by piece; K may be
// the inputs of weights, or the units of a batch. The sum of an output runs over K in one order: no bit depends on how
// rows and blocks are shared among threads.

#if defined(ELMO_PACKED_OPERANDS_INL_H_) == defined(ELMO_TARGET_TOGGLE)
#ifdef ELMO_PACKED_OPERANDS_INL_H_
#undef ELMO_PACKED_OPERANDS_INL_H_
#else
#define ELMO_PACKED_OPERANDS_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "aligned_buffer.h"
#include "compute_types.h"
#include "gemm-inl.h"
#include "gemm_amx-inl.h"
#include "simd-inl.h"
#include "target.h"

namespace elmo::ELMO_NAMESPACE {

constexpr int64_t K_GROUP = 32;  // inputs that stand together in a row

// pair: inputs of an output that stand side by side; width: outputs that stand together; k_multiple: of K.
template <class T>
struct RhsTraits;
template <>
struct RhsTraits<float> {
    static constexpr int64_t pair = 1, width = BLOCK, k_multiple = 2;
};
template <>
struct RhsTraits<bf16> {
#if ELMO_AMX
    static constexpr int64_t pair = 2, width = HALF_BLOCK, k_multiple = K_GROUP;
    static_assert(K_GROUP == AMX_INPUTS, "a group of inputs is a tile");
#else
    static constexpr int64_t pair = 2, width = BLOCK, k_multiple = 2;
#endif
};

// Whether rows are read in AMX tiles.
template <class T>
constexpr bool uses_tiles() {
    return RhsTraits<T>::k_multiple == K_GROUP;
}

// Rows of inputs. TypeTraits<T>::spare_rows rows after the last one are read, and not used. For tiles, K_GROUP inputs
// of all rows may stand together ("grouped").
template <class T>
struct PackedLhs {
    T* data;
    int64_t row, group;
    static PackedLhs row_major(T* data, int64_t K) { return {data, K, K_GROUP}; }
    // The order that products read fastest. rows: of the whole operand.
    static PackedLhs grouped(T* data, int64_t rows, int64_t K) {
        if (uses_tiles<T>()) return {data, K_GROUP, (rows + TypeTraits<T>::spare_rows) * K_GROUP};
        return row_major(data, K);
    }
    static int64_t size(int64_t rows, int64_t K) {
        return (rows + TypeTraits<T>::spare_rows) * static_cast<int64_t>(round_up(K, K_GROUP));
    }
    T* at(int64_t r, int64_t k) const { return data + r * row + k / K_GROUP * group + k % K_GROUP; }
};

// Columns of inputs: [N / width][K / pair][width][pair].
template <class T>
struct PackedRhs {
    T* data;
    int64_t K;
    static int64_t size(int64_t K, int64_t N) { return K * static_cast<int64_t>(round_up(N, BLOCK)); }
    T* at(int64_t k, int64_t output) const {
        constexpr int64_t pair = RhsTraits<T>::pair, width = RhsTraits<T>::width;
        return data + output / width * K * width + k / pair * pair * width + output % width * pair + k % pair;
    }
};

// Sums (n, BLOCK) of a block of outputs: where they go, and whether they are added to what is there.
struct BlockSums {
    float* data;
    int64_t stride;
    bool add;
};

// n rows times the block of outputs that begins at `output`, over inputs k_begin..k_begin + k_size of the rhs.
template <class T>
ELMO_ATTR static void multiply(PackedLhs<T> lhs, int64_t n, PackedRhs<T> rhs, int64_t k_begin, int64_t k_size,
                               int64_t output, BlockSums out) {
    static const float zeros[BLOCK] = {};
    const T* weights = rhs.at(k_begin, output);
    gemm_block<T>({out.add ? out.data : zeros,
                   out.add ? out.stride : 0,
                   lhs.data,
                   lhs.row,
                   weights,
                   k_size,
                   {nullptr, nullptr},
                   out.data,
                   out.stride,
                   weights + k_size * BLOCK},
                  n);
}

// The same over two pairs of operands, one after the other, over all of K. The second lhs may have no data: none.
// next: weights that are wanted next.
template <class T>
ELMO_ATTR static void multiply_two(PackedLhs<T> lhs, PackedRhs<T> rhs, PackedLhs<T> lhs2, PackedRhs<T> rhs2, int64_t n,
                                   int64_t output, const T*, float* out, int64_t stride) {
    multiply(lhs, n, rhs, 0, rhs.K, output, {out, stride, false});
    if (lhs2.data) multiply(lhs2, n, rhs2, 0, rhs2.K, output, {out, stride, true});
}

#if ELMO_AMX
ELMO_INLINE PackedInputs packed_inputs(PackedLhs<bf16> lhs, PackedRhs<bf16> rhs, int64_t k, int64_t size,
                                       int64_t output) {
    return {lhs.data, lhs.row, lhs.group, size / K_GROUP, rhs.at(k, output), rhs.K * HALF_BLOCK};
}
template <>
ELMO_ATTR void multiply<bf16>(PackedLhs<bf16> lhs, int64_t n, PackedRhs<bf16> rhs, int64_t k_begin, int64_t k_size,
                              int64_t output, BlockSums out) {
    const bf16* next = rhs.at(k_begin, output + BLOCK);
    gemm_block_amx({out.add ? out.data : nullptr, out.stride}, packed_inputs(lhs, rhs, k_begin, k_size, output),
                   NO_INPUTS, next, {out.data, out.stride}, n);
}
template <>
ELMO_ATTR void multiply_two<bf16>(PackedLhs<bf16> lhs, PackedRhs<bf16> rhs, PackedLhs<bf16> lhs2, PackedRhs<bf16> rhs2,
                                  int64_t n, int64_t output, const bf16* next, float* out, int64_t stride) {
    const PackedInputs second = lhs2.data ? packed_inputs(lhs2, rhs2, 0, rhs2.K, output) : NO_INPUTS;
    gemm_block_amx({nullptr, 0}, packed_inputs(lhs, rhs, 0, rhs.K, output), second, next, {out, stride}, n);
}
#endif

// Store inputs k and k + 1 of LANES outputs, k even. to: place of input k.
ELMO_INLINE void store_pair(float* to, VF32 a, VF32 b) {
    store(to, a);
    store(to + RhsTraits<float>::width, b);
}
ELMO_INLINE void store_pair(bf16* to, VF32 a, VF32 b) {
    bf16 even[LANES], odd[LANES];
    uint32_t both[LANES];
    store_converted(even, a);
    store_converted(odd, b);
    for (int64_t i = 0; i < LANES; i++) both[i] = even[i] | static_cast<uint32_t>(odd[i]) << 16;
    memcpy(to, both, sizeof(both));
}

// Write n numbers as T, and zeros after them up to `size`.
template <class T>
ELMO_INLINE void convert_row(T* to, const float* from, int64_t n, int64_t size) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) store_converted(to + i, load(from + i));
    if (i < n) store_partial(to + i, load_partial(from + i, n - i), n - i);
    for (i = n; i < size; i++) to[i] = 0;
}

// Pack a matrix (outputs, n) as rhs. row_of(output) is its row of n numbers, or null for zeros.
template <class T, class Row>
ELMO_ATTR static void pack_output_rows(const Row& row_of, int64_t outputs, int64_t n, PackedRhs<T> to) {
    constexpr int64_t pair = RhsTraits<T>::pair;
    const AlignedBuffer<T> row(to.K);
    for (int64_t o = 0; o < outputs; o++) {
        const float* from = row_of(o);
        convert_row(row.get(), from, from ? n : 0, to.K);
        T* at = to.at(0, o);
        for (int64_t k = 0; k < to.K; k += pair) memcpy(at + k * RhsTraits<T>::width, row.get() + k, pair * sizeof(T));
    }
}

// Pack a matrix (inputs, n) as rhs. row_of(k) is its row of n numbers, or null for zeros.
template <class T, class Row>
ELMO_ATTR static void pack_input_rows(const Row& row_of, int64_t n, PackedRhs<T> to) {
    const int64_t N = static_cast<int64_t>(round_up(n, BLOCK));
    const AlignedBuffer<float> rows(2 * N);
    float *even = rows.get(), *odd = even + N;
    for (int64_t k = 0; k < to.K; k += 2) {
        convert_row(even, row_of(k), row_of(k) ? n : 0, N);
        convert_row(odd, row_of(k + 1), row_of(k + 1) ? n : 0, N);
        for (int64_t o = 0; o < N; o += LANES) store_pair(to.at(k, o), load(even + o), load(odd + o));
    }
}

// Rows x (n, F), x_row numbers from one to the next, become inputs k.. of rows first.. of an lhs. k: a multiple of
// K_GROUP.
template <class T>
ELMO_ATTR static void transpose(const T* x, int64_t x_row, int64_t n, int64_t F, PackedLhs<T> to, int64_t first,
                                int64_t k) {
    for (int64_t at = 0; at < n; at += K_GROUP) {
        const int64_t size = min_of(K_GROUP, n - at);
        for (int64_t f = 0; f < F; f++) {
            const T* from = x + at * x_row + f;
            T* row = to.at(first + f, k + at);
            for (int64_t i = 0; i < size; i++) row[i] = from[i * x_row];
        }
    }
}

// Cuts memory into arrays, each on a cache line; without memory it counts the bytes only.
class Arena {
  public:
    explicit Arena(char* memory) : memory_(memory) {}
    template <class T>
    T* alloc(int64_t n) {
        char* found = memory_ ? memory_ + bytes_ : nullptr;
        bytes_ += static_cast<int64_t>(round_up(n * sizeof(T), CACHE_LINE));
        return reinterpret_cast<T*>(found);
    }
    int64_t bytes() const { return bytes_; }

  private:
    char* memory_;
    int64_t bytes_ = 0;
};

}  // namespace elmo::ELMO_NAMESPACE

#endif  // include guard
