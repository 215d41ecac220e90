// The C interface for training: an LSTM layer of one direction, and the cross entropy of a softmax.

#include "elmo_api.h"

#include <cstdint>

#include "api_status.h"
#include "args.h"
#include "parallel_for.h"
#include "target_ops.h"
#include "targets.h"

using namespace elmo;

// The functions for a target (LSTMShape or CrossEntropyShape) and its compute type.
template <class Shape>
static const TrainingOps& ops_for(const Shape& shape) {
    return TARGETS[shape.target].ops->training[shape.use_bf16 ? 1 : 0];
}

int64_t elmo_lstm_workspace(const LSTMShape* shape, int64_t* bytes) {
    return guarded([&] {
        ops_for(*shape).lstm_workspace(*shape, bytes);
        return OK;
    });
}

int64_t elmo_lstm_forward(const LSTMForwardArgs* args) {
    return guarded([&] { return ops_for(args->shape).lstm_forward(*args); });
}

int64_t elmo_lstm_backward(const LSTMBackwardArgs* args) {
    return guarded([&] { return ops_for(args->shape).lstm_backward(*args); });
}

int64_t elmo_lstm_recurrence_forward(const LSTMRecurrenceArgs* args) {
    return guarded([&] { return TARGETS[args->target].ops->lstm_recurrence_forward(*args); });
}

int64_t elmo_lstm_recurrence_backward(const LSTMRecurrenceArgs* args) {
    return guarded([&] { return TARGETS[args->target].ops->lstm_recurrence_backward(*args); });
}

int64_t elmo_cross_entropy_workspace(const CrossEntropyShape* shape) {
    return ops_for(*shape).cross_entropy_workspace(*shape);
}

int64_t elmo_cross_entropy(const CrossEntropyArgs* args) {
    return guarded([&] { return ops_for(args->shape).cross_entropy(*args); });
}
