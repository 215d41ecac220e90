// A biLM with its weights packed for one instruction set, and a batch's share of work for one thread.
//
// Letters: P projection width, H cells, L LSTM layers, K inputs of a product, V lanes of a vector register.
#pragma once

#include "aligned_buffer.h"

#include <cstdint>

namespace elmo {

typedef uint16_t bf16;

// Types of the products. INT16: the weights of an output share a scale, and so do the inputs of a row; products are
// summed exactly, as int32.
enum Type { FLOAT32, BFLOAT16, INT16 };
constexpr int TYPES = 3;
constexpr long EXACT = 128;  // inputs summed at once: their products, 4095 * 4096 at most, fit into an int32
constexpr float MOST_WEIGHT = 4095, MOST_INPUT = 4096;
constexpr float SMALLEST = 1e-30f;  // that int16 tells from zero: its reciprocal is a float

constexpr int GATES = 4;  // i, f, g, o: a block of weights is GATES registers wide
constexpr long MOST_SPARE = 15;  // rows behind the last one that tiles read and write, to no end

inline bf16 to_bf16(float x) {  // to nearest, ties to even; a NaN stays one
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return static_cast<bf16>((bits >> 16) | 0x40);
    return static_cast<bf16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// One LSTM layer of one direction.
//   gates    [inputs, state][H / V blocks][K / pair][GATES][V][pair]
//   bias     [H / V blocks][GATES][V] float
//   project  [P / 4V blocks][H / pair][4][V][pair]; empty: no projection
//   scales   of int16: [inputs, state][H / V blocks][GATES][V], [P / 4V blocks][4][V]; see Scales
// pair: 1 for float32; 2 for the others, where a register holds two inputs of each lane.
struct Layer {
    AlignedBuffer<char> gates;
    AlignedBuffer<float> bias;
    AlignedBuffer<char> project;
    AlignedBuffer<float> scales;
};

// What int16 stands for: an input is rows[row] / MOST_INPUT times its number, a weight MOST_INPUT * weights[output]
// times. Null for other types.
struct Scales {
    const float *rows, *weights;
};

struct Model {
    int isa;
    Type type;
    long lanes;        // V
    long layers;       // L
    long P, H;
    long K;            // P, a multiple of as many inputs as go together
    long M;            // inputs of the projection: H, likewise
    long P_row, H_row;  // elements from one row to the next, padding included
    bool skip, projects;
    bool tiles;        // weights are packed for tiles, see lstm_tiles.h
    float cell_clip, proj_clip;  // infinite: none
    std::vector<Layer> directions[2];
};

// A layer of a task: the largest of PIECES linear maps for each of its O outputs, of I inputs.
//   weights  [O / V blocks][K / pair][PIECES][V][pair]
//   bias     [O / V blocks][PIECES][V]
//   scales   the same, of int16; see Scales
//   gain, shift  (O, filled up to whole registers) of the layer normalisation behind it, if there is one
// The weights of bf16 in tiles: these blocks' registers, PIECES each, as blocks of GATES, see lstm_tiles.h.
constexpr int PIECES = 3;

struct Maxout {
    int isa;
    Type type;
    bool normalizes;
    bool tiles;  // see Model
    long I, O;
    long K;    // I, likewise
    long row;  // elements from one row of the inputs to the next
    float epsilon;
    AlignedBuffer<char> weights;
    AlignedBuffer<float> bias, scales, gain, shift;
};

// Of the inputs of a task's rows: where each row's numbers stand, `width` of them.
struct Part {
    long width;
    const float* const* rows;
};

// Of its sums in tiles: a multiple of GATES.
inline long registers_of(const Maxout& m, long V) { return static_cast<long>(round_up((m.O + V - 1) / V * PIECES, GATES)); }

// How the units of a text, in sentences, belong to its tokens; see pipeline/annotations/alignment.py.
struct Tokens {
    const float* const* states;  // (sentences,) to (L, lengths, D)
    const int64_t* lengths;      // (sentences,) units
    long L, D;
    long n, m, k;           // tokens; those that have units; the units that they have
    const int64_t* tokens;  // (m,) ascending
    const int64_t* starts;  // (m,) in `units`
    const int64_t* units;   // (k,) ascending, counted through all sentences
};

struct Moments {
    float mean, scale;  // scale: 1 / standard deviation
};

// N-grams of 2 to K + 1 units, whose vectors are added to those of units, see add_ngrams in modeling/token_encoder.py. K is 0 where
// there are none.
struct Ngrams {
    long K, W;
    const float* vectors;            // (_, W); row 0 stands for none
    const int64_t* const* rows;      // (rows,) to (lengths, K): those that end at each unit
};

// Sentences of one direction, in descending order of length. All of a direction begin with the same vector, that
// of a boundary.
struct Task {
    const Model* model;
    int side;                 // 0 forward, 1 backward
    long rows;
    const int64_t* lengths;   // (rows,) units, boundaries included
    const int64_t* const* ids;  // (rows,) to the rows of `vectors` of each unit
    const float* vectors;     // (U, P), each times `scale`
    float scale;
    Ngrams ngrams;
    float* const* out;        // (rows,) to (L + 1, n, 2P) of each sentence, without boundaries
    const int64_t* layer;     // (rows,) numbers from one of its layers to the next
    long team;                // threads that go through it together
};

}  // namespace elmo
