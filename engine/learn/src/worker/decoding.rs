//! What `decode` and its neighbours become: processors in transformers' order, and a search. Knows the words of pipeline
//! files; no model.

use spec::protocol::{Beam, BeamSample, Decode, EarlyStopping, Generate, Sample};

use crate::generate::beams::{self, Beams, Candidates};
use crate::generate::choose::{self, Choose};
use crate::generate::processors::{
    MinLength, MinNewTokens, MinP, NoRepeatNgram, Processor, RepetitionPenalty, Temperature, TopK, TopP, TypicalP,
};
use crate::generate::{Decoding, Search};

/// How tokens are chosen where these ids end a text.
pub fn of(generate: &Generate, end_ids: &[i64], seed: u64) -> Decoding {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut processors: Vec<Box<dyn Processor>> = Vec::new();
    if let Some(penalty) = generate.repetition_penalty.filter(|penalty| *penalty != 1.0) {
        processors.push(Box::new(RepetitionPenalty(penalty)));
    }
    if let Some(run) = generate.no_repeat_ngram {
        processors.push(Box::new(NoRepeatNgram(count(run))));
    }
    if let Some(length) = generate.min_length {
        processors.push(Box::new(MinLength { length: count(length), end_ids: end_ids.to_vec() }));
    }
    if let Some(new_tokens) = generate.min_new_tokens {
        processors.push(Box::new(MinNewTokens { count: count(new_tokens), end_ids: end_ids.to_vec() }));
    }
    let drawing = generate.decode.drawing();
    if let Some(drawing) = drawing {
        // Beams need one to go on with where all ends are among the likeliest.
        let least = match &generate.decode {
            Decode::BeamSample(_) => end_ids.len() as i64 + 1,
            _ => 1,
        };
        if drawing.temperature != 1.0 {
            processors.push(Box::new(Temperature(drawing.temperature)));
        }
        if let Some(top_k) = drawing.top_k {
            processors.push(Box::new(TopK { count: i64::try_from(top_k).unwrap_or(i64::MAX), least }));
        }
        if let Some(p) = drawing.top_p.filter(|p| *p < 1.0) {
            processors.push(Box::new(TopP { p, least }));
        }
        if let Some(p) = drawing.min_p {
            processors.push(Box::new(MinP { p, least }));
        }
        if let Some(p) = drawing.typical_p.filter(|p| *p < 1.0) {
            processors.push(Box::new(TypicalP { p, least }));
        }
    }
    let choose: Box<dyn Choose> = match drawing {
        Some(_) => Box::new(choose::Sample { seed }),
        None => Box::new(choose::Greedy),
    };
    let candidates: Box<dyn Candidates> = match drawing {
        Some(_) => Box::new(beams::Drawn { seed }),
        None => Box::new(beams::Best),
    };
    let search = match &generate.decode {
        Decode::Greedy(_) => Search::Tokens { choose, samples: 1 },
        Decode::Sample(Sample { samples, .. }) => Search::Tokens { choose, samples: count(*samples) },
        Decode::Beam(Beam { beams, length_penalty, early_stopping })
        | Decode::BeamSample(BeamSample { beams, length_penalty, early_stopping, .. }) => Search::Beams(Beams {
            count: count(*beams),
            length_penalty: *length_penalty,
            early_stopping: match early_stopping {
                EarlyStopping::Heuristic => beams::EarlyStopping::Heuristic,
                EarlyStopping::Always => beams::EarlyStopping::Always,
                EarlyStopping::Never => beams::EarlyStopping::Never,
            },
            candidates,
        }),
    };
    Decoding { processors, search }
}
