// Compares each instruction set of the kernel that this processor has with the plain one, on random numbers; that one's
// layers with a plain computation in float64; and the bits of a sentence alone with those in a batch. Prints a line for
// each, and returns 1 if something differs. Built and run by test_isas.py.

#include "bilm.cpp"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>

static std::mt19937 engine(7);

static std::vector<float> numbers(long n, float scale) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> x(n);
    for (float& each : x) each = normal(engine);
    return x;
}

static std::vector<int64_t> below(long n, long limit) {
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

static void report(const char* what, const char* isa, const char* type, double difference, double allowed) {
    const bool good = difference <= allowed;
    failed |= !good;
    std::printf("%s %s %s: %.2g%s\n", what, isa, type, difference, good ? "" : "  TOO MUCH");
}

// A biLM of random weights, and sentences for it.
struct Case {
    long P, H, layers, K, W, U = 30;
    bool projects;
    float clip;
    std::vector<std::vector<float>> weights;
    std::vector<float> vectors, ngrams;
    std::vector<int64_t> lengths, ids, rows;

    Case(long P, long H, long layers, bool projects, long K, long W, float clip, std::vector<int64_t> lengths)
        : P(P), H(H), layers(layers), K(K), W(W), projects(projects), clip(clip), lengths(std::move(lengths)) {
        for (long i = 0; i < 2 * layers; i++) {
            weights.push_back(numbers(4 * H * P, 1 / std::sqrt((float)P)));
            weights.push_back(numbers(4 * H * P, 1 / std::sqrt((float)P)));
            weights.push_back(numbers(4 * H, 0.5f));
            weights.push_back(projects ? numbers(P * H, 1 / std::sqrt((float)H)) : std::vector<float>());
        }
        long units = 0;
        for (int64_t n : this->lengths) units += n;
        vectors = numbers(U * P, 1);
        ids = below(units, U);
        // All sentences begin with the same unit, and end with another.
        long end = 0;
        for (int64_t n : this->lengths) {
            ids[end] = 2;
            end += n;
            ids[end - 1] = 3;
        }
        ngrams = numbers(U * W, 1);
        for (long i = 0; i < W; i++) ngrams[i] = 0;
        rows = below(units * K, U);
        long at = 0;
        for (int64_t n : this->lengths) {  // no n-gram reaches over a boundary
            for (long i = 0; i < n; i++)
                for (long k = 0; k < K; k++)
                    if (i < k + 2 || i == n - 1) rows[(at + i) * K + k] = 0;
            at += n;
        }
    }

    // Layers of all sentences, one after another; alone: each a batch of its own.
    std::vector<float> encode(int isa, int type, bool alone, int threads) const {
        std::vector<const float*> places;
        for (const std::vector<float>& w : weights) places.push_back(w.empty() ? nullptr : w.data());
        void* model = elmo_new(isa, type, layers, P, H, 1, clip, clip, places.data());
        std::vector<int64_t> distances;
        long numbers_of_all = 0;
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
        const long n = static_cast<long>(lengths.size()), step = alone ? 1 : n;
        long unit = 0;
        for (long i = 0; i < n; i += step) {
            failed |= 0 != elmo_encode(model, step, &lengths[i], &ids[unit], vectors.data(), 1, K, W, ngrams.data(),
                                       rows.data() + unit * K, &to[i], &distances[i], threads);
            unit += lengths[i];
        }
        elmo_free(model);
        return out;
    }

    // The same in float64, step by step, as modeling/lstm.py describes it.
    std::vector<float> reference() const {
        std::vector<float> out;
        long unit = 0;
        for (int64_t n : lengths) {
            std::vector<std::vector<double>> sides[2];  // of each layer: (n, P)
            for (int side = 0; side < 2; side++) {
                std::vector<double> x(n * P);
                for (long i = 0; i < n; i++)
                    for (long j = 0; j < P; j++) x[i * P + j] = vectors[ids[unit + i] * P + j];
                for (long i = 0; i < n; i++)
                    for (long k = 0; k < K; k++) {
                        const int64_t row = rows[(unit + i) * K + k];
                        const long at = side ? i - k - 1 : i;
                        for (long j = 0; row && j < W; j++) x[at * P + j] += ngrams[row * W + j];
                    }
                sides[side].push_back(x);
                for (long layer = 0; layer < layers; layer++) {
                    const std::vector<double> y = read(x, n, side, layer);
                    for (size_t i = 0; i < x.size(); i++) x[i] = y[i] + (layer ? x[i] : 0);
                    sides[side].push_back(x);
                }
            }
            for (long layer = 0; layer <= layers; layer++)
                for (long i = 1; i + 1 < n; i++)
                    for (const auto& side : sides)
                        for (long j = 0; j < P; j++) out.push_back(static_cast<float>(side[layer][i * P + j]));
            unit += n;
        }
        return out;
    }

    // One LSTM layer over the rows of x (n, P), from the last one on for side 1.
    std::vector<double> read(const std::vector<double>& x, long n, int side, long layer) const {
        const std::vector<float>* w = &weights[4 * (side * layers + layer)];
        std::vector<double> h(P), c(H), m(H), gates(4 * H), y(n * P);
        for (long step = 0; step < n; step++) {
            const long i = side ? n - 1 - step : step;
            for (long g = 0; g < 4 * H; g++) {
                gates[g] = w[2][g];
                for (long j = 0; j < P; j++) gates[g] += w[0][g * P + j] * x[i * P + j] + w[1][g * P + j] * h[j];
            }
            const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
            for (long j = 0; j < H; j++) {
                c[j] = sigmoid(gates[H + j]) * c[j] + sigmoid(gates[j]) * std::tanh(gates[2 * H + j]);
                c[j] = clipped(c[j]);
                m[j] = sigmoid(gates[3 * H + j]) * std::tanh(c[j]);
            }
            for (long j = 0; j < P; j++) {
                double sum = projects ? 0 : m[j];
                for (long k = 0; projects && k < H; k++) sum += w[3][j * H + k] * m[k];
                y[i * P + j] = h[j] = clipped(sum);
            }
        }
        return y;
    }
    double clipped(double x) const { return x > clip ? clip : x < -clip ? -clip : x; }

    void compare(const char* what, int isa, int plain) const {
        if (isa == plain)
            report("reference", elmo_isa(isa), NAMES[0], largest_difference(encode(isa, 0, false, 2), reference()),
                   ALLOWED[0]);
        for (int type = 0; type < 3; type++) {
            const std::vector<float> mine = encode(isa, type, false, 2);
            report(what, elmo_isa(isa), NAMES[type], largest_difference(mine, encode(plain, type, false, 2)),
                   ALLOWED[type]);
            report("  alone and in a batch", elmo_isa(isa), NAMES[type],
                   largest_difference(mine, encode(isa, type, true, 1)), 0);
        }
    }
};

static void compare_maxouts(int isa, int plain) {
    constexpr long I = 37, O = 21, ROWS = 11;
    const std::vector<float> weights = numbers(O * PIECES * I, 0.3f), bias = numbers(O * PIECES, 1);
    const std::vector<float> gain = numbers(O, 1), shift = numbers(O, 1), x = numbers(ROWS * I, 1);
    const int64_t tokens[] = {ROWS}, widths[] = {I};
    const float* const places[] = {x.data()};
    for (int type = 0; type < 3; type++) {
        std::vector<float> y[2];
        for (int side = 0; side < 2; side++) {
            y[side].resize(ROWS * O);
            void* maxout = elmo_maxout_new(side ? plain : isa, type, I, O, weights.data(), bias.data(), gain.data(),
                                           shift.data(), 1e-8f);
            failed |= 0 != elmo_maxout(maxout, 1, tokens, 1, widths, places, y[side].data(), 1);
            elmo_maxout_free(maxout);
        }
        report("maxout", elmo_isa(isa), NAMES[type], largest_difference(y[0], y[1]), ALLOWED[type]);
    }
}

static void compare_mixes(int isa, int plain) {
    constexpr long L = 3, N = 13, D = 22, S = 5;
    const std::vector<float> layers = numbers(L * N * D, 1), weights = numbers(L, 1), beside = numbers(N * S, 1);
    const float* const places[] = {layers.data()};
    const float* const besides[] = {beside.data()};
    const int64_t tokens[] = {N};
    std::vector<float> y[2];
    for (int side = 0; side < 2; side++) {
        y[side].resize(N * (D + S));
        std::vector<Moments> norms(N * L);
        float* const to[] = {y[side].data()};
        failed |= 0 != elmo_mix(side ? plain : isa, 1, tokens, places, L, D, weights.data(), 1e-12f, besides, S, to,
                                norms.data(), 1);
    }
    report("mix", elmo_isa(isa), NAMES[0], largest_difference(y[0], y[1]), ALLOWED[0]);
}

struct FreeAligned {
    void operator()(char* room) const { std::free(room); }
};
static std::unique_ptr<char, FreeAligned> aligned_room(int64_t bytes) {
    return std::unique_ptr<char, FreeAligned>(static_cast<char*>(std::aligned_alloc(64, (bytes / 64 + 1) * 64)));
}

// A layer forward and backward, and the softmax with its gradients. half: products of bfloat16.
static void compare_training(int isa, int plain, int half) {
    constexpr long ROWS = 5, STEPS = 4, P = 19, H = 27, SIZE = 37, N = ROWS * STEPS;
    const int64_t sizes[STEPS] = {5, 5, 3, 1};
    const std::vector<float> w_ih = numbers(4 * H * P, 0.3f), w_hh = numbers(4 * H * P, 0.3f), bias = numbers(4 * H, 1),
                             w_hr = numbers(P * H, 0.3f), x = numbers(N * P, 1), d_y = numbers(N * P, 1),
                             weight = numbers(SIZE * P, 0.3f), offset = numbers(SIZE, 1);
    const std::vector<int64_t> targets = below(N, SIZE);
    std::vector<float> all[2];
    for (int side = 0; side < 2; side++) {
        const int which = side ? plain : isa;
        int64_t bytes[2];
        elmo_lstm_room(which, half, ROWS, STEPS, P, H, 1, sizes, bytes);
        const auto kept = aligned_room(bytes[0]), work = aligned_room(bytes[1]);
        std::vector<float> y(N * P), d_x(N * P), d_w_ih(4 * H * P), d_w_hh(4 * H * P), d_bias(4 * H), d_w_hr(P * H);
        failed |= 0 != elmo_lstm_forward(which, half, ROWS, STEPS, P, H, sizes, w_ih.data(), w_hh.data(), bias.data(),
                                         w_hr.data(), x.data(), y.data(), kept.get(), 1);
        failed |= 0 != elmo_lstm_backward(which, half, ROWS, STEPS, P, H, sizes, w_ih.data(), w_hh.data(), w_hr.data(),
                                          kept.get(), d_y.data(), work.get(), d_x.data(), d_w_ih.data(), d_w_hh.data(),
                                          d_bias.data(), d_w_hr.data(), 1);
        const auto room = aligned_room(elmo_softmax_room(which, half, N, P, SIZE, 1));
        double loss = 0;
        std::vector<float> d_in(N * P), d_weight(SIZE * P), d_offset(SIZE);
        failed |= 0 != elmo_softmax_loss(which, half, N, P, SIZE, x.data(), weight.data(), offset.data(), targets.data(),
                                         room.get(), &loss, d_in.data(), d_weight.data(), d_offset.data(), 1);
        for (const std::vector<float>& part : {y, d_x, d_w_ih, d_w_hh, d_bias, d_w_hr, d_in, d_weight, d_offset})
            all[side].insert(all[side].end(), part.begin(), part.end());
        all[side].push_back(static_cast<float>(loss));
    }
    report("training", elmo_isa(isa), NAMES[half], largest_difference(all[0], all[1]), ALLOWED[half]);
}

int main() {
    int plain = 0;
    while (elmo_isa(plain + 1)) plain++;  // the last
    const float none = std::numeric_limits<float>::infinity();
    const Case cases[] = {
        {16, 24, 2, true, 2, 16, none, {9, 9, 7, 5, 4, 3, 3, 2}},
        {40, 72, 2, true, 1, 20, 0.5f, {12, 11, 8, 3}},
        {24, 24, 1, false, 0, 1, none, {6, 5, 5, 5, 5, 4, 3}},
    };
    for (int isa = 0; elmo_isa(isa); isa++) {
        if (!elmo_supported(isa)) {
            std::printf("%s: not on this processor\n", elmo_isa(isa));
            continue;
        }
        std::printf("%s: fastest with %s\n", elmo_isa(isa), NAMES[elmo_fastest(isa)]);
        for (const Case& each : cases) each.compare("layers", isa, plain);
        compare_maxouts(isa, plain);
        compare_mixes(isa, plain);
        compare_training(isa, plain, 0);
        compare_training(isa, plain, 1);
    }
    return failed;
}
