//! The families' forward passes and losses as operations on values without numbers. Each follows the code of its family
//! in [`crate::models`]. Knows no pipeline file.

use super::Micro;
use super::parts::{Heads, Pass, absent};
use super::tape::{EXACT, Value};
use crate::error::Result;
use crate::models::Task;

/// Forward and backward over one micro-batch.
pub fn step(pass: &Pass<'_>, micro: Micro) -> Result<()> {
    match pass.outline.config.get("model_type").and_then(serde_json::Value::as_str) {
        Some("bert") => Encoder::new(pass, "bert")?.step(micro)?,
        Some("roberta") => Encoder::new(pass, "roberta")?.step(micro)?,
        Some("t5") => T5::new(pass)?.step(micro)?,
        _ => Decoder::new(pass)?.step(micro)?,
    }
    pass.end()
}

/// A head's width and the number of heads, from the configuration.
fn heads(pass: &Pass<'_>, keys: [&str; 2], inner: u64) -> [u64; 2] {
    let count = pass.outline.setting(keys[0]).map_or(1, |heads| heads as u64).max(1);
    let width = pass.outline.setting(keys[1]).map_or(inner / count, |width| width as u64).max(1);
    [inner / width, width]
}

/// [`crate::models::decoder::Decoder`].
struct Decoder<'p, 't> {
    pass: &'p Pass<'t>,
    model: &'t str,
    vocabulary: u64,
    width: u64,
}

impl<'p, 't> Decoder<'p, 't> {
    fn new(pass: &'p Pass<'t>) -> Result<Self> {
        let (model, shape) = pass.outline.ending(".embed_tokens.weight").ok_or_else(|| absent("embed_tokens"))?;
        match shape {
            [vocabulary, width] => Ok(Self { pass, model, vocabulary: *vocabulary, width: *width }),
            _ => Err(absent("embed_tokens")),
        }
    }

    fn step(&self, micro: Micro) -> Result<()> {
        let Self { pass, model, vocabulary, width } = *self;
        let (tape, outline) = (pass.tape, pass.outline);
        let tokens = micro.rows * micro.length;
        let _ids = tape.constant(tokens, 8);
        let targets = micro.targets;
        let micro = Micro { length: micro.length + outline.virtual_tokens, ..micro };
        let layers = outline.layers(&format!("{model}.layers."), ".self_attn.o_proj");
        let first = pass.map(&format!("{model}.layers.0.self_attn.o_proj"))?;
        let [_, head] = heads(pass, ["num_attention_heads", "head_dim"], first.inputs);
        let _angles = tape.constant(2 * micro.length * head, EXACT);
        let window = outline.setting("sliding_window").filter(|window| (*window as u64) < micro.length);
        let keys = micro.length + outline.keys_before;
        let masked = window.is_some() || outline.keys_before > 0;
        let _mask = masked.then(|| tape.constant(micro.length * keys, 1 + EXACT));
        let mut x = {
            let rows = pass.lookup(&format!("{model}.embed_tokens"), tokens, width)?;
            let scaled = outline.tensor(&format!("{model}.layers.0.post_feedforward_layernorm.weight")).is_some();
            let rows = if scaled { tape.scaled(&rows) } else { rows };
            pass.with_virtual(tape.cast(&rows, outline.compute()), micro.rows, width)
        };
        for index in 0..layers {
            // Of the last layer, what is read alone.
            let few = Some(targets).filter(|few| index + 1 == layers && 2 * few <= micro.rows * micro.length);
            let layer = DecoderLayer { name: format!("{model}.layers.{index}"), micro, head, few };
            let (tape, outline) = (pass.tape, pass.outline);
            x = pass.segment([&x], move |[x]| layer.forward(&Pass::within(outline, tape), x))?;
        }
        let x = if x.count > targets * width { pass.without_virtual(x, micro.rows, width) } else { x };
        let hidden = pass.rms_norm(&format!("{model}.norm"), &x)?;
        drop(x);
        let cap = outline.setting("final_logit_softcapping");
        pass.token_loss(&hidden, width, [targets, vocabulary], &|hidden| {
            let scores = pass.linear("lm_head", hidden)?;
            Ok(match cap {
                Some(_) => tape.scaled(&tape.of_output(&tape.scaled(&scores))),
                None => scores,
            })
        })
    }
}

struct DecoderLayer {
    name: String,
    micro: Micro,
    head: u64,
    /// How many of the tokens are asked for, where it is not all.
    few: Option<u64>,
}

impl DecoderLayer {
    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let name = &self.name;
        let four = pass.outline.tensor(&format!("{name}.pre_feedforward_layernorm.weight")).is_some();
        let [before, after] = match four {
            true => ["pre_feedforward_layernorm", "post_feedforward_layernorm"],
            false => ["post_attention_layernorm", ""],
        };
        let x = {
            let y = self.attention(pass, &pass.rms_norm(&format!("{name}.input_layernorm"), x)?)?;
            let y = if four { pass.rms_norm(&format!("{name}.post_attention_layernorm"), &y)? } else { y };
            pass.join(&format!("{name}.self_attn"), &y, &self.some(pass, x), &|made, x| Ok(pass.tape.add(x, made)))?
        };
        let y = self.mlp(pass, &pass.rms_norm(&format!("{name}.{before}"), &x)?)?;
        let y = if four { pass.rms_norm(&format!("{name}.{after}"), &y)? } else { y };
        pass.join(&format!("{name}.mlp"), &y, &x, &|made, x| Ok(pass.tape.add(x, made)))
    }

    /// What is asked for of numbers for all tokens.
    fn some(&self, pass: &Pass<'_>, x: &Value) -> Value {
        match self.few {
            Some(few) => pass.tape.some_of(x, x.count * few / (self.micro.rows * self.micro.length).max(1)),
            None => x.clone(),
        }
    }

    fn attention(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let name = format!("{}.self_attn", self.name);
        let Micro { rows, length, .. } = self.micro;
        let [q, k, v] = {
            let queries = pass.map(&format!("{name}.o_proj"))?.inputs;
            let keys = pass.outline.setting("num_key_value_heads").map_or(queries, |heads| heads as u64 * self.head);
            let counts = [queries, keys, keys].map(|width| rows * length * width);
            let fused = ("qkv_proj", ["q", "k", "v"], counts);
            let asked = self.some(pass, x);
            let [mut q, mut k, v] = pass.several_first_at(&name, ["q_proj", "k_proj", "v_proj"], fused, &asked, x)?;
            if pass.outline.tensor(&format!("{name}.q_norm.weight")).is_some() {
                (q, k) = (pass.rms_norm(&format!("{name}.q_norm"), &q)?, pass.rms_norm(&format!("{name}.k_norm"), &k)?);
            }
            [pass.tape.turned(&q), pass.tape.turned(&k), v]
        };
        let queries = self.few.map_or(length, |few| few.div_ceil(rows.max(1)));
        let heads = pass.map(&format!("{name}.o_proj"))?.inputs / self.head.max(1);
        let dropout = pass.outline.setting("attention_dropout").unwrap_or(0.0) > 0.0;
        let of_position = k.count / (rows * length).max(1);
        let [k, v] = [k, v].map(|own| pass.in_front(&own, rows, of_position));
        let keys = length + pass.outline.keys_before;
        let sizes = Heads { rows, heads, queries, keys, bias_learns: false, dropout };
        let seen = pass.attention([&q, &k, &v], sizes);
        pass.linear(&format!("{name}.o_proj"), &seen)
    }

    fn mlp(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let name = format!("{}.mlp", self.name);
        let tokens = self.few.unwrap_or(self.micro.rows * self.micro.length);
        let inner = pass.map(&format!("{name}.down_proj"))?.inputs * tokens;
        let fused = ("gate_up_proj", ["gate", "up"], [inner, inner]);
        let [gate, up] = pass.several(&name, ["gate_proj", "up_proj"], fused, x)?;
        let gated = pass.tape.mul(&pass.tape.of_input(&gate), &up);
        drop((gate, up));
        pass.linear(&format!("{name}.down_proj"), &gated)
    }
}

/// [`crate::models::bert::Encoder`] with the heads of BERT and RoBERTa.
struct Encoder<'p, 't> {
    pass: &'p Pass<'t>,
    model: &'static str,
    width: u64,
    dropout: f64,
}

impl<'p, 't> Encoder<'p, 't> {
    fn new(pass: &'p Pass<'t>, model: &'static str) -> Result<Self> {
        let (_, shape) = pass.outline.ending(".word_embeddings.weight").ok_or_else(|| absent("word_embeddings"))?;
        let width = shape.last().copied().ok_or_else(|| absent("word_embeddings"))?;
        Ok(Self { pass, model, width, dropout: pass.outline.setting("hidden_dropout_prob").unwrap_or(0.1) })
    }

    fn step(&self, micro: Micro) -> Result<()> {
        let (pass, tape) = (self.pass, self.pass.tape);
        let whole = pass.outline.task == Task::QuestionAnswering;
        let hidden = self.hidden(micro, (!whole).then_some(1))?;
        let classifier_dropout = pass.outline.setting("classifier_dropout").unwrap_or(self.dropout);
        let scores = match (pass.outline.task, self.model) {
            (Task::QuestionAnswering, _) => pass.linear("qa_outputs", &hidden)?,
            (_, "bert") => {
                let pooled = tape.of_output(&pass.linear("bert.pooler.dense", &hidden)?);
                pass.linear("classifier", &pass.dropped(pooled, classifier_dropout))?
            }
            _ => {
                let inner = pass.linear("classifier.dense", &pass.dropped(hidden.clone(), classifier_dropout))?;
                let inner = tape.of_output(&inner);
                pass.linear("classifier.out_proj", &pass.dropped(inner, classifier_dropout))?
            }
        };
        drop(hidden);
        let loss = tape.cross_entropy(&tape.cast(&scores, EXACT));
        tape.backward(&loss);
        Ok(())
    }

    /// The states of all tokens, or of so many of each row.
    fn hidden(&self, micro: Micro, few: Option<u64>) -> Result<Value> {
        let Self { pass, model, width, dropout } = *self;
        let (tape, outline) = (pass.tape, pass.outline);
        let tokens = micro.rows * micro.length;
        let _ids = tape.constant(2 * tokens, 8);
        let micro = Micro { length: micro.length + outline.virtual_tokens, ..micro };
        let table = |what: &str| pass.named(&format!("{model}.embeddings.{what}_embeddings.weight"));
        let mut x = {
            let words = pass.lookup(&format!("{model}.embeddings.word_embeddings"), tokens, width)?;
            let words = pass.with_virtual(words, micro.rows, width);
            let types = tape.rows_of(&table("token_type")?, width);
            let places = tape.rows_of(&table("position")?, micro.length * width);
            let sum = tape.add_row(&words, &types);
            let sum = tape.add_row(&sum, &places);
            let sum = tape.cast(&sum, outline.compute());
            pass.layer_norm(&format!("{model}.embeddings.LayerNorm"), &sum)?
        };
        x = pass.dropped(x, dropout);
        let layers = outline.layers(&format!("{model}.encoder.layer."), ".attention.self.query");
        for index in 0..layers {
            let few = few.filter(|_| index + 1 == layers);
            let layer = EncoderLayer { name: format!("{model}.encoder.layer.{index}"), micro, dropout, few };
            x = pass.segment([&x], move |[x]| layer.forward(&Pass::within(outline, tape), x))?;
        }
        match few {
            Some(_) => Ok(tape.some_of(&x, x.count)),
            None => Ok(pass.without_virtual(x, micro.rows, width)),
        }
    }
}

struct EncoderLayer {
    name: String,
    micro: Micro,
    dropout: f64,
    /// How many tokens of each row are asked for, where it is not all.
    few: Option<u64>,
}

impl EncoderLayer {
    fn forward(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let tape = pass.tape;
        let Micro { rows, length, .. } = self.micro;
        let linear = |map: &str, x: &Value| pass.linear(&format!("{}.{map}", self.name), x);
        let asked = match self.few {
            Some(few) => tape.some_of(x, x.count * few / length.max(1)),
            None => x.clone(),
        };
        let map = |map: &str, x: &Value| linear(&format!("attention.self.{map}"), x);
        let (q, k, v) = (map("query", &asked)?, map("key", x)?, map("value", x)?);
        let [heads, _] = heads(pass, ["num_attention_heads", "head_dim"], k.count / (rows * length).max(1));
        let dropout = pass.outline.setting("attention_probs_dropout_prob").unwrap_or(0.1) > 0.0;
        let of_position = k.count / (rows * length).max(1);
        let [k, v] = [k, v].map(|own| pass.in_front(&own, rows, of_position));
        let keys = length + pass.outline.keys_before;
        let sizes = Heads { rows, heads, queries: self.few.unwrap_or(length), keys, bias_learns: false, dropout };
        let seen = pass.attention([&q, &k, &v], sizes);
        let attended = pass.dropped(linear("attention.output.dense", &seen)?, self.dropout);
        let join = |module: &str, made: &Value, x: &Value| {
            let module = format!("{}.{module}", self.name);
            pass.join(&module, made, x, &|made, x| {
                let sum = tape.add(x, made);
                pass.layer_norm(&format!("{module}.LayerNorm"), &sum)
            })
        };
        let x = join("attention.output", &attended, &asked)?;
        drop((attended, asked));
        let inner = tape.of_input(&linear("intermediate.dense", &x)?);
        let made = pass.dropped(linear("output.dense", &inner)?, self.dropout);
        join("output", &made, &x)
    }
}

/// [`crate::models::t5::T5`].
struct T5<'p, 't> {
    pass: &'p Pass<'t>,
    vocabulary: u64,
    width: u64,
    heads: u64,
    dropout: f64,
}

impl<'p, 't> T5<'p, 't> {
    fn new(pass: &'p Pass<'t>) -> Result<Self> {
        let (_, shape) = pass.outline.ending("shared.weight").ok_or_else(|| absent("shared"))?;
        let [vocabulary, width] = *shape else { return Err(absent("shared")) };
        let heads = pass.outline.setting("num_heads").unwrap_or(1.0) as u64;
        let dropout = pass.outline.setting("dropout_rate").unwrap_or(0.1);
        Ok(Self { pass, vocabulary, width, heads, dropout })
    }

    fn embed(&self, tokens: u64) -> Result<Value> {
        let table = self.pass.named("shared.weight")?;
        let rows = self.pass.tape.rows_of(&table, tokens * self.width);
        Ok(self.pass.tape.cast(&rows, self.pass.outline.compute()))
    }

    /// What positions add to scores.
    fn bias(&self, stack: &str, length: u64, keys: u64) -> Result<Value> {
        let tape = self.pass.tape;
        let name = format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        let bias = tape.rows_of(&self.pass.named(&name)?, self.heads * length * keys);
        Ok(self.pass.cut(&tape.cast(&bias, self.pass.outline.compute())))
    }

    fn step(&self, micro: Micro) -> Result<()> {
        let Self { pass, vocabulary, width, heads, dropout } = *self;
        let (tape, outline) = (pass.tape, pass.outline);
        let read = Micro { length: micro.length + outline.virtual_tokens, ..micro };
        let written = Micro { length: micro.answer, ..micro };
        let _ids = tape.constant(micro.rows * (micro.length + written.length), 8);
        let encoded = {
            let embedded = self.embed(micro.rows * micro.length)?;
            let embedded = pass.with_virtual(embedded, read.rows, width);
            let bias = self.bias("encoder", read.length, read.length)?;
            let mut x = pass.dropped(embedded.clone(), dropout);
            for index in 0..outline.layers("encoder.block.", ".layer.0.SelfAttention.q") {
                let layer = T5Layer { name: format!("encoder.block.{index}"), read, written: read, heads, dropout };
                x = pass.segment([&x, &bias], move |[x, bias]| layer.encode(&Pass::within(outline, tape), x, bias))?;
            }
            let end = pass.rms_norm("encoder.final_layer_norm", &x)?;
            pass.dropped(end, dropout)
        };
        let hidden = {
            let embedded = self.embed(written.rows * written.length)?;
            let bias = self.bias("decoder", written.length, written.length + outline.keys_before)?;
            let encoded = pass.cut(&encoded);
            let mut x = pass.dropped(embedded.clone(), dropout);
            for index in 0..outline.layers("decoder.block.", ".layer.0.SelfAttention.q") {
                let layer = T5Layer { name: format!("decoder.block.{index}"), read, written, heads, dropout };
                x = pass.segment([&x, &encoded, &bias], move |[x, encoded, bias]| {
                    layer.decode(&Pass::within(outline, tape), x, encoded, bias)
                })?;
            }
            let end = pass.rms_norm("decoder.final_layer_norm", &x)?;
            pass.dropped(end, dropout)
        };
        pass.token_loss(&hidden, width, [micro.targets, vocabulary], &|hidden| match outline.map("lm_head") {
            Some(_) => pass.linear("lm_head", hidden),
            None => {
                let weight = tape.cast(&pass.named("shared.weight")?, hidden.size);
                Ok(tape.linear(&tape.scaled(hidden), &weight, None, [vocabulary, width]))
            }
        })
    }
}

struct T5Layer {
    name: String,
    read: Micro,
    written: Micro,
    heads: u64,
    dropout: f64,
}

impl T5Layer {
    fn encode(&self, pass: &Pass<'_>, x: &Value, bias: &Value) -> Result<Value> {
        let x = self.sublayer(pass, 0, x, |x| self.attention(pass, "layer.0.SelfAttention", x, x, Some(bias)))?;
        self.sublayer(pass, 1, &x, |x| self.mlp(pass, 1, x))
    }

    fn decode(&self, pass: &Pass<'_>, x: &Value, encoded: &Value, bias: &Value) -> Result<Value> {
        let x = self.sublayer(pass, 0, x, |x| self.attention(pass, "layer.0.SelfAttention", x, x, Some(bias)))?;
        let x = self.sublayer(pass, 1, &x, |x| self.attention(pass, "layer.1.EncDecAttention", x, encoded, None))?;
        self.sublayer(pass, 2, &x, |x| self.mlp(pass, 2, x))
    }

    fn sublayer(
        &self,
        pass: &Pass<'_>,
        number: usize,
        x: &Value,
        inner: impl FnOnce(&Value) -> Result<Value>,
    ) -> Result<Value> {
        let name = format!("{}.layer.{number}", self.name);
        let made = inner(&pass.rms_norm(&format!("{name}.layer_norm"), x)?)?;
        pass.join(&name, &pass.dropped(made, self.dropout), x, &|made, x| Ok(pass.tape.add(x, made)))
    }

    fn attention(&self, pass: &Pass<'_>, name: &str, x: &Value, read: &Value, bias: Option<&Value>) -> Result<Value> {
        let linear = |map: &str, x: &Value| pass.linear(&format!("{}.{name}.{map}", self.name), x);
        let (k, v) = (linear("k", read)?, linear("v", read)?);
        let q = linear("q", x)?;
        let written = bias.is_some() && self.name.starts_with("decoder.");
        let before = if written { pass.outline.keys_before } else { 0 };
        let [k, v] = match before {
            0 => [k, v],
            _ => [k, v].map(|own| {
                pass.in_front(&own, self.read.rows, own.count / (self.read.rows * self.written.length).max(1))
            }),
        };
        let keys = before + if bias.is_some() { self.written.length } else { self.read.length };
        let bias_learns = bias.is_some_and(Value::learns);
        let (rows, queries, dropout) = (self.read.rows, self.written.length, self.dropout > 0.0);
        let sizes = Heads { rows, heads: self.heads, queries, keys, bias_learns, dropout };
        let seen = pass.attention([&q, &k, &v], sizes);
        linear("o", &seen)
    }

    fn mlp(&self, pass: &Pass<'_>, number: usize, x: &Value) -> Result<Value> {
        let name = format!("{}.layer.{number}.DenseReluDense", self.name);
        let linear = |map: &str, x: &Value| pass.linear(&format!("{name}.{map}"), x);
        let inner = if pass.outline.map(&format!("{name}.wi_0")).is_some() {
            let up = linear("wi_1", x)?;
            let gate = pass.tape.of_input(&linear("wi_0", x)?);
            pass.tape.mul(&gate, &up)
        } else {
            pass.tape.of_output(&linear("wi", x)?)
        };
        linear("wo", &pass.dropped(inner, self.dropout))
    }
}
