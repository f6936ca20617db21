//! The settings of bottleneck adapters as plain values. Knows the words of pipeline files; not what a bottleneck does.

use spec::adapter::bottleneck::{self as written, LayerNorms, OnMaps};
use spec::adapter::{Bottleneck as Written, Size as Number};

use super::method::{size, targets};
use crate::adapters::{Bottleneck, First, LinearBottleneck, Method, Norms, Size, Style};
use crate::error::{Error, Result};
use crate::layers::Activation;
use crate::sublayers::Role;

/// Unpacks the settings of one style; each has the same keys with defaults of its own.
macro_rules! at_sublayers {
    ($settings:expr, $style:expr) => {{
        let settings = $settings;
        Bottleneck {
            style: $style,
            size: match &settings.size {
                written::Size::Units(units) => Size::Units(number(*units)?),
                written::Size::ParametersLike(like) => {
                    Size::Units(size("adapter.bottleneck.size", &Number::ParametersLike(like.clone()))?)
                }
                written::Size::Reduction(factor) => Size::Reduction(*factor),
            },
            activation: activation(settings.activation),
            scale: settings.scale,
            dropout: settings.dropout,
            norms: norms(settings.layer_norm),
            first: first(settings.init),
            sublayers: settings.sublayers.iter().map(|sublayer| role(*sublayer)).collect(),
            output_head: false,
            leave_out: settings.leave_out.iter().map(|layer| usize::try_from(*layer).unwrap_or(usize::MAX)).collect(),
        }
        .checked()?
    }};
}

/// The method that the settings describe.
pub fn method(style: &Written) -> Result<Box<dyn Method>> {
    Ok(match style {
        Written::Houlsby(settings) => Box::new(at_sublayers!(settings, Style::Houlsby)),
        Written::Pfeiffer(settings) => Box::new(at_sublayers!(settings, Style::Pfeiffer)),
        Written::Parallel(settings) => Box::new(at_sublayers!(settings, Style::Parallel)),
        Written::SeriesLinear(maps) => Box::new(on_maps(maps, LinearBottleneck::series)?),
        Written::ParallelLinear(maps) => Box::new(on_maps(maps, LinearBottleneck::parallel)?),
    })
}

type OnMapsOf = fn(i64, Activation, f64, f64, crate::targets::Targets) -> Result<LinearBottleneck>;

fn on_maps(maps: &OnMaps, make: OnMapsOf) -> Result<LinearBottleneck> {
    make(
        size("adapter.bottleneck.size", &maps.size)?,
        activation(maps.activation),
        maps.scale,
        maps.dropout,
        targets(&maps.targets)?,
    )
}

fn number(size: u64) -> Result<i64> {
    i64::try_from(size).map_err(|_| Error::setting("adapter.size", format!("{size} is too large"), "64 is usual"))
}

fn activation(written: written::Activation) -> Activation {
    match written {
        written::Activation::Relu => Activation::Relu,
        written::Activation::Gelu => Activation::Gelu,
        written::Activation::GeluNew => Activation::GeluTanh,
        written::Activation::Silu => Activation::Silu,
        written::Activation::Tanh => Activation::Tanh,
    }
}

fn norms(written: LayerNorms) -> Norms {
    Norms {
        before: matches!(written, LayerNorms::Before | LayerNorms::Both),
        after: matches!(written, LayerNorms::After | LayerNorms::Both),
    }
}

fn first(written: written::First) -> First {
    match written {
        written::First::Bert => First::Bert,
        written::First::Houlsby => First::Houlsby,
        written::First::MamAdapter => First::Zero,
    }
}

fn role(written: written::Sublayer) -> Role {
    match written {
        written::Sublayer::Attention => Role::Attention,
        written::Sublayer::CrossAttention => Role::CrossAttention,
        written::Sublayer::Mlp => Role::Mlp,
    }
}
