//! Proof that the golden values hold each constant: with one constant changed, the comparison must fail clearly.

use crate::fixtures::{TOLERANCE, Variant, difference, generator, low_rank};
use learn::adapters::{self, Frozen};
use learn::models::{Model, read_config};
use learn::weights::{Checkpoint, Init, Source};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

/// A mutated constant must be seen far above the tolerance.
const SEEN: f64 = 20.0 * TOLERANCE;

fn base_with(variant: &Variant, change: impl FnOnce(&mut Value)) -> f64 {
    let mut config = read_config(&variant.model_folder()).unwrap();
    change(&mut config);
    let mut weights = Checkpoint::open(&variant.model_folder(), Device::Cpu).unwrap();
    let model = Model::build(&config, &mut weights, &Frozen, 0, Device::Cpu).unwrap();
    difference(&variant.forward(&model).0, variant.tensor("base.logits"))
}

/// A source whose tensors are changed on the way.
struct Changed<F>(Checkpoint, F);

impl<F: Fn(&str, Tensor) -> Tensor> Source for Changed<F> {
    fn tensor(&mut self, name: &str, shape: &[i64], init: Init, kind: Kind) -> learn::Result<Tensor> {
        self.0.tensor(name, shape, init, kind).map(|tensor| (self.1)(name, tensor))
    }

    fn extra(&mut self, name: &str, kind: Kind) -> learn::Result<Option<Tensor>> {
        self.0.extra(name, kind)
    }

    fn holds(&self, name: &str) -> bool {
        self.0.holds(name)
    }

    fn leave_out(&mut self, prefix: &str) -> Vec<String> {
        self.0.leave_out(prefix)
    }

    fn finish(&mut self) -> learn::Result<()> {
        self.0.finish()
    }
}

fn base_from(variant: &Variant, change: impl Fn(&str, Tensor) -> Tensor) -> f64 {
    let config = read_config(&variant.model_folder()).unwrap();
    let weights = Checkpoint::open(&variant.model_folder(), Device::Cpu).unwrap();
    let model = Model::build(&config, &mut Changed(weights, change), &Frozen, 0, Device::Cpu).unwrap();
    difference(&variant.forward(&model).0, variant.tensor("base.logits"))
}

/// A change of a settings file.
type Edit = fn(&mut Value);

#[test]
fn each_constant_of_the_base_model_is_held() {
    let plain = Variant::read("tied_multi_head");
    assert!(base_with(&plain, |_| ()) <= TOLERANCE);
    let changes: [(&str, &str, Edit); 7] = [
        ("tied_multi_head", "base of the rotary embedding", |c| c["rope_parameters"]["rope_theta"] = json!(9_900.0)),
        ("tied_multi_head", "epsilon of the norms", |c| c["rms_norm_eps"] = json!(1.2e-3)),
        ("llama3_rope", "factor", |c| c["rope_parameters"]["factor"] = json!(4.1)),
        ("llama3_rope", "low frequency", |c| c["rope_parameters"]["low_freq_factor"] = json!(1.05)),
        ("llama3_rope", "high frequency", |c| c["rope_parameters"]["high_freq_factor"] = json!(4.1)),
        ("llama3_rope", "context", |c| c["rope_parameters"]["original_max_position_embeddings"] = json!(33)),
        ("llama3_rope", "scaling at all", |c| c["rope_parameters"]["rope_type"] = json!("default")),
    ];
    for (name, what, change) in changes {
        let off = base_with(&Variant::read(name), change);
        assert!(off > SEEN, "{what}: the golden values do not hold it, off by {off:.1e}");
    }
}

#[test]
fn each_tensor_and_the_attention_scale_are_held() {
    for name in ["tied_multi_head", "untied_grouped", "biases"] {
        let variant = Variant::read(name);
        // Queries that are 1 % longer are attention scaled by 1.01.
        let off = base_from(&variant, |name, tensor| if name.contains("q_proj") { tensor * 1.01 } else { tensor });
        assert!(off > SEEN, "{name}: attention scale, off by {off:.1e}");
        let mut names: Vec<String> = variant.model(&Frozen).frozen.iter().map(|(name, _)| name.to_owned()).collect();
        // Adding the same vector to all keys changes no softmax, but a rotated one differs by position.
        names.retain(|name| !name.ends_with("k_proj.bias"));
        for changed in names {
            let off = base_from(&variant, |name, tensor| if name == changed { tensor * 1.02 } else { tensor });
            assert!(off > TOLERANCE, "{name}: {changed} could be anything, off by {off:.1e}");
        }
    }
}

/// The difference of logits and of the worst gradient with the saved adapter under another alpha or other values.
fn adapter_with(variant: &Variant, method: &str, alpha: f64, change: impl Fn(&str, &Tensor) -> Tensor) -> (f64, f64) {
    let mut model = variant.model(low_rank(variant, method, alpha, 0.0).as_ref());
    adapters::load(&variant.folder.join(method), &mut model.trainable).unwrap();
    let changed: Vec<_> =
        model.trainable.iter().map(|(name, tensor)| (name.to_owned(), change(name, &tensor.detach()))).collect();
    for (name, tensor) in changed {
        model.trainable.set(&name, &tensor).unwrap();
    }
    let (logits, loss) = variant.forward(&model);
    loss.backward();
    let expected = variant.gradients(method);
    let gradients = model.trainable.iter().map(|(name, tensor)| difference(&tensor.grad(), expected[name]));
    let worst = gradients.fold(0.0, f64::max);
    (difference(&logits, variant.tensor(&format!("{method}.logits"))), worst)
}

#[test]
fn the_scale_of_lora_and_dora_is_held() {
    let variant = Variant::read("biases");
    for method in ["lora", "dora"] {
        let (logits, gradients) = adapter_with(&variant, method, variant.alpha(), |_, tensor| tensor.shallow_clone());
        assert!(logits <= TOLERANCE && gradients <= TOLERANCE);
        for alpha in [variant.alpha() * 1.01, variant.rank() as f64, variant.alpha() * (variant.rank() as f64).sqrt()] {
            let (logits, gradients) = adapter_with(&variant, method, alpha, |_, tensor| tensor.shallow_clone());
            assert!(logits > SEEN && gradients > SEEN, "{method}, alpha {alpha}: {logits:.1e}, {gradients:.1e}");
        }
    }
}

#[test]
fn each_part_of_an_adapter_is_held() {
    let variant = Variant::read("biases");
    for (method, parts) in
        [("lora", &["lora_A", "lora_B"][..]), ("dora", &["lora_A", "lora_B", "lora_magnitude_vector"])]
    {
        for part in parts {
            let change =
                |name: &str, tensor: &Tensor| if name.contains(part) { tensor * 1.01 } else { tensor.shallow_clone() };
            let (logits, gradients) = adapter_with(&variant, method, variant.alpha(), change);
            assert!(logits > SEEN && gradients > SEEN, "{method}, {part}: {logits:.1e}, {gradients:.1e}");
        }
    }
}

/// DoRA divides by the norm of W + s·BA. Dividing by that of W alone, or letting the norm have a gradient, must be seen.
#[test]
fn the_norm_of_dora_and_its_missing_gradient_are_held() {
    let _alone = generator();
    let variant = Variant::read("untied_grouped");
    let model = variant.adapted("dora");
    let base = variant.model(&Frozen);
    let (scale, name) = (variant.alpha() / variant.rank() as f64, "model.layers.0.self_attn.q_proj");
    let part = |what: &str| model.trainable.get(&format!("{name}.{what}")).unwrap().detach();
    let (a, b, m) = (part("lora_A.weight"), part("lora_B.weight"), part("lora_magnitude_vector"));
    let weight = base.frozen.get(&format!("{name}.weight")).unwrap();
    let sum = weight + b.matmul(&a) * scale;
    let norm = |matrix: &Tensor| matrix.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float).sqrt();
    let merged = model.map(name).unwrap().merged().unwrap();
    assert!(difference(&merged, &(&sum * (&m / norm(&sum)).unsqueeze(1))) <= TOLERANCE);
    assert!(difference(&merged, &(&sum * (&m / norm(weight)).unsqueeze(1))) > SEEN);

    // With the norm in the graph, the gradient of B would lack its part along the rows of the sum.
    let x = Tensor::randn([6, weight.size2().unwrap().1], (Kind::Float, Device::Cpu));
    let up = Tensor::randn([6, weight.size2().unwrap().0], (Kind::Float, Device::Cpu));
    let with_norm = |detached: bool| {
        let b = b.copy().set_requires_grad(true);
        let sum = weight + b.matmul(&a) * scale;
        let length = if detached { norm(&sum).detach() } else { norm(&sum) };
        ((x.matmul(&(&sum * (&m / length).unsqueeze(1)).transpose(0, 1))) * &up).sum(Kind::Float).backward();
        b.grad()
    };
    let y = model.map(name).unwrap().forward(&x, learn::layers::Mode::Train).unwrap();
    (y * &up).sum(Kind::Float).backward();
    let found = model.trainable.get(&format!("{name}.lora_B.weight")).unwrap().grad();
    assert!(difference(&found, &with_norm(true)) <= TOLERANCE);
    assert!(difference(&found, &with_norm(false)) > SEEN);
}
