// Weights that are packed for one instruction set and one compute type, and the arguments of one thread's work.
//
// Letters: P projection of one direction, H cells, K inputs of a product, V lanes of a vector register.
#pragma once

#include <cstdint>
#include <vector>

#include "aligned_buffer.h"
#include "args.h"
#include "compute_types.h"

namespace elmo {

// One LSTM layer of one direction.
//   gates       [inputs, state][H / V blocks][K / pair][GATES][V][pair]
//   bias        [H / V blocks][GATES][V] float32
//   projection  [P / 4V blocks][M / pair][4][V][pair]; empty: none
//   scales      of int16: [inputs, state][H / V blocks][GATES][V], [P / 4V blocks][4][V]; see QuantScales
// pair: 1 for float32; 2 for the others, where a lane of 32 bits holds two inputs. AMX: see lstm_amx-inl.h.
struct PackedLayer {
    AlignedBuffer<char> gates;
    AlignedBuffer<float> bias;
    AlignedBuffer<char> projection;
    AlignedBuffer<float> scales;
};

struct PackedModel {
    int64_t target;
    ComputeType type;
    int64_t lanes;  // V
    int64_t n_layers;
    int64_t P, H;
    int64_t K;             // P, rounded up to the inputs that go together in a product
    int64_t M;             // inputs of the projection: H, rounded up as P is
    int64_t P_row, H_row;  // numbers from one row to the next, padding included
    bool skip;             // skip connections between layers
    bool projects;
    bool tiled;                  // packed for AMX tiles
    float cell_clip, proj_clip;  // infinite: none
    std::vector<PackedLayer> directions[2];
};

// A Maxout layer: the largest of PIECES linear maps for each output.
//   weights      [O / V blocks][K / pair][PIECES][V][pair]
//   bias         [O / V blocks][PIECES][V]
//   scales       of int16: the same; see QuantScales
//   gain, shift  (O, rounded up to whole registers) of the layer normalization after it, if there is one
// bf16 in AMX tiles: the registers of all blocks one after another, in blocks of GATES; see lstm_amx-inl.h.
struct PackedMaxout {
    int64_t target;
    ComputeType type;
    bool normalizes;
    bool tiled;
    int64_t I, O;  // inputs, outputs
    int64_t K;     // I, rounded up
    int64_t row;   // numbers from one row of the inputs to the next
    float epsilon;
    AlignedBuffer<char> weights;
    AlignedBuffer<float> bias, scales, gain, shift;
};

// Registers of outputs in all blocks of a Maxout that is packed for tiles: a multiple of GATES.
inline int64_t tiled_registers(const PackedMaxout& m, int64_t lanes) {
    return static_cast<int64_t>(round_up((m.O + lanes - 1) / lanes * PIECES, GATES));
}

// A matrix W (N, K) for products x W^T, packed as the projection of a layer is.
struct PackedMatrix {
    int64_t target;
    ComputeType type;
    bool tiled;
    int64_t n_inputs, n_outputs;
    int64_t K;      // inputs, rounded up
    int64_t N_row;  // outputs, rounded up to whole blocks
    AlignedBuffer<char> weights;
    AlignedBuffer<float> scales;
};

// One of the arrays that are concatenated to the rows of a Maxout: where the numbers of each row stand.
struct RowPart {
    int64_t width;
    const float* const* rows;
};

// The units of a doc, in sentences, and the tokens that they belong to; see pipeline/annotations/alignment.py.
struct TokenAlignment {
    const float* const* states;  // (sentences,) to (L, length, D)
    const int64_t* lengths;      // (sentences,) units
    int64_t n_layers, dim;
    int64_t n_tokens;
    int64_t n_indices;      // tokens that have units
    int64_t n_units;        // that these have
    const int64_t* tokens;  // (n_indices,) ascending
    const int64_t* starts;  // (n_indices,) places in `units`
    const int64_t* units;   // (n_units,) ascending, counted through all sentences
};

// The layers (L, n, D) of one doc; see ScalarMixArgs. moments: null where layers are not normalized.
struct MixArgs {
    const float* layers;
    int64_t n_layers, n_tokens, dim;
    const float* weights;
    float epsilon;
    const float* static_vectors;
    int64_t static_dim;
    float* out;
    Moments* moments;
};

// One direction of a batch; the fields are those of EncodeArgs, cut to a slice of its sentences.
struct DirectionArgs {
    const PackedModel* model;
    int64_t direction;  // 0 forward, 1 backward
    int64_t n_sentences;
    const int64_t* lengths;
    const int64_t* const* ids;  // of each sentence
    const float* vectors;
    float scale;
    int64_t n_ngram_orders, ngram_dim;
    const float* ngram_vectors;
    const int64_t* const* ngram_rows;  // of each sentence
    float* const* out;
    const int64_t* layer_strides;
    int64_t team_size;  // threads that share each step
};

}  // namespace elmo
