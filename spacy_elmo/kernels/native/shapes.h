// What training's kernels are called with. Plain data, the same for all instruction sets.
#pragma once

#include <cstdint>

namespace elmo {

// A layer of one direction over a batch: P inputs and outputs, H cells. Step t has the first sizes[t] of the rows, which do
// not become more from step to step.
struct LstmShape {
    long rows, steps, P, H;
    const int64_t* sizes;  // (steps,)
    bool projects;         // else P is H
    long threads;          // to use at most
};

// Numbers from one step to the next, and from one row to the next, of arrays (steps, rows, P).
struct Strides {
    int64_t step, row;
};

// Weights as torch.nn.LSTM has them: w_ih, w_hh (4H, P), bias (4H), w_hr (P, H) or null.
struct LstmForward {
    const float *w_ih, *w_hh, *bias, *w_hr, *x;
    Strides of_x;
    float* y;
    Strides of_y;
    char* kept;  // for the way back: as many bytes as lstm_room says
};

struct LstmBackward {
    const float *w_ih, *w_hh, *w_hr, *d_y;
    Strides of_y;
    float* d_x;
    Strides of_x;
    const char* kept;
    char* work;  // as many bytes as lstm_room says
    float *d_w_ih, *d_w_hh, *d_bias, *d_w_hr;
};

// The softmax over V units and its loss, of n predictions with P inputs each. Targets below 0 are left out.
struct SoftmaxLoss {
    long n, P, V;
    const float *x, *weight, *bias;
    const int64_t* targets;
    float *d_x, *d_weight, *d_bias;  // null: the loss alone
    char* work;                      // as many bytes as softmax_room says
    long threads;
};

}  // namespace elmo
