// Linear maps with a low-rank part and their derivatives, as custom functions of autograd: what they keep for the backward
// pass is chosen here. Behind C functions that take and return tensors. Knows no model and no method's settings.
//
// Below, g is the gradient of y, s the scale, and dropout of probability p multiplies with a mask over (1 − p). A, B and
// the magnitudes are kept in float32 and cast to the kind of x.

#include "guarded.h"
#include "kernels.h"

#include <ATen/Context.h>
#include <ATen/ops/_unsafe_view.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdlib>

namespace {

using at::Tensor;
using fused::guarded;
using std::optional;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// `[…, width]` as rows.
Tensor rows(const Tensor& x) { return x.reshape({-1, x.size(-1)}).contiguous(); }

// `rows`, which nothing else holds, in the shape of `x` but for its last dimension: no view to autograd.
Tensor shaped(const Tensor& rows, const Tensor& x) {
    auto shape = x.sizes().vec();
    shape.back() = rows.size(1);
    return at::_unsafe_view(rows, shape);
}

// Dropout that can be drawn again: a probability and the seed of its mask.
struct Dropout {
    double probability;
    std::int64_t seed;

    bool acts() const { return probability > 0.0; }

    // `rows` with dropout: the same mask each time for one shape.
    Tensor of(const Tensor& rows) const { return acts() ? into(at::empty_like(rows), rows) : rows; }

    // The same in place, for rows that nothing else holds.
    Tensor within(const Tensor& rows) const { return acts() ? into(rows, rows) : rows; }

  private:
    Tensor into(const Tensor& to, const Tensor& from) const {
        if (fused::known(from)) {
            fused::drop(to, from, probability, seed);
            return to;
        }
        at::Generator shared = at::globalContext().defaultGenerator(from.device());
        at::Generator own = [&] {
            std::lock_guard<std::mutex> lock(shared.mutex());
            return shared.clone();
        }();
        own.set_current_seed(static_cast<std::uint64_t>(seed));
        const double kept = 1.0 - probability;
        const Tensor dropped = at::empty_like(from).bernoulli_(kept, own).div_(kept).mul_(from);
        return to.is_same(from) ? to.copy_(dropped) : dropped;
    }

  public:
    void save(AutogradContext* ctx) const {
        ctx->saved_data["probability"] = probability;
        ctx->saved_data["seed"] = seed;
    }

    static Dropout saved(AutogradContext* ctx) {
        return {ctx->saved_data["probability"].toDouble(), ctx->saved_data["seed"].toInt()};
    }
};

// `y + s · x̃ Aᵀ Bᵀ`. Keeps s · x̃ Aᵀ where B trains, and x where A trains.
struct LowRank : Function<LowRank> {
    static Tensor forward(AutogradContext* ctx, const Tensor& y, const Tensor& x, const Tensor& a, const Tensor& b,
                          double scale, double probability, std::int64_t seed) {
        const Dropout dropout{probability, seed};
        const auto kind = x.scalar_type();
        const Tensor down = dropout.of(rows(x)).mm(a.to(kind).t()).mul_(scale);
        dropout.save(ctx);
        ctx->saved_data["scale"] = scale;
        ctx->saved_data["shape"] = x.sizes().vec();
        ctx->save_for_backward({a.requires_grad() ? x : Tensor(), b.requires_grad() ? down : Tensor(), a, b});
        return shaped(at::addmm(rows(y), down, b.to(kind).t()), y);
    }

    static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
        const auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &down = saved[1], &a = saved[2], &b = saved[3];
        const Dropout dropout = Dropout::saved(ctx);
        const Tensor g = rows(gradients[0]);
        const auto kind = g.scalar_type();
        Tensor gx, ga, gb;
        if (ctx->needs_input_grad(3)) gb = g.t().mm(down);
        if (ctx->needs_input_grad(1) || ctx->needs_input_grad(2)) {
            const Tensor through = g.mm(b.to(kind)).mul_(ctx->saved_data["scale"].toDouble());
            if (ctx->needs_input_grad(1)) {
                gx = dropout.within(through.mm(a.to(kind))).view(ctx->saved_data["shape"].toIntVector());
            }
            if (ctx->needs_input_grad(2)) ga = through.t().mm(dropout.of(rows(x)));
        }
        return {gradients[0], gx, ga, gb, Tensor(), Tensor(), Tensor()};
    }
};

// Numbers of a matrix that are cast at once.
constexpr std::int64_t BLOCK = 1 << 16;

// `W Aᵀ` in float32, without a copy of W in float32.
Tensor mixed(const Tensor& weight, const Tensor& a) {
    const Tensor turned = a.to(at::kFloat).t();
    if (weight.scalar_type() == at::kFloat) return weight.mm(turned);
    const Tensor product = at::empty({weight.size(0), a.size(0)}, turned.options());
    const std::int64_t rows = std::max<std::int64_t>(1, BLOCK / std::max<std::int64_t>(1, weight.size(1)));
    const auto part = [&](std::int64_t begin, std::int64_t end) {
        at::NoGradGuard guard;
        const Tensor block = at::empty({std::min(rows, end - begin), weight.size(1)}, turned.options());
        for (; begin < end; begin += rows) {
            const std::int64_t length = std::min(rows, end - begin);
            Tensor cast = block.narrow(0, 0, length), into = product.narrow(0, begin, length);
            at::mm_out(into, cast.copy_(weight.narrow(0, begin, length)), turned);
        }
    };
    if (weight.device().is_cpu()) {
        at::parallel_for(0, weight.size(0), rows, part);
    } else {
        part(0, weight.size(0));
    }
    return product;
}

// The square roots of `squares + Σ (2s · mixed + s² · B (A Aᵀ)) ⊙ B`, sums over each row.
Tensor norms(const Tensor& squares, const Tensor& mixed, const Tensor& a, const Tensor& b, double scale) {
    const Tensor exact_a = a.to(at::kFloat), exact_b = b.to(at::kFloat);
    Tensor inner = exact_b.mm(exact_a.mm(exact_a.t()));
    inner.mul_(scale * scale).add_(mixed, 2.0 * scale);
    return inner.mul_(exact_b).sum(1).add_(squares).clamp_min_(0.0).sqrt_();
}

// `m / n` and `1 / n`, as two rows; one and zero where n is zero. Tells whether some `m / n` is below `thin`.
Tensor ratio(const Tensor& magnitude, const Tensor& norms, double thin, bool* is_thin) {
    const Tensor zero = norms.eq(0.0), filled = norms.masked_fill(zero, 1.0);
    Tensor both = at::empty({2, norms.size(0)}, norms.options());
    both[0].copy_(magnitude).div_(filled).masked_fill_(zero, 1.0);
    both[1].fill_(1.0).div_(filled).masked_fill_(zero, 0.0);
    *is_thin = both[0].abs().min().item<double>() < thin;
    return both;
}

// What the gradient of a magnitude is made of beside `Σ g ⊙ h`: where m / ‖W + s·BA‖ is c and 1 / ‖W + s·BA‖ is `inverse`.
// For a row of zeros c is one and the inverse zero.

// DoRA without dropout: `y = c ⊙ h + b` with `h = x Wᵀ + s · x Aᵀ Bᵀ`. Keeps s · x Aᵀ and y, and x where A trains. Where c is
// next to nothing y does not tell h, and h is kept beside it: in the columns `thin`.
struct Dora : Function<Dora> {
    static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& magnitude,
                          const Tensor& weight, const Tensor& c, const Tensor& inverse, const optional<Tensor>& bias,
                          const optional<Tensor>& thin, double scale) {
        const auto kind = x.scalar_type();
        const Tensor flat = rows(x);
        const Tensor down = flat.mm(a.to(kind).t()).mul_(scale);
        // For so few columns a product that is added in place takes longer than one by itself.
        Tensor y = flat.mm(weight.to(kind).t());
        Tensor thin_h;
        if (thin && magnitude.requires_grad()) {
            thin_h = flat.mm(weight.index_select(0, *thin).to(kind).t()).addmm_(down, b.index_select(0, *thin).to(kind).t());
        }
        const Tensor exact_bias = bias ? bias->to(fused::exact(kind)) : Tensor();
        y = shaped(fused::scale_rows(y, down.mm(b.to(kind).t()), c, exact_bias), x);
        ctx->saved_data["scale"] = scale;
        ctx->saved_data["shape"] = x.sizes().vec();
        const Tensor kept = a.requires_grad() ? x : Tensor();
        ctx->save_for_backward(
            {kept, down, y, a, b, weight, c, inverse, bias.value_or(Tensor()), thin.value_or(Tensor()), thin_h});
        return y;
    }

    static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
        const auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &down = saved[1], &y = saved[2], &a = saved[3], &b = saved[4], &weight = saved[5];
        const Tensor &c = saved[6], &inverse = saved[7], &bias = saved[8], &thin = saved[9], &thin_h = saved[10];
        const double scale = ctx->saved_data["scale"].toDouble();
        const bool own = fused::alone(gradients[0]);
        const Tensor g = rows(gradients[0]);
        const auto kind = g.scalar_type(), exact = c.scalar_type();
        Tensor gx, ga, gb, gm, gbias, thin_sums;
        if (bias.defined() && ctx->needs_input_grad(7)) gbias = g.sum(0, false, exact);
        if (thin_h.defined()) thin_sums = g.index_select(1, thin).to(exact).mul_(thin_h).sum(0);
        // g is no longer needed.
        const Tensor scaled = own ? g : at::empty_like(g);
        const Tensor sums = fused::scaled_and_summed(scaled, g, rows(y), c, bias.defined() ? bias.to(exact) : Tensor());
        if (ctx->needs_input_grad(3)) {
            gm = sums.div(c);
            if (thin_sums.defined()) gm.index_copy_(0, thin, thin_sums);
            gm.mul_(inverse);
        }
        if (ctx->needs_input_grad(0) || ctx->needs_input_grad(1)) {
            const Tensor through = scaled.mm(b.to(kind)).mul_(scale);
            if (ctx->needs_input_grad(0)) {
                gx = scaled.mm(weight.to(kind)).add_(through.mm(a.to(kind)));
                gx = gx.view(ctx->saved_data["shape"].toIntVector());
            }
            if (ctx->needs_input_grad(1)) ga = through.t().mm(rows(x));
        }
        if (ctx->needs_input_grad(2)) gb = scaled.t().mm(down);
        return {gx, ga, gb, gm, Tensor(), Tensor(), Tensor(), gbias, Tensor(), Tensor()};
    }
};

// DoRA with dropout: `y = x Wᵀ + (c − 1) ⊙ x̃ Wᵀ + c ⊙ s · x̃ Aᵀ Bᵀ + b`. Keeps s · x̃ Aᵀ and `h = x̃ Wᵀ + s · x̃ Aᵀ Bᵀ`, and x
// where A trains.
struct DroppedDora : Function<DroppedDora> {
    static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& magnitude,
                          const Tensor& weight, const Tensor& c, const Tensor& inverse, const optional<Tensor>& bias,
                          double scale, double probability, std::int64_t seed) {
        const Dropout dropout{probability, seed};
        const auto kind = x.scalar_type();
        const Tensor flat = rows(x), dropped = dropout.of(flat), turned = weight.to(kind).t();
        const Tensor down = dropped.mm(a.to(kind).t()).mul_(scale);
        Tensor h = dropped.mm(turned);
        Tensor y = flat.mm(turned).addmm_(down, at::mul(b, c.unsqueeze(1)).to(kind).t());
        const Tensor exact_bias = bias ? bias->to(fused::exact(kind)) : Tensor();
        y = shaped(fused::add_rows(y, h, c.sub(1.0), exact_bias), x);
        h.addmm_(down, b.to(kind).t());
        dropout.save(ctx);
        ctx->saved_data["scale"] = scale;
        ctx->saved_data["shape"] = x.sizes().vec();
        const Tensor kept = a.requires_grad() ? x : Tensor();
        ctx->save_for_backward({kept, down, h, a, b, weight, c, inverse, bias.value_or(Tensor())});
        return y;
    }

    static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
        const auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &down = saved[1], &h = saved[2], &a = saved[3], &b = saved[4], &weight = saved[5];
        const Tensor &c = saved[6], &inverse = saved[7], &bias = saved[8];
        const Dropout dropout = Dropout::saved(ctx);
        const Tensor g = rows(gradients[0]);
        const auto kind = g.scalar_type();
        // g ⊙ (c − 1) for x; the factors are small, and take c themselves.
        const Tensor scaled = at::empty_like(g), sums = fused::scaled_and_summed(scaled, g, h, c.sub(1.0), Tensor());
        Tensor gx, ga, gb, gbias;
        if (ctx->needs_input_grad(0) || ctx->needs_input_grad(1)) {
            const Tensor through =
                g.mm(at::mul(b, c.unsqueeze(1)).to(kind)).mul_(ctx->saved_data["scale"].toDouble());
            if (ctx->needs_input_grad(0)) {
                const Tensor turned = weight.to(kind);
                const Tensor below = scaled.mm(turned).add_(through.mm(a.to(kind)));
                gx = g.mm(turned).add_(dropout.within(below)).view(ctx->saved_data["shape"].toIntVector());
            }
            if (ctx->needs_input_grad(1)) ga = through.t().mm(dropout.of(rows(x)));
        }
        if (ctx->needs_input_grad(2)) gb = g.t().mm(down).to(c.scalar_type()).mul_(c.unsqueeze(1));
        const Tensor gm = ctx->needs_input_grad(3) ? sums.mul(inverse) : Tensor();
        if (bias.defined() && ctx->needs_input_grad(7)) gbias = g.sum(0, false, c.scalar_type());
        return {gx, ga, gb, gm, Tensor(), Tensor(), Tensor(), gbias, Tensor(), Tensor(), Tensor()};
    }
};

optional<Tensor> maybe(const Tensor* tensor) { return tensor ? optional<Tensor>(*tensor) : std::nullopt; }

void frozen(const Tensor& weight) {
    TORCH_CHECK(!weight.requires_grad(), "the weight beside a low-rank part must not train");
}

}  // namespace

extern "C" {

// As `guarded.h` says. Tensors that may be absent are null.

Tensor* fused_low_rank(const Tensor* y, const Tensor* x, const Tensor* a, const Tensor* b, double scale,
                       double probability, std::int64_t seed, char** error) {
    return guarded(error, [&] { return LowRank::apply(*y, *x, *a, *b, scale, probability, seed); });
}

Tensor* fused_dora(const Tensor* x, const Tensor* a, const Tensor* b, const Tensor* magnitude, const Tensor* weight,
                   const Tensor* c, const Tensor* inverse, const Tensor* bias, const Tensor* thin, double scale,
                   char** error) {
    return guarded(error, [&] {
        frozen(*weight);
        const auto kind = fused::exact(x->scalar_type());
        return Dora::apply(*x, *a, *b, *magnitude, *weight, c->to(kind), inverse->to(kind), maybe(bias), maybe(thin), scale);
    });
}

Tensor* fused_dropped_dora(const Tensor* x, const Tensor* a, const Tensor* b, const Tensor* magnitude,
                           const Tensor* weight, const Tensor* c, const Tensor* inverse, const Tensor* bias, double scale,
                           double probability, std::int64_t seed, char** error) {
    return guarded(error, [&] {
        frozen(*weight);
        const auto kind = fused::exact(x->scalar_type());
        return DroppedDora::apply(*x, *a, *b, *magnitude, *weight, c->to(kind), inverse->to(kind), maybe(bias), scale,
                                  probability, seed);
    });
}

// Of DoRA's norms, without gradient.

Tensor* fused_mixed(const Tensor* weight, const Tensor* a, char** error) {
    return guarded(error, [&] {
        at::NoGradGuard guard;
        return mixed(*weight, *a);
    });
}

Tensor* fused_norms(const Tensor* squares, const Tensor* mixed, const Tensor* a, const Tensor* b, double scale,
                    char** error) {
    return guarded(error, [&] {
        at::NoGradGuard guard;
        return norms(*squares, *mixed, *a, *b, scale);
    });
}

Tensor* fused_ratio(const Tensor* magnitude, const Tensor* norms, double thin, bool* is_thin, char** error) {
    return guarded(error, [&] {
        at::NoGradGuard guard;
        return ratio(*magnitude, *norms, thin, is_thin);
    });
}

// `x` with dropout, without a gradient of its own.
Tensor* fused_dropped(const Tensor* x, double probability, std::int64_t seed, char** error) {
    return guarded(error, [&] {
        at::NoGradGuard guard;
        return Dropout{probability, seed}.of(rows(*x)).view(x->sizes());
    });
}

}  // extern "C"
