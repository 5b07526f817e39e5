// SPDX-License-Identifier: Apache-2.0
// Partial sums of pairs (prediction, truth) of one band, and how two of them become one.
#pragma once

#include <limits>

#include "stf/target.h"

namespace stf {

// As plain doubles in this order, these are a row of the array that Python holds.
struct PairSums {
    double count = 0;
    double mean_p = 0;
    double mean_t = 0;
    double deviation_p = 0;  // sum of (p - mean_p)^2
    double deviation_t = 0;
    double codeviation = 0;  // sum of (p - mean_p) (t - mean_t)
    double error = 0;        // sum of p - t
    double absolute_error = 0;
    double squared_error = 0;
    double least_t = std::numeric_limits<double>::infinity();
    double greatest_t = -std::numeric_limits<double>::infinity();
};

constexpr int pair_sums_fields = 11;
static_assert(sizeof(PairSums) == pair_sums_fields * sizeof(double));

namespace STF_TARGET {

// T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance", Am. Stat. 37(3), 1983,
// eq. (2.1): deviations about the common mean. Parts of one constant keep deviations of exactly zero.
STF_HD void merge(PairSums& into, const PairSums& other) {
    if (other.count == 0) return;
    const double total = into.count + other.count, share = other.count / total, weight = into.count * share;
    const double step_p = other.mean_p - into.mean_p, step_t = other.mean_t - into.mean_t;
    into.count = total;
    into.deviation_p += other.deviation_p + weight * step_p * step_p;
    into.deviation_t += other.deviation_t + weight * step_t * step_t;
    into.codeviation += other.codeviation + weight * step_p * step_t;
    into.mean_p += share * step_p;
    into.mean_t += share * step_t;
    into.error += other.error;
    into.absolute_error += other.absolute_error;
    into.squared_error += other.squared_error;
    into.least_t = other.least_t < into.least_t ? other.least_t : into.least_t;
    into.greatest_t = other.greatest_t > into.greatest_t ? other.greatest_t : into.greatest_t;
}

}  // namespace STF_TARGET

}  // namespace stf
