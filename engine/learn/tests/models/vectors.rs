//! Generation and processors against the cases of `tests/vectors`, whose values transformers computed.

use learn::error::Result;
use learn::generate::beams::{Beams, Best, EarlyStopping, Hypothesis};
use learn::generate::processors::{
    BadWords, EpsilonCutoff, EtaCutoff, ExponentialDecay, ForcedEos, MinLength, MinNewTokens, MinP, NoRepeatNgram,
    Processor, Renormalize, RepetitionPenalty, Suppressed, SuppressedAtFirst, Temperature, TopK, TopP, TypicalP,
    Written, process,
};
use learn::generate::{Continuation, Decoding, Ends, Growing, Prompt, Search, Writer, together};
use serde_json::Value;
use tch::{Kind, Tensor};

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    let number = |value: &Value| match value.as_str() {
        Some("inf") => f32::INFINITY,
        Some("-inf") => f32::NEG_INFINITY,
        Some(_) => f32::NAN,
        None => value.as_f64().unwrap() as f32,
    };
    value.as_array().unwrap().iter().map(number).collect()
}

/// A language model that is a table: scores are those of the last id, and of the one before it, and of the encoder's last.
struct Table {
    last: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    encoder: Option<Vec<Vec<f32>>>,
    start: i64,
    /// Prompts are padded on the left to this length with this id, where the reference saw padding and did not count it.
    padded: Option<(usize, i64)>,
}

impl Table {
    fn read(model: &Value) -> Self {
        let table = |value: &Value| value.as_array().unwrap().iter().map(numbers).collect::<Vec<_>>();
        Self {
            last: table(&model["W"]),
            second: table(&model["U"]),
            encoder: model["is_encoder_decoder"].as_bool().unwrap().then(|| table(&model["E"])),
            start: model["config"]["decoder_start_token_id"].as_i64().unwrap_or(0),
            padded: None,
        }
    }

    fn scores(&self, texts: &[(Vec<i64>, i64)]) -> Tensor {
        let row = |(text, read): &(Vec<i64>, i64)| {
            let mut row = self.last[*text.last().unwrap() as usize].clone();
            let mut add = |other: &[f32]| row.iter_mut().zip(other).for_each(|(to, from)| *to += from);
            if text.len() > 1 {
                add(&self.second[text[text.len() - 2] as usize]);
            }
            if let Some(encoder) = &self.encoder {
                add(&encoder[*read as usize]);
            }
            Tensor::from_slice(&row)
        };
        Tensor::stack(&texts.iter().map(row).collect::<Vec<_>>(), 0)
    }
}

struct TableTexts<'a> {
    table: &'a Table,
    texts: Vec<(Vec<i64>, i64)>,
}

impl Writer for Table {
    fn begin<'a>(&'a self, prompts: &[&[i64]]) -> Result<(Box<dyn Growing + 'a>, Tensor)> {
        let text = |prompt: &&[i64]| {
            let mut text = self.before(prompt);
            if let Some((length, id)) = self.padded {
                text.splice(0..0, std::iter::repeat_n(id, length.saturating_sub(text.len())));
            }
            (text, *prompt.last().unwrap())
        };
        let texts: Vec<_> = prompts.iter().map(text).collect();
        let scores = self.scores(&texts);
        Ok((Box::new(TableTexts { table: self, texts }), scores))
    }

    fn before(&self, prompt: &[i64]) -> Vec<i64> {
        if self.encoder.is_some() { vec![self.start] } else { prompt.to_vec() }
    }
}

impl Growing for TableTexts<'_> {
    fn next(&mut self, newest: &Tensor) -> Result<Tensor> {
        for ((text, _), id) in self.texts.iter_mut().zip(Vec::<i64>::try_from(newest)?) {
            text.push(id);
        }
        Ok(self.table.scores(&self.texts))
    }

    fn keep(&mut self, texts: &Tensor) -> Result<()> {
        self.texts = Vec::<i64>::try_from(texts)?.into_iter().map(|at| self.texts[at as usize].clone()).collect();
        Ok(())
    }

    fn reorder(&mut self, texts: &Tensor) -> Result<()> {
        assert_eq!(texts.size1()? as usize, self.texts.len());
        self.keep(texts)
    }
}

/// The processors that these settings of transformers ask for, but for those of drawing.
fn processors(settings: &Value, end_ids: &[i64], max_new_tokens: usize) -> Vec<Box<dyn Processor>> {
    let mut made: Vec<Box<dyn Processor>> = Vec::new();
    let count = |name: &str| settings[name].as_u64().map(|count| count as usize);
    let end_ids = end_ids.to_vec();
    if let Some(penalty) = settings["repetition_penalty"].as_f64() {
        made.push(Box::new(RepetitionPenalty(penalty)));
    }
    if let Some(run) = count("no_repeat_ngram_size") {
        made.push(Box::new(NoRepeatNgram(run)));
    }
    if let Some(words) = settings["bad_words_ids"].as_array() {
        made.push(Box::new(BadWords(words.iter().map(ids).collect())));
    }
    if let Some(length) = count("min_length") {
        made.push(Box::new(MinLength { length, end_ids: end_ids.clone() }));
    }
    if let Some(count) = count("min_new_tokens") {
        made.push(Box::new(MinNewTokens { count, end_ids: end_ids.clone() }));
    }
    if let Some(id) = settings["forced_eos_token_id"].as_i64() {
        made.push(Box::new(ForcedEos { id, max_new_tokens }));
    }
    if let Some(decay) = settings["exponential_decay_length_penalty"].as_array() {
        let (start, factor) = (decay[0].as_u64().unwrap() as usize, decay[1].as_f64().unwrap());
        made.push(Box::new(ExponentialDecay { start, factor, end_ids }));
    }
    if !settings["suppress_tokens"].is_null() {
        made.push(Box::new(Suppressed(ids(&settings["suppress_tokens"]))));
    }
    if !settings["begin_suppress_tokens"].is_null() {
        made.push(Box::new(SuppressedAtFirst(ids(&settings["begin_suppress_tokens"]))));
    }
    made
}

struct Case {
    table: Table,
    prompts: Vec<Prompt>,
    end_ids: Vec<i64>,
    max_new_tokens: usize,
    processors: Vec<Box<dyn Processor>>,
    /// What shorter sequences are filled with.
    greedy_fill: i64,
    beam_fill: i64,
}

impl Case {
    fn read(case: &Value, models: &Value) -> Self {
        let model = &models[case["model"].as_str().unwrap()];
        let settings = &case["generate"];
        let config = &model["config"];
        let end_ids = match settings.get("eos_token_id") {
            None => vec![config["eos_token_id"].as_i64().unwrap()],
            Some(Value::Null) => vec![],
            Some(several) => ids(several),
        };
        let max_new_tokens = settings["max_new_tokens"].as_u64().unwrap() as usize;
        let pad = config["pad_token_id"].as_i64().unwrap();
        let mut table = Table::read(model);
        let mut prompts: Vec<Vec<i64>> = case["prompts"].as_array().unwrap().iter().map(ids).collect();
        // Padding counts as text in transformers, but for the repetition penalty.
        if settings.get("repetition_penalty").is_some() && !case["attention_mask"].is_null() && table.encoder.is_none()
        {
            table.padded = Some((prompts[0].len(), pad));
            for (prompt, mask) in prompts.iter_mut().zip(case["attention_mask"].as_array().unwrap()) {
                let padding = ids(mask).iter().filter(|seen| **seen == 0).count();
                prompt.drain(..padding);
            }
        }
        let mut processors = processors(settings, &end_ids, max_new_tokens);
        if settings["renormalize_logits"] == true {
            processors.push(Box::new(Renormalize));
        }
        Self {
            table,
            prompts: prompts.into_iter().map(|ids| Prompt { name: "a case".into(), ids }).collect(),
            max_new_tokens,
            processors,
            greedy_fill: pad,
            beam_fill: if pad != 0 { pad } else { end_ids.first().copied().unwrap_or(-1) },
            end_ids,
        }
    }

    fn ends(&self) -> Ends<'_> {
        Ends { ids: self.end_ids.clone(), max_new_tokens: self.max_new_tokens, stop: None }
    }

    /// Sequences as transformers writes them: with the padded prompt, and filled to the longest.
    fn sequences(&self, texts: &[(usize, &Continuation)], fill: i64) -> Vec<Vec<i64>> {
        let length = |text: &Continuation| text.tokens.len() + usize::from(text.end.is_some());
        let longest = texts.iter().map(|(_, text)| length(text)).max().unwrap();
        let sequence = |&(prompt, text): &(usize, &Continuation)| {
            let mut ids = self.table.before(&self.prompts[prompt].ids);
            if let Some((length, id)) = self.table.padded {
                ids.splice(0..0, std::iter::repeat_n(id, length - ids.len()));
            }
            ids.extend(text.tokens.iter().copied().chain(text.end));
            ids.extend(std::iter::repeat_n(fill, longest - length(text)));
            ids
        };
        texts.iter().map(sequence).collect()
    }
}

fn sequences(case: &Value) -> Vec<Vec<i64>> {
    case["expected"]["sequences"].as_array().unwrap().iter().map(ids).collect()
}

#[test]
fn every_case_of_greedy_search() {
    let vectors = vectors("generation");
    let cases: Vec<&Value> =
        vectors["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == "greedy").collect();
    assert_eq!(cases.len(), 96);
    for case in cases {
        let mut read = Case::read(case, &vectors["models"]);
        let decoding = Decoding { processors: std::mem::take(&mut read.processors), ..Decoding::greedy() };
        let prompts: Vec<&Prompt> = read.prompts.iter().collect();
        let made = together(&read.table, &prompts, &decoding, &read.ends(), &mut |_| ()).unwrap();
        let texts: Vec<(usize, &Continuation)> = made.iter().map(|texts| &texts[0]).enumerate().collect();
        assert_eq!(read.sequences(&texts, read.greedy_fill), sequences(case), "{}", case["id"]);
    }
}

fn beams(settings: &Value) -> Beams {
    Beams {
        count: settings["num_beams"].as_u64().unwrap() as usize,
        length_penalty: settings["length_penalty"].as_f64().unwrap_or(1.0),
        early_stopping: match &settings["early_stopping"] {
            Value::Bool(true) => EarlyStopping::Always,
            Value::String(_) => EarlyStopping::Never,
            _ => EarlyStopping::Heuristic,
        },
        candidates: Box::new(Best),
    }
}

#[test]
fn every_case_of_beam_search() {
    let vectors = vectors("generation");
    let cases: Vec<&Value> =
        vectors["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == "beam").collect();
    assert_eq!(cases.len(), 106);
    for case in cases {
        let read = Case::read(case, &vectors["models"]);
        let search = beams(&case["generate"]);
        let returned = case["generate"]["num_return_sequences"].as_u64().unwrap_or(1) as usize;
        let prompts: Vec<&Prompt> = read.prompts.iter().collect();
        let made = search.run(&read.table, &prompts, &read.processors, &read.ends(), &mut |_| ()).unwrap();
        let found: Vec<(usize, &Hypothesis)> = made
            .iter()
            .enumerate()
            .flat_map(|(prompt, texts)| texts.iter().take(returned).map(move |text| (prompt, text)))
            .collect();
        let texts: Vec<(usize, &Continuation)> = found.iter().map(|(prompt, found)| (*prompt, &found.text)).collect();
        assert_eq!(read.sequences(&texts, read.beam_fill), sequences(case), "{}", case["id"]);
        let expected = &case["expected"];
        for ((_, found), expected) in found.iter().zip(numbers(&expected["sequences_scores"])) {
            assert!((found.score - expected).abs() <= 1e-5, "{}: {} is not {expected}", case["id"], found.score);
        }
        let longest = found.iter().map(|(_, found)| found.beams.len()).max().unwrap();
        let indices = |(prompt, found): &(usize, &Hypothesis)| {
            let mut indices: Vec<i64> = found.beams.iter().map(|beam| (prompt * search.count + beam) as i64).collect();
            indices.resize(longest, -1);
            indices
        };
        let indices: Vec<Vec<i64>> = found.iter().map(indices).collect();
        let expected: Vec<Vec<i64>> = expected["beam_indices"].as_array().unwrap().iter().map(ids).collect();
        assert_eq!(indices, expected, "{}", case["id"]);
    }
}

/// Rows that are searched together find what each finds alone.
#[test]
fn beams_of_one_prompt_do_not_see_those_of_another() {
    let vectors = vectors("generation");
    let table = Table::read(&vectors["models"]["dec_rare_eos"]);
    let prompts: Vec<Prompt> =
        (0..40).map(|at| Prompt { name: format!("{at}"), ids: vec![at % 11, (at * 7 + 3) % 11] }).collect();
    let ends = || Ends { ids: vec![1], max_new_tokens: 12, stop: None };
    for settings in [r#"{"num_beams": 3}"#, r#"{"num_beams": 4, "early_stopping": true, "length_penalty": 0.3}"#] {
        let settings: Value = serde_json::from_str(settings).unwrap();
        let search = beams(&settings);
        let whole: Vec<&Prompt> = prompts.iter().collect();
        let together = search.run(&table, &whole, &[], &ends(), &mut |_| ()).unwrap();
        for (prompt, found) in prompts.iter().zip(together) {
            assert_eq!(search.run(&table, &[prompt], &[], &ends(), &mut |_| ()).unwrap(), [found]);
        }
    }
}

#[test]
fn every_case_of_the_processors() {
    let vectors = vectors("logits_processors");
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 66);
    for case in cases {
        let config = &case["config"];
        let end_ids = [case["eos_token_id"].as_i64().unwrap()];
        let mut chain = processors(config, &end_ids, usize::MAX);
        let least = if config["num_beams"].as_u64().unwrap_or(1) > 1 { 2 } else { 1 };
        let number = |name: &str| config[name].as_f64();
        if let Some(temperature) = number("temperature") {
            chain.push(Box::new(Temperature(temperature)));
        }
        // transformers keeps 50 unless it is told otherwise.
        let count = config["top_k"].as_i64().unwrap_or(50);
        if count > 0 {
            chain.push(Box::new(TopK { count, least }));
        }
        if let Some(p) = number("top_p").filter(|p| *p < 1.0) {
            chain.push(Box::new(TopP { p, least }));
        }
        if let Some(p) = number("min_p") {
            chain.push(Box::new(MinP { p, least }));
        }
        if let Some(p) = number("typical_p") {
            chain.push(Box::new(TypicalP { p, least }));
        }
        if let Some(epsilon) = number("epsilon_cutoff") {
            chain.push(Box::new(EpsilonCutoff { epsilon, least }));
        }
        if let Some(epsilon) = number("eta_cutoff") {
            chain.push(Box::new(EtaCutoff { epsilon, least }));
        }
        if config["renormalize_logits"] == true {
            chain.push(Box::new(Renormalize));
        }
        let expected = &case["expected"];
        assert_eq!(chain.len(), expected["processors"].as_array().unwrap().len(), "{}", case["id"]);
        let text = Written { ids: ids(&case["input_ids"]), before: case["prompt_length"].as_u64().unwrap() as usize };
        let scores = Tensor::from_slice(&numbers(&case["scores"])).unsqueeze(0);
        let processed = process(&chain, &scores, &[text]).unwrap();
        let found = Vec::<f32>::try_from(processed.squeeze_dim(0)).unwrap();
        for (found, expected) in found.iter().zip(numbers(&expected["processed"])) {
            let close = *found == expected || (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
            assert!(close, "{}: {found} is not {expected}", case["id"]);
        }
        let probabilities = Vec::<f32>::try_from(processed.softmax(-1, Kind::Float).squeeze_dim(0)).unwrap();
        for (found, expected) in probabilities.iter().zip(numbers(&expected["probs"])) {
            assert!((found - expected).abs() <= 1e-5, "{}: {found} is not {expected}", case["id"]);
        }
    }
}

/// What the search of a decoding does with one sample.
#[test]
fn a_decoding_says_how_many_texts_it_makes() {
    assert_eq!(Decoding::greedy().samples(), 1);
    let beams = Decoding { processors: vec![], search: Search::Beams(beams(&serde_json::json!({"num_beams": 3}))) };
    assert_eq!(beams.samples(), 1);
}
