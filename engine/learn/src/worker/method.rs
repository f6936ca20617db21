//! The methods that settings describe: one function a method. Knows the words of pipeline files; not what a method does.

use spec::adapter::{self as written, Adapter, Size};

use super::bottleneck;
use crate::adapters::first_values::{
    Base, FirstValues, Gaussian, Kaiming, Olora, Orthogonal, Pissa, ScaledRandom, SingularValues, Svd,
};
use crate::adapters::{
    Biases, BitFit, Dora, Full, Gradient, Ia3, Lora, LoraFa, LowRank, Method, Prefix, Prompt, Scale, Start, Vera,
};
use crate::by_name::{ByName, Several};
use crate::error::{Error, Result};
use crate::optim::{Orthogonality, Side};
use crate::targets::{Layers, Pattern, Role, Targets};

/// The tokens of a text, as the data's tokenizer makes them.
pub type Tokenized<'a> = &'a dyn Fn(&str) -> Result<Vec<i64>>;

/// The method that the settings describe; `tokenized` gives the tokens of a text.
pub fn method(adapter: &Adapter, tokenized: Tokenized<'_>) -> Result<Box<dyn Method>> {
    Ok(match adapter {
        Adapter::Full(_) => Box::new(Full),
        Adapter::Lora(settings) => Box::new(lora(settings)?),
        Adapter::Dora(settings) => Box::new(dora(settings)?),
        Adapter::LoraFa(settings) => Box::new(lora_fa(settings)?),
        Adapter::BitFit(_) => Box::new(BitFit),
        Adapter::Bottleneck(style) => bottleneck::method(style)?,
        Adapter::Ia3(settings) => {
            Box::new(Ia3::new(targets(&settings.targets)?, settings.feedforward.as_ref().map(targets).transpose()?))
        }
        Adapter::Vera(settings) => Box::new(Vera::new(
            rank(&settings.rank)?,
            settings.d_initial,
            settings.dropout,
            settings.projection_seed,
            targets(&settings.targets)?,
        )?),
        Adapter::Prompt(settings) => Box::new(prompt(settings, tokenized)?),
        Adapter::Prefix(settings) => Box::new(prefix(settings)?),
    })
}

fn lora(settings: &written::Lora) -> Result<Lora> {
    let targets = narrowed(&settings.targets, settings.exclude.as_ref(), settings.layers.as_deref())?;
    let plain = LowRank::new(rank(&settings.rank)?, settings.alpha, settings.dropout, targets)?;
    let lora = Lora::of(LowRank {
        scale: scale(settings.scale),
        init: match settings.init {
            written::Init::Kaiming => Box::new(Kaiming),
            written::Init::Gaussian => Box::new(Gaussian),
            written::Init::Orthogonal => Box::new(Orthogonal),
            written::Init::Pissa => Box::new(Pissa),
            written::Init::Olora => Box::new(Olora),
        },
        biases: biases(settings.bias),
        ..plain.with_patterns(ranks(&settings.rank_pattern)?, alphas(&settings.alpha_pattern)?)?
    });
    let lora = lora.with_learning_rate_ratio(settings.learning_rate_ratio.unwrap_or(1.0))?;
    Ok(match &settings.penalty {
        Some(settings) => lora.with_penalty(penalty(settings)),
        None => lora,
    })
}

fn dora(settings: &written::Dora) -> Result<Dora> {
    let targets = narrowed(&settings.targets, settings.exclude.as_ref(), settings.layers.as_deref())?;
    let plain = LowRank::new(rank(&settings.rank)?, settings.alpha, settings.dropout, targets)?;
    let init: Box<dyn FirstValues> = match settings.init {
        written::PlainInit::Kaiming => Box::new(Kaiming),
        written::PlainInit::Gaussian => Box::new(Gaussian),
        written::PlainInit::Orthogonal => Box::new(Orthogonal),
    };
    let dora = Dora::of(LowRank {
        scale: scale(settings.scale),
        init,
        biases: biases(settings.bias),
        ..plain.with_patterns(ranks(&settings.rank_pattern)?, alphas(&settings.alpha_pattern)?)?
    })?;
    Ok(match settings.a {
        written::TheA::Trains => dora,
        written::TheA::Frozen => dora.with_frozen_a(),
    })
}

fn lora_fa(settings: &written::LoraFa) -> Result<LoraFa> {
    let targets = narrowed(&settings.targets, settings.exclude.as_ref(), settings.layers.as_deref())?;
    let plain = LowRank::new(rank(&settings.rank)?, settings.alpha, settings.dropout, targets)?;
    let init: Box<dyn FirstValues> = match &settings.init {
        written::LoraFaInit::Random(_) => Box::new(Kaiming),
        written::LoraFaInit::Svd(svd) => Box::new(Svd {
            singular_values: singular_values(svd.singular_values),
            base: match svd.base {
                written::Base::Untouched => Base::Untouched,
                written::Base::Residual => Base::Residual,
            },
        }),
        written::LoraFaInit::ScaledRandom(random) => {
            Box::new(ScaledRandom { singular_values: singular_values(random.singular_values) })
        }
    };
    let lora_fa = LoraFa::of(LowRank {
        scale: scale(settings.scale),
        init,
        biases: biases(settings.bias),
        ..plain.with_patterns(ranks(&settings.rank_pattern)?, alphas(&settings.alpha_pattern)?)?
    });
    let lora_fa = lora_fa.with_gradient(match settings.gradient {
        written::Gradient::Plain => Gradient::Plain,
        written::Gradient::Projected => Gradient::Projected,
    });
    match &settings.penalty {
        Some(settings) => lora_fa.with_penalty(penalty(settings)),
        None => Ok(lora_fa),
    }
}

fn prompt(settings: &written::Prompt, tokenized: Tokenized<'_>) -> Result<Prompt> {
    let start = match &settings.init {
        written::PromptInit::Random(_) => Start::Random,
        written::PromptInit::Vocabulary(_) => Start::Vocabulary,
        written::PromptInit::Text(text) => Start::Text { text: text.clone(), ids: tokenized(text)? },
    };
    Prompt::new(size("adapter.prompt.tokens", &settings.tokens)?, start)
}

fn prefix(settings: &written::Prefix) -> Result<Prefix> {
    let inner = settings.projection.as_ref().map(|inner| count("adapter.prefix.projection.width", inner.width));
    Prefix::new(size("adapter.prefix.tokens", &settings.tokens)?, inner.transpose()?)
}

fn rank(rank: &Size) -> Result<i64> {
    size("adapter.rank", rank)
}

/// A size that is a number. What it is to be like is found out before, by `sized`.
pub fn size(key: &str, size: &Size) -> Result<i64> {
    match size {
        Size::Number(number) => count(key, *number),
        Size::ParametersLike(like) => {
            let problem = format!("is to be like `{}`, and what that comes to was not counted", like.name());
            Err(Error::setting(key, problem, "write a number"))
        }
    }
}

fn count(key: &str, count: u64) -> Result<i64> {
    i64::try_from(count).map_err(|_| Error::setting(key, format!("{count} is too large"), "8 and 20 are usual"))
}

fn scale(written: written::Scale) -> Scale {
    match written {
        written::Scale::Standard => Scale::Standard,
        written::Scale::RankStabilized => Scale::RankStabilized,
    }
}

fn biases(written: written::Bias) -> Biases {
    match written {
        written::Bias::None => Biases::None,
        written::Bias::All => Biases::All,
        written::Bias::LoraOnly => Biases::Adapted,
    }
}

fn singular_values(written: written::SingularValues) -> SingularValues {
    match written {
        written::SingularValues::None => SingularValues::None,
        written::SingularValues::Sqrt => SingularValues::Sqrt,
        written::SingularValues::All => SingularValues::All,
    }
}

fn penalty(written: &written::Penalty) -> Orthogonality {
    let written::Penalty::Orthogonality(orthogonality) = written;
    let side = match orthogonality.of {
        written::Factor::A => Side::Rows,
        written::Factor::B => Side::Columns,
    };
    Orthogonality { side, weight: orthogonality.weight }
}

fn ranks(written: &std::collections::BTreeMap<String, u64>) -> Result<ByName<i64>> {
    let ranks = written
        .iter()
        .map(|(pattern, value)| Ok((pattern.clone(), count("adapter.rank_pattern", *value)?)))
        .collect::<Result<Vec<_>>>()?;
    ByName::new("rank_pattern", ranks, Several::Refused)
}

fn alphas(written: &std::collections::BTreeMap<String, f64>) -> Result<ByName<f64>> {
    let alphas = written.iter().map(|(pattern, alpha)| (pattern.clone(), *alpha));
    ByName::new("alpha_pattern", alphas, Several::Refused)
}

/// The targets without those that are excluded, within layers.
fn narrowed(written: &written::Targets, exclude: Option<&written::Targets>, layers: Option<&[u64]>) -> Result<Targets> {
    let mut meant = targets(written)?;
    if let Some(exclude) = exclude {
        meant = Targets::Except(Box::new(meant), Box::new(targets(exclude)?));
    }
    Ok(match layers {
        Some(layers) => Targets::InLayers(Box::new(meant), Layers::new(layers.to_vec())),
        None => meant,
    })
}

/// The linear maps that are meant.
pub fn targets(written: &written::Targets) -> Result<Targets> {
    Ok(match written {
        written::Targets::Roles(roles) => {
            Targets::Roles(roles.iter().map(|role| role.parse::<Role>()).collect::<Result<_>>()?)
        }
        written::Targets::Suffix(suffixes) => Targets::Suffixes(suffixes.clone()),
        written::Targets::Regex(pattern) => Targets::Pattern(Pattern::new(pattern)?),
        written::Targets::AllLinear => Targets::AllLinear,
    })
}
