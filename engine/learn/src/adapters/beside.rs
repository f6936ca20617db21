//! What methods put beside linear maps, as sizes: for forecasts. Knows no tensor.

use super::bottleneck::{Form, Neck};

/// What a method puts beside a linear map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Beside {
    /// Two factors.
    Factors(FactorSizes),
    /// A number that each input is multiplied with, or each output.
    Scales {
        /// Whether these are inputs.
        inputs: bool,
    },
    /// Two vectors, `[outputs]` and `[rank]`, around factors that all maps share.
    Shared {
        /// Numbers between the factors.
        rank: i64,
        /// Whether their input has dropout.
        dropout: bool,
    },
    /// A bottleneck.
    Neck {
        /// Where it stands.
        form: Form,
        /// How it is made.
        neck: Neck,
    },
}

/// Two factors, `[rank, inputs]` and `[outputs, rank]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactorSizes {
    /// The smaller size of both.
    pub rank: i64,
    /// Whether their input has dropout.
    pub dropout: bool,
    /// Whether there is a magnitude for each output.
    pub decomposed: bool,
    /// Whether the first one trains.
    pub a_trains: bool,
    /// Whether what both began with is kept beside them.
    pub first_kept: bool,
}

impl Beside {
    /// The names and shapes of its tensors beside the map `name` with a weight `[outputs, inputs]`, and whether each trains.
    pub fn tensors(&self, name: &str, [outputs, inputs]: [i64; 2]) -> Vec<(String, Vec<i64>, bool)> {
        let tensor = |part: &str, shape: Vec<i64>| (format!("{name}.{part}"), shape, true);
        match *self {
            Self::Factors(FactorSizes { rank, decomposed, a_trains, first_kept, .. }) => {
                let (a, b) = (vec![rank, inputs], vec![outputs, rank]);
                let mut tensors = vec![
                    (format!("{name}.lora_A.weight"), a.clone(), a_trains),
                    (format!("{name}.lora_B.weight"), b.clone(), true),
                ];
                if decomposed {
                    tensors.push((format!("{name}.lora_magnitude_vector"), vec![outputs], true));
                }
                if first_kept {
                    tensors.push((format!("{name}.lora_A.first"), a, false));
                    tensors.push((format!("{name}.lora_B.first"), b, false));
                }
                tensors
            }
            Self::Scales { inputs: true } => vec![tensor("ia3_l", vec![1, inputs])],
            Self::Scales { inputs: false } => vec![tensor("ia3_l", vec![outputs, 1])],
            Self::Shared { rank, .. } => {
                vec![tensor("vera_lambda_b", vec![outputs]), tensor("vera_lambda_d", vec![rank])]
            }
            Self::Neck { form, neck } => {
                let tensors = neck.tensors(name, form.sizes([outputs, inputs])).into_iter();
                tensors.map(|(name, shape)| (name, shape, true)).collect()
            }
        }
    }
}
