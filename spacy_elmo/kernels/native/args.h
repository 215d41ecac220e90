// Arguments of the C interface, shared with ctypes: ../native_interface.py declares the same fields in the same order,
// and tests/kernels/test_native_interface.py compares the two.
//
// Every field has 8 bytes (an int64_t, a double or a pointer), so no compiler adds padding. Letters: B sentences, T
// steps, L LSTM layers, D width of a layer (both directions), P projection of one direction, H cells, V classes of a
// softmax.
#pragma once

#include <cstdint>
#include <type_traits>

namespace elmo {

// WebAssembly has pointers of 4 bytes. There code in C++ fills the structs, and not ctypes: projects/browser.
#if !defined(__wasm32__)
static_assert(sizeof(void*) == 8 && sizeof(double) == 8, "the kernel needs a 64-bit processor");
#endif

// Mean and reciprocal standard deviation of a layer normalization.
struct Moments {
    float mean;
    float scale;
};

// A biLM to pack.
struct ModelArgs {
    int64_t target;        // index of an instruction set
    int64_t compute_type;  // ComputeType
    int64_t n_layers;
    int64_t projection_dim;
    int64_t hidden_size;
    int64_t use_skip_connections;
    double cell_clip;  // infinite: none
    double proj_clip;  // infinite: none
    // For each layer of each direction, forward first: w_ih (4H, P), w_hh (4H, P), bias (4H,), w_hr (P, H) or null.
    const float* const* weights;
};

// A batch for a packed biLM. Sentences stand in descending order of length and begin with the same unit.
struct EncodeArgs {
    int64_t n_sentences;
    const int64_t* lengths;        // (B,) units, boundaries included
    const int64_t* ids;            // of all units, sentence by sentence: rows of `vectors`
    const float* vectors;          // (_, P)
    double scale;                  // of the vectors
    int64_t n_ngram_orders;        // n-grams of 2 to so many + 1 units; 0: none
    int64_t ngram_dim;             // at most P
    const float* ngram_vectors;    // (_, ngram_dim); row 0 stands for no n-gram
    const int64_t* ngram_rows;     // (units, n_ngram_orders): rows of the n-grams that end at each unit
    float* const* out;             // (B,) to (L + 1, n, 2P), without boundaries
    const int64_t* layer_strides;  // (B,) numbers from one layer of `out` to the next
    int64_t n_threads;             // at most
};

// Layers of tokens, made of those of their units.
struct PoolTokensArgs {
    int64_t target;
    int64_t n_docs;
    const int64_t* sizes;        // (docs, 4): sentences, tokens, tokens that have units, units of these
    const float* const* states;  // of all sentences, doc by doc: (L, units, D)
    const int64_t* lengths;      // of all sentences: units
    int64_t n_layers;
    int64_t dim;
    const int64_t* const* indices;  // (docs, 3): tokens that have units, their first place in the units, the units
    float* const* out;              // (docs,) to (L, tokens, D)
    int64_t n_threads;
};

// sum_j weights_j h_j over the layers h_j of each doc.
struct ScalarMixArgs {
    int64_t target;
    int64_t n_docs;
    const int64_t* n_tokens;     // (docs,)
    const float* const* layers;  // (docs,) to (L, tokens, D)
    int64_t n_layers;
    int64_t dim;
    const float* weights;                // (L,)
    double epsilon;                      // added to the variance
    const float* const* static_vectors;  // (docs,) to (tokens, static_dim)
    int64_t static_dim;                  // 0: none
    float* const* out;                   // (docs,) to (tokens, D + static_dim): the mix, then the static vectors
    Moments* moments;                    // (all tokens, L), written; null: layers are not normalized first
    int64_t n_threads;
};

// A Maxout layer to pack: max_p (W_p x + b_p), and a layer normalization after it unless `gain` is null.
struct MaxoutArgs {
    int64_t target;
    int64_t compute_type;
    int64_t n_inputs;
    int64_t n_outputs;
    const float* weights;  // (outputs, PIECES, inputs)
    const float* bias;     // (outputs, PIECES)
    const float* gain;     // (outputs,)
    const float* shift;    // (outputs,)
    double epsilon;
};

// Rows for a packed Maxout. A row is the concatenation of n_parts arrays.
struct MaxoutInputs {
    int64_t n_docs;
    const int64_t* n_tokens;  // (docs,)
    int64_t n_parts;
    const int64_t* widths;  // (parts,)
    const float* const* x;  // (parts, docs) to (tokens, width)
    float* out;             // (all tokens, outputs)
    int64_t n_threads;
};

// A batch for one LSTM layer of one direction in training. Step t has the first batch_sizes[t] sentences; they do not
// increase from step to step (the term of torch.nn.utils.rnn.PackedSequence).
struct LSTMShape {
    int64_t target;
    int64_t use_bf16;  // products of bf16 instead of float32
    int64_t n_sentences;
    int64_t n_steps;
    int64_t projection_dim;
    int64_t hidden_size;
    int64_t has_projection;      // else P is H
    const int64_t* batch_sizes;  // (T,)
    int64_t n_threads;
};

// Weights as torch.nn.LSTM has them: w_ih, w_hh (4H, P), bias (4H,), w_hr (P, H) or null.
struct LSTMForwardArgs {
    LSTMShape shape;
    const float* w_ih;
    const float* w_hh;
    const float* bias;
    const float* w_hr;
    const float* x;  // (B, T, P)
    float* y;        // (B, T, P); zeros where there is no unit
    char* saved;     // activations for the backward pass, of the size that elmo_lstm_workspace returns
};

struct LSTMBackwardArgs {
    LSTMShape shape;
    const float* w_ih;
    const float* w_hh;
    const float* w_hr;
    char* saved;       // by the forward pass
    const float* d_y;  // (B, T, P)
    char* workspace;   // of the size that elmo_lstm_workspace returns
    float* d_x;        // (B, T, P); zeros where there is no unit
    float* d_w_ih;
    float* d_w_hh;
    float* d_bias;
    float* d_w_hr;
};

// The recurrent part of an LSTM layer of one direction, float32. Rows stand step by step (N of all steps); step t has
// batch_sizes[t] rows, which continue the first ones of the step before.
struct LSTMRecurrenceArgs {
    int64_t target;
    int64_t n_steps;
    int64_t hidden_size;
    const int64_t* batch_sizes;  // (T,), not increasing
    const float* w_hh;           // (4H, H)
    float* gates;  // (N, 4H): i, f, g, o. forward: sums of inputs and biases, replaced by the gates after their
                   // activations. backward: these, replaced by the gradients of the sums
    float* c;      // (N, H) cell states. forward: written. backward: read
    float* m;      // (N, H). forward: outputs, written. backward: their gradients; those through later steps are added
    int64_t n_threads;
};

// The cross entropy of a softmax over V classes.
struct CrossEntropyShape {
    int64_t target;
    int64_t use_bf16;
    int64_t n_targets;
    int64_t n_inputs;
    int64_t n_classes;
    int64_t with_gradients;
    int64_t n_threads;
};

struct CrossEntropyArgs {
    CrossEntropyShape shape;
    const float* x;          // (N, P)
    const float* weight;     // (V, P)
    const float* bias;       // (V,)
    const int64_t* targets;  // (N,); a negative one is left out
    char* workspace;         // of the size that elmo_cross_entropy_workspace returns
    double* loss;            // (1,): the sum
    float* d_x;              // these three: null without gradients
    float* d_weight;
    float* d_bias;
};

// A matrix to pack, for products x W^T.
struct MatrixArgs {
    int64_t target;
    int64_t compute_type;
    int64_t n_inputs;
    int64_t n_outputs;
    const float* weights;  // (outputs, inputs)
};

struct MatmulInputs {
    int64_t n_rows;
    const float* x;   // (rows, inputs)
    float* out;       // (rows, outputs)
    int64_t repeats;  // of the product alone, for benchmarks
};

// One step of LSTM cells, from the sums of their gates.
struct LSTMCellArgs {
    int64_t target;
    int64_t compute_type;
    int64_t n_rows;
    int64_t hidden_size;
    const float* gates;  // (rows, 4H): i, f, g, o before their activations
    double cell_clip;    // infinite: none
    float* c;            // (rows, H): the cell state, updated
    float* out;          // (rows, H): o * tanh(c)
};

template <class Args, int64_t n_fields>
constexpr bool has_layout() {
    return std::is_standard_layout<Args>::value && std::is_trivial<Args>::value && sizeof(Args) == 8 * n_fields;
}
#if !defined(__wasm32__)
static_assert(sizeof(Moments) == 2 * sizeof(float), "numpy sees an array (n, 2) of float32");
static_assert(has_layout<ModelArgs, 9>() && has_layout<EncodeArgs, 12>() && has_layout<PoolTokensArgs, 10>() &&
                  has_layout<ScalarMixArgs, 13>() && has_layout<MaxoutArgs, 9>() && has_layout<MaxoutInputs, 7>() &&
                  has_layout<LSTMShape, 9>() && has_layout<LSTMForwardArgs, 16>() &&
                  has_layout<LSTMBackwardArgs, 20>() && has_layout<LSTMRecurrenceArgs, 9>() &&
                  has_layout<CrossEntropyShape, 7>() && has_layout<CrossEntropyArgs, 16>() &&
                  has_layout<MatrixArgs, 5>() && has_layout<MatmulInputs, 4>() && has_layout<LSTMCellArgs, 8>(),
              "8 bytes a field and no padding: ctypes relies on it");
#endif

}  // namespace elmo
