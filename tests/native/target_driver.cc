// Compares each target of the kernel that this processor has with the plain one, on random numbers; the plain one's
// layers with a computation in float64; and the bits of a sentence alone with those in a batch. Prints a line for each,
// and returns 1 if something differs. Built and run by test_targets.py.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <vector>

#include "args.h"
#include "compute_types.h"
#include "elmo_api.h"
#include "random_case.h"

using namespace elmo;

static void compare_maxouts(int64_t target, int64_t plain) {
    constexpr int64_t I = 37, O = 21, ROWS = 11;
    const std::vector<float> weights = numbers(O * PIECES * I, 0.3f), bias = numbers(O * PIECES, 1);
    const std::vector<float> gain = numbers(O, 1), shift = numbers(O, 1), x = numbers(ROWS * I, 1);
    const int64_t tokens[] = {ROWS}, widths[] = {I};
    const float* const places[] = {x.data()};
    for (int64_t type = 0; type < N_COMPUTE_TYPES; type++) {
        std::vector<float> y[2];
        for (int side = 0; side < 2; side++) {
            y[side].resize(ROWS * O);
            const MaxoutArgs args = {side ? plain : target, type,         I,   O, weights.data(), bias.data(),
                                     gain.data(),           shift.data(), 1e-8};
            const MaxoutInputs inputs = {1, tokens, 1, widths, places, y[side].data(), 1};
            void* maxout = elmo_maxout_new(&args);
            failed |= 0 != elmo_maxout(maxout, &inputs);
            elmo_maxout_free(maxout);
        }
        report("maxout", elmo_target_name(target), NAMES[type], largest_difference(y[0], y[1]), ALLOWED[type]);
    }
}

static void compare_mixes(int64_t target, int64_t plain) {
    constexpr int64_t L = 3, N = 13, D = 22, S = 5;
    const std::vector<float> layers = numbers(L * N * D, 1), weights = numbers(L, 1), beside = numbers(N * S, 1);
    const float* const places[] = {layers.data()};
    const float* const besides[] = {beside.data()};
    const int64_t tokens[] = {N};
    std::vector<float> y[2];
    for (int side = 0; side < 2; side++) {
        y[side].resize(N * (D + S));
        std::vector<Moments> norms(N * L);
        float* const to[] = {y[side].data()};
        const ScalarMixArgs args = {
            side ? plain : target, 1, tokens, places, L, D, weights.data(), 1e-12, besides, S, to, norms.data(), 1};
        failed |= 0 != elmo_scalar_mix(&args);
    }
    report("mix", elmo_target_name(target), NAMES[0], largest_difference(y[0], y[1]), ALLOWED[0]);
}

struct FreeAligned {
    void operator()(char* room) const { std::free(room); }
};
static std::unique_ptr<char, FreeAligned> aligned_room(int64_t bytes) {
    return std::unique_ptr<char, FreeAligned>(static_cast<char*>(std::aligned_alloc(64, (bytes / 64 + 1) * 64)));
}

// A layer forward and backward, and the softmax with its gradients. half: products of bfloat16.
static void compare_training(int64_t target, int64_t plain, int half) {
    constexpr int64_t ROWS = 5, STEPS = 4, P = 19, H = 27, SIZE = 37, N = ROWS * STEPS, UNITS = 14;
    const int64_t sizes[STEPS] = {5, 5, 3, 1};  // UNITS in all
    const std::vector<float> w_ih = numbers(4 * H * P, 0.3f), w_hh = numbers(4 * H * P, 0.3f), bias = numbers(4 * H, 1),
                             w_hr = numbers(P * H, 0.3f), x = numbers(N * P, 1), d_y = numbers(N * P, 1),
                             weight = numbers(SIZE * P, 0.3f), offset = numbers(SIZE, 1),
                             sums = numbers(UNITS * 4 * H, 1), w_rec = numbers(4 * H * H, 0.3f);
    const std::vector<int64_t> targets = below(N, SIZE);
    std::vector<float> all[2];
    for (int side = 0; side < 2; side++) {
        const LSTMShape shape = {side ? plain : target, half, ROWS, STEPS, P, H, 1, sizes, 1};
        int64_t bytes[2];
        failed |= 0 != elmo_lstm_workspace(&shape, bytes);
        const auto saved = aligned_room(bytes[0]), work = aligned_room(bytes[1]);
        std::vector<float> y(N * P), d_x(N * P), d_w_ih(4 * H * P), d_w_hh(4 * H * P), d_bias(4 * H), d_w_hr(P * H);
        const LSTMForwardArgs forward = {shape,       w_ih.data(), w_hh.data(), bias.data(),
                                         w_hr.data(), x.data(),    y.data(),    saved.get()};
        failed |= 0 != elmo_lstm_forward(&forward);
        const LSTMBackwardArgs backward = {shape,         w_ih.data(),   w_hh.data(),   w_hr.data(),
                                           saved.get(),   d_y.data(),    work.get(),    d_x.data(),
                                           d_w_ih.data(), d_w_hh.data(), d_bias.data(), d_w_hr.data()};
        failed |= 0 != elmo_lstm_backward(&backward);
        std::vector<float> gates = sums, c(UNITS * H), m(UNITS * H);
        const LSTMRecurrenceArgs recurrence = {side ? plain : target, STEPS,    H,        sizes, w_rec.data(),
                                               gates.data(),          c.data(), m.data(), 1};
        failed |= 0 != elmo_lstm_recurrence_forward(&recurrence);
        failed |= 0 != elmo_lstm_recurrence_backward(&recurrence);
        const CrossEntropyShape softmax = {side ? plain : target, half, N, P, SIZE, 1, 1};
        const auto room = aligned_room(elmo_cross_entropy_workspace(&softmax));
        double loss = 0;
        std::vector<float> d_in(N * P), d_weight(SIZE * P), d_offset(SIZE);
        const CrossEntropyArgs args = {softmax,    x.data(), weight.data(), offset.data(),   targets.data(),
                                       room.get(), &loss,    d_in.data(),   d_weight.data(), d_offset.data()};
        failed |= 0 != elmo_cross_entropy(&args);
        for (const std::vector<float>& part :
             {y, d_x, d_w_ih, d_w_hh, d_bias, d_w_hr, d_in, d_weight, d_offset, gates, c, m})
            all[side].insert(all[side].end(), part.begin(), part.end());
        all[side].push_back(static_cast<float>(loss));
    }
    report("training", elmo_target_name(target), NAMES[half], largest_difference(all[0], all[1]), ALLOWED[half]);
}

// Products of several shapes, and LSTM cells, against float64.
static void compare_single_operations(int64_t target) {
    for (int64_t type = 0; type < N_COMPUTE_TYPES; type++) {
        for (const int64_t rows : {1, 3, 8, 17, 40}) {
            const int64_t K = 37 * rows % 300 + 1, N = 5 * rows;
            const std::vector<float> w = numbers(N * K, 1 / std::sqrt((float)K)), x = numbers(rows * K, 1);
            std::vector<float> found(rows * N), exact(rows * N);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t o = 0; o < N; o++) {
                    double sum = 0;
                    for (int64_t k = 0; k < K; k++) sum += static_cast<double>(x[r * K + k]) * w[o * K + k];
                    exact[r * N + o] = static_cast<float>(sum);
                }
            const MatrixArgs args = {target, type, K, N, w.data()};
            const MatmulInputs inputs = {rows, x.data(), found.data(), 1};
            void* matrix = elmo_matrix_new(&args);
            failed |= 0 != elmo_matmul(matrix, &inputs);
            elmo_matrix_free(matrix);
            report("matmul", elmo_target_name(target), NAMES[type], largest_difference(found, exact), ALLOWED[type]);
        }
        constexpr int64_t ROWS = 3, H = 21;
        const std::vector<float> gates = numbers(ROWS * 4 * H, 2);
        std::vector<float> c = numbers(ROWS * H, 1), exact_c, out(ROWS * H), exact_out;
        const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
        for (int64_t i = 0; i < ROWS * H; i++) {
            const float* g = gates.data() + i / H * 4 * H + i % H;
            double state = sigmoid(g[H]) * c[i] + sigmoid(g[0]) * std::tanh(g[2 * H]);
            state = state > 1 ? 1 : state < -1 ? -1 : state;
            exact_c.push_back(static_cast<float>(state));
            exact_out.push_back(static_cast<float>(sigmoid(g[3 * H]) * std::tanh(state)));
        }
        const LSTMCellArgs cells = {target, type, ROWS, H, gates.data(), 1, c.data(), out.data()};
        failed |= 0 != elmo_lstm_cell(&cells);
        const double worst = std::fmax(largest_difference(c, exact_c), largest_difference(out, exact_out));
        report("cell", elmo_target_name(target), NAMES[type], worst, type ? 2e-5 : 2e-6);
    }
}

int main() {
    int64_t plain = 0;
    while (elmo_target_name(plain + 1)) plain++;  // the last
    const float none = std::numeric_limits<float>::infinity();
    const Case cases[] = {
        {16, 24, 2, true, 2, 16, none, {9, 9, 7, 5, 4, 3, 3, 2}},
        {40, 72, 2, true, 1, 20, 0.5f, {12, 11, 8, 3}},
        {24, 24, 1, false, 0, 1, none, {6, 5, 5, 5, 5, 4, 3}},
    };
    for (int64_t target = 0; elmo_target_name(target); target++) {
        if (!elmo_target_supported(target)) {
            std::printf("%s: not on this processor\n", elmo_target_name(target));
            continue;
        }
        std::printf("%s: fastest with %s\n", elmo_target_name(target), NAMES[elmo_fastest_compute_type(target)]);
        for (const Case& each : cases) each.compare("layers", target, plain);
        compare_single_operations(target);
        compare_maxouts(target, plain);
        compare_mixes(target, plain);
        compare_training(target, plain, 0);
        compare_training(target, plain, 1);
    }
    return failed;
}
