// The tiles of AMX: eight registers of sixteen lines of 64 bytes. An instruction multiplies a tile of A with one of B
// and adds the products to one of C.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sterna {
namespace {

constexpr std::size_t kTileLines = 16, kTileColumns = 64, kTileBytes = kTileLines * 64;

// The instructions are written in assembly, because to gcc 12 its intrinsics neither read nor write memory.
template <std::size_t kTile>
void tile_load(const void* from, std::size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <std::size_t kTile>
void tile_store(void* to) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(std::size_t{64}), "i"(kTile) : "memory");
}
template <std::size_t kTile>
void tile_zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
template <std::size_t kC, std::size_t kA, std::size_t kB>
void tile_multiply_add() {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

// The shapes of a thread's tiles, while this lives: the first kOfTokens have a line for each of `n_tokens` tokens. The
// tiles are released at the end, since a context switch must save them while they are in use.
class Tiles {
public:
    Tiles(std::size_t of_tokens, std::size_t n_tokens) {
        constexpr std::size_t kTiles = 8;
        struct alignas(64) {
            std::uint8_t palette = 1, start_line = 0, reserved[14] = {};
            std::uint16_t line_bytes[16] = {};
            std::uint8_t lines[16] = {};
        } config;
        for (std::size_t i = 0; i < kTiles; ++i) {
            config.line_bytes[i] = 64;
            config.lines[i] = static_cast<std::uint8_t>(i < of_tokens ? n_tokens : kTileLines);
        }
        asm volatile("ldtilecfg %0" : : "m"(config));
    }
    Tiles(const Tiles&) = delete;
    ~Tiles() { asm volatile("tilerelease"); }
};

}  // namespace
}  // namespace sterna
