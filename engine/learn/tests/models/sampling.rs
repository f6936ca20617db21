//! What is drawn: by its probabilities, by seed, row and step alone, and the same in every batch; and what is said where
//! nothing can be chosen.

use learn::adapters::Frozen;
use learn::error::Result;
use learn::generate::beams::{Beams, Drawn, EarlyStopping};
use learn::generate::choose::{Choose, Greedy, Sample};
use learn::generate::processors::{NoRepeatNgram, Processor, Suppressed, Temperature, TopP};
use learn::generate::{Continuation, Decoding, Draw, Ends, Growing, Prompt, Reader, Search, Writer, batches, together};
use tch::{Kind, Tensor};

use crate::fixtures::Variant;

fn prompts() -> Vec<Prompt> {
    let ids = |at: i64| (0..1 + at * 5 % 13).map(|place| 3 + (place * 7 + (at % 3) * 11) % 50).collect();
    (0..24).map(|at| Prompt { name: format!("row {at}"), ids: ids(at) }).collect()
}

fn sample(seed: u64, samples: usize) -> Decoding {
    Decoding {
        processors: vec![Box::new(Temperature(1.5)), Box::new(TopP { p: 0.95, least: 1 })],
        search: Search::Tokens { choose: Box::new(Sample { seed }), samples },
    }
}

fn beam_sample(seed: u64) -> Decoding {
    let candidates = Box::new(Drawn { seed });
    let beams = Beams { count: 3, length_penalty: 1.0, early_stopping: EarlyStopping::Heuristic, candidates };
    Decoding { processors: vec![Box::new(Temperature(1.5))], search: Search::Beams(beams) }
}

fn run(writer: &dyn Writer, prompts: &[Prompt], decoding: &Decoding, batch: usize) -> Vec<Vec<Continuation>> {
    let ends = Ends { ids: vec![2, 9], max_new_tokens: 12, stop: None };
    let mut results = vec![Vec::new(); prompts.len()];
    for batch in batches(prompts, batch) {
        let asked: Vec<&Prompt> = batch.iter().map(|&at| &prompts[at]).collect();
        for (at, made) in batch.into_iter().zip(together(writer, &asked, decoding, &ends, &mut |_| ()).unwrap()) {
            results[at] = made;
        }
    }
    results
}

#[test]
fn a_row_draws_the_same_in_every_batch_and_order() {
    let model = Variant::read("untied_grouped").model(&Frozen);
    let reader = Reader::new(&model.network, model.device);
    let prompts = prompts();
    let reversed: Vec<Prompt> = prompts.iter().rev().cloned().collect();
    for (name, decoding, texts) in [("sample", sample(5, 3), 3), ("beam_sample", beam_sample(5), 1)] {
        let base = run(&reader, &prompts, &decoding, 24);
        assert!(base.iter().all(|made| made.len() == texts), "{name}");
        for batch in [1, 5, 7] {
            assert_eq!(run(&reader, &prompts, &decoding, batch), base, "{name}, {batch} together");
        }
        let back: Vec<_> = run(&reader, &reversed, &decoding, 6).into_iter().rev().collect();
        assert_eq!(back, base, "{name}, reversed");
    }
}

#[test]
fn seeds_rows_and_samples_draw_differently() {
    let model = Variant::read("untied_grouped").model(&Frozen);
    let reader = Reader::new(&model.network, model.device);
    let same: Vec<Prompt> = (0..6).map(|at| Prompt { name: format!("row {at}"), ids: vec![3, 4, 5] }).collect();
    for (one, other) in [(sample(5, 2), sample(6, 2)), (beam_sample(5), beam_sample(6))] {
        let (one, other) = (run(&reader, &same, &one, 6), run(&reader, &same, &other, 6));
        assert_ne!(one, other);
        assert!(one.windows(2).any(|pair| pair[0] != pair[1]));
        assert!(one.iter().all(|texts| texts.len() < 2 || texts[0] != texts[1]));
    }
}

#[test]
fn ids_are_drawn_by_their_probabilities() {
    let scores = Tensor::from_slice(&[0.5f32, 0.2, 0.0, 0.3]).log().unsqueeze(0).expand([4000, 4], false);
    let name = |step| Draw { name: "row", sample: 0, step };
    let draws: Vec<Draw<'_>> = (0..4000).map(name).collect();
    let ids = Sample { seed: 1 }.choose(&scores, &draws).unwrap();
    let share = |id: i64| ids.iter().filter(|found| **found == Some(id)).count() as f64 / 4000.0;
    for (id, expected) in [(0, 0.5), (1, 0.2), (2, 0.0), (3, 0.3)] {
        assert!((share(id) - expected).abs() < 0.03, "{id}: {}", share(id));
    }
    assert_eq!(share(2), 0.0);
}

#[test]
fn candidates_are_drawn_without_putting_back_by_what_is_left() {
    use learn::generate::beams::Candidates;
    let weights = [0.5f64, 0.2, 0.0, 0.3];
    let scores = Tensor::from_slice(&weights).log().to_kind(Kind::Float).unsqueeze(0).expand([4000, 4], false);
    let draws: Vec<Draw<'_>> = (0..4000).map(|step| Draw { name: "row", sample: 0, step }).collect();
    let found = Drawn { seed: 1 }.candidates(&scores, 2, &draws).unwrap();
    let share =
        |pair: (usize, usize)| found.iter().filter(|found| (found[0].0, found[1].0) == pair).count() as f64 / 4000.0;
    for one in [0, 1, 3] {
        for other in [0, 1, 3] {
            let expected = if one == other { 0.0 } else { weights[one] * weights[other] / (1.0 - weights[one]) };
            assert!((share((one, other)) - expected).abs() < 0.03, "{one}, {other}: {}", share((one, other)));
        }
    }
    assert!((f64::from(found[0][0].1) - weights[found[0][0].0].ln()).abs() < 1e-6);
}

#[test]
fn at_a_low_temperature_the_likeliest_is_drawn() {
    let model = Variant::read("untied_grouped").model(&Frozen);
    let reader = Reader::new(&model.network, model.device);
    let cold = Decoding { processors: vec![Box::new(Temperature(1e-4))], ..sample(5, 1) };
    assert_eq!(run(&reader, &prompts(), &cold, 24), run(&reader, &prompts(), &Decoding::greedy(), 24));
}

/// Scores that do not depend on the text.
struct Fixed(Vec<f32>);

impl Writer for Fixed {
    fn begin<'a>(&'a self, prompts: &[&[i64]]) -> Result<(Box<dyn Growing + 'a>, Tensor)> {
        let scores = Tensor::from_slice(&self.0).unsqueeze(0).expand([prompts.len() as i64, -1], false);
        Ok((Box::new(FixedTexts(self.0.clone())), scores))
    }

    fn before(&self, prompt: &[i64]) -> Vec<i64> {
        prompt.to_vec()
    }
}

struct FixedTexts(Vec<f32>);

impl Growing for FixedTexts {
    fn next(&mut self, newest: &Tensor) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.0).unsqueeze(0).expand([newest.size1()?, -1], false))
    }

    fn keep(&mut self, _: &Tensor) -> Result<()> {
        Ok(())
    }

    fn reorder(&mut self, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

#[test]
fn scores_that_choose_nothing_are_an_error_of_the_row() {
    let prompts: Vec<Prompt> = (0..2).map(|at| Prompt { name: format!("row `{at}`"), ids: vec![at] }).collect();
    let asked: Vec<&Prompt> = prompts.iter().collect();
    let ends = || Ends { ids: vec![3], max_new_tokens: 8, stop: None };
    let problem = |scores: &[f32], decoding: &Decoding| {
        let error = together(&Fixed(scores.to_vec()), &asked, decoding, &ends(), &mut |_| ()).unwrap_err();
        assert!(error.hint().is_some());
        format!("{error:?}")
    };
    let broken = [0.5, f32::NAN, 1.0, 0.0];
    for decoding in [Decoding::greedy(), sample(1, 2), beam_sample(1)] {
        let said = problem(&broken, &decoding);
        assert!(said.contains("not finite numbers") && said.contains("row `0`, new token 1"), "{said}");
    }
    let banned: Vec<Box<dyn Processor>> = vec![Box::new(Suppressed(vec![0, 1, 2, 3]))];
    let said = problem(&[0.5, 0.7, 1.0, 0.0], &Decoding { processors: banned, ..sample(1, 1) });
    assert!(said.contains("every token is ruled out"), "{said}");
    // The reference takes the lowest id.
    let once = Decoding { processors: vec![Box::new(NoRepeatNgram(1))], ..Decoding::greedy() };
    let made = together(&Fixed(vec![0.5, 0.7, 1.0, 0.9]), &asked[..1], &once, &ends(), &mut |_| ()).unwrap();
    assert_eq!(made[0][0].tokens, [2]);
    assert_eq!(made[0][0].end, Some(3));
    assert_eq!(Greedy.choose(&Tensor::from_slice(&[1.0f32, 3.0, 3.0]).unsqueeze(0), &[]).unwrap(), [Some(1)]);
}

#[test]
fn a_text_ends_where_it_stops() {
    let prompts = [Prompt { name: "row".into(), ids: vec![0] }];
    let asked: Vec<&Prompt> = prompts.iter().collect();
    let stop = |tokens: &[i64]| Ok(tokens.len() == 4);
    let ends = Ends { ids: vec![3], max_new_tokens: 8, stop: Some(&stop) };
    let writer = Fixed(vec![0.5, 0.7, 1.0, 0.0]);
    let made = together(&writer, &asked, &Decoding::greedy(), &ends, &mut |_| ()).unwrap();
    assert_eq!(made, [[Continuation { tokens: vec![2; 4], end: Some(2) }]]);
    let beams = Beams {
        count: 2,
        length_penalty: 2.0,
        early_stopping: EarlyStopping::Never,
        candidates: Box::new(learn::generate::beams::Best),
    };
    let decoding = Decoding { processors: vec![], search: Search::Beams(beams) };
    let made = together(&writer, &asked, &decoding, &ends, &mut |_| ()).unwrap();
    assert_eq!(made, [[Continuation { tokens: vec![2; 4], end: Some(2) }]]);
}
