//! What texts begin with alike is read once: the texts and likelihoods that come of it are those of texts that are read whole.

use data::metrics::TokenScore;
use learn::adapters::{Frozen, Method, Prefix, Prompt as VirtualTokens, Start};
use learn::batches::LossRow;
use learn::choice_rows::{Choice, Question};
use learn::evaluate::{Windows, likelihoods, scores, windowed_scores};
use learn::generate::{Beginning, Decoding, Ends, Prompt, Reader, Writer, batches, together};
use learn::models::Model;
use learn::observer::Unobserved;
use tch::{Device, Kind};

use crate::fixtures::{assert_close, generator, golden};

/// Each with a window that is shorter than what texts share, or without one.
const DECODERS: [&str; 2] = ["llama/untied_grouped/model", "decoders/gemma3_text/model"];

/// Ids below 40, always the same ones.
struct Ids(u64);

impl Ids {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn text(&mut self, length: usize) -> Vec<i64> {
        (0..length).map(|_| 3 + self.next(37) as i64).collect()
    }
}

fn methods() -> Vec<(&'static str, Box<dyn Method>)> {
    vec![
        ("frozen", Box::new(Frozen)),
        ("prompt", Box::new(VirtualTokens::new(5, Start::Random).unwrap())),
        ("prefix", Box::new(Prefix::new(4, None).unwrap())),
    ]
}

fn each(check: impl Fn(&str, &Model)) {
    for folder in DECODERS {
        for (name, method) in methods() {
            let guard = generator();
            let model = Model::load(&golden(folder), method.as_ref(), 3, Device::Cpu).unwrap();
            drop(guard);
            check(&format!("{folder}, {name}"), &model);
        }
    }
}

#[test]
fn prompts_go_on_alike_whether_their_beginning_is_read_once_or_with_each() {
    let mut ids = Ids(5);
    let shared = ids.text(21);
    let prompts: Vec<Prompt> = (0..11)
        .map(|at| {
            let length = 1 + ids.next(9);
            let tail = ids.text(length);
            Prompt { name: at.to_string(), ids: [shared.clone(), tail].concat() }
        })
        .collect();
    assert!(Beginning::of(prompts.iter().map(|prompt| prompt.ids.as_slice())).is_some());
    let ends = Ends { ids: vec![0], max_new_tokens: 8, stop: None };
    each(|what, model| {
        let whole = Reader::new(&model.network, Device::Cpu);
        let once = Reader::new(&model.network, Device::Cpu).of_all(prompts.iter().map(|prompt| prompt.ids.as_slice()));
        for size in [1, 3, 11] {
            for batch in batches(&prompts, size) {
                let asked: Vec<&Prompt> = batch.iter().map(|&at| &prompts[at]).collect();
                let texts: Vec<&[i64]> = asked.iter().map(|prompt| prompt.ids.as_slice()).collect();
                let first = |reader: &Reader<'_>| tch::no_grad(|| reader.begin(&texts).unwrap().1);
                assert_close(&first(&once), &first(&whole), 1e-5, what);
                let run =
                    |reader: &Reader<'_>| together(reader, &asked, &Decoding::greedy(), &ends, &mut |_| ()).unwrap();
                assert_eq!(run(&once), run(&whole), "{what}, {size} together");
            }
        }
        // Other prompts than those it was made for are read whole.
        let (other, short) = (Ids(9).text(30), &shared[..20]);
        let first = |reader: &Reader<'_>| tch::no_grad(|| reader.begin(&[&other, short]).unwrap().1);
        assert_close(&first(&once), &first(&whole), 1e-6, what);
    });
}

fn question(at: usize, choices: Vec<Choice>) -> Question {
    Question { id: at.to_string(), prompt: String::new(), choices, right: Some(0), failed: None }
}

#[test]
fn choices_are_as_likely_as_when_each_is_read_whole() {
    let mut ids = Ids(8);
    let shared = ids.text(18);
    let mut questions: Vec<Question> = (0..9)
        .map(|at| {
            let length = 1 + ids.next(12);
            let prompt = [shared.clone(), ids.text(length)].concat();
            let choice = |ids: &mut Ids| {
                // Single tokens too, behind which nothing is read; and contexts of their own.
                let own = if at % 4 == 3 { 1 + ids.next(3) } else { 0 };
                let length = 1 + ids.next(4);
                let text = [prompt.clone(), ids.text(own), ids.text(length)].concat();
                Choice {
                    text: String::new(),
                    ids: text.iter().map(|&id| id as i32).collect(),
                    prompt_length: prompt.len() + own,
                }
            };
            question(at, (0..2 + at % 3).map(|_| choice(&mut ids)).collect())
        })
        .collect();
    questions.insert(4, Question { failed: Some("too long".to_owned()), ..question(99, Vec::new()) });
    each(|what, model| {
        let expected: Vec<Vec<TokenScore>> = questions
            .iter()
            .map(|question| {
                let whole = |choice: &Choice| {
                    LossRow::new("", &choice.ids, (0..choice.ids.len()).map(|at| at >= choice.prompt_length))
                };
                let rows: Vec<Option<LossRow>> = question.choices.iter().map(whole).collect();
                scores(model, &rows, 1, &mut Unobserved).unwrap()
            })
            .collect();
        for batch in [1, 2, 100] {
            let found = likelihoods(model, &questions, batch, &mut Unobserved).unwrap();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.len(), expected.len(), "{what}");
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found.nll - expected.nll).abs() < 1e-4, "{what}, {batch}: {found:?}, not {expected:?}");
                    assert_eq!((found.tokens, found.correct), (expected.tokens, expected.correct), "{what}, {batch}");
                }
            }
        }
    });
}

#[test]
fn windows_of_the_whole_are_the_whole_and_of_one_token_each_from_the_last() {
    let mut ids = Ids(4);
    let texts: Vec<Vec<i32>> = [19, 7].map(|length| ids.text(length).iter().map(|&id| id as i32).collect()).into();
    let row = |ids: &[i32]| LossRow::new("", ids, vec![true; ids.len()]);
    let rows: Vec<Option<LossRow>> = vec![row(&texts[0]), None, row(&texts[1])];
    let model = Model::load(&golden(DECODERS[1]), &Frozen, 0, Device::Cpu).unwrap();
    let windowed =
        |length, context| windowed_scores(&model, &rows, Windows { length, context }, 3, &mut Unobserved).unwrap();
    let whole = scores(&model, &rows, 3, &mut Unobserved).unwrap();
    let pairs = |ids: &[i32]| -> TokenScore {
        let pairs: Vec<Option<LossRow>> = ids.windows(2).map(row).collect();
        scores(&model, &pairs, 64, &mut Unobserved).unwrap().into_iter().sum()
    };
    let each = [pairs(&texts[0]), TokenScore::default(), pairs(&texts[1])];
    for (found, expected) in [(windowed(100, 1), whole.as_slice()), (windowed(1, 1), &each)] {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.nll - expected.nll).abs() < 1e-4, "{found:?}, not {expected:?}");
            assert_eq!((found.tokens, found.correct), (expected.tokens, expected.correct));
        }
    }
    // Half of a window before each of its tokens: every token once, and not as in either of those.
    let half = windowed(6, 3);
    assert_eq!(half[0].tokens, 18);
    assert!((half[0].nll - whole[0].nll).abs() > 1e-3 && (half[0].nll - each[0].nll).abs() > 1e-3, "{half:?}");
}

#[test]
fn scores_that_are_no_numbers_are_an_error_of_the_row() {
    let model = Model::load(&golden(DECODERS[0]), &Frozen, 0, Device::Cpu).unwrap();
    let (_, table) = model.frozen.iter().find(|(name, _)| name.ends_with("embed_tokens.weight")).unwrap();
    let _ = tch::no_grad(|| table.narrow(0, 9, 1).fill_(f64::NAN));
    let row = |id: &str, ids: &[i32]| LossRow::new(id, ids, vec![true; ids.len()]);
    let rows = [row("sound", &[3, 4, 5]), row("faulty", &[3, 9, 5])];
    let error = scores(&model, &rows, 1, &mut Unobserved).unwrap_err();
    assert_eq!(error.to_string(), "the scores of row `faulty` are no numbers");
    assert_eq!(scores(&model, &rows[..1], 1, &mut Unobserved).unwrap()[0].tokens, 2);
    let choice = Choice { text: String::new(), ids: vec![3, 9, 5], prompt_length: 2 };
    let error = likelihoods(&model, &[question(7, vec![choice])], 1, &mut Unobserved).unwrap_err();
    assert_eq!(error.to_string(), "the scores of row `7` are no numbers");
}

#[test]
fn a_beginning_is_read_once() {
    let mut ids = Ids(1);
    let shared = ids.text(30);
    let texts: Vec<Vec<i64>> = (0..4).map(|_| [shared.clone(), ids.text(2)].concat()).collect();
    let model = Model::load(&golden(DECODERS[0]), &Frozen, 0, Device::Cpu).unwrap();
    let reader = Reader::new(&model.network, Device::Cpu).of_all(texts.iter().map(Vec::as_slice));
    let first = tch::no_grad(|| reader.begin(&[&texts[0]]).unwrap().1);
    // Were the beginning read again, another embedding of one of its tokens would show.
    let (_, table) = model.frozen.iter().find(|(name, _)| name.ends_with("embed_tokens.weight")).unwrap();
    let token = *shared.iter().find(|&&id| !texts[0][30..].contains(&id)).unwrap();
    let _ = tch::no_grad(|| table.narrow(0, token, 1).fill_(3.0));
    let again = tch::no_grad(|| reader.begin(&[&texts[0]]).unwrap().1);
    assert_close(&again, &first, 1e-6, "read once");
    let whole = tch::no_grad(|| Reader::new(&model.network, Device::Cpu).begin(&[&texts[0]]).unwrap().1);
    assert!((whole - first).abs().max().to_kind(Kind::Double).double_value(&[]) > 1e-3);
}
