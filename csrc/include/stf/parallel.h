// SPDX-License-Identifier: Apache-2.0
// Work in pieces on several threads. What a piece computes must not depend on who computes it.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "stf/types.h"

namespace stf {

// Calls work(piece, worker) once for each piece in [0, pieces), on at most `workers` threads, the caller's among them.
// The first exception is thrown again in the caller's thread.
template <class Work>
void for_each_piece(Index pieces, Index workers, const Work& work) {
    std::atomic<Index> next{0};
    std::exception_ptr failure;
    std::mutex failing;
    const auto run = [&](Index worker) {
        try {
            for (Index piece = next++; piece < pieces; piece = next++) work(piece, worker);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failing);
            if (!failure) failure = std::current_exception();
            next = pieces;
        }
    };
    std::vector<std::thread> others;
    const Index wanted = std::min(workers, pieces);
    for (Index worker = 1; worker < wanted; ++worker) {
        try {
            others.emplace_back(run, worker);
        } catch (const std::system_error&) {
            break;  // no more threads to be had: those that run do all of the work
        }
    }
    run(0);
    for (std::thread& other : others) other.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace stf
