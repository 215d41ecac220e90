// Memory on a cache line's boundary, and in large pages where there are such.
#pragma once

#include <cstddef>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace elmo {

constexpr size_t LINE = 64;
constexpr size_t LARGE_PAGE = 1 << 21;

inline size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Large pieces that were given back, for the next who wants as much: an allocator hands them to the system with the last
// of a thread's, which clears the pages anew for each batch.
class Pieces {
  public:
    static Pieces& own() {
        static Pieces* pieces = new Pieces();  // never taken down: threads may still give back
        return *pieces;
    }
    // Null: there is none. size: is told how large it is.
    void* take(size_t* size) {
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);  // a fork may have left it locked
        if (!lock) return nullptr;
        size_t best = kept_.size();
        for (size_t i = 0; i < kept_.size(); i++) {
            const size_t has = kept_[i].first;
            const bool fits = has >= *size && has <= *size + *size / 4;
            if (fits && (best == kept_.size() || has < kept_[best].first)) best = i;
        }
        if (best == kept_.size()) return nullptr;
        const auto [has, data] = kept_[best];
        kept_.erase(kept_.begin() + static_cast<long>(best));
        *size = has;
        bytes_ -= has;
        return data;
    }
    // Whether it is kept.
    bool give(void* data, size_t size) {
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
        if (!lock || size > MOST) return false;
        while (bytes_ + size > MOST || kept_.size() == kept_.capacity()) {  // the one that lay here longest
            ::operator delete(kept_[0].second, std::align_val_t(LARGE_PAGE));
            bytes_ -= kept_[0].first;
            kept_.erase(kept_.begin());
        }
        kept_.emplace_back(size, data);
        bytes_ += size;
        return true;
    }

  private:
    static constexpr size_t MOST = 64 << 20;  // bytes
    Pieces() { kept_.reserve(MOST / LARGE_PAGE); }
    std::mutex mutex_;
    std::vector<std::pair<size_t, void*>> kept_;
    size_t bytes_ = 0;
};

static const Pieces& pieces_at_load = Pieces::own();  // see crew_at_load

// Zeroed, unless `zeroed` says that it will be written before it is read.
template <class T>
class Buffer {
  public:
    explicit Buffer(size_t n = 0, bool zeroed = true) : size_(n * sizeof(T) + LINE), data_(static_cast<T*>(allocate())) {
        if (zeroed) memset(data_, 0, n * sizeof(T) + LINE);
    }
    Buffer(Buffer&& other) noexcept : size_(other.size_), data_(other.data_) { other.data_ = nullptr; }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(size_, other.size_);
        std::swap(data_, other.data_);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        if (!data_ || (size_ >= LARGE_PAGE && Pieces::own().give(data_, size_))) return;
        ::operator delete(data_, boundary());
    }
    T* get() const { return data_; }

  private:
    std::align_val_t boundary() const { return std::align_val_t(size_ < LARGE_PAGE ? LINE : LARGE_PAGE); }
    void* allocate() {
        if (size_ >= LARGE_PAGE) {
            size_ = round_up(size_, LARGE_PAGE);
            if (void* kept = Pieces::own().take(&size_)) return kept;
        }
        void* data = ::operator new(size_, boundary());
#if defined(MADV_HUGEPAGE)
        if (size_ >= LARGE_PAGE) madvise(data, size_, MADV_HUGEPAGE);  // a wish: reading in order is faster so
#endif
        return data;
    }
    size_t size_;
    T* data_;
};

}  // namespace elmo
