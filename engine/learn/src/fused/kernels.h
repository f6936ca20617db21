// Passes over the rows of a matrix on the CPU, each number read and written once, with float32 in between: what DoRA does
// to the outputs of a linear map beside its matrix products. Other devices and kinds take libtorch's operations, which
// compute the same.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

// Compiled for several instruction sets, of which the loader takes the best one that the processor has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define FUSED_CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define FUSED_CLONES
#endif

namespace fused {

// The kind of numbers in between.
inline at::ScalarType exact(at::ScalarType kind) { return kind == at::kDouble ? at::kDouble : at::kFloat; }

// bfloat16 by its bits: loops over them become vector instructions.
struct Bits {
    std::uint16_t bits;
};

inline float read(Bits number) {
    const std::uint32_t bits = std::uint32_t(number.bits) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline float read(float number) { return number; }
inline double read(double number) { return number; }

inline void write(Bits& to, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to.bits = std::uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
inline void write(float& to, float value) { to = value; }
inline void write(double& to, double value) { to = value; }

// 64 random bits of a number: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
inline std::uint64_t mixed_bits(std::uint64_t bits) {
    bits += 0x9e3779b97f4a7c15u;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    return bits ^ (bits >> 31);
}

// 32 random bits of a column, for the two keys of its row: rounds of multiplication and shift, so that a loop over columns
// becomes vector instructions.
inline std::uint32_t drawn(std::uint32_t column, std::uint32_t first, std::uint32_t second) {
    std::uint32_t bits = column * 0x9e3779b9u + first;
    bits = (bits ^ (bits >> 16)) * 0x7feb352du;
    bits = ((bits ^ (bits >> 15)) + second) * 0x846ca68bu;
    bits = (bits ^ (bits >> 16)) * 0x2c1b3c6du;
    return bits ^ (bits >> 15);
}

// Each loop stands in a function of its own for each kind: only a plain function can be compiled several times.
#define FUSED_LOOPS(Number, Exact)                                                                                        \
    FUSED_CLONES inline void scale_row(Number* __restrict y, const Number* __restrict z, const Exact* __restrict c,      \
                                       const Exact* __restrict b, std::int64_t columns) {                                \
        for (std::int64_t at = 0; at < columns; ++at) write(y[at], (read(y[at]) + read(z[at])) * c[at] + b[at]);         \
    }                                                                                                                    \
    FUSED_CLONES inline void add_row(Number* __restrict y, const Number* __restrict z, const Exact* __restrict c,        \
                                     const Exact* __restrict b, std::int64_t columns) {                                  \
        for (std::int64_t at = 0; at < columns; ++at) write(y[at], read(y[at]) + read(z[at]) * c[at] + b[at]);           \
    }                                                                                                                    \
    FUSED_CLONES inline void gradient_row(Number* __restrict scaled, Exact* __restrict sum,                              \
                                          const Number* __restrict g, const Number* __restrict y,                        \
                                          const Exact* __restrict c, const Exact* __restrict b, std::int64_t columns) {  \
        for (std::int64_t at = 0; at < columns; ++at) {                                                                  \
            const Exact number = read(g[at]);                                                                            \
            sum[at] += number * (read(y[at]) - b[at]);                                                                   \
            write(scaled[at], number * c[at]);                                                                           \
        }                                                                                                                \
    }                                                                                                                    \
    FUSED_CLONES inline void gradient_row(Number* __restrict g, Exact* __restrict sum, const Number* __restrict y,       \
                                          const Exact* __restrict c, const Exact* __restrict b, std::int64_t columns) {  \
        for (std::int64_t at = 0; at < columns; ++at) {                                                                  \
            const Exact number = read(g[at]);                                                                            \
            sum[at] += number * (read(y[at]) - b[at]);                                                                   \
            write(g[at], number * c[at]);                                                                                \
        }                                                                                                                \
    }
#define FUSED_DROPOUT(Number, Exact)                                                                                     \
    FUSED_CLONES inline void drop_row(Number* to, const Number* from, std::uint32_t first, std::uint32_t second,         \
                                      std::uint32_t below, Exact factor, std::int64_t columns) {                         \
        _Pragma("omp simd") for (std::int64_t at = 0; at < columns; ++at) {                                              \
            const Exact number = read(from[at]) * factor;                                                                \
            write(to[at], drawn(std::uint32_t(at), first, second) < below ? Exact(0) : number);                          \
        }                                                                                                                \
    }
FUSED_LOOPS(float, float)
FUSED_LOOPS(double, double)
FUSED_LOOPS(Bits, float)
FUSED_DROPOUT(float, float)
FUSED_DROPOUT(double, double)
FUSED_DROPOUT(Bits, float)
#undef FUSED_LOOPS
#undef FUSED_DROPOUT

// Whether a loop of this file knows the numbers of `x`.
inline bool known(const at::Tensor& x) {
    const auto kind = x.scalar_type();
    return x.device().is_cpu() && (kind == at::kFloat || kind == at::kDouble || kind == at::kBFloat16);
}

// Calls `act` with null pointers that tell the kinds of the numbers and of those in between.
template <class Act>
void by_kind(at::ScalarType kind, Act act) {
    switch (kind) {
        case at::kDouble: return act(static_cast<double*>(nullptr), static_cast<double*>(nullptr));
        case at::kBFloat16: return act(static_cast<Bits*>(nullptr), static_cast<float*>(nullptr));
        default: return act(static_cast<float*>(nullptr), static_cast<float*>(nullptr));
    }
}

// Rows that a thread takes at least.
inline std::int64_t grain(std::int64_t columns) { return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, columns)); }

// `y ← (y + z) ⊙ c + b`, in place, for y and z `[rows, columns]` and c, b `[columns]` in the exact kind. b may be absent.
inline at::Tensor scale_rows(at::Tensor y, const at::Tensor& z, const at::Tensor& c, const at::Tensor& bias) {
    if (!known(y)) {
        const at::Tensor scaled = at::mul(at::add(y, z), c);
        return (bias.defined() ? at::add(scaled, bias) : scaled).to(y.scalar_type());
    }
    const std::int64_t columns = y.size(1);
    const at::Tensor b = bias.defined() ? bias : at::zeros_like(c);
    by_kind(y.scalar_type(), [&](auto* number, auto* between) {
        using Number = std::remove_pointer_t<decltype(number)>;
        using Exact = std::remove_pointer_t<decltype(between)>;
        auto* to = static_cast<Number*>(y.data_ptr());
        auto* from = static_cast<const Number*>(z.const_data_ptr());
        at::parallel_for(0, y.size(0), grain(columns), [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row)
                scale_row(to + row * columns, from + row * columns, c.const_data_ptr<Exact>(), b.const_data_ptr<Exact>(),
                          columns);
        });
    });
    return y;
}

// `y ← y + z ⊙ c + b`, in place, for y and z `[rows, columns]` and c, b `[columns]` in the exact kind. b may be absent.
inline at::Tensor add_rows(at::Tensor y, const at::Tensor& z, const at::Tensor& c, const at::Tensor& bias) {
    if (!known(y)) {
        const at::Tensor sum = at::add(y, at::mul(z, c));
        return (bias.defined() ? at::add(sum, bias) : sum).to(y.scalar_type());
    }
    const std::int64_t columns = y.size(1);
    const at::Tensor b = bias.defined() ? bias : at::zeros_like(c);
    by_kind(y.scalar_type(), [&](auto* number, auto* between) {
        using Number = std::remove_pointer_t<decltype(number)>;
        using Exact = std::remove_pointer_t<decltype(between)>;
        auto* to = static_cast<Number*>(y.data_ptr());
        auto* from = static_cast<const Number*>(z.const_data_ptr());
        at::parallel_for(0, y.size(0), grain(columns), [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row)
                add_row(to + row * columns, from + row * columns, c.const_data_ptr<Exact>(), b.const_data_ptr<Exact>(),
                        columns);
        });
    });
    return y;
}

// Whether nothing but `x` holds its memory, as autograd asks before it adds to a gradient in place.
inline bool alone(const at::Tensor& x) {
    return x.use_count() == 1 && x.storage().use_count() == 1 && x.is_contiguous();
}

// Writes `g ⊙ c` to `scaled`, which may be g itself, and returns for each column `Σ g ⊙ (y − b)` in the exact kind, for g and
// y `[rows, columns]` and c, b `[columns]`. b may be absent.
inline at::Tensor scaled_and_summed(const at::Tensor& scaled, const at::Tensor& g, const at::Tensor& y, const at::Tensor& c,
                                    const at::Tensor& bias) {
    if (!known(g)) {
        const at::Tensor sums = at::sum(at::mul(g.to(c.scalar_type()), bias.defined() ? at::sub(y, bias) : y), {0});
        scaled.copy_(at::mul(g, c));
        return sums;
    }
    const std::int64_t columns = g.size(1);
    const bool in_place = scaled.is_same(g);
    const at::Tensor b = bias.defined() ? bias : at::zeros_like(c);
    // One row of sums for each thread, added up in their order.
    const at::Tensor sums = at::zeros({at::get_num_threads(), columns}, c.options());
    by_kind(g.scalar_type(), [&](auto* number, auto* between) {
        using Number = std::remove_pointer_t<decltype(number)>;
        using Exact = std::remove_pointer_t<decltype(between)>;
        auto* to = static_cast<Number*>(scaled.data_ptr());
        auto* from = static_cast<const Number*>(g.const_data_ptr());
        auto* output = static_cast<const Number*>(y.const_data_ptr());
        auto *factor = c.const_data_ptr<Exact>(), *less = b.const_data_ptr<Exact>();
        auto* all_sums = sums.data_ptr<Exact>();
        at::parallel_for(0, g.size(0), grain(columns), [&](std::int64_t begin, std::int64_t end) {
            auto* sum = all_sums + at::get_thread_num() * columns;
            for (std::int64_t at = begin * columns; at < end * columns; at += columns) {
                if (in_place) {
                    gradient_row(to + at, sum, output + at, factor, less, columns);
                } else {
                    gradient_row(to + at, sum, from + at, output + at, factor, less, columns);
                }
            }
        });
    });
    return at::sum(sums, {0});
}

// Writes `from` with dropout of this probability to `to`, which may be `from` itself, both `[rows, columns]`. What is
// dropped depends on the seed, the row and the column alone.
inline void drop(const at::Tensor& to, const at::Tensor& from, double probability, std::int64_t seed) {
    const std::int64_t columns = from.size(1);
    const auto below = static_cast<std::uint32_t>(probability * 4294967296.0);
    by_kind(from.scalar_type(), [&](auto* number, auto* between) {
        using Number = std::remove_pointer_t<decltype(number)>;
        using Exact = std::remove_pointer_t<decltype(between)>;
        auto* into = static_cast<Number*>(to.data_ptr());
        auto* out = static_cast<const Number*>(from.const_data_ptr());
        const auto factor = static_cast<Exact>(1.0 / (1.0 - probability));
        at::parallel_for(0, from.size(0), grain(columns), [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row) {
                const std::uint64_t key = mixed_bits(mixed_bits(std::uint64_t(seed)) + std::uint64_t(row));
                drop_row(into + row * columns, out + row * columns, std::uint32_t(key), std::uint32_t(key >> 32), below,
                         factor, columns);
            }
        });
    });
}

}  // namespace fused
