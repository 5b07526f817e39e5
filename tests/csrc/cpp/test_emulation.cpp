// SPDX-License-Identifier: Apache-2.0
// The emulated device itself: what threads see of one another, and the mistakes that it has to notice.
#include <stdexcept>
#include <vector>

#include "check.h"
#include "stf/device.h"

namespace stf {

namespace {

constexpr int size = 64;

__global__ void reverse(const int* in, int* out, bool waits) {
    __shared__ int held[size];
    const auto k = static_cast<int>(threadIdx.x);
    held[k] = in[static_cast<int>(blockIdx.x) * size + k];
    if (waits) __syncthreads();
    out[static_cast<int>(blockIdx.x) * size + k] = held[size - 1 - k];
}

__global__ void ends_early(int last) {
    if (static_cast<int>(threadIdx.x) >= last) return;
    __syncthreads();
}

__global__ void votes_early(int last) {
    if (static_cast<int>(threadIdx.x) >= last) return;
    __ballot_sync(all_lanes, true);
}

__global__ void ask_the_warp(unsigned* votes, int* below) {
    votes[threadIdx.x] = __ballot_sync(all_lanes, threadIdx.x % 3 == 0);
    below[threadIdx.x] = __shfl_down_sync(all_lanes, static_cast<int>(threadIdx.x), 5);
}

std::vector<int> reversed(bool waits) {
    std::vector<int> in(2 * size), out(in.size());
    for (std::size_t k = 0; k < in.size(); ++k) in[k] = static_cast<int>(k) + 1;
    launch(reverse, dim3(2, 1, 1), dim3(size, 1, 1), nullptr, in.data(), out.data(), waits);
    return out;
}

__global__ void count_the_block(int* counts) { counts[threadIdx.x] = __syncthreads_count(threadIdx.x % 5 == 0); }

template <class Work>
bool is_refused(const Work& work) {
    try {
        work();
    } catch (const std::logic_error&) {
        return true;
    }
    return false;
}

}  // namespace

}  // namespace stf

int main() {
    using namespace stf;
    std::vector<int> wanted;
    for (int block = 0; block < 2; ++block)
        for (int k = 0; k < size; ++k) wanted.push_back((block + 1) * size - k);
    EXPECT_EQUAL(reversed(true), wanted);
    EXPECT_EQUAL(reversed(false) == wanted, false);

    const auto one_block = [](auto kernel, int last) {
        launch(kernel, dim3(1, 1, 1), dim3(size, 1, 1), nullptr, last);
    };
    EXPECT_EQUAL(is_refused([&] { one_block(ends_early, size); }), false);
    EXPECT_EQUAL(is_refused([&] { one_block(ends_early, size - 1); }), true);
    EXPECT_EQUAL(is_refused([&] { one_block(votes_early, warp_lanes); }), false);
    EXPECT_EQUAL(is_refused([&] { one_block(votes_early, warp_lanes + 1); }), true);
    EXPECT_EQUAL(is_refused([] { launch(ends_early, dim3(0, 1, 1), dim3(size, 1, 1), nullptr, size); }), true);

    std::vector<unsigned> votes(size);
    std::vector<int> below(size);
    launch(ask_the_warp, dim3(1, 1, 1), dim3(size, 1, 1), nullptr, votes.data(), below.data());
    EXPECT_EQUAL(votes[0], 0x49249249U);
    EXPECT_EQUAL(votes[size - 1], 0x92492492U);
    EXPECT_EQUAL(below[3], 8);
    EXPECT_EQUAL(below[31], 31);
    EXPECT_EQUAL(below[32], 37);

    std::vector<int> counts(size);
    launch(count_the_block, dim3(1, 1, 1), dim3(size, 1, 1), nullptr, counts.data());
    EXPECT_EQUAL(counts, std::vector<int>(size, 13));
}
