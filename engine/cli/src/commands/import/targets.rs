//! PEFT's `target_modules` as targets of this engine. Knows the names of maps in Llama-like models, no method.

use serde_json::Value;
use spec::adapter::Targets;

/// Modules whose name means a role in every family that has them. Other families' names (`query`, `c_attn`, T5's `q`) mean
/// several things, and stay the ends of names that they are in PEFT.
const ROLES: &[(&str, &str)] = &[
    ("q_proj", "attention.q"),
    ("k_proj", "attention.k"),
    ("v_proj", "attention.v"),
    ("o_proj", "attention.o"),
    ("gate_proj", "mlp.gate"),
    ("up_proj", "mlp.up"),
    ("down_proj", "mlp.down"),
];

/// What a tool that names no module leaves to PEFT, for Llama, Mistral, Gemma and most decoders: PEFT 0.21,
/// `TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING`.
pub fn of_peft() -> Targets {
    Targets::Roles(vec!["attention.q".to_owned(), "attention.v".to_owned()])
}

/// Targets by the names of modules: roles where all of them are, else ends of names.
pub fn named(names: &[String]) -> Targets {
    let role = |name: &String| ROLES.iter().find(|(module, _)| module == name).map(|(_, role)| (*role).to_owned());
    let mut roles: Vec<String> = Vec::new();
    for name in names {
        match role(name) {
            Some(role) if roles.contains(&role) => {}
            Some(role) => roles.push(role),
            None => {
                let mut suffixes = names.to_vec();
                suffixes.sort();
                suffixes.dedup();
                return Targets::Suffix(suffixes);
            }
        }
    }
    Targets::Roles(roles)
}

/// Targets as PEFT writes them: a list of names, a pattern for whole names, or `all-linear`.
///
/// # Errors
/// Why it is none of these.
pub fn read(value: &Value) -> Result<Targets, String> {
    match value {
        Value::String(text) if matches!(text.as_str(), "all-linear" | "all_linear") => Ok(Targets::AllLinear),
        Value::String(pattern) => {
            let targets = Targets::Regex(pattern.clone());
            match targets.faults().first() {
                Some(fault) => Err(format!("{}; patterns here have no look-around", fault.message)),
                None => Ok(targets),
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let names: Option<Vec<String>> = list.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            let names = names.filter(|names| names.iter().all(|name| !name.trim().is_empty()));
            let names = names.ok_or("a list of names of modules was expected")?;
            match names.iter().any(|name| name == "all-linear") {
                true => Ok(Targets::AllLinear),
                false => Ok(named(&names)),
            }
        }
        _ => Err("a list of names of modules, a pattern or `all-linear` was expected".to_owned()),
    }
}
