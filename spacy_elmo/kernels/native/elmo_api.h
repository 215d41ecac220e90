// The C interface of the kernel. It depends on no version of Python or torch; ../native_interface.py declares the same
// functions for ctypes. args.h explains the structs.
//
// Functions that return a Status (parallel_for.h) throw nothing; *_new return null if there is no memory.
#pragma once

#include <cstdint>

#include "args.h"

#define ELMO_PUBLIC __attribute__((visibility("default")))

extern "C" {

// Version of this interface. Raise it, and ABI_VERSION of ../native_interface.py, when a function or a struct changes.
ELMO_PUBLIC int64_t elmo_abi_version();

// Name of a target, best first; null after the last.
ELMO_PUBLIC const char* elmo_target_name(int64_t target);
// Whether this processor and system have the target.
ELMO_PUBLIC int64_t elmo_target_supported(int64_t target);
// The ComputeType whose products are fastest.
ELMO_PUBLIC int64_t elmo_fastest_compute_type(int64_t target);

// Inference: elmo_api.cc. Packing copies the weights.
ELMO_PUBLIC void* elmo_model_new(const elmo::ModelArgs* args);
ELMO_PUBLIC void elmo_model_free(void* model);
// Encode a batch, both directions.
ELMO_PUBLIC int64_t elmo_encode(const void* model, const elmo::EncodeArgs* args);
// Make layers of tokens from those of their units, for each doc.
ELMO_PUBLIC int64_t elmo_pool_tokens(const elmo::PoolTokensArgs* args);
// Mix the layers of each doc.
ELMO_PUBLIC int64_t elmo_scalar_mix(const elmo::ScalarMixArgs* args);
ELMO_PUBLIC void* elmo_maxout_new(const elmo::MaxoutArgs* args);
ELMO_PUBLIC void elmo_maxout_free(void* maxout);
ELMO_PUBLIC int64_t elmo_maxout(const void* maxout, const elmo::MaxoutInputs* args);

// Training: training_api.cc.
// bytes (2,): of the activations that the forward pass saves, and of the workspace of the backward pass.
ELMO_PUBLIC int64_t elmo_lstm_workspace(const elmo::LSTMShape* shape, int64_t* bytes);
// Fill y and the saved activations.
ELMO_PUBLIC int64_t elmo_lstm_forward(const elmo::LSTMForwardArgs* args);
// Fill d_x and the gradients of the weights.
ELMO_PUBLIC int64_t elmo_lstm_backward(const elmo::LSTMBackwardArgs* args);
// Replace the sums by the gates, and fill the cell states and outputs.
ELMO_PUBLIC int64_t elmo_lstm_recurrence_forward(const elmo::LSTMRecurrenceArgs* args);
// Replace the gates by the gradients of the sums.
ELMO_PUBLIC int64_t elmo_lstm_recurrence_backward(const elmo::LSTMRecurrenceArgs* args);
// Bytes of the workspace.
ELMO_PUBLIC int64_t elmo_cross_entropy_workspace(const elmo::CrossEntropyShape* shape);
// Fill the loss and, with gradients, d_x, d_weight and d_bias.
ELMO_PUBLIC int64_t elmo_cross_entropy(const elmo::CrossEntropyArgs* args);

// Single operations, for tests and benchmarks: single_ops_api.cc.
ELMO_PUBLIC void* elmo_matrix_new(const elmo::MatrixArgs* args);
ELMO_PUBLIC void elmo_matrix_free(void* matrix);
ELMO_PUBLIC int64_t elmo_matmul(const void* matrix, const elmo::MatmulInputs* args);
ELMO_PUBLIC int64_t elmo_lstm_cell(const elmo::LSTMCellArgs* args);
// Multiply operands that stay in the first-level cache. Return the number of operations.
ELMO_PUBLIC double elmo_peak_products(int64_t target, int64_t compute_type, int64_t repeats);
// Read n numbers `repeats` times. Return their sum.
ELMO_PUBLIC double elmo_read_memory(int64_t target, const float* x, int64_t n, int64_t repeats);

}  // extern "C"
