// Types of the products, and the limits of their arithmetic.
#pragma once

#include <cstdint>
#include <cstring>

namespace elmo {

typedef uint16_t bf16;

// ../binding.py has the same order. INT16: the weights of an output share a scale, and so do the inputs of a row;
// products are summed exactly, in int32.
enum ComputeType : int64_t { FLOAT32, BFLOAT16, INT16 };
constexpr int64_t N_COMPUTE_TYPES = 3;

constexpr int64_t GATES = 4;   // i, f, g, o: a block of weights is GATES registers wide
constexpr int64_t PIECES = 3;  // of a Maxout: a block of its weights is PIECES registers wide

constexpr int64_t MAX_EXACT_K = 128;                    // products of int16 that are summed in an int32
constexpr int64_t MAX_WEIGHT = 4095, MAX_INPUT = 4096;  // largest absolute values in int16
static_assert(MAX_EXACT_K * MAX_WEIGHT * MAX_INPUT <= INT32_MAX, "a sum of int16 products does not overflow");
constexpr float MIN_SCALE = 1e-30f;  // rows below it count as zero in int16: its reciprocal is still a float

// Rows after the last one that AMX tiles read and write; their results are not used. Buffers have room for them.
constexpr int64_t MAX_SPARE_ROWS = 15;

// To nearest, ties to even; a NaN stays a NaN.
inline bf16 to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return static_cast<bf16>((bits >> 16) | 0x40);
    return static_cast<bf16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}

// Two neighbouring numbers of 16 bits as the bits of one lane.
inline int32_t load_pair(const void* p) {
    int32_t bits;
    memcpy(&bits, p, 4);
    return bits;
}

// Factors that turn int16 back into numbers: an input of row r is inputs[r] / MAX_INPUT times its int16, a weight of
// output o is weights[o] * MAX_INPUT times its own. Null for other types.
struct QuantScales {
    const float* inputs;
    const float* weights;
    QuantScales from_row(int64_t r) const { return {inputs ? inputs + r : nullptr, weights}; }
};

inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max_of(int64_t a, int64_t b) { return a < b ? b : a; }

}  // namespace elmo
