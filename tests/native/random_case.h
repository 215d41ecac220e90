// Random numbers, biLMs of random weights with sentences, and reports of differences, for target_driver.cc.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <utility>
#include <vector>

#include "args.h"
#include "compute_types.h"
#include "elmo_api.h"

using namespace elmo;

inline std::mt19937 engine(7);

inline std::vector<float> numbers(int64_t n, float scale) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> x(n);
    for (float& each : x) each = normal(engine);
    return x;
}

inline std::vector<int64_t> below(int64_t n, int64_t limit) {
    std::vector<int64_t> x(n);
    for (int64_t& each : x) each = static_cast<int64_t>(engine() % limit);
    return x;
}

inline const char* const NAMES[] = {"f32", "bf16", "int16"};
// Sums in another order, and then rounded to 8 or 15 bits in every step.
inline const double ALLOWED[] = {2e-5, 6e-2, 2e-3};

inline bool failed = false;

inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0;
    for (size_t i = 0; i < a.size(); i++) {
        const double d = std::fabs(static_cast<double>(a[i]) - b[i]);
        if (!(d <= largest)) largest = d;  // a NaN shows
    }
    return largest;
}

inline void report(const char* what, const char* target, const char* type, double difference, double allowed) {
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
