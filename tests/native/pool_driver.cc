// Drives the kernel's threads under a sanitizer, without Python: callers at once, teams, exceptions, forks, buffers.
// Ends with 0 and "ok" if every result is right.

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "aligned_buffer.h"
#include "lockstep_team.h"
#include "parallel_for.h"
#include "thread_pool.h"

using namespace elmo;

static void check(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "wrong: %s\n", what);
    std::_Exit(1);
}

// The sum of 0..n, by pieces that need memory of their own.
static int64_t sum(int64_t threads, int64_t n) {
    std::vector<int64_t> parts(n);
    const Status status = parallel_for(threads, n, [&](int64_t i) {
        const AlignedBuffer<int64_t> own(i % 7 == 0 ? LARGE_PAGE / sizeof(int64_t) : 16);
        own.get()[i % 16] = i;
        parts[i] = own.get()[i % 16];
    });
    check(status == OK, "status");
    int64_t all = 0;
    for (int64_t part : parts) all += part;
    return all;
}

// Each round all members of a team write a share, and number 0 adds them up.
static int64_t rounds(int64_t threads, int64_t n) {
    LockstepTeam team;
    std::vector<int64_t> shares(threads);
    int64_t all = 0;
    team.run(threads, [&](int64_t me) {
        for (int64_t i = 0; i < n; i++) {
            shares[me] = i;
            if (!team.arrive_and_wait(me)) continue;
            for (int64_t k = 0; k < team.size(); k++) all += shares[k] * threads / team.size();
            team.release();
        }
    });
    return all;
}

template <class Error, class Work>
static void throws(const Work& work, const char* what) {
    try {
        work();
    } catch (const Error&) {
        return;
    }
    check(false, what);
}

static void errors() {
    for (int64_t thrower = 0; thrower < 4; thrower++) {
        std::atomic<int64_t> done(0);
        throws<std::runtime_error>(
            [&] {
                run_parallel(
                    4, [](int64_t) {},
                    [&](int64_t me) {
                        if (me == thrower % 2) throw std::runtime_error("worker");
                        done++;
                    });
            },
            "an exception of a worker");
        throws<std::bad_alloc>(
            [&] {
                LockstepTeam team;
                team.run(4, [&](int64_t me) {
                    for (int64_t i = 0; i < 100; i++) {
                        if (i == 50 && me == thrower % team.size()) throw std::bad_alloc();
                        if (team.arrive_and_wait(me)) team.release();
                    }
                });
            },
            "an exception in a team");
        check(parallel_for(4, 100,
                           [&](int64_t i) {
                               if (i == thrower) throw std::bad_alloc();
                           }) == OUT_OF_MEMORY,
              "no memory");
        check(parallel_for(4, 100,
                           [&](int64_t i) {
                               if (i == thrower) throw 1;
                           }) == FAILED,
              "failed");
    }
}

static void callers(int64_t n, int64_t repeats) {
    std::vector<std::thread> all;
    for (int64_t k = 0; k < n; k++)
        all.emplace_back([=] {
            for (int64_t i = 0; i < repeats; i++) {
                check(sum(4, 50) == 50 * 49 / 2, "sum");
                check(rounds(1, 40) == 40 * 39 / 2, "rounds of one");
                check(rounds(2, 40) == 40 * 39, "rounds of two");
                if (i % 8 == 0) errors();
            }
        });
    for (std::thread& thread : all) thread.join();
}

static void forks(int64_t n) {
    std::atomic<bool> stop(false);
    std::vector<std::thread> busy;
    for (int64_t k = 0; k < 2; k++)
        busy.emplace_back([&] {
            while (!stop) sum(3, 20);
        });
    for (int64_t i = 0; i < n; i++) {
        const pid_t child = fork();
        if (!child) {
            alarm(60);
            _exit(sum(3, 20) == 190 && rounds(2, 10) == 90 ? 0 : 1);
        }
        int status = 0;
        check(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status), "a child");
    }
    stop = true;
    for (std::thread& thread : busy) thread.join();
}

int main(int argc, char** argv) {
    const int64_t repeats = argc > 1 ? std::atol(argv[1]) : 20;
    const bool forking = argc > 2 && std::string(argv[2]) == "forks";
    callers(4, repeats);
    if (forking) forks(repeats);
    std::puts("ok");
    std::fflush(stdout);
    std::_Exit(0);  // workers wait for ever
}
