//! `ia3`: inner activations scaled by learned vectors (Liu et al. 2022, arXiv 2205.05638).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Targets;
use crate::stage::Fault;

/// A vector for each target multiplies what comes out of it, or what goes into it where it is one of `feedforward`; the
/// vectors train, at first all 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ia3 {
    /// The linear maps that are adapted, named as those of `lora`. Without it those of the paper: keys, values, and what
    /// leads out of an MLP. PEFT's own choice is the same for Llama, Mistral and T5; for BERT and RoBERTa it has
    /// `attention.o` too, of Gemma and Qwen `attention.q` in place of the keys.
    #[serde(default = "targets")]
    pub targets: Targets,
    /// Those of the targets whose inputs are scaled, not their outputs. Without it, those that lead out of an MLP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedforward: Option<Targets>,
}

fn targets() -> Targets {
    Targets::Roles(["attention.k", "attention.v", "mlp.down"].map(str::to_owned).into())
}

impl Ia3 {
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self
            .targets
            .faults()
            .into_iter()
            .map(|fault| Fault { path: format!("ia3.{}", fault.path), ..fault })
            .collect();
        match &self.feedforward {
            Some(Targets::Roles(list) | Targets::Suffix(list)) if list.is_empty() => faults.push(Fault::new(
                "ia3.feedforward",
                "names no map",
                "leave it out: where no target leads out of an MLP, no inputs are scaled",
            )),
            Some(feedforward) => faults.extend(feedforward.faults().into_iter().map(|fault| Fault {
                path: format!("ia3.{}", fault.path.replacen("targets", "feedforward", 1)),
                ..fault
            })),
            None => {}
        }
        if let (Targets::Roles(targets), Some(Targets::Roles(feedforward))) = (&self.targets, &self.feedforward) {
            // `mlp.down` means `decoder.mlp.down` too.
            let within = |narrow: &str, wide: &str| narrow == wide || narrow.ends_with(&format!(".{wide}"));
            let target = |role: &&String| targets.iter().any(|target| within(role, target) || within(target, role));
            if let Some(role) = feedforward.iter().find(|role| !target(role)) {
                faults.push(Fault::new(
                    "ia3.feedforward",
                    format!("`{role}` is no target"),
                    "name roles that are among `targets`",
                ));
            }
        }
        faults
    }
}
