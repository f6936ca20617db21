//! What an `inspect` stage leaves, as the file holds it that the worker writes and reports read. Knows names and numbers; no
//! tensor.

use serde::{Deserialize, Serialize};

/// What was found: `inspection.json`. Members and matrices stand in the order of the pipeline file and of the model; numbers
/// have nine digits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspection {
    /// The members that were looked at.
    pub members: Vec<Inspected>,
    /// What was not looked at.
    pub left_out: Vec<LeftOut>,
    /// How large each change is.
    pub update_norms: Vec<UpdateNorm>,
    /// How alike the directions are that two members learned.
    pub subspaces: Vec<Similarity>,
    /// How changes compare with what they change.
    pub amplification: Vec<Amplified>,
    /// How far each matrix changed in magnitude and in direction.
    pub magnitude_direction: Vec<Moved>,
    /// How these two go together.
    pub correlations: Vec<Correlation>,
}

/// A member that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspected {
    /// Its name: `tuned[method=dora,seed=0]`.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Axis and label.
    pub coordinates: Vec<(String, String)>,
    /// `lora`, `dora` or `full`. LoRA-FA, PiSSA and the like leave LoRA's files.
    pub method: String,
    /// The steps that it was looked at, rising.
    pub steps: Vec<u64>,
    /// The step among them whose weights it left: the last one, or the best.
    pub kept_step: u64,
}

/// What was not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The member.
    pub member: String,
    /// The analysis; all of them where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<String>,
    /// Why.
    pub reason: String,
}

/// A matrix of the model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Its name in the checkpoint without `.weight`.
    pub module: String,
    /// What it does: `attention.q`.
    pub role: String,
    /// The number of its layer, where it is in one.
    pub layer: Option<u64>,
}

/// How large a change is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateNorm {
    /// The member.
    pub member: String,
    /// The matrix.
    pub matrix: Matrix,
    /// The step.
    pub step: u64,
    /// ‖ΔW‖, the Frobenius norm.
    pub norm: f64,
    /// ‖ΔW‖ / ‖W‖; nothing where W is zero.
    pub relative: Option<f64>,
    /// σ₁, the largest singular value of ΔW.
    pub spectral: f64,
    /// ‖ΔW‖² / σ₁²; nothing where ΔW is zero, or no more than float32's rounding of W.
    pub stable_rank: Option<f64>,
    /// exp(−Σ pᵢ ln pᵢ) with pᵢ = σᵢ / Σσ; nothing likewise.
    pub effective_rank: Option<f64>,
}

/// How alike the directions are that two members learned on one matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Similarity {
    /// `a`, or `update` for ΔW.
    pub of: String,
    /// One member.
    pub first: String,
    /// The other.
    pub second: String,
    /// The matrix.
    pub matrix: Matrix,
    /// Inputs of the matrix: max(i, j) / inputs is to be expected of directions that were drawn.
    pub inputs: u64,
    /// The numbers of the first one's directions.
    pub i: Vec<u64>,
    /// The numbers of the other's.
    pub j: Vec<u64>,
    /// φ(i, j): a row for each i.
    pub phi: Vec<Vec<f64>>,
    /// φ of all directions of both before their first step, of `a` where both kept that: those of one seed begin alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<f64>,
}

/// How a change compares with the matrix it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amplified {
    /// The member.
    pub member: String,
    /// The matrix.
    pub matrix: Matrix,
    /// How many singular vectors U and V have.
    pub directions: u64,
    /// ‖W‖.
    pub weight: f64,
    /// ‖ΔW‖.
    pub update: f64,
    /// ‖UᵀWV‖ with U and V of ΔW.
    pub in_update: f64,
    /// The same with U and V of W: the most there can be.
    pub in_weight: f64,
    /// The root of its expected square with U and V drawn: directions · ‖W‖ / √(outputs · inputs).
    pub in_random: f64,
    /// ‖ΔW‖ / ‖UᵀWV‖ with U and V of ΔW; nothing where ΔW has no directions.
    pub factor: Option<f64>,
}

/// How far a matrix changed in magnitude and in direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// The member.
    pub member: String,
    /// The matrix.
    pub matrix: Matrix,
    /// The step.
    pub step: u64,
    /// ΔM, the mean over output rows of the change of their norm.
    pub magnitude: f64,
    /// ΔD, the mean over output rows of 1 − cos of their angle to where they began.
    pub direction: f64,
}

/// How magnitude and direction go together, over matrices and steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correlation {
    /// The member.
    pub member: String,
    /// The matrices' role; all roles together where there is none.
    pub role: Option<String>,
    /// How many points there are, step 0 not among them.
    pub points: u64,
    /// Pearson's correlation of ΔD and ΔM; nothing of fewer than three points, or of points without spread.
    pub correlation: Option<f64>,
    /// The slope of the least-squares line of ΔM over ΔD; nothing likewise.
    pub slope: Option<f64>,
}
