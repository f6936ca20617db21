//! What an `inspect` stage may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Empty, Fault, Input, Kind, Program};
use crate::reference::{OneOrMany, Reference};

/// Looks at what training did to weights: how far each matrix moved, in which directions, and what that has in common
/// between members.
///
/// All members of the stages are looked at together, as they are in the end and at each of their `snapshots`. Of an adapter
/// this needs the model it belongs to, which comes with it; of `adapter: full`, the snapshot of step 0. Members whose method
/// changes no weight matrix by a sum (prompts, prefixes, bottlenecks, IA3, VeRA, BitFit) are left out, with the reason, and the
/// others are looked at; a head is not looked at. It computes on the CPU in float64, matrix by matrix. LoRA's changes stay
/// factors. A change of DoRA or of full fine-tuning is decomposed whole where singular values are asked for, and
/// `amplification` decomposes W: half a minute for a matrix of 4096 × 4096 on two cores, and again for each snapshot; a few
/// seconds at most for 1024 × 1024.
///
/// Leaves `inspection.json`, and a table for each analysis: `update_norms.csv`, `subspaces.csv`, `amplification.csv`,
/// `magnitude_direction.csv` and `correlations.csv`. A `report` stage shows the main figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inspect {
    /// A `train` stage, or a list of them. All members of each.
    #[schemars(extend("not" = {"anyOf": [
        {"type": "string", "pattern": "^[^$\\[]*(\\[.*\\])?/"},
        {"type": "object", "required": ["part"]},
        {"type": "array", "contains": {"anyOf": [
            {"type": "string", "pattern": "^[^$\\[]*(\\[.*\\])?/"},
            {"type": "object", "required": ["part"]},
        ]}},
    ]}))]
    pub models: OneOrMany,
    /// What is computed.
    #[schemars(length(min = 1))]
    pub analyses: Vec<Analysis>,
}

crate::one_of! {
    /// What is computed of trained weights. ΔW is the difference between a matrix after training and before it, W.
    pub enum Analysis {
        /// How large each change is, in the end and at each snapshot: its Frobenius norm ‖ΔW‖, also as a part of ‖W‖, its
        /// spectral norm, its stable rank ‖ΔW‖² / σ₁² and its effective rank, the exponential of the entropy of σᵢ / Σσ.
        update_norms => UpdateNorms(Empty),
        /// How alike the directions are that two members learned: φ(i, j) of the LoRA paper (arXiv 2106.09685), section 7.2,
        /// equation 4, for each pair of members that adapt the same matrix. 1 where one span lies within the other, 0 where
        /// they have nothing in common; max(i, j) / inputs is to be expected by chance. Members with one seed begin with the
        /// same rows of A, so that much of what they have in common was never learned: compare other seeds too, and look at
        /// what they had in common before the first step, which is told where both have `snapshots`.
        subspaces => Subspaces(Subspaces),
        /// How a change compares with the matrix it changes: ‖UᵀWV‖ for the singular vectors U and V of ΔW, of W and of a
        /// random matrix, and the amplification factor ‖ΔW‖ / ‖UᵀWV‖. The LoRA paper, section 7.3, table 7.
        amplification => Amplification(Amplification),
        /// How far each matrix changed in magnitude, ΔM, and in direction, ΔD, at each snapshot and in the end, and how the
        /// two go together: the DoRA paper (arXiv 2402.09353), section 3.2, equations 3 and 4. A magnitude is the norm of an
        /// output row, as in PEFT.
        magnitude_direction => MagnitudeDirection(Empty),
    }
}

/// How alike the directions are that two members learned.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subspaces {
    /// Whose right singular vectors are compared.
    #[serde(default)]
    pub of: SubspacesOf,
    /// The numbers of directions, i and j. Without it, 1 to 8, then powers of two, and all there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1), inner(range(min = 1)), extend("uniqueItems" = true))]
    pub directions: Vec<u64>,
}

/// Whose right singular vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubspacesOf {
    /// Those of A, of methods that have one.
    #[default]
    A,
    /// Those of ΔW, as many as the adapter's rank; 64 of full fine-tuning.
    Update,
}

/// How a change compares with the matrix it changes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amplification {
    /// How many singular vectors are taken, at most as many as there are. Without it, the adapter's rank; 8 of full
    /// fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub directions: Option<u64>,
}

impl Kind for Inspect {
    const VERSION: u32 = 1;
    const PROGRAM: Program = Program::Worker;

    fn inputs(&self) -> Vec<Input<'_>> {
        let references = self.models.0.iter().collect();
        vec![Input { gathers: true, ..Input::any_of("models", references).of_kind(&["train"]) }]
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let is_list = self.models.0.len() > 1;
        for (index, reference) in self.models.0.iter().enumerate() {
            if let Some(part) = &reference.part {
                let path = if is_list { format!("models.{index}") } else { "models".to_owned() };
                let message = format!("`/{part}`: members are looked at whole, with their snapshots");
                let hint = format!("write `{}`", Reference { part: None, ..reference.clone() });
                faults.push(Fault::new(path, message, hint));
            }
        }
        if self.analyses.is_empty() {
            let hint = "name at least one, for example `[update_norms]`";
            faults.push(Fault::new("analyses", "nothing to compute", hint));
        }
        for (index, analysis) in self.analyses.iter().enumerate() {
            if self.analyses.iter().take(index).any(|earlier| earlier.same_as(analysis)) {
                let message = format!("`{}` stands twice", analysis.name());
                faults.push(Fault::new(format!("analyses.{index}"), message, "keep one of them"));
            }
            match analysis {
                Analysis::Subspaces(Subspaces { directions, .. }) => {
                    let zero = directions.iter().position(|number| *number == 0);
                    let path = |at| format!("analyses.{index}.subspaces.directions.{at}");
                    faults.extend(zero.map(|at| Fault::new(path(at), "no direction", "give a number above zero")));
                }
                Analysis::Amplification(Amplification { directions: Some(0) }) => {
                    let path = format!("analyses.{index}.amplification.directions");
                    faults.push(Fault::new(path, "no direction", "give a number above zero"));
                }
                _ => {}
            }
        }
        faults
    }
}

impl Analysis {
    /// Whether both would leave the same figures twice.
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Subspaces(one), Self::Subspaces(other)) => one.of == other.of,
            _ => self.name() == other.name(),
        }
    }
}
