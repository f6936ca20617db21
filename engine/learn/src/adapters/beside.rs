//! What methods put beside linear maps, as sizes: for forecasts. Knows no tensor.

use super::bottleneck::{Form, Neck};

/// What a method puts beside a linear map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Beside {
    /// Two factors, `[rank, inputs]` and `[outputs, rank]`.
    Factors {
        /// The smaller size of both factors.
        rank: i64,
        /// Whether their input has dropout.
        dropout: bool,
        /// Whether there is a magnitude for each output.
        decomposed: bool,
    },
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

impl Beside {
    /// The names and shapes of its tensors beside the map `name` with a weight `[outputs, inputs]`.
    pub fn tensors(&self, name: &str, [outputs, inputs]: [i64; 2]) -> Vec<(String, Vec<i64>)> {
        let tensor = |part: &str, shape: Vec<i64>| (format!("{name}.{part}"), shape);
        match *self {
            Self::Factors { rank, decomposed, .. } => {
                let mut tensors =
                    vec![tensor("lora_A.weight", vec![rank, inputs]), tensor("lora_B.weight", vec![outputs, rank])];
                if decomposed {
                    tensors.push(tensor("lora_magnitude_vector", vec![outputs]));
                }
                tensors
            }
            Self::Scales { inputs: true } => vec![tensor("ia3_l", vec![1, inputs])],
            Self::Scales { inputs: false } => vec![tensor("ia3_l", vec![outputs, 1])],
            Self::Shared { rank, .. } => {
                vec![tensor("vera_lambda_b", vec![outputs]), tensor("vera_lambda_d", vec![rank])]
            }
            Self::Neck { form, neck } => neck.tensors(name, form.sizes([outputs, inputs])),
        }
    }
}
