#include "adapter.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace sterna {
namespace {

constexpr std::size_t kLanes = 16;

std::size_t whole_lanes(std::size_t n) {
    return (n + kLanes - 1) / kLanes * kLanes;
}

std::size_t element_bytes(Encoding encoding) {
    return encoding == Encoding::f32 ? 4 : 2;
}

// The power of two by which values are divided so that the largest lies in [1, 2).
int exponent_of(std::span<const float> values, const std::string& name) {
    float most = 0;
    for (const float value : values) {
        if (!std::isfinite(value)) throw std::invalid_argument("The update of '" + name + "' is not finite.");
        most = std::max(most, std::abs(value));
    }
    return most == 0 ? 0 : std::ilogb(most);
}

// Writes values in F32 or F16; n is a multiple of 16.
void store(const std::vector<float>& values, std::size_t n, Encoding encoding, const Kernels& kernels,
           std::uint8_t* out) {
    if (encoding == Encoding::f32)
        std::memcpy(out, values.data(), n * sizeof(float));
    else
        kernels.to_f16(values.data(), n, reinterpret_cast<std::uint16_t*>(out));
}

void check(const Update& update, const Site& site) {
    const std::size_t rank = update.rank;
    if (rank == 0 || update.a.size() % rank != 0 || update.a.size() / rank != site.in_features ||
        update.b.size() % rank != 0 || update.b.size() / rank != site.out_features)
        throw std::invalid_argument("The update of '" + site.name + "' does not fit its matrix.");
}

// Where the parts of an update lie, in bytes from its beginning, which is that of a cache line.
struct Places {
    std::size_t a_stride, b_panels, end;
};

Places places(std::size_t rank, const Site& site, Encoding encoding) {
    const auto lines = [](std::size_t bytes) { return (bytes + 63) / 64 * 64; };
    const std::size_t bytes = element_bytes(encoding), a_stride = whole_lanes(site.in_features) * bytes;
    const std::size_t b_panels = lines(rank * a_stride);
    return {a_stride, b_panels, b_panels + lines(whole_lanes(site.out_features) * rank * bytes)};
}

// Packs an update to zeroed memory.
LowRank packed(const Update& update, const Site& site, Encoding encoding, const Kernels& kernels,
               std::uint8_t* memory) {
    const std::size_t rank = update.rank, in = site.in_features, out = site.out_features;
    const auto [a_stride, b_panels, end] = places(rank, site, encoding);
    const int down = exponent_of(update.a, site.name), up = exponent_of(update.b, site.name);
    const auto factor = static_cast<float>(std::ldexp(static_cast<double>(update.factor), down + up));
    if (!std::isfinite(factor)) throw std::invalid_argument("The scale of '" + site.name + "' is not finite.");
    std::vector<float> row(std::max(whole_lanes(in), rank * kLanes));
    for (std::size_t j = 0; j < rank; ++j) {
        for (std::size_t k = 0; k < in; ++k) row[k] = std::ldexp(update.a[j * in + k], -down);
        store(row, whole_lanes(in), encoding, kernels, memory + j * a_stride);
    }
    const std::size_t panel = rank * kLanes;
    std::uint8_t* to = memory + b_panels;
    for (std::size_t first = 0; first < out; first += kLanes, to += panel * element_bytes(encoding)) {
        std::fill(row.begin(), row.end(), 0.0f);
        for (std::size_t c = first; c < std::min(out, first + kLanes); ++c)
            for (std::size_t j = 0; j < rank; ++j)
                row[j * kLanes + c % kLanes] = std::ldexp(update.b[c * rank + j], -up);
        store(row, panel, encoding, kernels, to);
    }
    return {rank, factor, encoding, a_stride, memory, memory + b_panels};
}

}  // namespace

Adapter::Adapter(const std::map<std::string, Update>& updates, std::span<const Site> sites, const Kernels& kernels)
    : sites_(sites.data()), of_site_(sites.size()) {
    std::map<std::size_t, const Update*> by_site;
    std::size_t floats = 0;
    for (const auto& [name, update] : updates) {
        const auto found =
            std::find_if(sites.begin(), sites.end(), [&](const Site& site) { return site.name == name; });
        if (found == sites.end()) throw std::invalid_argument("The plan multiplies no matrix '" + name + "'.");
        check(update, *found);
        by_site[static_cast<std::size_t>(found - sites.begin())] = &update;
        floats += update.a.size() + update.b.size();
        max_rank_ = std::max(max_rank_, update.rank);
    }
    const Encoding encoding = floats * sizeof(float) <= kPrecise ? Encoding::f32 : Encoding::f16;
    std::size_t bytes = 0;
    for (const auto& [site, update] : by_site) bytes += places(update->rank, sites[site], encoding).end;
    memory_ = Pages(bytes, Pages::Size::kHuge);
    memory_.provide(bytes);
    std::uint8_t* memory = memory_.get();
    for (const auto& [site, update] : by_site) {
        of_site_[site] = packed(*update, sites[site], encoding, kernels, memory);
        memory += places(update->rank, sites[site], encoding).end;
    }
}

std::vector<AdaptedRows> adapted_rows(std::span<const std::int32_t> ids, std::span<const std::int32_t> ends,
                                      std::span<const Mix> mixes, std::span<const Site> sites) {
    for (const Mix& mix : mixes)
        for (const auto& [adapter, scale] : mix)
            if (adapter == nullptr || !adapter->is_of(sites) || !std::isfinite(scale))
                throw std::invalid_argument("An adapter was made for another model, or its scale is not finite.");
    std::vector<AdaptedRows> adapted;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) > mixes.size())
            throw std::invalid_argument("An adapter is not loaded.");
        const auto first = static_cast<std::size_t>(ends[i]), count = static_cast<std::size_t>(ends[i + 1]) - first;
        if (ids[i] == 0 || count == 0) continue;
        const Mix* mix = &mixes[static_cast<std::size_t>(ids[i]) - 1];
        if (!adapted.empty() && adapted.back().mix == mix && adapted.back().first + adapted.back().count == first)
            adapted.back().count += count;
        else
            adapted.push_back({first, count, mix});
    }
    return adapted;
}

std::size_t widest(std::span<const AdaptedRows> adapted) {
    std::size_t most = 0;
    for (const AdaptedRows& rows : adapted) {
        std::size_t width = 0;
        for (const auto& [adapter, scale] : *rows.mix) width += adapter->max_rank();
        most = std::max(most, width);
    }
    return most;
}

bool SiteWork::any() const {
    return std::any_of(adapted.begin(), adapted.end(), [&](const AdaptedRows& rows) {
        return std::any_of(rows.mix->begin(), rows.mix->end(),
                           [&](const auto& part) { return part.first->at(site).rank > 0; });
    });
}

void SiteWork::down(std::size_t item, const FloatActivations& x) const {
    const std::size_t begin = item * kRanks, end = begin + kRanks;
    for (const AdaptedRows& rows : adapted) {
        std::size_t offset = 0;  // of the adapter's ranks in a row of `hidden`
        for (const auto& [adapter, scale] : *rows.mix) {
            const LowRank& low = adapter->at(site);
            const std::size_t first = std::max(begin, offset), last = std::min(end, offset + low.rank);
            if (first < last) {
                float* out = hidden + rows.first * width + first;
                kernels.float_dot({low.encoding,
                                   {low.a + (first - offset) * low.a_stride, low.a_stride, last - first},
                                   {x.values + rows.first * x.stride, x.stride},
                                   rows.count,
                                   low.a_stride / element_bytes(low.encoding),
                                   {out, width}});
                for (std::size_t t = 0; t < rows.count; ++t)
                    for (std::size_t j = 0; j < last - first; ++j) out[t * width + j] *= scale * low.factor;
            }
            offset += low.rank;
        }
    }
}

void SiteWork::up(std::size_t item, std::size_t out_features, const Products& out) const {
    const std::size_t column = item * kColumns, columns = std::min(kColumns, out_features - column);
    for (const AdaptedRows& rows : adapted) {
        const float* values = hidden + rows.first * width;
        for (const auto& [adapter, scale] : *rows.mix) {
            const LowRank& low = adapter->at(site);
            if (low.rank == 0) continue;
            kernels.add_low_rank({low.encoding,
                                  low.b_panels + column * low.rank * element_bytes(low.encoding),
                                  low.rank,
                                  columns,
                                  {values, width},
                                  rows.count,
                                  {out.data + rows.first * out.stride + column, out.stride}});
            values += low.rank;
        }
    }
}

}  // namespace sterna
