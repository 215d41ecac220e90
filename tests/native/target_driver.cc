// Compares each target of the kernel that this processor has with the plain one, on random numbers; the plain one's
// layers with a computation in float64; and the bits of a sentence alone with those in a batch. Prints a line for each,
// and returns 1 if something differs. Built and run by test_targets.py.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "args.h"
#include "compute_types.h"
#include "elmo_api.h"

using namespace elmo;

static std::mt19937 engine(7);

static std::vector<float> numbers(int64_t n, float scale) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> x(n);
    for (float& each : x) each = normal(engine);
    return x;
}

static std::vector<int64_t> below(int64_t n, int64_t limit) {
    std::vector<int64_t> x(n);
    for (int64_t& each : x) each = static_cast<int64_t>(engine() % limit);
    return x;
}

static const char* const NAMES[] = {"f32", "bf16", "int16"};
// Sums in another order, and then rounded to 8 or 15 bits in every step.
static const double ALLOWED[] = {2e-5, 6e-2, 2e-3};

static bool failed = false;

static double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0;
    for (size_t i = 0; i < a.size(); i++) {
        const double d = std::fabs(static_cast<double>(a[i]) - b[i]);
        if (!(d <= largest)) largest = d;  // a NaN shows
    }
    return largest;
}

static void report(const char* what, const char* target, const char* type, double difference, double allowed) {
    const bool good = difference <= allowed;
    failed |= !good;
    std::printf("%s %s %s: %.2g%s\n", what, target, type, difference, good ? "" : "  TOO MUCH");
}

// A biLM of random weights, and sentences for it.
struct Case {
    int64_t P, H, layers, K, W, U = 30;
    bool projects;
    float clip;
    std::vector<std::vector<float>> weights;
    std::vector<float> vectors, ngrams;
    std::vector<int64_t> lengths, ids, rows;

    Case(int64_t P, int64_t H, int64_t layers, bool projects, int64_t K, int64_t W, float clip,
         std::vector<int64_t> lengths)
        : P(P), H(H), layers(layers), K(K), W(W), projects(projects), clip(clip), lengths(std::move(lengths)) {
        for (int64_t i = 0; i < 2 * layers; i++) {
            weights.push_back(numbers(4 * H * P, 1 / std::sqrt((float)P)));
            weights.push_back(numbers(4 * H * P, 1 / std::sqrt((float)P)));
            weights.push_back(numbers(4 * H, 0.5f));
            weights.push_back(projects ? numbers(P * H, 1 / std::sqrt((float)H)) : std::vector<float>());
        }
        int64_t units = 0;
        for (int64_t n : this->lengths) units += n;
        vectors = numbers(U * P, 1);
        ids = below(units, U);
        // All sentences begin with the same unit, and end with another.
        int64_t end = 0;
        for (int64_t n : this->lengths) {
            ids[end] = 2;
            end += n;
            ids[end - 1] = 3;
        }
        ngrams = numbers(U * W, 1);
        for (int64_t i = 0; i < W; i++) ngrams[i] = 0;
        rows = below(units * K, U);
        int64_t at = 0;
        for (int64_t n : this->lengths) {  // no n-gram reaches over a boundary
            for (int64_t i = 0; i < n; i++)
                for (int64_t k = 0; k < K; k++)
                    if (i < k + 2 || i == n - 1) rows[(at + i) * K + k] = 0;
            at += n;
        }
    }

    // Layers of all sentences, one after another; alone: each a batch of its own.
    std::vector<float> encode(int64_t target, int64_t type, bool alone, int64_t threads) const {
        std::vector<const float*> places;
        for (const std::vector<float>& w : weights) places.push_back(w.empty() ? nullptr : w.data());
        const ModelArgs model_args = {target, type, layers, P, H, 1, clip, clip, places.data()};
        void* model = elmo_model_new(&model_args);
        std::vector<int64_t> distances;
        int64_t numbers_of_all = 0;
        for (int64_t n : lengths) {
            distances.push_back((n - 2) * 2 * P);
            numbers_of_all += (layers + 1) * distances.back();
        }
        std::vector<float> out(numbers_of_all, -7);
        std::vector<float*> to;
        float* next = out.data();
        for (int64_t distance : distances) {
            to.push_back(next);
            next += (layers + 1) * distance;
        }
        const int64_t n = static_cast<int64_t>(lengths.size()), step = alone ? 1 : n;
        int64_t unit = 0;
        for (int64_t i = 0; i < n; i += step) {
            const EncodeArgs args = {
                step,   &lengths[i],   &ids[unit], vectors.data(), 1, K, W, ngrams.data(), rows.data() + unit * K,
                &to[i], &distances[i], threads};
            failed |= 0 != elmo_encode(model, &args);
            unit += lengths[i];
        }
        elmo_model_free(model);
        return out;
    }

    // The same in float64, step by step, as modeling/lstm.py describes it.
    std::vector<float> reference() const {
        std::vector<float> out;
        int64_t unit = 0;
        for (int64_t n : lengths) {
            std::vector<std::vector<double>> sides[2];  // of each layer: (n, P)
            for (int side = 0; side < 2; side++) {
                std::vector<double> x(n * P);
                for (int64_t i = 0; i < n; i++)
                    for (int64_t j = 0; j < P; j++) x[i * P + j] = vectors[ids[unit + i] * P + j];
                for (int64_t i = 0; i < n; i++)
                    for (int64_t k = 0; k < K; k++) {
                        const int64_t row = rows[(unit + i) * K + k];
                        const int64_t at = side ? i - k - 1 : i;
                        for (int64_t j = 0; row && j < W; j++) x[at * P + j] += ngrams[row * W + j];
                    }
                sides[side].push_back(x);
                for (int64_t layer = 0; layer < layers; layer++) {
                    const std::vector<double> y = read(x, n, side, layer);
                    for (size_t i = 0; i < x.size(); i++) x[i] = y[i] + (layer ? x[i] : 0);
                    sides[side].push_back(x);
                }
            }
            for (int64_t layer = 0; layer <= layers; layer++)
                for (int64_t i = 1; i + 1 < n; i++)
                    for (const auto& side : sides)
                        for (int64_t j = 0; j < P; j++) out.push_back(static_cast<float>(side[layer][i * P + j]));
            unit += n;
        }
        return out;
    }

    // One LSTM layer over the rows of x (n, P), from the last one on for side 1.
    std::vector<double> read(const std::vector<double>& x, int64_t n, int side, int64_t layer) const {
        const std::vector<float>* w = &weights[4 * (side * layers + layer)];
        std::vector<double> h(P), c(H), m(H), gates(4 * H), y(n * P);
        for (int64_t step = 0; step < n; step++) {
            const int64_t i = side ? n - 1 - step : step;
            for (int64_t g = 0; g < 4 * H; g++) {
                gates[g] = w[2][g];
                for (int64_t j = 0; j < P; j++) gates[g] += w[0][g * P + j] * x[i * P + j] + w[1][g * P + j] * h[j];
            }
            const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
            for (int64_t j = 0; j < H; j++) {
                c[j] = sigmoid(gates[H + j]) * c[j] + sigmoid(gates[j]) * std::tanh(gates[2 * H + j]);
                c[j] = clipped(c[j]);
                m[j] = sigmoid(gates[3 * H + j]) * std::tanh(c[j]);
            }
            for (int64_t j = 0; j < P; j++) {
                double sum = projects ? 0 : m[j];
                for (int64_t k = 0; projects && k < H; k++) sum += w[3][j * H + k] * m[k];
                y[i * P + j] = h[j] = clipped(sum);
            }
        }
        return y;
    }
    double clipped(double x) const { return x > clip ? clip : x < -clip ? -clip : x; }

    void compare(const char* what, int64_t target, int64_t plain) const {
        if (target == plain)
            report("reference", elmo_target_name(target), NAMES[0],
                   largest_difference(encode(target, 0, false, 2), reference()), ALLOWED[0]);
        for (int64_t type = 0; type < N_COMPUTE_TYPES; type++) {
            const std::vector<float> mine = encode(target, type, false, 2);
            report(what, elmo_target_name(target), NAMES[type], largest_difference(mine, encode(plain, type, false, 2)),
                   ALLOWED[type]);
            report("  alone and in a batch", elmo_target_name(target), NAMES[type],
                   largest_difference(mine, encode(target, type, true, 1)), 0);
        }
    }
};

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
    constexpr int64_t ROWS = 5, STEPS = 4, P = 19, H = 27, SIZE = 37, N = ROWS * STEPS;
    const int64_t sizes[STEPS] = {5, 5, 3, 1};
    const std::vector<float> w_ih = numbers(4 * H * P, 0.3f), w_hh = numbers(4 * H * P, 0.3f), bias = numbers(4 * H, 1),
                             w_hr = numbers(P * H, 0.3f), x = numbers(N * P, 1), d_y = numbers(N * P, 1),
                             weight = numbers(SIZE * P, 0.3f), offset = numbers(SIZE, 1);
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
        const CrossEntropyShape softmax = {side ? plain : target, half, N, P, SIZE, 1, 1};
        const auto room = aligned_room(elmo_cross_entropy_workspace(&softmax));
        double loss = 0;
        std::vector<float> d_in(N * P), d_weight(SIZE * P), d_offset(SIZE);
        const CrossEntropyArgs args = {softmax,    x.data(), weight.data(), offset.data(),   targets.data(),
                                       room.get(), &loss,    d_in.data(),   d_weight.data(), d_offset.data()};
        failed |= 0 != elmo_cross_entropy(&args);
        for (const std::vector<float>& part : {y, d_x, d_w_ih, d_w_hh, d_bias, d_w_hr, d_in, d_weight, d_offset})
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
