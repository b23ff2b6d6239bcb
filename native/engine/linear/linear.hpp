// Linear: a stored matrix and the route by which it is multiplied. The route is chosen once, when a model is loaded,
// from the matrix's encoding and the form of its input; routes.cpp lists all routes.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "../../kernels/kernels.hpp"
#include "../plan.hpp"
#include "../tensor.hpp"

namespace sterna {

// Activations of several tokens: rows of floats, padded with zeros to `stride`, and their quantised copy in the form
// that the matrix takes.
struct Activations {
    std::size_t n_tokens = 0;
    std::size_t stride = 0;  // elements from one token to the next
    const float* values = nullptr;
    Int8Activations int8 = {};
    Int15Activations int15 = {};

    // The tokens from `first` on, `n` of them.
    Activations part(std::size_t first, std::size_t n) const;
};

// How a product is divided into items that threads share. An item is `rows` rows times `tokens` tokens; a thread takes
// `chunk` items at a time. Items of the same tokens follow each other.
struct Division {
    std::size_t rows, tokens, items, chunk;
};

// Rows of one item of the tile kernels: their products with a token fill a cache line of the output.
inline constexpr std::size_t kTileRows = 16;

// Most tokens of one item of the tile kernels: their activations stay in L2 while the item's rows are read.
inline constexpr std::size_t kMostTokens = 64;

class Linear {
public:
    virtual ~Linear() = default;

    std::size_t out_features() const { return out_features_; }
    std::size_t in_features() const { return in_features_; }
    const ActivationForm& form() const { return form_; }

    // A matrix is read from its tensor's bytes until it is settled in memory of its own (settling.hpp), memory_bytes()
    // from a cache line on. All threads fill that memory first, each its share: the rows that it will multiply, a part
    // of them at a time.
    virtual std::size_t memory_bytes() const { return out_features_ * row_bytes_; }
    void fill(std::uint8_t* memory, std::size_t thread, std::size_t n_threads, std::size_t part,
              std::size_t n_parts) const;
    void settle(const std::uint8_t* memory) {
        data_ = memory;
        settled_ = true;
    }

    // Whether the matrix is repacked for each product until it is settled.
    virtual bool repacks() const { return false; }

    // The same matrix by a route that repacks it, gives the same bits and needs no more scratch, or none.
    virtual std::unique_ptr<Linear> repacked() const { return nullptr; }

    bool settled() const { return settled_; }
    bool read_once() const { return read_once_; }  // as Tensor says
    bool reads(const std::uint8_t* data) const { return data == data_; }

    // Drops the pages of a matrix that is not settled, if they are to be read once and are not few.
    void drop() const;

    virtual std::size_t scratch() const { return 0; }  // floats that a thread needs for multiply
    virtual Division division(std::size_t n_tokens, std::size_t n_threads) const;

    // Computes items first <= i < last of a division. A product depends only on its row and its token.
    void multiply(const Activations& x, const Division& division, std::size_t first, std::size_t last, float* scratch,
                  const Products& out) const;

    // out[0, in_features) = row `row`, decoded and scaled; `out` has room for padded(in_features).
    void row(std::size_t row, float* out) const { columns(row, 0, in_features_, out); }

    // out[0, last - first) = columns first <= c < last of row `row`, decoded and scaled, as long as the matrix is not
    // settled; `out` has room for padded(last - first). `first` is a multiple of 256, a whole number of any blocks, and
    // so is `last`, or it is in_features.
    void columns(std::size_t row, std::size_t first, std::size_t last, float* out) const;

protected:
    // From so many tokens on, a thread takes a block of a few tiles at a time; for fewer, as many as make a long read.
    static constexpr std::size_t kLeastBlockTokens = 16;

    Linear(const Linear&) = default;

    // Throws std::invalid_argument where shape, bytes or scale do not fit together.
    Linear(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels, const std::string& name);

    // Multiplies rows first <= r < last with the tokens of x, in tiles of division.rows if the route has tiles. `out`
    // begins at row 0.
    virtual void multiply_rows(const Activations& x, std::size_t first, std::size_t last, const Division& division,
                               float* scratch, const Products& out) const = 0;

    // Writes what rows first <= r < last become in `memory`: by default a copy. `first` is a multiple of kTileRows.
    virtual void pack(std::size_t first, std::size_t last, std::uint8_t* memory) const;

    // Drops the file's pages behind a thread that has read rows first <= r < last, if they are to be read once: pieces
    // of about 1 MB, each when its last row was read.
    void drop_behind(std::size_t first, std::size_t last) const;

    Rows rows(std::size_t first, std::size_t last) const {
        return {data_ + first * row_bytes_, row_bytes_, last - first};
    }

    const Kernels& kernels_;
    ActivationForm form_;
    Encoding encoding_;
    std::size_t out_features_ = 0, in_features_ = 0, row_bytes_ = 0;
    float scale_;                          // of the whole matrix, on top of group_scales_
    std::span<const float> group_scales_;  // [out_features, groups], or none
    const std::uint8_t* data_;             // the tensor's rows, or what `pack` made of them
    bool read_once_, settled_ = false;
};

// The matrix with the first route that takes it. Throws std::invalid_argument where its parts do not fit together, and
// where no route takes it with activations of this form.
std::unique_ptr<Linear> make_linear(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels,
                                    const std::string& name);

// The same for a head, whose bytes often serve the embedding too: with `in_place`, encodings that have kernels for rows
// as they lie are not repacked.
std::unique_ptr<Linear> make_head(const Tensor& tensor, const ActivationForm& form, const Kernels& kernels,
                                  const std::string& name, bool in_place);

inline std::size_t parts(std::size_t n, std::size_t most) {
    return (n + most - 1) / most;
}

}  // namespace sterna
