// The C interface of single operations, for tests and benchmarks.

#include "elmo_api.h"

#include <cstdint>
#include <memory>

#include "aligned_buffer.h"
#include "api_status.h"
#include "args.h"
#include "compute_types.h"
#include "packed_model.h"
#include "packing.h"
#include "parallel_for.h"
#include "targets.h"

namespace elmo {

template <class T>
static void pack_as(PackedMatrix& m, int64_t lanes, const float* weights) {
    const int64_t N = m.n_outputs, K = m.n_inputs;
    m.weights = AlignedBuffer<char>(m.N_row * m.K * sizeof(T));
    m.scales = AlignedBuffer<float>(m.type == INT16 ? m.N_row : 0);
    float* scales = m.type == INT16 ? m.scales.get() : nullptr;
    pack_matrix<T>(weights, N, K, m.K, lanes, m.tiled, reinterpret_cast<T*>(m.weights.get()), scales);
    if (scales && !all_finite(weights, N * K)) poison_scales(m.scales, m.N_row);
}

static std::unique_ptr<PackedMatrix> pack(const MatrixArgs& a) {
    const Target& target = TARGETS[a.target];
    auto m = std::make_unique<PackedMatrix>();
    m->target = a.target;
    m->type = static_cast<ComputeType>(a.compute_type);
    m->tiled = uses_tiles(target, m->type);
    m->n_inputs = a.n_inputs;
    m->n_outputs = a.n_outputs;
    m->K = round_up(a.n_inputs, k_multiple(target, m->type));
    m->N_row = round_up(a.n_outputs, GATES * target.ops->lanes);
    if (m->type == INT16) pack_as<int16_t>(*m, target.ops->lanes, a.weights);
    else if (m->type == BFLOAT16) pack_as<bf16>(*m, target.ops->lanes, a.weights);
    else pack_as<float>(*m, target.ops->lanes, a.weights);
    return m;
}

}  // namespace elmo

using namespace elmo;

void* elmo_matrix_new(const MatrixArgs* args) {
    return guarded_new([&] { return pack(*args); });
}

void elmo_matrix_free(void* matrix) { delete static_cast<PackedMatrix*>(matrix); }

int64_t elmo_matmul(const void* matrix, const MatmulInputs* args) {
    return guarded([&] {
        const PackedMatrix& m = *static_cast<const PackedMatrix*>(matrix);
        TARGETS[m.target].ops->matmul[m.type](m, *args);
        return OK;
    });
}

int64_t elmo_lstm_cell(const LSTMCellArgs* args) {
    return guarded([&] {
        TARGETS[args->target].ops->lstm_cells[args->compute_type](*args);
        return OK;
    });
}

double elmo_peak_products(int64_t target, int64_t compute_type, int64_t repeats) {
    return TARGETS[target].ops->peak_products[compute_type](repeats);
}

double elmo_read_memory(int64_t target, const float* x, int64_t n, int64_t repeats) {
    double sum = 0;
    for (int64_t i = 0; i < repeats; i++) sum = TARGETS[target].ops->read_memory(x, n);
    return sum;
}
