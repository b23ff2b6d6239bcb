// All routes, in the order in which they are tried.
#include <stdexcept>

#include "floats.hpp"
#include "int15.hpp"
#include "int4.hpp"
#include "panels.hpp"
#include "ternary.hpp"
#include "ternary_groups.hpp"
#include "ternary_int15.hpp"

namespace sterna {
namespace {

struct Route {
    bool (*takes)(const Tensor& tensor, const ActivationForm& form);
    std::unique_ptr<Linear> (*make)(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels,
                                    const std::string& name);
};

template <class T>
constexpr Route route() {
    return {&T::takes,
            [](const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name)
                -> std::unique_ptr<Linear> { return std::make_unique<T>(tensor, form, kernels, name); }};
}

constexpr Route kInt15 = route<Int15>();
constexpr Route kRoutes[] = {route<Ternary>(), route<TernaryGroups>(), route<TernaryInt15>(), route<Int4>(),
                             route<Panels>(),  route<Floats>(),        route<Decoded>()};

}  // namespace

std::unique_ptr<Linear> make_head(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels,
                                  const std::string& name, bool in_place) {
    return in_place && kInt15.takes(tensor, form) ? kInt15.make(tensor, form, kernels, name)
                                                  : make_linear(tensor, form, kernels, name);
}

std::unique_ptr<Linear> make_linear(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels,
                                    const std::string& name) {
    if (tensor.shape.size() != 2) throw std::invalid_argument("The tensor '" + name + "' must be a matrix.");
    for (const Route& route : kRoutes)
        if (route.takes(tensor, form)) return route.make(tensor, form, kernels, name);
    throw std::invalid_argument("No kernel multiplies the tensor '" + name + "', kept as " +
                                format_of(tensor.encoding).name +
                                ", with activations of the form that the plan asks for.");
}

}  // namespace sterna
