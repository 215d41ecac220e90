// The C interface for inference: weights packed for one target, and batches run on them.

#include "elmo_api.h"

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "aligned_buffer.h"
#include "api_status.h"
#include "args.h"
#include "compute_types.h"
#include "packed_model.h"
#include "packing.h"
#include "parallel_for.h"
#include "targets.h"

namespace elmo {

constexpr int64_t MIN_SLICE_ROWS = 24;      // with fewer sentences in a slice, reading the weights takes the time
constexpr double LARGE_LAYER_BYTES = 12e6;  // the weights of both directions would not fit into the shared cache
constexpr int64_t MAX_TEAM_SIZE = 8;        // threads
constexpr double MIN_PARALLEL_WORK = 2e7;   // operations; waking a thread takes some ten microseconds
constexpr double OPS_PER_NUMBER = 40;       // operations that reading a number of a layer counts as
constexpr int64_t MIX_TOKENS = 128;         // tokens of one task
constexpr int64_t MAXOUT_ROWS = 64;         // rows of one task

// How a batch is divided among threads.
struct Division {
    std::vector<int64_t> cuts;  // slices of the sentences, for each direction
    int64_t n_threads;          // that take slices
    int64_t team_size;          // threads that share the steps of each slice
};

// Little work: one thread. Few sentences of a large model: one direction after the other, each on a team. Otherwise:
// two directions, each cut into slices.
static Division divide(const PackedModel& m, const EncodeArgs& a) {
    double n_units = 0;
    for (int64_t r = 0; r < a.n_sentences; r++) n_units += static_cast<double>(a.lengths[r]);
    const int64_t n_weights = 8 * m.P * m.H + m.P * m.H;
    const double work = n_units * static_cast<double>(m.n_layers * 2 * n_weights);
    const int64_t n_threads = work < MIN_PARALLEL_WORK ? 1 : a.n_threads;
    const int64_t n_slices = max_of(1, min_of(n_threads / 2, a.n_sentences / MIN_SLICE_ROWS));
    const double layer_bytes = static_cast<double>(n_weights) * (m.type == FLOAT32 ? 4 : 2);
    const bool as_team = n_threads > 1 && a.n_sentences < MIN_SLICE_ROWS && layer_bytes > LARGE_LAYER_BYTES;
    return {split_rows(a.lengths, a.n_sentences, n_slices), as_team ? 1 : n_threads,
            as_team ? min_of(n_threads, MAX_TEAM_SIZE) : 1};
}

// Sentences first..last of a batch, in one direction.
static void encode_slice(const PackedModel& m, const EncodeArgs& a, const int64_t* const* ids,
                         const int64_t* const* ngram_rows, int64_t direction, int64_t first, int64_t last,
                         int64_t team_size) {
    DirectionArgs slice;
    slice.model = &m;
    slice.direction = direction;
    slice.n_sentences = last - first;
    slice.lengths = a.lengths + first;
    slice.ids = ids + first;
    slice.vectors = a.vectors;
    slice.scale = static_cast<float>(a.scale);
    slice.n_ngram_orders = a.n_ngram_orders;
    slice.ngram_dim = a.ngram_dim;
    slice.ngram_vectors = a.ngram_vectors;
    slice.ngram_rows = ngram_rows + first;
    slice.out = a.out + first;
    slice.layer_strides = a.layer_strides + first;
    slice.team_size = team_size;
    TARGETS[m.target].ops->run_direction(slice);
}

static std::unique_ptr<PackedModel> pack_model(const ModelArgs& a) {
    const Target& target = TARGETS[a.target];
    const int64_t V = target.ops->lanes;
    auto m = std::make_unique<PackedModel>();
    m->target = a.target;
    m->type = static_cast<ComputeType>(a.compute_type);
    m->lanes = V;
    m->n_layers = a.n_layers;
    m->P = a.projection_dim;
    m->H = a.hidden_size;
    m->tiled = uses_tiles(target, m->type);
    m->K = round_up(m->P, k_multiple(target, m->type));
    m->M = round_up(m->H, k_multiple(target, m->type));
    m->P_row = round_up(m->P, GATES * V);
    // One line more: rows a power of two apart would share a set of the cache.
    m->H_row = round_up(m->H, V) + CACHE_LINE / sizeof(float);
    m->skip = a.use_skip_connections;
    m->projects = a.weights[3] != nullptr;
    m->cell_clip = static_cast<float>(a.cell_clip);
    m->proj_clip = static_cast<float>(a.proj_clip);
    const float* const* weights = a.weights;
    for (std::vector<PackedLayer>& layers : m->directions)
        for (int64_t i = 0; i < a.n_layers; i++, weights += 4) {
            layers.emplace_back();
            if (m->type == INT16) pack_layer<int16_t>(*m, layers.back(), weights);
            else if (m->type == BFLOAT16) pack_layer<bf16>(*m, layers.back(), weights);
            else pack_layer<float>(*m, layers.back(), weights);
        }
    return m;
}

static std::unique_ptr<PackedMaxout> pack_maxout_layer(const MaxoutArgs& a) {
    const Target& target = TARGETS[a.target];
    const int64_t V = target.ops->lanes;
    auto m = std::make_unique<PackedMaxout>();
    m->target = a.target;
    m->type = static_cast<ComputeType>(a.compute_type);
    m->normalizes = a.gain != nullptr;
    m->I = a.n_inputs;
    m->O = a.n_outputs;
    m->tiled = uses_tiles(target, m->type);
    m->K = round_up(m->I, k_multiple(target, m->type));
    m->row = round_up(m->I, V) + CACHE_LINE / sizeof(float);  // see H_row
    m->epsilon = static_cast<float>(a.epsilon);
    if (m->type == INT16) pack_maxout<int16_t>(*m, V, a.weights, a.bias);
    else if (m->type == BFLOAT16) pack_maxout<bf16>(*m, V, a.weights, a.bias);
    else pack_maxout<float>(*m, V, a.weights, a.bias);
    m->gain = AlignedBuffer<float>(round_up(m->O, V));
    m->shift = AlignedBuffer<float>(round_up(m->O, V));
    for (int64_t i = 0; m->normalizes && i < m->O; i++) {
        m->gain.get()[i] = a.gain[i];
        m->shift.get()[i] = a.shift[i];
    }
    return m;
}

}  // namespace elmo

using namespace elmo;

int64_t elmo_abi_version() { return 8; }

const char* elmo_target_name(int64_t target) { return target < N_TARGETS ? TARGETS[target].name : nullptr; }

int64_t elmo_target_supported(int64_t target) { return target < N_TARGETS && TARGETS[target].supported(); }

int64_t elmo_fastest_compute_type(int64_t target) { return TARGETS[target].fastest_compute_type(); }

void* elmo_model_new(const ModelArgs* args) {
    return guarded_new([&] { return pack_model(*args); });
}

void elmo_model_free(void* model) { delete static_cast<PackedModel*>(model); }

int64_t elmo_encode(const void* model, const EncodeArgs* args) {
    return guarded([&] {
        const PackedModel& m = *static_cast<const PackedModel*>(model);
        std::vector<const int64_t*> ids, ngram_rows;  // of each sentence
        int64_t unit = 0;
        for (int64_t r = 0; r < args->n_sentences; unit += args->lengths[r], r++) {
            ids.push_back(args->ids + unit);
            ngram_rows.push_back(args->ngram_rows + args->n_ngram_orders * unit);
        }
        const Division d = divide(m, *args);
        return parallel_for(d.n_threads, 2 * (static_cast<int64_t>(d.cuts.size()) - 1), [&](int64_t i) {
            encode_slice(m, *args, ids.data(), ngram_rows.data(), i % 2, d.cuts[i / 2], d.cuts[i / 2 + 1], d.team_size);
        });
    });
}

int64_t elmo_pool_tokens(const PoolTokensArgs* args) {
    return guarded([&] {
        std::vector<TokenAlignment> docs;
        int64_t n_units = 0, n_threads = args->n_threads;
        const float* const* states = args->states;
        const int64_t* lengths = args->lengths;
        for (int64_t doc = 0; doc < args->n_docs; doc++) {
            const int64_t* size = args->sizes + 4 * doc;
            const int64_t* const* indices = args->indices + 3 * doc;
            docs.push_back({states, lengths, args->n_layers, args->dim, size[1], size[2], size[3], indices[0],
                            indices[1], indices[2]});
            n_units += size[3];
            states += size[0];
            lengths += size[0];
        }
        if (OPS_PER_NUMBER * static_cast<double>(n_units * args->n_layers * args->dim) < MIN_PARALLEL_WORK)
            n_threads = 1;
        return parallel_for(n_threads, args->n_docs,
                            [&](int64_t doc) { TARGETS[args->target].ops->pool_tokens(docs[doc], args->out[doc]); });
    });
}

int64_t elmo_scalar_mix(const ScalarMixArgs* args) {
    return guarded([&] {
        struct Piece {
            MixArgs doc;
            int64_t first, last;
        };
        std::vector<Piece> pieces;
        int64_t n_tokens = 0, n_threads = args->n_threads;
        for (int64_t doc = 0; doc < args->n_docs; n_tokens += args->n_tokens[doc++]) {
            const MixArgs mix = {args->layers[doc],
                                 args->n_layers,
                                 args->n_tokens[doc],
                                 args->dim,
                                 args->weights,
                                 static_cast<float>(args->epsilon),
                                 args->static_dim ? args->static_vectors[doc] : nullptr,
                                 args->static_dim,
                                 args->out[doc],
                                 args->moments ? args->moments + n_tokens * args->n_layers : nullptr};
            for (int64_t first = 0; first < mix.n_tokens; first += MIX_TOKENS)
                pieces.push_back({mix, first, min_of(first + MIX_TOKENS, mix.n_tokens)});
        }
        if (OPS_PER_NUMBER * static_cast<double>(n_tokens * args->n_layers * args->dim) < MIN_PARALLEL_WORK)
            n_threads = 1;
        return parallel_for(n_threads, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
            const Piece& p = pieces[i];
            TARGETS[args->target].ops->scalar_mix(p.doc, p.first, p.last, std::vector<float>(args->n_layers).data());
        });
    });
}

void* elmo_maxout_new(const MaxoutArgs* args) {
    return guarded_new([&] { return pack_maxout_layer(*args); });
}

void elmo_maxout_free(void* maxout) { delete static_cast<PackedMaxout*>(maxout); }

int64_t elmo_maxout(const void* maxout, const MaxoutInputs* args) {
    return guarded([&] {
        const PackedMaxout& m = *static_cast<const PackedMaxout*>(maxout);
        std::vector<const float*> rows;  // all of the first part, then all of the next
        for (int64_t part = 0; part < args->n_parts; part++)
            for (int64_t doc = 0; doc < args->n_docs; doc++)
                for (int64_t i = 0; i < args->n_tokens[doc]; i++)
                    rows.push_back(args->x[part * args->n_docs + doc] + i * args->widths[part]);
        const int64_t n_rows = static_cast<int64_t>(rows.size()) / args->n_parts;
        const double work = 2.0 * static_cast<double>(n_rows * m.I * m.O * PIECES);
        const int64_t n_threads = work < MIN_PARALLEL_WORK ? 1 : args->n_threads;
        return parallel_for(n_threads, (n_rows + MAXOUT_ROWS - 1) / MAXOUT_ROWS, [&](int64_t i) {
            const int64_t first = i * MAXOUT_ROWS;
            std::vector<RowPart> parts;
            for (int64_t part = 0; part < args->n_parts; part++)
                parts.push_back({args->widths[part], rows.data() + part * n_rows + first});
            TARGETS[m.target].ops->maxout[m.type](m, min_of(MAXOUT_ROWS, n_rows - first), parts,
                                                  args->out + first * m.O);
        });
    });
}
