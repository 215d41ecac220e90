// Functions of the native kernel for JavaScript: weights to pack, and one sentence to encode.
//
// Numbers are int, because JavaScript passes int64_t only as BigInt; arrays are addresses in the memory of the module.

#include <emscripten/emscripten.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "args.h"
#include "compute_types.h"
#include "elmo_api.h"

extern "C" {

// Pack a biLM in float32. weights: as ModelArgs has them. A clip of zero means none. Return null if there is no memory.
EMSCRIPTEN_KEEPALIVE void* kernel_model_new(int n_layers, int projection_dim, int hidden_size, int use_skip_connections,
                                            double cell_clip, double proj_clip, const float* const* weights) {
    const double none = std::numeric_limits<double>::infinity();
    elmo::ModelArgs args;
    args.target = 0;  // the only one: plain
    args.compute_type = elmo::FLOAT32;
    args.n_layers = n_layers;
    args.projection_dim = projection_dim;
    args.hidden_size = hidden_size;
    args.use_skip_connections = use_skip_connections;
    args.cell_clip = cell_clip > 0 ? cell_clip : none;
    args.proj_clip = proj_clip > 0 ? proj_clip : none;
    args.weights = weights;
    return elmo_model_new(&args);
}

// Encode a sentence of n units, boundaries included. vectors: (n, P), of its units. ngram_vectors: (_, P), row 0
// unused; ngram_rows: (n, n_ngram_orders), see EncodeArgs. out: (L + 1, n - 2, 2P). Return a Status.
EMSCRIPTEN_KEEPALIVE int kernel_encode(const void* model, int n, const float* vectors, int projection_dim, int n_layers,
                                       double scale, int n_ngram_orders, int ngram_dim, const float* ngram_vectors,
                                       const int32_t* ngram_rows, float* out) {
    const int64_t length = n, stride = int64_t{2} * projection_dim * (n - 2);
    const std::vector<int64_t> rows(ngram_rows, ngram_rows + n * n_ngram_orders);
    std::vector<int64_t> ids(n);
    for (int i = 0; i < n; i++) ids[i] = i;
    elmo::EncodeArgs args;
    args.n_sentences = 1;
    args.lengths = &length;
    args.ids = ids.data();
    args.vectors = vectors;
    args.scale = scale;
    args.n_ngram_orders = n_ngram_orders;
    args.ngram_dim = ngram_dim;
    args.ngram_vectors = ngram_vectors;
    args.ngram_rows = rows.data();
    args.out = &out;
    args.layer_strides = &stride;
    args.n_threads = 1;
    return static_cast<int>(elmo_encode(model, &args));
}

}  // extern "C"
