//! The text part of the Gemma 3 family: layers that see a sliding window between layers that see all, each kind with its
//! own rotary embedding, norms on both sides of every part, norms of queries and keys, scaled embeddings. Gemma 3
//! Technical Report (arXiv 2503.19786), section 2. Of the larger ones, which read pictures too, it takes the language
//! model alone. Knows nothing of methods.

use std::borrow::Cow;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};
use tch::Device;

use super::decoder::attention::{Biases, Projections, SelfAttention};
use super::decoder::config::{
    LayerType, RopeParameters, Shape, check_activation, check_size, check_theta, layer_types, read, wrong,
};
use super::decoder::mlp::GatedMlp;
use super::decoder::{Decoder, Embedding, Head, Layer, Residual, Span, end, prefix};
use super::{Builder, CausalLm};
use crate::error::Result;
use crate::layers::{Activation, Norm, OffsetRmsNorm, Rope};
use crate::sublayers::Role as SublayerRole;
use crate::targets::Role;
use crate::weights::Init;

const FAMILY: &str = "Gemma 3";
const ACTIVATION: &str = "gelu_pytorch_tanh";
const FULL_THETA: f64 = 1_000_000.0;
const SLIDING_THETA: f64 = 10_000.0;

/// What a Gemma 3's `config.json` says besides its shape.
#[derive(Debug, Deserialize)]
struct Config {
    hidden_activation: String,
    query_pre_attn_scalar: f64,
    sliding_window: i64,
    sliding_window_pattern: usize,
    layer_types: Option<Vec<LayerType>>,
    #[serde(default)]
    attention_bias: bool,
    final_logit_softcapping: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    use_bidirectional_attention: Option<bool>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeOfTypes>,
}

/// The rotary embeddings by type of layer, as newer files have them.
#[derive(Debug, Clone, Default, Deserialize)]
struct RopeOfTypes {
    full_attention: Option<RopeParameters>,
    sliding_attention: Option<RopeParameters>,
}

fn defaults() -> Value {
    json!({
        "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "hidden_activation": ACTIVATION,
        "max_position_embeddings": 131_072, "initializer_range": 0.02, "rms_norm_eps": 1e-6, "pad_token_id": 0,
        "tie_word_embeddings": true, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "sliding_window_pattern": 6,
    })
}

impl Config {
    fn check(&self) -> Result<()> {
        check_activation("hidden_activation", &self.hidden_activation, ACTIVATION, FAMILY)?;
        check_size("sliding_window", self.sliding_window)?;
        check_size("sliding_window_pattern", i64::try_from(self.sliding_window_pattern).unwrap_or(i64::MAX))?;
        let above_zero = |key: &str, value: f64| {
            let problem = format!("is {value}");
            if value > 0.0 { Ok(()) } else { Err(wrong(key, problem, "it must be above zero")) }
        };
        above_zero("query_pre_attn_scalar", self.query_pre_attn_scalar)?;
        self.final_logit_softcapping.map_or(Ok(()), |cap| above_zero("final_logit_softcapping", cap))?;
        if self.attn_logit_softcapping.is_some() {
            let problem = "caps the scores of the attention, which Gemma 3 does not do: transformers passes it over";
            return Err(wrong("attn_logit_softcapping", problem, "set it to null"));
        }
        if self.use_bidirectional_attention == Some(true) {
            let problem =
                "makes tokens see what stands after them: such a model encodes texts and cannot continue them";
            return Err(wrong("use_bidirectional_attention", problem, "take a model that generates text"));
        }
        Ok(())
    }

    /// The spans by index of [`LayerType`]: full, then sliding.
    fn spans(&self, shape: &Shape, device: Device) -> Result<Vec<Span>> {
        let types = self.rope_parameters.clone().unwrap_or_default();
        let full = types.full_attention.or_else(|| self.rope_scaling.clone()).unwrap_or_default();
        let sliding = types.sliding_attention.unwrap_or_default();
        let positions = shape.max_position_embeddings;
        let rope = |name: &str, rope: &RopeParameters, theta: f64| {
            let key = format!("rope_parameters.{name}");
            let theta = check_theta(&format!("{key}.rope_theta"), theta)?;
            Rope::new(shape.head_dim(), theta, rope.scaling(&key, positions)?, device)
        };
        let full_theta = full.rope_theta.or(self.rope_theta).unwrap_or(FULL_THETA);
        let sliding_theta = sliding.rope_theta.or(self.rope_local_base_freq).unwrap_or(SLIDING_THETA);
        Ok(vec![
            Span { rope: rope("full_attention", &full, full_theta)?, window: None },
            Span { rope: rope("sliding_attention", &sliding, sliding_theta)?, window: Some(self.sliding_window) },
        ])
    }
}

/// Makes a Gemma 3 whose `config.json` describes a text model.
pub fn build_text(config: &Value, builder: &mut Builder) -> Result<Box<dyn CausalLm>> {
    Ok(Box::new(decoder(config, "model", builder)?))
}

/// Makes the language model of a Gemma 3 whose `config.json` describes text and pictures. Its tensors are called as in
/// transformers; published files have older names for them. Those of the vision part are left out.
pub fn build(config: &Value, builder: &mut Builder) -> Result<Box<dyn CausalLm>> {
    let Some(text) = config.get("text_config").filter(|text| text.is_object()) else {
        let hint = "a Gemma 3 of text alone has the model_type `gemma3_text`";
        return Err(wrong("text_config", "is not there, so the language model is unknown", hint));
    };
    let mut text = Cow::Borrowed(text);
    if let (Some(tied), Some(text)) = (config.get("tie_word_embeddings"), text.to_mut().as_object_mut()) {
        text.insert("tie_word_embeddings".to_owned(), tied.clone());
    }
    if text.get("final_logit_softcapping").is_some_and(|cap| !cap.is_null()) {
        let problem = "caps the scores, which transformers does for a Gemma 3 of text alone and not for this one";
        return Err(wrong("final_logit_softcapping", problem, "set it to null"));
    }
    const NAME: &str = "model.language_model";
    for published in ["language_model.model", "language_model"] {
        if builder.holds(&format!("{published}.embed_tokens.weight")) {
            builder.stored_under(NAME, published);
        }
    }
    if builder.holds("language_model.lm_head.weight") {
        builder.stored_under("lm_head", "language_model.lm_head");
    }
    for part in ["vision_tower", "multi_modal_projector", "model.vision_tower", "model.multi_modal_projector"] {
        builder.leave_out(&format!("{part}."));
    }
    Ok(Box::new(decoder(&text, NAME, builder)?))
}

/// The decoder whose tensors' names begin with `model`.
fn decoder(config: &Value, model: &str, builder: &mut Builder) -> Result<Decoder> {
    let shape: Shape = read(config, &defaults(), FAMILY)?;
    let keys: Config = read(config, &defaults(), FAMILY)?;
    shape.check()?;
    keys.check()?;
    let spans = keys.spans(&shape, builder.device())?;
    let pattern = keys.sliding_window_pattern;
    let types = layer_types(keys.layer_types.clone(), shape.num_hidden_layers, |index| {
        if (index + 1).is_multiple_of(pattern) { LayerType::FullAttention } else { LayerType::SlidingAttention }
    })?;
    let (width, vocabulary) = (shape.hidden_size, shape.vocab_size);
    let init = Init::Normal(shape.initializer_range);
    let weight = builder.tensor(&format!("{model}.embed_tokens.weight"), &[vocabulary, width], init)?;
    let layers = (0..)
        .zip(types)
        .map(|(index, kind)| layer(model, index, kind, &shape, &keys, builder))
        .collect::<Result<_>>()?;
    let norm = norm(&format!("{model}.norm"), width, &shape, builder)?;
    let map = if shape.tie_word_embeddings {
        builder.tied_linear("lm_head", Role::Head, &weight)?
    } else {
        builder.linear("lm_head", Role::Head, width, vocabulary, false, init)?
    };
    let table = builder.lookup(&format!("{model}.embed_tokens"), &weight, shape.padding_id().unwrap_or(-1))?;
    let embedding = Embedding::new(table, builder.compute()).scaled((width as f64).sqrt(), weight.f_kind()?)?;
    let head = Head { map, cap: keys.final_logit_softcapping };
    let prompt = embedding.prompt(&shape, builder)?;
    let prefix = prefix(&shape, builder)?;
    let (activations, device) = (builder.activations(), builder.device());
    Ok(Decoder { embedding, prompt, prefix, spans, layers, norm, head, vocabulary, activations, device })
}

fn layer(
    model: &str,
    index: usize,
    kind: LayerType,
    shape: &Shape,
    keys: &Config,
    builder: &mut Builder,
) -> Result<Rc<Layer>> {
    let name = format!("{model}.layers.{index}");
    let (width, heads) = (shape.hidden_size, shape.heads());
    let init = Init::Normal(shape.initializer_range);
    let of_layer = |part: &str, builder: &mut Builder| norm(&format!("{name}.{part}"), width, shape, builder);
    let before = of_layer("input_layernorm", builder)?;
    let attention = format!("{name}.self_attn");
    let maps = Projections::new(&attention, width, heads, Biases::all(keys.attention_bias), init, builder)?;
    let of_head = |part: &str, builder: &mut Builder| norm(&format!("{attention}.{part}"), heads.width, shape, builder);
    let norms = Some([of_head("q_norm", builder)?, of_head("k_norm", builder)?]);
    let scale = Some(keys.query_pre_attn_scalar.sqrt().recip());
    let part = SelfAttention { maps, heads, norms, scale, dropout: shape.dropout() };
    let after = Some(of_layer("post_attention_layernorm", builder)?);
    let attention = Residual { before, part, after, join: end(&name, SublayerRole::Attention, index, width, builder)? };
    let before = of_layer("pre_feedforward_layernorm", builder)?;
    let sizes = [width, shape.intermediate_size];
    let part = GatedMlp::new(&format!("{name}.mlp"), sizes, false, Activation::GeluTanh, init, builder)?;
    let after = Some(of_layer("post_feedforward_layernorm", builder)?);
    let mlp = Residual { before, part, after, join: end(&name, SublayerRole::Mlp, index, width, builder)? };
    let span = match kind {
        LayerType::FullAttention => 0,
        LayerType::SlidingAttention => 1,
    };
    Ok(Rc::new(Layer { span, attention, mlp }))
}

fn norm(name: &str, width: i64, shape: &Shape, builder: &mut Builder) -> Result<Box<dyn Norm>> {
    let weight = builder.tensor(&format!("{name}.weight"), &[width], Init::Constant(0.0))?;
    Ok(Box::new(OffsetRmsNorm::new(weight, shape.rms_norm_eps)))
}
