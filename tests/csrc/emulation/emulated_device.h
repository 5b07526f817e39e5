// SPDX-License-Identifier: Apache-2.0
// A device on the host, for tests: kernels in *_cuda.cu are compiled as plain C++ and run block by block.
//
// Every CUDA thread is a fiber. A fiber runs until it ends or waits: for its block (__syncthreads) or for its warp
// (votes, shuffles). What a device leaves undefined is an error here: a thread that ends while its block or warp waits
// for it, and threads that wait for different things. Blocks run one after the other, every second one with its threads
// in the opposite order, so that a barrier that is missing is missed.
#pragma once

#include <ucontext.h>

#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "stf/types.h"

#define __global__
#define __device__
#define __launch_bounds__(...)
// One block runs at a time, so one copy serves all.
#define __shared__ static

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3() = default;
    constexpr dim3(unsigned x_, unsigned y_, unsigned z_) : x(x_), y(y_), z(z_) {}
    unsigned count() const { return x * y * z; }
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace stf::emulation {

enum class State { ready, at_block, at_warp, ended };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    dim3 index;
    State state = State::ready;
    std::uint64_t given = 0;  // to the warp or the block
};

class Block {
  public:
    static constexpr std::size_t stack_bytes = 1 << 16;
    static constexpr unsigned lanes = 32;

    explicit Block(std::function<void()> body, dim3 size)
        : body_(std::move(body)), fibers_(size.count()), from_lanes_((size.count() + lanes - 1) / lanes) {
        unsigned k = 0;
        for (unsigned z = 0; z < size.z; ++z)
            for (unsigned y = 0; y < size.y; ++y)
                for (unsigned x = 0; x < size.x; ++x) fibers_[k++].index = dim3(x, y, z);
    }

    // `forward`: whether lower threads run first.
    void run(bool forward) {
        current_block = this;
        for (Fiber& fiber : fibers_) start(fiber);
        for (;;) {
            const std::size_t n = fibers_.size();
            for (std::size_t k = 0; k < n; ++k) resume(fibers_[forward ? k : n - 1 - k]);
            if (failure_) std::rethrow_exception(failure_);
            if (all(State::ended, 0, n)) return;
            bool freed = false;
            for (std::size_t begin = 0; begin < n; begin += lanes)
                freed |= free_warp(begin, std::min(begin + lanes, n));
            freed |= free_block();
            if (!freed) throw std::logic_error("threads of a block wait for others that have ended or wait elsewhere");
        }
    }

    void wait(State state) {
        current->state = state;
        Fiber* self = current;
        swapcontext(&self->context, &scheduler_);
    }

    // What every lane of this thread's warp gives. It stands until all of them wait again, so each has read it.
    const std::vector<std::uint64_t>& exchange(unsigned mask, std::uint64_t given) {
        if (mask != 0xFFFFFFFFU) throw std::logic_error("a warp is asked with a mask of some lanes");
        current->given = given;
        wait(State::at_warp);
        return from_lanes_[static_cast<std::size_t>(current - fibers_.data()) / lanes];
    }

    // How many threads of the block say yes.
    int count(bool vote) {
        current->given = vote;
        wait(State::at_block);
        return votes_;
    }

    unsigned lane() const { return static_cast<unsigned>(current - fibers_.data()) % lanes; }

    static inline Block* current_block = nullptr;

  private:
    static void enter() {
        Block& block = *current_block;
        try {
            block.body_();
        } catch (...) {
            block.failure_ = std::current_exception();
        }
        block.current->state = State::ended;
    }

    void start(Fiber& fiber) {
        fiber.state = State::ready;
        if (!fiber.stack) fiber.stack.reset(new char[stack_bytes]);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = stack_bytes;
        fiber.context.uc_link = &scheduler_;
        makecontext(&fiber.context, &Block::enter, 0);
    }

    void resume(Fiber& fiber) {
        if (fiber.state != State::ready || failure_) return;
        current = &fiber;
        threadIdx = fiber.index;
        swapcontext(&scheduler_, &fiber.context);
    }

    bool all(State state, std::size_t begin, std::size_t end) const {
        for (std::size_t k = begin; k < end; ++k)
            if (fibers_[k].state != state) return false;
        return true;
    }

    bool free_warp(std::size_t begin, std::size_t end) {
        if (!all(State::at_warp, begin, end)) return false;
        std::vector<std::uint64_t>& given = from_lanes_[begin / lanes];
        given.clear();
        for (std::size_t k = begin; k < end; ++k) {
            given.push_back(fibers_[k].given);
            fibers_[k].state = State::ready;
        }
        return true;
    }

    bool free_block() {
        if (!all(State::at_block, 0, fibers_.size())) return false;
        votes_ = 0;
        for (Fiber& fiber : fibers_) {
            votes_ += fiber.given != 0;
            fiber.state = State::ready;
        }
        return true;
    }

    std::function<void()> body_;
    std::vector<Fiber> fibers_;
    std::vector<std::vector<std::uint64_t>> from_lanes_;
    int votes_ = 0;
    ucontext_t scheduler_;
    Fiber* current = nullptr;
    std::exception_ptr failure_;
};

template <class T>
std::uint64_t to_bits(T value) {
    static_assert(sizeof value <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T>
T from_bits(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace stf::emulation

inline void __syncthreads() { stf::emulation::Block::current_block->wait(stf::emulation::State::at_block); }

inline int __syncthreads_count(bool vote) { return stf::emulation::Block::current_block->count(vote); }

inline unsigned __ballot_sync(unsigned mask, bool vote) {
    unsigned bits = 0, lane = 0;
    for (const std::uint64_t one : stf::emulation::Block::current_block->exchange(mask, vote))
        bits |= static_cast<unsigned>(one) << lane++;
    return bits;
}

// The value of the lane `step` above; that of the lane itself where there is none.
template <class T>
T __shfl_down_sync(unsigned mask, T value, int step) {
    stf::emulation::Block& block = *stf::emulation::Block::current_block;
    const auto& given = block.exchange(mask, stf::emulation::to_bits(value));
    const std::size_t from = block.lane() + static_cast<std::size_t>(step);
    return from < given.size() ? stf::emulation::from_bits<T>(given[from]) : value;
}

inline int __ffs(int bits) { return __builtin_ffs(bits); }

template <class T>
T atomicAdd(T* at, T value) {
    const T before = *at;
    *at += value;
    return before;
}

using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

namespace stf {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, Stream, Arguments... arguments) {
    // The limits of compute capability 7.5 to 12.0.
    if (block.count() == 0 || block.count() > 1024) throw std::logic_error("a block has 1 to 1024 threads");
    if (grid.count() == 0 || grid.y > 65535 || grid.z > 65535) throw std::logic_error("a grid is empty or too large");
    gridDim = grid;
    blockDim = block;
    emulation::Block threads([&] { kernel(static_cast<Parameters>(arguments)...); }, block);
    bool forward = true;
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x, forward = !forward) {
                blockIdx = dim3(x, y, z);
                threads.run(forward);
            }
}

}  // namespace stf
