//! LoRA and DoRA in PEFT's words, whatever tool says them, as an adapter of this engine. Knows no tool's keys.

use std::collections::BTreeMap;

use serde_json::Value;
use spec::adapter::{Adapter, Bias, Dora, Init, Lora, PlainInit, Scale, Targets, TheA};

use super::settings::{Settings, count, number};

/// What PEFT 0.21 trains where a configuration names no rank: `LoraConfig.r`.
pub const RANK: u64 = 8;
/// And no alpha: `LoraConfig.lora_alpha`.
pub const ALPHA: f64 = 8.0;

/// The settings of a low-rank method.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// The rank.
    pub rank: u64,
    /// The alpha.
    pub alpha: f64,
    /// The dropout.
    pub dropout: f64,
    /// Whether it is DoRA.
    pub dora: bool,
    /// Whether alpha is divided by the rank's root.
    pub stabilized: bool,
    /// What A and B begin with.
    pub init: Init,
    /// Which biases train.
    pub bias: Bias,
    /// The maps.
    pub targets: Targets,
    /// Those of them that are left out.
    pub exclude: Option<Targets>,
    /// The layers.
    pub layers: Option<Vec<u64>>,
    /// Ranks of single maps.
    pub ranks: BTreeMap<String, u64>,
    /// Alphas of single maps.
    pub alphas: BTreeMap<String, f64>,
    /// The learning rate of B as a multiple of A's, with the key that says so.
    pub ratio: Option<(&'static str, f64)>,
}

impl LowRank {
    /// The adapter; what DoRA cannot have here is listed.
    pub fn adapter(self, settings: &mut Settings, init_key: &str) -> Adapter {
        let scale = if self.stabilized { Scale::RankStabilized } else { Scale::Standard };
        let mut init = self.init;
        let is_odd = |rank: &u64| !rank.is_multiple_of(2);
        if init == Init::Orthogonal && (is_odd(&self.rank) || self.ranks.values().any(is_odd)) {
            let why = "`orthogonal` shares the rank among A and B, and it is odd: A is random and B zero here; give an even rank";
            settings.leave(init_key, &Value::from("orthogonal"), why);
            init = Init::Kaiming;
        }
        let (rank, alpha, dropout, targets) = (self.rank.into(), self.alpha, self.dropout, self.targets);
        let (exclude, layers, rank_pattern, alpha_pattern) = (self.exclude, self.layers, self.ranks, self.alphas);
        if !self.dora {
            let learning_rate_ratio = self.ratio.map(|(_, ratio)| ratio);
            return Adapter::Lora(Lora {
                rank,
                alpha,
                scale,
                dropout,
                targets,
                exclude,
                layers,
                rank_pattern,
                alpha_pattern,
                init,
                bias: self.bias,
                learning_rate_ratio,
                penalty: None,
            });
        }
        if let Some((key, ratio)) = self.ratio {
            settings.leave(key, &Value::from(ratio), "LoRA+ is there for `lora` alone, and this is DoRA");
        }
        let init = match init {
            Init::Kaiming => PlainInit::Kaiming,
            Init::Gaussian => PlainInit::Gaussian,
            Init::Orthogonal => PlainInit::Orthogonal,
            Init::Pissa | Init::Olora => {
                let word = if init == Init::Pissa { "pissa" } else { "olora" };
                settings.leave(init_key, &Value::from(word), "`dora` begins with a random A and a zero B here");
                PlainInit::Kaiming
            }
        };
        Adapter::Dora(Dora {
            rank,
            alpha,
            scale,
            dropout,
            targets,
            exclude,
            layers,
            rank_pattern,
            alpha_pattern,
            init,
            a: TheA::Trains,
            bias: self.bias,
        })
    }
}

/// PEFT's `init_lora_weights` under any key.
pub fn init(settings: &mut Settings, key: &str) -> Init {
    let Some(value) = settings.take(key) else { return Init::Kaiming };
    let word = match &value {
        Value::Bool(true) => return Init::Kaiming,
        Value::String(word) => word.to_lowercase(),
        _ => String::new(),
    };
    match word.as_str() {
        "true" => Init::Kaiming,
        "gaussian" => Init::Gaussian,
        "orthogonal" => Init::Orthogonal,
        "olora" => Init::Olora,
        "pissa" => Init::Pissa,
        _ if word.starts_with("pissa_niter_") => {
            settings.leave(key, &value, "`init: pissa`: singular values are computed exactly here, not by iterations");
            Init::Pissa
        }
        _ => {
            let why = "not among the ways to begin here (`kaiming`, `gaussian`, `orthogonal`, `pissa`, `olora`); A is \
                       uniform and B zero instead";
            settings.leave(key, &value, why);
            Init::Kaiming
        }
    }
}

/// PEFT's `bias` under any key.
pub fn bias(settings: &mut Settings, key: &str) -> Bias {
    let Some(value) = settings.take(key) else { return Bias::None };
    match value.as_str() {
        Some("none") => Bias::None,
        Some("all") => Bias::All,
        Some("lora_only") => Bias::LoraOnly,
        _ => {
            settings.leave(key, &value, "not used: `none`, `all` or `lora_only` was expected; no bias trains");
            Bias::None
        }
    }
}

/// Targets under a key; what is no target is listed, and `default` stands in its place.
pub fn targets(settings: &mut Settings, key: &str, default: Targets) -> Targets {
    match settings.take(key) {
        None => {
            settings
                .unset(key, "the tool chooses by the model's family, for most decoders queries and values, as here");
            default
        }
        Some(value) => match super::targets::read(&value) {
            Ok(targets) => targets,
            Err(why) => {
                settings.leave(key, &value, format!("not used: {why}; queries and values are adapted instead"));
                default
            }
        },
    }
}

/// Targets that are left out, under a key.
pub fn exclude(settings: &mut Settings, key: &str) -> Option<Targets> {
    let value = settings.take(key)?;
    match super::targets::read(&value) {
        Ok(targets) => Some(targets),
        Err(why) => {
            settings.leave(key, &value, format!("not used: {why}; nothing is excluded"));
            None
        }
    }
}

/// Layers by number: one, or a list.
pub fn layers(settings: &mut Settings, key: &str) -> Option<Vec<u64>> {
    let value = settings.take(key)?;
    let found: Option<Vec<u64>> = match &value {
        Value::Array(list) => list.iter().map(count).collect(),
        one => count(one).map(|layer| vec![layer]),
    };
    match found.filter(|layers| !layers.is_empty()) {
        Some(mut layers) => {
            layers.sort_unstable();
            layers.dedup();
            Some(layers)
        }
        None => {
            settings.leave(key, &value, "not used: numbers of layers from 0 on were expected; all layers are adapted");
            None
        }
    }
}

/// Ranks of single maps.
pub fn ranks(settings: &mut Settings, key: &str) -> BTreeMap<String, u64> {
    pattern(settings, key, |value| count(value).filter(|rank| *rank > 0))
}

/// Alphas of single maps.
pub fn alphas(settings: &mut Settings, key: &str) -> BTreeMap<String, f64> {
    pattern(settings, key, |value| number(value).filter(|alpha| *alpha > 0.0 && alpha.is_finite()))
}

fn pattern<T>(settings: &mut Settings, key: &str, read: impl Fn(&Value) -> Option<T>) -> BTreeMap<String, T> {
    let mut found = BTreeMap::new();
    match settings.take(key) {
        None => {}
        Some(Value::Object(map)) => {
            for (name, value) in map {
                // As PEFT reads it: the end of a module's name, or a pattern for it.
                let is_pattern = !name.is_empty() && Targets::Regex(format!("(.*\\.)?({name})$")).faults().is_empty();
                match read(&value).filter(|_| is_pattern) {
                    Some(number) => {
                        found.insert(name, number);
                    }
                    None => settings.leave(
                        &format!("{key}.{name}"),
                        &value,
                        "not used: a module, or a pattern without look-around, and a number above zero were expected",
                    ),
                }
            }
        }
        Some(other) => settings.leave(key, &other, "not used: a map of modules to numbers was expected"),
    }
    found
}
