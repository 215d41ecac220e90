// Memory aligned to cache lines, in large pages where the system has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace elmo {

constexpr size_t CACHE_LINE = 64;       // bytes
constexpr size_t LARGE_PAGE = 1 << 21;  // bytes
static_assert((CACHE_LINE & (CACHE_LINE - 1)) == 0 && LARGE_PAGE % CACHE_LINE == 0, "alignments are powers of two");

inline size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Pool of large freed buffers. Reusing them avoids returning pages to the system, which would clear them again for
// every batch.
class BufferPool {
  public:
    static BufferPool& instance() {
        static BufferPool* pool = new BufferPool();  // never destroyed: threads may still release buffers at exit
        return *pool;
    }
    // Return a buffer of *size bytes or up to a quarter more, and set *size to its size; null if there is none.
    void* acquire(size_t* size) {
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);  // a fork may have left it locked
        if (!lock) return nullptr;
        size_t best = free_.size();
        for (size_t i = 0; i < free_.size(); i++) {
            const size_t has = free_[i].first;
            const bool fits = has >= *size && has <= *size + *size / 4;
            if (fits && (best == free_.size() || has < free_[best].first)) best = i;
        }
        if (best == free_.size()) return nullptr;
        const auto [has, data] = free_[best];
        free_.erase(free_.begin() + static_cast<int64_t>(best));
        *size = has;
        bytes_ -= has;
        return data;
    }
    // Take a buffer over. Return false if the pool cannot: then the caller frees it.
    bool release(void* data, size_t size) {
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
        if (!lock || size > MAX_BYTES) return false;
        while (bytes_ + size > MAX_BYTES || free_.size() == free_.capacity()) {  // drop the oldest
            ::operator delete(free_[0].second, std::align_val_t(LARGE_PAGE));
            bytes_ -= free_[0].first;
            free_.erase(free_.begin());
        }
        free_.emplace_back(size, data);
        bytes_ += size;
        return true;
    }

  private:
    static constexpr size_t MAX_BYTES = 64 << 20;
    BufferPool() { free_.reserve(MAX_BYTES / LARGE_PAGE); }
    std::mutex mutex_;
    std::vector<std::pair<size_t, void*>> free_;  // size and address, oldest first
    size_t bytes_ = 0;
};

static const BufferPool& buffer_pool_at_load = BufferPool::instance();  // see thread_pool_at_load

// Array of n T, aligned to a cache line, with one readable line after its end. Zeroed unless `zeroed` is false, which
// is for memory that is written before it is read.
template <class T>
class AlignedBuffer {
  public:
    explicit AlignedBuffer(size_t n = 0, bool zeroed = true)
        : size_(n * sizeof(T) + CACHE_LINE), data_(static_cast<T*>(allocate())) {
        if (zeroed) memset(data_, 0, n * sizeof(T) + CACHE_LINE);
    }
    AlignedBuffer(AlignedBuffer&& other) noexcept : size_(other.size_), data_(other.data_) { other.data_ = nullptr; }
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        std::swap(size_, other.size_);
        std::swap(data_, other.data_);
        return *this;
    }
    AlignedBuffer(const AlignedBuffer&) = delete;
    AlignedBuffer& operator=(const AlignedBuffer&) = delete;
    ~AlignedBuffer() {
        if (!data_ || (size_ >= LARGE_PAGE && BufferPool::instance().release(data_, size_))) return;
        ::operator delete(data_, alignment());
    }
    T* get() const { return data_; }

  private:
    std::align_val_t alignment() const { return std::align_val_t(size_ < LARGE_PAGE ? CACHE_LINE : LARGE_PAGE); }
    void* allocate() {
        if (size_ >= LARGE_PAGE) {
            size_ = round_up(size_, LARGE_PAGE);
            if (void* pooled = BufferPool::instance().acquire(&size_)) return pooled;
        }
        void* data = ::operator new(size_, alignment());
#if defined(MADV_HUGEPAGE)
        if (size_ >= LARGE_PAGE) madvise(data, size_, MADV_HUGEPAGE);  // only a hint: sequential reads are faster
#endif
        return data;
    }
    size_t size_;
    T* data_;
};

}  // namespace elmo
