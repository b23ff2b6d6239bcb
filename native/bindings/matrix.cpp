// Frozen matrices beside plans, for training.
#include <stdexcept>

#include "../engine/frozen_matrix.hpp"
#include "../kernels/dispatch.hpp"
#include "arrays.hpp"
#include "module.hpp"

namespace sterna {
namespace {

// Keeps the arrays alive that the matrix is read from.
class PyMatrix {
public:
    PyMatrix(const nb::tuple& tensor, const std::string& activations, std::size_t group_size, const std::string& isa)
        : matrix_(to_tensor(tensor, bytes_, scales_), to_form(activations, group_size), kernels_for(isa), "matrix") {}

    Result<float> multiply(FloatRows x, std::size_t threads) const {
        return product(x, matrix_.in_features(), matrix_.out_features(),
                       [&](float* out) { matrix_.multiply(x.data(), x.shape(0), at_least_one(threads), out); });
    }

    Result<float> multiply_transposed(FloatRows g, std::size_t threads) const {
        return product(g, matrix_.out_features(), matrix_.in_features(), [&](float* out) {
            matrix_.multiply_transposed(g.data(), g.shape(0), at_least_one(threads), out);
        });
    }

    // (products, hidden rows), or None where there is no such kernel.
    nb::object multiply_adapted(FloatRows x, FloatRows a, FloatRows b, float scale, std::size_t threads) const {
        if (!matrix_.adapts(x.shape(0))) return nb::none();
        return adapted(x, matrix_.in_features(), matrix_.out_features(), a, b, scale,
                       [&](const LowRankUpdate& update, float* out) {
                           matrix_.multiply_adapted(update, x.data(), x.shape(0), at_least_one(threads), out);
                       });
    }

    nb::object multiply_adapted_transposed(FloatRows g, FloatRows a, FloatRows b, float scale,
                                           std::size_t threads) const {
        if (!matrix_.adapts_transposed(g.shape(0))) return nb::none();
        return adapted(g, matrix_.out_features(), matrix_.in_features(), a, b, scale,
                       [&](const LowRankUpdate& update, float* out) {
                           matrix_.multiply_adapted_transposed(update, g.data(), g.shape(0), at_least_one(threads),
                                                               out);
                       });
    }

    Result<float> rows(Indices ids) const {
        const std::size_t width = matrix_.in_features();
        auto out = make_result<float>({ids.size(), width});
        for (std::size_t i = 0; i < ids.size(); ++i) {
            const auto row = static_cast<std::size_t>(ids.data()[i]);
            if (row >= matrix_.out_features()) throw std::invalid_argument("The matrix has no such row.");
            matrix_.row(row, out.data() + i * width);
        }
        return out;
    }

private:
    static ActivationForm to_form(const std::string& activations, std::size_t group_size) {
        Operation op{"matrix", {{"activations", activations}}, {{"group_size", static_cast<double>(group_size)}}};
        return op.activations();
    }

    static Result<float> product(const FloatRows& rows, std::size_t width, std::size_t columns, const auto& compute) {
        if (rows.shape(1) != width)
            throw std::invalid_argument("Rows must be " + std::to_string(width) + " values wide.");
        auto out = make_result<float>({rows.shape(0), columns});
        const nb::gil_scoped_release release;
        if (rows.shape(0) > 0) compute(out.data());
        return out;
    }

    nb::object adapted(const FloatRows& rows, std::size_t width, std::size_t columns, const FloatRows& a,
                       const FloatRows& b, float scale, const auto& compute) const {
        if (a.shape(1) != matrix_.in_features() || b.shape(0) != matrix_.out_features() || a.shape(0) != b.shape(1))
            throw std::invalid_argument("An update must fit its matrix.");
        auto hidden = make_result<float>({rows.shape(0), a.shape(0)});
        const LowRankUpdate update{a.data(), b.data(), a.shape(0), scale, hidden.data()};
        auto out = product(rows, width, columns, [&](float* to) { compute(update, to); });
        return nb::make_tuple(out, hidden);
    }

    Bytes bytes_;
    Floats scales_;
    FrozenMatrix matrix_;
};

}  // namespace

void bind_matrix(nb::module_& m) {
    nb::class_<PyMatrix>(m, "Matrix")
        .def(nb::init<const nb::tuple&, const std::string&, std::size_t, const std::string&>(), "tensor"_a,
             "activations"_a, "group_size"_a, "isa"_a)
        .def("multiply", &PyMatrix::multiply, "x"_a, "threads"_a)
        .def("multiply_transposed", &PyMatrix::multiply_transposed, "g"_a, "threads"_a)
        .def("multiply_adapted", &PyMatrix::multiply_adapted, "x"_a, "a"_a, "b"_a, "scale"_a, "threads"_a)
        .def("multiply_adapted_transposed", &PyMatrix::multiply_adapted_transposed, "g"_a, "a"_a, "b"_a, "scale"_a,
             "threads"_a)
        .def("rows", &PyMatrix::rows, "ids"_a);
}

}  // namespace sterna
