// The library: which instruction sets there are, a model packed for one of them, and batches run on it.
//
// A plain C interface, loaded with ctypes: it depends on no version of Python or torch.

#include "isas.h"
#include "parallel_for.h"

#include <memory>

namespace elmo {

// Rows first..last of the batch, in one direction.
static void run_slice(Task task, long first, long last) {
    task.rows = last - first;
    task.lengths += first;
    task.ids += first;
    task.ngrams.rows += first;
    task.out += first;
    task.layer += first;
    ISAS[task.model->isa].run(task);
}

constexpr long FEWEST_ROWS = 24;         // of a slice: with fewer, reading the weights is what takes the time
// Bytes of a layer's weights from which on few rows go through one direction after the other, each time on all threads:
// those of both would not fit into the cache that threads share.
constexpr double LARGE = 12e6;
constexpr long LARGEST_TEAM = 8;
constexpr double WORTH_A_THREAD = 2e7;  // operations; to wake one takes some ten microseconds
constexpr double MOVING = 40;            // of them, what it takes to read a number of a layer
constexpr long MIX_TOKENS = 128, MAXOUT_ROWS = 64;  // of one piece of work

}  // namespace elmo

using namespace elmo;

#define PUBLIC __attribute__((visibility("default")))

extern "C" {

// Version of the functions below. Raise it, and ABI_VERSION of binding.py, when their parameters change.
PUBLIC int elmo_interface() { return 4; }

// Name of instruction set `isa`, best first; null behind the last.
PUBLIC const char* elmo_isa(int isa) { return isa < N_ISAS ? ISAS[isa].name : nullptr; }

PUBLIC int elmo_supported(int isa) { return isa < N_ISAS && ISAS[isa].supported(); }

// The type whose products are fastest: see Type.
PUBLIC int elmo_fastest(int isa) { return ISAS[isa].fastest(); }

// type: see Type. weights: w_ih (4H, P), w_hh (4H, P), bias (4H), w_hr (P, H) or null, for each layer of each
// direction, forward first. Clips: infinite for none. They are packed, not kept. Null: no memory.
PUBLIC void* elmo_new(int isa, int type, long layers, long P, long H, int skip, float cell_clip, float proj_clip,
                      const float* const* weights) try {
    const long V = ISAS[isa].lanes;
    std::unique_ptr<Model> m(new Model());
    m->isa = isa;
    m->type = static_cast<Type>(type);
    m->lanes = V;
    m->layers = layers;
    m->P = P;
    m->H = H;
    m->tiles = in_tiles(isa, m->type);
    m->K = round_up(P, group_of(isa, m->type));
    m->M = round_up(H, group_of(isa, m->type));
    m->P_row = round_up(P, GATES * V);
    m->H_row = round_up(H, V) + CACHE_LINE / sizeof(float);  // rows a power of 2 apart would share a set of the cache
    m->skip = skip;
    m->projects = weights[3] != nullptr;
    m->cell_clip = cell_clip;
    m->proj_clip = proj_clip;
    for (int side = 0; side < 2; side++) {
        for (long i = 0; i < layers; i++, weights += 4) {
            m->directions[side].emplace_back();
            Layer& layer = m->directions[side].back();
            if (m->type == INT16) pack_layer<int16_t>(*m, layer, weights);
            else if (m->type == BFLOAT16) pack_layer<bf16>(*m, layer, weights);
            else pack_layer<float>(*m, layer, weights);
        }
    }
    return m.release();
} catch (...) {
    return nullptr;
}

PUBLIC void elmo_free(void* model) { delete static_cast<Model*>(model); }

// See Task and Ngrams; both directions. ids and ngram_rows: of all units, sentence by sentence. K: 0 without n-grams.
// threads: to use at most. Returns a Status.
PUBLIC int elmo_encode(const void* model, long rows, const int64_t* lengths, const int64_t* ids, const float* vectors,
                       float scale, long K, long W, const float* ngrams, const int64_t* ngram_rows, float* const* out,
                       const int64_t* layer, int threads) try {
    const Model* m = static_cast<const Model*>(model);
    std::vector<const int64_t*> own, its_ngrams;  // of each sentence
    for (long r = 0; r < rows; ids += lengths[r], ngram_rows += K * lengths[r], r++) {
        own.push_back(ids);
        its_ngrams.push_back(ngram_rows);
    }
    double units = 0;
    for (long r = 0; r < rows; r++) units += static_cast<double>(lengths[r]);
    const double work = units * static_cast<double>(m->layers * 2 * (8 * m->P * m->H + m->P * m->H));
    if (work < WORTH_A_THREAD) threads = 1;
    long n = threads / 2;
    if (n > rows / FEWEST_ROWS) n = rows / FEWEST_ROWS;
    const std::vector<long> cuts = split_rows(lengths, rows, n < 1 ? 1 : n);
    const double weights = static_cast<double>(8 * m->P * m->H + m->P * m->H) * (m->type == FLOAT32 ? 4 : 2);
    const bool together = threads > 1 && rows < FEWEST_ROWS && weights > LARGE;
    const long team = !together ? 1 : threads < LARGEST_TEAM ? threads : LARGEST_TEAM;
    return parallel_for(together ? 1 : threads, 2 * (static_cast<long>(cuts.size()) - 1), [&](long i) {
        Task task = {m, static_cast<int>(i % 2), rows, lengths, own.data(), vectors, scale,
                     {K, W, ngrams, its_ngrams.data()}, out, layer, team};
        run_slice(task, cuts[i / 2], cuts[i / 2 + 1]);
    });
} catch (const std::bad_alloc&) {
    return OUT_OF_MEMORY;
} catch (...) {
    return FAILED;
}

// A layer of one direction in training, over sentences (rows, steps, P): see LstmShape and lstm_training.h. half: with
// products of bf16, not float32. bytes: of what it keeps for the way back, and of the room that the way back needs.
PUBLIC void elmo_lstm_room(int isa, int half, long rows, long steps, long P, long H, int projects, const int64_t* sizes,
                           int64_t* bytes) {
    const LstmShape shape = {rows, steps, P, H, sizes, projects != 0, 1};
    bytes[0] = half ? ISAS[isa].half.lstm_kept(shape) : ISAS[isa].single.lstm_kept(shape);
    bytes[1] = half ? ISAS[isa].half.lstm_work(shape) : ISAS[isa].single.lstm_work(shape);
}

// Fills y, with zeros where no unit is, and `kept`. Returns 0, or 1: no memory.
PUBLIC int elmo_lstm_forward(int isa, int half, long rows, long steps, long P, long H, const int64_t* sizes, const float* w_ih,
                             const float* w_hh, const float* bias, const float* w_hr, const float* x, float* y, char* kept,
                             int threads) try {
    const LstmShape shape = {rows, steps, P, H, sizes, w_hr != nullptr, threads};
    const LstmForward a = {w_ih, w_hh, bias, w_hr, x, {P, steps * P}, y, {P, steps * P}, kept};
    return half ? ISAS[isa].half.lstm_forward(shape, a) : ISAS[isa].single.lstm_forward(shape, a);
} catch (const std::bad_alloc&) {
    return 1;
}

// Fills d_x, with zeros where no unit is, and the weights' gradients. Returns 0, or 1: no memory.
PUBLIC int elmo_lstm_backward(int isa, int half, long rows, long steps, long P, long H, const int64_t* sizes, const float* w_ih,
                              const float* w_hh, const float* w_hr, const char* kept, const float* d_y, char* work,
                              float* d_x, float* d_w_ih, float* d_w_hh, float* d_bias, float* d_w_hr, int threads) try {
    const LstmShape shape = {rows, steps, P, H, sizes, w_hr != nullptr, threads};
    const LstmBackward a = {w_ih, w_hh, w_hr, d_y, {P, steps * P}, d_x, {P, steps * P}, kept, work,
                            d_w_ih, d_w_hh, d_bias, d_w_hr};
    return half ? ISAS[isa].half.lstm_backward(shape, a) : ISAS[isa].single.lstm_backward(shape, a);
} catch (const std::bad_alloc&) {
    return 1;
}

// Bytes of the room that the softmax of n predictions with P inputs over V units needs; gradients: with these.
PUBLIC int64_t elmo_softmax_room(int isa, int half, long n, long P, long V, int gradients) {
    static float any;
    const SoftmaxLoss a = {n, P, V, nullptr, nullptr, nullptr, nullptr, gradients ? &any : nullptr, nullptr, nullptr, nullptr, 1};
    return half ? ISAS[isa].half.softmax_room(a) : ISAS[isa].single.softmax_room(a);
}

// The sum of the losses, and their gradients unless d_x is null; see SoftmaxLoss. Returns 0, or 1: no memory.
PUBLIC int elmo_softmax_loss(int isa, int half, long n, long P, long V, const float* x, const float* weight,
                             const float* bias, const int64_t* targets, char* work, double* loss, float* d_x,
                             float* d_weight, float* d_bias, int threads) try {
    const SoftmaxLoss a = {n, P, V, x, weight, bias, targets, d_x, d_weight, d_bias, work, threads};
    return half ? ISAS[isa].half.softmax_loss(a, loss) : ISAS[isa].single.softmax_loss(a, loss);
} catch (const std::bad_alloc&) {
    return 1;
}

// See Tokens and tasks.h: -> out (L, n, D) of each of `docs` docs. sizes: (docs, 4) sentences, n, m and k. states, lengths:
// of all sentences, doc by doc. indices: (docs, 3) to tokens, starts and units.
PUBLIC int elmo_tokens(int isa, long docs, const int64_t* sizes, const float* const* states, const int64_t* lengths, long L,
                       long D, const int64_t* const* indices, float* const* out, int threads) try {
    std::vector<Tokens> each;
    int64_t units = 0;
    for (long doc = 0; doc < docs; doc++, sizes += 4, indices += 3) {
        each.push_back({states, lengths, L, D, sizes[1], sizes[2], sizes[3], indices[0], indices[1], indices[2]});
        units += sizes[3];
        states += sizes[0];
        lengths += sizes[0];
    }
    if (MOVING * static_cast<double>(units * L * D) < WORTH_A_THREAD) threads = 1;
    return parallel_for(threads, docs, [&](long doc) { ISAS[isa].tasks.token_layers(each[doc], out[doc]); });
} catch (const std::bad_alloc&) {
    return OUT_OF_MEMORY;
} catch (...) {
    return FAILED;
}

// See tasks.h: layers (L, n, D) of each of `docs` docs, and what is beside them (n, S) -> its y (n, D + S), and norms
// (N, L), doc by doc. norms: null where layers are not normalised. epsilon: what is added to a variance.
PUBLIC int elmo_mix(int isa, long docs, const int64_t* tokens, const float* const* layers, long L, long D,
                    const float* weights, float epsilon, const float* const* beside, long S, float* const* y,
                    Moments* norms, int threads) try {
    struct Piece {
        long doc, first, last, at;
    };
    std::vector<Piece> pieces;
    long all = 0;
    for (long doc = 0; doc < docs; all += tokens[doc++])
        for (long first = 0; first < tokens[doc]; first += MIX_TOKENS) {
            const long last = first + MIX_TOKENS < tokens[doc] ? first + MIX_TOKENS : tokens[doc];
            pieces.push_back({doc, first, last, all});
        }
    if (MOVING * static_cast<double>(all * L * D) < WORTH_A_THREAD) threads = 1;
    return parallel_for(threads, static_cast<long>(pieces.size()), [&](long i) {
        const Piece& p = pieces[i];
        ISAS[isa].tasks.mix(layers[p.doc], L, tokens[p.doc], D, weights, epsilon, S ? beside[p.doc] : nullptr, S,
                            p.first, p.last, y[p.doc], norms ? norms + p.at * L : nullptr,
                            std::vector<float>(L).data());
    });
} catch (const std::bad_alloc&) {
    return OUT_OF_MEMORY;
} catch (...) {
    return FAILED;
}

// type: see Type. weights: (O, PIECES, I); bias: (O, PIECES); gain, shift: (O,) of a layer normalisation, null: none.
// They are packed, not kept. Null: no memory.
PUBLIC void* elmo_maxout_new(int isa, int type, long I, long O, const float* weights, const float* bias,
                             const float* gain, const float* shift, float epsilon) try {
    const long V = ISAS[isa].lanes;
    std::unique_ptr<Maxout> m(new Maxout());
    m->isa = isa;
    m->type = static_cast<Type>(type);
    m->normalizes = gain != nullptr;
    m->I = I;
    m->O = O;
    m->tiles = in_tiles(isa, m->type);
    m->K = round_up(I, group_of(isa, m->type));
    m->row = round_up(I, V) + CACHE_LINE / sizeof(float);  // see H_row
    m->epsilon = epsilon;
    if (m->type == INT16) pack_maxout<int16_t>(*m, V, weights, bias);
    else if (m->type == BFLOAT16) pack_maxout<bf16>(*m, V, weights, bias);
    else pack_maxout<float>(*m, V, weights, bias);
    m->gain = AlignedBuffer<float>(round_up(O, V));
    m->shift = AlignedBuffer<float>(round_up(O, V));
    for (long i = 0; gain && i < O; i++) {
        m->gain.get()[i] = gain[i];
        m->shift.get()[i] = shift[i];
    }
    return m.release();
} catch (...) {
    return nullptr;
}


PUBLIC void elmo_maxout_free(void* maxout) { delete static_cast<Maxout*>(maxout); }

// Inputs x side by side, `widths` numbers of each of a row: arrays (tokens, width) of each of `docs` docs, all of the
// first part first -> y (rows, O). Returns a Status.
PUBLIC int elmo_maxout(const void* maxout, long docs, const int64_t* tokens, long parts, const int64_t* widths,
                       const float* const* x, float* y, int threads) try {
    const Maxout* m = static_cast<const Maxout*>(maxout);
    std::vector<const float*> places;  // of all rows of a part, and then of the next
    for (long part = 0; part < parts; part++)
        for (long doc = 0; doc < docs; doc++, x++)
            for (long i = 0; i < tokens[doc]; i++) places.push_back(*x + i * widths[part]);
    const long rows = static_cast<long>(places.size()) / parts;
    if (2.0 * static_cast<double>(rows * m->I * m->O * PIECES) < WORTH_A_THREAD) threads = 1;
    return parallel_for(threads, (rows + MAXOUT_ROWS - 1) / MAXOUT_ROWS, [&](long i) {
        const long first = i * MAXOUT_ROWS, n = rows - first < MAXOUT_ROWS ? rows - first : MAXOUT_ROWS;
        std::vector<Part> own;
        for (long part = 0; part < parts; part++) own.push_back({widths[part], places.data() + part * rows + first});
        ISAS[m->isa].tasks.maxout[m->type](*m, n, own, y + first * m->O);
    });
} catch (const std::bad_alloc&) {
    return OUT_OF_MEMORY;
} catch (...) {
    return FAILED;
}

}  // extern "C"
