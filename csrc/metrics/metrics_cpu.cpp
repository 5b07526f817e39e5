// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>

#include "metrics/metrics.h"
#include "stf/parallel.h"

namespace stf {

namespace {

constexpr Index part = 1024;                // pixels whose bands lie in the cache together
constexpr Index tile_rows = 128;            // window starts of a piece
constexpr Index tile_columns = 512;         //
constexpr Index piece_bytes = 384 << 10;    // of a piece without windows: it is read twice, from the cache of a core
constexpr Index bytes_in_flight = 4 << 20;  // sums of pieces that wait to be added

struct Piece {
    Index y0, y1, x0, x1;
};

struct PieceSums {
    std::vector<PairSums> pairs;
    std::vector<double> window_totals;
    std::vector<std::int64_t> window_counts;
    AngleSums angles;
    std::int64_t pixels = 0, masked = 0, not_finite = 0;
};

// What a thread needs beside the images.
struct Scratch {
    std::vector<PairSums> pairs;                      // of each band
    std::vector<double> values_p, values_t;           // (bands, part)
    std::vector<const float*> floats_p, floats_t;     // of each band
    std::vector<const double*> doubles_p, doubles_t;  //
    std::vector<Index> places;                        // of the pixels that count, in a part of a row
    std::vector<std::uint8_t> usable;                 // of a piece and what its windows reach
    std::vector<std::uint8_t> row_is_whole;           //
    std::vector<std::vector<std::uint8_t>> whole;     // windows of each index
    std::vector<std::uint16_t> clear;                 // usable pixels in a row, downwards
    std::vector<double> windows;
    std::vector<std::int64_t> errors;
};

class Pass {
  public:
    Pass(const Measurement& m, const MeasuredSums& wanted) : m_(m), wanted_(wanted), kernel_(*m.kernel) {
        for (const WindowedIndex& index : m.indices) reach_ = std::max(reach_, index.size);
        const Index pixel_bytes = m.bands * (bytes_of(m.prediction.type) + bytes_of(m.truth.type));
        const Index pixels = std::max<Index>(piece_bytes / pixel_bytes / part, 1) * part;
        rows_ = m.indices.empty() ? std::max<Index>(1, pixels / m.width) : tile_rows;
        columns_ = m.indices.empty() ? std::min(m.width, pixels) : tile_columns;
        across_ = (m.width + columns_ - 1) / columns_;
        pieces_ = across_ * ((m.height + rows_ - 1) / rows_);
        floats_ = is_plain(m.prediction) && is_plain(m.truth);
    }

    Index pieces() const { return pieces_; }

    Scratch scratch() const {
        const auto bands = static_cast<std::size_t>(m_.bands);
        Scratch s;
        s.pairs.resize(bands);
        s.values_p.resize(bands * part);
        s.values_t.resize(bands * part);
        for (auto* list : {&s.floats_p, &s.floats_t}) list->resize(bands);
        for (auto* list : {&s.doubles_p, &s.doubles_t}) list->resize(bands);
        s.places.reserve(part);
        s.usable.resize(static_cast<std::size_t>(m_.indices.empty() ? part : (rows_ + reach_) * (columns_ + reach_)));
        s.row_is_whole.resize(static_cast<std::size_t>(rows_ + reach_));
        s.whole.resize(m_.indices.size());
        for (auto& whole : s.whole) whole.resize(static_cast<std::size_t>(rows_ * columns_));
        s.clear.resize(static_cast<std::size_t>(columns_ + reach_));
        if (!m_.indices.empty())
            s.windows.resize(static_cast<std::size_t>(kernel_.window_doubles(columns_, reach_)) + 8);
        if (m_.bins != nullptr) s.errors.resize(bands * static_cast<std::size_t>(m_.bins->count + 2));
        return s;
    }

    void run(Index number, Scratch& s, PieceSums& out) const {
        const Index y0 = number / across_ * rows_, x0 = number % across_ * columns_;
        const Piece piece{y0, std::min(y0 + rows_, m_.height), x0, std::min(x0 + columns_, m_.width)};
        out.pairs.assign(static_cast<std::size_t>(m_.bands), PairSums{});
        out.window_totals.assign(m_.indices.size() * static_cast<std::size_t>(m_.bands), 0.0);
        out.window_counts.assign(m_.indices.size(), 0);
        // Windows are to know before which pixels count; the others find out on their way.
        const bool whole = !m_.indices.empty() && find_usable(piece, s);
        const Index x = std::max(piece.x0, m_.first_column), n = piece.x1 - x;
        for (Index y = std::max(piece.y0, m_.first_row); y < piece.y1 && n > 0; ++y) {
            out.pixels += n;
            if (!add_floats(piece, y, x, n, s, out))
                for (Index i = 0; i < n; i += part) add_pixels(piece, y, x + i, std::min(part, n - i), s, out);
        }
        if (!m_.indices.empty()) add_windows(piece, whole, s, out);
    }

  private:
    const std::uint8_t* mask_at(Index y, Index x) const {
        return m_.mask == nullptr ? nullptr : m_.mask + y * m_.mask_row_bytes + x;
    }

    // Which pixels count, of the piece and of what its windows reach; whether all do.
    bool find_usable(const Piece& piece, Scratch& s) const {
        const Index bottom = std::min(piece.y1 + std::max<Index>(reach_ - 1, 0), m_.height);
        const Index right = std::min(piece.x1 + std::max<Index>(reach_ - 1, 0), m_.width);
        bool all = true;
        for (Index y = piece.y0; y < bottom; ++y) {
            std::uint8_t* usable = s.usable.data() + (y - piece.y0) * (columns_ + reach_);
            const bool whole = find_usable_row(y, piece.x0, right - piece.x0, usable);
            s.row_is_whole[static_cast<std::size_t>(y - piece.y0)] = whole;
            all = all && whole;
        }
        return all;
    }

    bool find_usable_row(Index y, Index x, Index n, std::uint8_t* usable) const {
        const std::uint8_t* mask = mask_at(y, x);
        bool whole = true;
        if (mask == nullptr) {
            std::memset(usable, 1, static_cast<std::size_t>(n));
        } else {
            for (Index j = 0; j < n; ++j) usable[j] = mask[j] != 0;
            whole = std::memchr(usable, 0, static_cast<std::size_t>(n)) == nullptr;
        }
        for (Index b = 0; b < m_.bands; ++b)
            for (const Image* image : {&m_.prediction, &m_.truth}) {
                const Plane plane = image->band(b);
                const char* raw = plane.at(y, x);
                if (y + 1 < m_.height) prefetch(raw + plane.row_bytes, n * bytes_of(plane.type));
                if (kernel_.is_finite(raw, plane.type, n)) continue;
                whole = false;
                for (Index j = 0; j < n; ++j)
                    if (!kernel_.is_finite(raw + j * bytes_of(plane.type), plane.type, 1)) usable[j] = 0;
            }
        return whole;
    }

    // Whether all pixels of a part of a row are known to count, or are where their values are finite.
    bool may_all_count(const Piece& piece, Index y, Index x, Index n, const Scratch& s) const {
        if (!m_.indices.empty()) return s.row_is_whole[static_cast<std::size_t>(y - piece.y0)] != 0;
        return m_.mask == nullptr || std::memchr(mask_at(y, x), 0, static_cast<std::size_t>(n)) == nullptr;
    }

    // A row of numbers that need no conversion, where they lie, if all of its pixels count. Otherwise adds nothing and
    // says so.
    bool add_floats(const Piece& piece, Index y, Index x, Index n, Scratch& s, PieceSums& out) const {
        if (!floats_ || !may_all_count(piece, y, x, n, s)) return false;
        for (std::size_t b = 0; b < s.floats_p.size(); ++b) {
            const Plane p = m_.prediction.band(static_cast<Index>(b)), t = m_.truth.band(static_cast<Index>(b));
            s.floats_p[b] = reinterpret_cast<const float*>(p.at(y, x));
            s.floats_t[b] = reinterpret_cast<const float*>(t.at(y, x));
            if (!m_.indices.empty() || y + 1 == m_.height) continue;
            for (const Plane& plane : {p, t}) prefetch(plane.at(y + 1, x), n * bytes_of(plane.type));
        }
        return add<true>(s.floats_p, s.floats_t, n, m_.indices.empty() ? m_.width - x : n, kernel_.pairs_f32,
                         kernel_.angles_f32, kernel_.errors_f32, s, out);
    }

    // Pixels of a part of a row.
    void add_pixels(const Piece& piece, Index y, Index x, Index n, Scratch& s, PieceSums& out) const {
        if (may_all_count(piece, y, x, n, s)) {
            s.places.clear();
            read_bands(y, x, n, s);
            if (add<true>(s.doubles_p, s.doubles_t, n, n, kernel_.pairs_f64, kernel_.angles_f64, kernel_.errors_f64, s,
                          out))
                return;
        }
        const std::uint8_t* usable = s.usable.data();
        if (m_.indices.empty()) {
            find_usable_row(y, x, n, s.usable.data());
        } else {
            usable += (y - piece.y0) * (columns_ + reach_) + (x - piece.x0);
        }
        add_some(y, x, n, usable, s, out);
    }

    // Those of the pixels that are usable.
    void add_some(Index y, Index x, Index n, const std::uint8_t* usable, Scratch& s, PieceSums& out) const {
        const std::uint8_t* mask = mask_at(y, x);
        s.places.clear();
        for (Index j = 0; j < n; ++j) {
            if (usable[j]) {
                s.places.push_back(j);
            } else if (mask != nullptr && mask[j] == 0) {
                ++out.masked;
            } else {
                ++out.not_finite;
            }
        }
        if (s.places.empty()) return;
        read_bands(y, x, n, s);
        const auto kept = static_cast<Index>(s.places.size());
        add<false>(s.doubles_p, s.doubles_t, kept, kept, kernel_.pairs_f64, kernel_.angles_f64, kernel_.errors_f64, s,
                   out);
    }

    void read_bands(Index y, Index x, Index n, Scratch& s) const {
        for (std::size_t b = 0; b < s.doubles_p.size(); ++b) {
            s.doubles_p[b] = values(m_.prediction, b, y, x, n, s, s.values_p.data() + b * part);
            s.doubles_t[b] = values(m_.truth, b, y, x, n, s, s.values_t.data() + b * part);
        }
    }

    // Whether values are what is stored, as floats.
    static bool is_plain(const Image& image) {
        const auto is = [](double value) { return [value](double x) { return x == value; }; };
        return image.type == PixelType::f32 && std::all_of(image.scale.begin(), image.scale.end(), is(1.0)) &&
               std::all_of(image.offset.begin(), image.offset.end(), is(0.0));
    }

    // The values of a band that count, one after the other.
    const double* values(const Image& image, std::size_t b, Index y, Index x, Index n, const Scratch& s,
                         double* out) const {
        const Plane plane = image.band(static_cast<Index>(b));
        kernel_.convert(plane.at(y, x), plane.type, n, plane.scale, plane.offset, out);
        Index kept = 0;
        for (const Index place : s.places) out[kept++] = out[place];
        return out;
    }

    // Adds `n` pixels of lists that hold `held`; where `checked`, only if all values are finite, and says so.
    template <bool checked, class T, class Pairs, class Angles, class Errors>
    bool add(const std::vector<const T*>& p, const std::vector<const T*>& t, Index n, Index held, Pairs pairs,
             Angles angles, Errors errors, Scratch& s, PieceSums& out) const {
        for (std::size_t b = 0; b < p.size(); ++b) {
            s.pairs[b] = PairSums{};
            for (Index i = 0; i < n; i += part) {
                const Index size = std::min(part, n - i);
                const PairSums here = pairs(p[b] + i, t[b] + i, size, std::min(part, held - i - size));
                if (checked && !std::isfinite(here.error)) return false;
                STF_TARGET::merge(s.pairs[b], here);
            }
        }
        for (std::size_t b = 0; b < p.size(); ++b) STF_TARGET::merge(out.pairs[b], s.pairs[b]);
        if (m_.angles) angles(p.data(), t.data(), m_.bands, n, out.angles);
        if (m_.bins != nullptr)
            for (std::size_t b = 0; b < p.size(); ++b)
                errors(p[b], t[b], n, *m_.bins, s.errors.data() + b * static_cast<std::size_t>(m_.bins->count + 2));
        return true;
    }

    void add_windows(const Piece& piece, bool whole, Scratch& s, PieceSums& out) const {
        const std::size_t count = m_.indices.size();
        bool any = false;
        for (std::size_t k = 0; k < count; ++k) {
            const WindowedIndex& index = m_.indices[k];
            const Index rows = std::min(piece.y1, index.last_row) - std::max(piece.y0, index.first_row);
            const Index columns = std::min(piece.x1, index.last_column) - std::max(piece.x0, index.first_column);
            out.window_counts[k] = rows <= 0 || columns <= 0 ? 0 : whole ? rows * columns : find_whole(piece, k, s);
            any = any || out.window_counts[k] > 0;
        }
        if (!any) return;
        auto* aligned = reinterpret_cast<double*>((reinterpret_cast<std::uintptr_t>(s.windows.data()) + 63) / 64 * 64);
        std::vector<WindowSum> sums(count);
        for (Index b = 0; b < m_.bands; ++b) {
            const WindowTile tile{m_.prediction.band(b),
                                  m_.truth.band(b),
                                  m_.height,
                                  m_.width,
                                  piece.y0,
                                  piece.y1,
                                  piece.x0,
                                  piece.x1,
                                  reach_,
                                  whole ? nullptr : s.usable.data(),
                                  columns_ + reach_};
            for (std::size_t k = 0; k < count; ++k) {
                float* map =
                    k == 0 && wanted_.map != nullptr ? wanted_.map + b * m_.map_rows * m_.map_columns : nullptr;
                sums[k] = {&m_.indices[k], whole ? nullptr : s.whole[k].data(), 0.0, map, m_.map_columns};
            }
            kernel_.windows(tile, sums.data(), static_cast<Index>(count), aligned);
            for (std::size_t k = 0; k < count; ++k)
                out.window_totals[k * static_cast<std::size_t>(m_.bands) + static_cast<std::size_t>(b)] = sums[k].total;
        }
    }

    // Marks the windows of an index in which every pixel counts; returns how many.
    std::int64_t find_whole(const Piece& piece, std::size_t k, Scratch& s) const {
        const WindowedIndex& index = m_.indices[k];
        const Index columns = piece.x1 - piece.x0, stride = columns_ + reach_;
        const Index reached = std::min(piece.x1 + index.size - 1, m_.width) - piece.x0;
        const Index bottom = std::min(piece.y1 + index.size - 1, m_.height);
        std::fill(s.clear.begin(), s.clear.end(), std::uint16_t{0});
        std::int64_t found = 0;
        for (Index y = bottom - 1; y >= piece.y0; --y) {
            const std::uint8_t* usable = s.usable.data() + (y - piece.y0) * stride;
            for (Index j = 0; j < reached; ++j) {
                auto& clear = s.clear[static_cast<std::size_t>(j)];
                clear = usable[j] ? static_cast<std::uint16_t>(std::min<int>(clear + 1, 0xFFFF)) : std::uint16_t{0};
            }
            if (y >= piece.y1) continue;
            std::uint8_t* whole = s.whole[k].data() + (y - piece.y0) * columns;
            Index along = 0;
            for (Index j = reached - 1; j >= 0; --j) {
                along = s.clear[static_cast<std::size_t>(j)] >= index.size ? along + 1 : 0;
                const Index x = piece.x0 + j;
                const bool counts = along >= index.size && y >= index.first_row && y < index.last_row &&
                                    x >= index.first_column && x < index.last_column;
                if (j < columns) {
                    whole[j] = counts;
                    found += counts;
                }
            }
        }
        return found;
    }

    const Measurement& m_;
    const MeasuredSums& wanted_;
    const MetricsKernel& kernel_;
    Index reach_ = 0, rows_, columns_, across_, pieces_;
    bool floats_;
};

// Without windows a scene is one long row, where its rows lie one after the other.
Measurement as_one_row(Measurement m) {
    const auto dense = [&](const Image& image) { return image.row_bytes == m.width * bytes_of(image.type); };
    const bool no_context = m.first_row == 0 && m.first_column == 0;
    if (m.indices.empty() && no_context && dense(m.prediction) && dense(m.truth) &&
        (m.mask == nullptr || m.mask_row_bytes == m.width)) {
        m.width *= m.height;
        m.height = 1;
    }
    return m;
}

void add(const PieceSums& piece, const Measurement& m, const MeasuredSums& sums) {
    for (Index b = 0; b < m.bands && sums.pairs != nullptr; ++b)
        STF_TARGET::merge(sums.pairs[b], piece.pairs[static_cast<std::size_t>(b)]);
    if (sums.angles != nullptr) {
        sums.angles->total += piece.angles.total;
        sums.angles->pixels += piece.angles.pixels;
        sums.angles->zero_vectors += piece.angles.zero_vectors;
    }
    if (sums.counts != nullptr) {
        sums.counts[0] += piece.pixels;
        sums.counts[1] += piece.masked;
        sums.counts[2] += piece.not_finite;
    }
    for (std::size_t k = 0; k < m.indices.size(); ++k) {
        sums.window_counts[k] += piece.window_counts[k];
        for (Index b = 0; b < m.bands; ++b) {
            const std::size_t i = k * static_cast<std::size_t>(m.bands) + static_cast<std::size_t>(b);
            sums.window_totals[i] += piece.window_totals[i];
        }
    }
}

}  // namespace

void measure(const Measurement& measurement, const MeasuredSums& sums) {
    const Measurement m = as_one_row(measurement);
    const Pass pass(m, sums);
    const Index workers = std::min(m.threads, pass.pieces());
    std::vector<Scratch> scratch;
    for (Index w = 0; w < workers; ++w) scratch.push_back(pass.scratch());
    // Sums of pieces are added in the order of the pieces, a limited number of them at a time.
    const Index bytes = m.bands * static_cast<Index>(sizeof(PairSums) + m.indices.size() * sizeof(double));
    const Index wave = std::clamp<Index>(bytes_in_flight / bytes, 4 * workers, 4096);
    std::vector<PieceSums> done(static_cast<std::size_t>(std::min(wave, pass.pieces())));
    for (Index begin = 0; begin < pass.pieces(); begin += wave) {
        const Index size = std::min(wave, pass.pieces() - begin);
        for_each_piece(size, workers, [&](Index i, Index worker) {
            PieceSums& out = done[static_cast<std::size_t>(i)];
            out = PieceSums{};
            pass.run(begin + i, scratch[static_cast<std::size_t>(worker)], out);
        });
        for (Index i = 0; i < size; ++i) add(done[static_cast<std::size_t>(i)], m, sums);
    }
    if (m.bins == nullptr) return;
    for (const Scratch& s : scratch)
        for (std::size_t i = 0; i < s.errors.size(); ++i) sums.errors[i] += s.errors[i];
}

const MetricsKernel& metrics_kernel(Level level) { return STF_CALL_AT(level, metrics_table, ); }

void merge_pairs(PairSums* into, const PairSums* other, Index bands) {
    for (Index b = 0; b < bands; ++b) STF_TARGET::merge(into[b], other[b]);
}

std::uint64_t read_words(const std::uint64_t* words, Index count, Index threads) {
    constexpr Index words_at_once = 1 << 17;
    const MetricsKernel& kernel = metrics_kernel();
    std::atomic<std::uint64_t> sum{0};
    for_each_piece((count + words_at_once - 1) / words_at_once, threads, [&](Index piece, Index) {
        const Index begin = piece * words_at_once;
        sum += kernel.read(words + begin, std::min(words_at_once, count - begin));
    });
    return sum;
}

}  // namespace stf
