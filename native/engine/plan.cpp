#include "plan.hpp"

#include <cmath>
#include <stdexcept>

namespace sterna {
namespace {

template <class Map>
const typename Map::mapped_type& argument(const Map& map, const std::string& key, const std::string& kind) {
    const auto found = map.find(key);
    if (found == map.end())
        throw std::invalid_argument("The operation '" + kind + "' lacks its argument '" + key + "'.");
    return found->second;
}

}  // namespace

const std::string& Operation::name(const std::string& key) const {
    return argument(names, key, kind);
}

double Operation::number(const std::string& key) const {
    const double value = argument(numbers, key, kind);
    if (!std::isfinite(value))
        throw std::invalid_argument("The argument '" + key + "' of the operation '" + kind + "' is not finite.");
    return value;
}

std::size_t Operation::size(const std::string& key, std::size_t limit) const {
    const double value = number(key);
    if (value < 0 || value > static_cast<double>(limit) || value != std::floor(value))
        throw std::invalid_argument("The argument '" + key + "' of the operation '" + kind + "' is out of range.");
    return static_cast<std::size_t>(value);
}

ActivationForm Operation::activations() const {
    const std::string& wanted = name("activations");
    const std::map<std::string, Quantizer> quantizers = {
        {"none", Quantizer::none}, {"int8", Quantizer::int8}, {"int15", Quantizer::int15}};
    const auto found = quantizers.find(wanted);
    if (found == quantizers.end())
        throw std::invalid_argument("The engine does not know the activations '" + wanted + "'.");
    return {found->second, size("group_size", std::size_t{1} << 24)};
}

}  // namespace sterna
