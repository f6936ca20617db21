//! The `tokenize` stage: rendered rows as token ids, one Parquet file a split, with the tokenizer beside them. Knows the
//! order of these steps; each is done elsewhere.

mod batches;
mod choices;
mod seq2seq;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use batches::Batches;
use spec::{
    files,
    job::{Event, Job, JobInput},
    stage::{BpeTraining, Form, Overflow, OverflowPolicy, SpecialToken, Tokenize, TokenizerSource},
};

use crate::{
    Error,
    job::{Events, input, settings},
    table,
    tokens::{
        Carried, RowTexts, SpecialIds, TokenRow, Vocabulary, Writer, bpe,
        chat::ChatEncoder,
        encode::{EncodedTurn, Encoder},
        fit::{Fitted, Lengths, fit},
        labels::Labels,
        source::{self, SourceRow},
        summary::{Counts, Summary},
        tokenizer,
    },
};

/// Does a `tokenize` stage.
///
/// # Errors
/// When an input is missing or wrong, when a row is too long and may not be, when no token of a split carries loss, or
/// when the result cannot be written.
pub fn run(job: &Job, events: Events<'_>) -> Result<(), Error> {
    let settings: Tokenize = settings(job)?;
    let splits = splits(input(job, "input")?)?;
    if let Overflow::BySplit(policies) = &settings.overflow {
        known(policies.keys(), &splits, "overflow")?;
    }
    let target = job.result.join(files::TOKENIZER);
    let (vocabulary, folder) = match &settings.tokenizer {
        TokenizerSource::Stage(_) => {
            let folder = &input(job, "tokenizer")?.result;
            let vocabulary = tokenizer(folder)?;
            let from = folder.join(files::TOKENIZER);
            if vocabulary.is_as_file() {
                fs::copy(&from, &target).map_err(|error| Error::io("write", &target, &error))?;
            } else {
                write(&target, vocabulary.to_json()?.as_bytes())?;
            }
            (vocabulary, folder.clone())
        }
        TokenizerSource::Bpe(training) => {
            let trained = trained(training, &splits)?;
            let text = trained.to_string(true).map_err(|error| Error::new(error.to_string()))?;
            write(&target, text.as_bytes())?;
            (Vocabulary::new(trained, &target)?, job.result.clone())
        }
    };
    let tokenization = Tokenization::new(settings, &folder, vocabulary)?;
    write_json(&job.result.join(files::SPECIAL_IDS), &tokenization.special)?;
    if let Form::Text(form) = &tokenization.settings.form
        && let Some(labels) = Labels::of(form, &splits)?
    {
        for alike in labels.alike() {
            let message = format!(
                "the labels {} differ only in case or in spaces, and are {} classes; if they are one, let the template's \
                 block `label` write them alike, for example by `{{{{ COLUMN|lower }}}}`",
                spec::one_of::listed(&alike),
                alike.len()
            );
            events(Event::Warning { message });
        }
        write_json(&job.result.join(files::LABELS), &labels)?;
    }
    let mut summary = Summary { vocabulary: tokenization.special.vocabulary, ..Summary::default() };
    for (name, path) in &splits {
        let target = job.result.join(files::split(name));
        summary.splits.insert(name.clone(), tokenization.split(name, path, &target, events)?);
    }
    write_json(&job.result.join(files::SUMMARY), &summary)
}

/// How rows become token ids: settings, and the tokenizer that was read for them.
#[derive(Debug)]
pub struct Tokenization {
    settings: Tokenize,
    vocabulary: Vocabulary,
    special: SpecialIds,
    chat: Option<ChatEncoder>,
}

impl Tokenization {
    /// Tokenizes as `settings` say with the tokenizer of `folder`, which is `vocabulary`.
    ///
    /// # Errors
    /// When a special token cannot be found, or a chat is asked for and the folder has no template that can write one.
    pub fn new(settings: Tokenize, folder: &Path, vocabulary: Vocabulary) -> Result<Self, Error> {
        let (bos, eos) = match settings.form {
            Form::Completion(_) | Form::Choices(_) => (&settings.bos, &settings.eos),
            // The tokenizer's own template begins and ends texts; generation still has to know what ends an answer.
            Form::Text(_) => (&SpecialToken::None, &SpecialToken::None),
            Form::Seq2Seq(_) => (&SpecialToken::None, &SpecialToken::Auto),
        };
        let mut special = SpecialIds::find(folder, &vocabulary, bos, eos)?;
        let bos_is_said = matches!(settings.bos, SpecialToken::Token(_));
        let chat = match &settings.chat {
            Some(chat) => Some(ChatEncoder::new(folder, &vocabulary, chat, bos_is_said, &mut special)?),
            None => None,
        };
        Ok(Self { settings, vocabulary, special, chat })
    }

    /// Makes the file `target` of the split `name` whose rendered rows are the file `rows`.
    ///
    /// # Errors
    /// When a row is too long and may not be, when no token carries loss though the rows have completions, or when the
    /// file cannot be written.
    pub fn split(&self, name: &str, rows: &Path, target: &Path, events: Events<'_>) -> Result<Counts, Error> {
        let Self { settings, vocabulary, special, chat } = self;
        let encoder = Encoder { vocabulary, special, boundary: settings.boundary, chat: chat.as_ref() };
        let split = Split { name, rows, target, events };
        match &settings.form {
            Form::Completion(_) => split.completions(encoder, settings),
            Form::Choices(form) => choices::split(split, encoder, settings, &form.delimiter),
            Form::Text(_) => text::split(split, vocabulary, settings),
            Form::Seq2Seq(_) => seq2seq::split(split, encoder, settings),
        }
    }
}

/// A split that is made.
#[derive(Clone, Copy)]
struct Split<'a> {
    name: &'a str,
    rows: &'a Path,
    target: &'a Path,
    events: Events<'a>,
}

/// The splits of an input, by name; only the named one where the input names a part.
fn splits(input: &JobInput) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut splits = BTreeMap::new();
    for entry in fs::read_dir(&input.result).map_err(|error| Error::io("read", &input.result, &error))? {
        let path = entry.map_err(|error| Error::io("read", &input.result, &error))?.path();
        if let (Some(name), true) = (path.file_stem(), path.extension().is_some_and(|ending| ending == "parquet")) {
            splits.insert(name.to_string_lossy().into_owned(), path);
        }
    }
    if let Some(part) = &input.part {
        known([part], &splits, "input")?;
        splits.retain(|name, _| name == part);
    }
    match splits.is_empty() {
        false => Ok(splits),
        true => Err(Error::new(format!("`{}` left no split", input.name()))
            .in_file(&input.result)
            .hint("name a `preprocess` stage as `input`")),
    }
}

fn known<'a>(
    names: impl IntoIterator<Item = &'a String>,
    splits: &BTreeMap<String, PathBuf>,
    setting: &str,
) -> Result<(), Error> {
    match names.into_iter().find(|name| !splits.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(format!("no split is named `{name}`"))
            .at(format!("setting `{setting}`"))
            .hint(spec::suggest::did_you_mean(name, splits.keys()))),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|error| Error::io("write", path, &error))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Error::new(error.to_string()).in_file(path))?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// A tokenizer trained from the texts of some splits, or of all.
fn trained(training: &BpeTraining, splits: &BTreeMap<String, PathBuf>) -> Result<tokenizers::Tokenizer, Error> {
    if let Some(names) = &training.splits {
        known(names, splits, "tokenizer.bpe.splits")?;
    }
    let mut texts = Vec::new();
    for (_, path) in splits.iter().filter(|(name, _)| training.splits.as_ref().is_none_or(|some| some.contains(name))) {
        let mut reader = table::open(path, None)?;
        while let Some(batch) = table::next(path, &mut reader)? {
            for row in source::rows(path, &batch)? {
                let turns = row.turns.into_iter();
                texts.extend(turns.flat_map(|turn| [Some(turn.prompt), turn.completion]).flatten());
            }
        }
    }
    bpe::train(&texts, training.vocabulary, training.min_frequency)
}

/// What became of a row, and what is counted of it.
struct Made {
    written: Option<(TokenRow, RowTexts)>,
    lengths: Lengths,
    truncated: bool,
    completion_cut: bool,
    boundary_matters: bool,
    spells_special: bool,
}

impl Split<'_> {
    fn completions(self, encoder: Encoder<'_>, settings: &Tokenize) -> Result<Counts, Error> {
        let name = self.name;
        let batches = Batches::open(self)?;
        let columns = batches.columns;
        let mut writer = Writer::create(self.target, Carried(columns))?;
        let policy = settings.overflow.of(name);
        let mut counts = Counts::default();
        let fields = Fields::default();
        let make = |row: SourceRow| {
            if matches!(policy, OverflowPolicy::Truncate(_)) {
                fields.see(&row);
            }
            make(row, name, encoder, settings, &policy)
        };
        let write = |made: Vec<Made>| {
            let mut written = Vec::with_capacity(made.len());
            for made in made {
                count(&mut counts, &made);
                written.extend(made.written);
            }
            writer.write(&written)
        };
        batches.each(make, write)?;
        writer.finish()?;
        if let OverflowPolicy::Truncate(field) = &policy {
            fields.check(field, name, counts.failed)?;
        }
        counts.check(name, columns.teach(), settings.max_length)?;
        warn(name, &counts, self.events);
        Ok(counts)
    }
}

fn make(
    row: SourceRow,
    split: &str,
    encoder: Encoder<'_>,
    settings: &Tokenize,
    policy: &OverflowPolicy,
) -> Result<Made, Error> {
    let fitted = fit(&row, encoder, settings.max_length, policy, split)?;
    let mut texts = RowTexts { prompt: row.prompt, completion: row.completion, references: row.references };
    let nothing = |written, lengths| Made {
        written,
        lengths,
        truncated: false,
        completion_cut: false,
        boundary_matters: false,
        spells_special: false,
    };
    let lost = || encoder.encode(&row.turns).map(|turns| Lengths::of(&turns));
    match fitted {
        Fitted::Dropped => Ok(nothing(None, lost()?)),
        Fitted::Failed(reason) => {
            let failed = TokenRow { id: row.id, failed: Some(reason), ..TokenRow::default() };
            Ok(nothing(Some((failed, texts)), lost()?))
        }
        Fitted::Kept(kept) => {
            if let Some(prompt) = &mut texts.prompt
                && kept.cut > 0
            {
                let length = prompt.len() - kept.cut;
                *prompt = kept.texts[0].prompt[..length].to_owned();
            }
            Ok(Made {
                lengths: Lengths::of(&kept.turns),
                truncated: kept.cut > 0,
                completion_cut: kept.completion_cut,
                boundary_matters: encoder.boundary_matters(&kept.texts, &kept.turns)?,
                spells_special: encoder.spells_special(&kept.turns),
                written: Some((joined(row.id, &kept.turns), texts)),
            })
        }
    }
}

/// A row's turns, one after the other.
fn joined(id: String, turns: &[EncodedTurn]) -> TokenRow {
    let mut row =
        TokenRow { id, prompt_length: turns.first().map_or(0, |turn| turn.prompt.len()), ..TokenRow::default() };
    for turn in turns {
        let completion = turn.completion.as_deref().unwrap_or_default();
        row.input_ids.extend(turn.prompt.iter().chain(completion).map(|id| *id as i32));
        row.completion_mask.extend(std::iter::repeat_n(false, turn.prompt.len()));
        row.completion_mask.extend(std::iter::repeat_n(true, completion.len()));
    }
    row
}

fn count(counts: &mut Counts, made: &Made) {
    match &made.written {
        None => counts.dropped += 1,
        Some((row, _)) => {
            counts.failed += usize::from(row.failed.is_some());
            counts.add_row(row.input_ids.len(), row.completion_mask.iter().filter(|on| **on).count());
        }
    }
    if made.written.as_ref().is_none_or(|(row, _)| row.failed.is_some()) {
        counts.lose(made.lengths);
    }
    counts.truncated += usize::from(made.truncated);
    counts.completions_cut += usize::from(made.completion_cut);
    counts.boundary_disagreements += usize::from(made.boundary_matters);
    counts.special_in_text += usize::from(made.spells_special);
}

fn warn(split: &str, counts: &Counts, events: Events<'_>) {
    let say = |message: String| events(Event::Warning { message: format!("split `{split}`: {message}") });
    if counts.dropped > 0 {
        let all = counts.dropped + counts.rows;
        say(format!("{} of {all} rows are too long and were dropped", counts.dropped));
    }
    if counts.failed > 0 {
        say(format!("{} of {} rows cannot fit and count as failed", counts.failed, counts.rows));
    }
    if counts.completions_cut > 0 {
        say(format!(
            "{} of {} completions are too long and were cut before their EOS",
            counts.completions_cut, counts.rows
        ));
    }
    if counts.special_in_text > 0 {
        say(format!(
            "the texts of {} rows spell out a special token that this tokenizer cannot keep apart from the token itself",
            counts.special_in_text
        ));
    }
}

/// The fields that stand in the prompts of a split.
#[derive(Default)]
struct Fields(Mutex<BTreeSet<String>>);

impl Fields {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, row: &SourceRow) {
        let mut names = self.names();
        for span in &row.spans {
            if !names.contains(&span.field) {
                names.insert(span.field.clone());
            }
        }
    }

    /// A field that stands in no prompt is a mistake of the setting, once a row would have needed it.
    fn check(&self, field: &str, split: &str, failed: usize) -> Result<(), Error> {
        let names = self.names();
        if failed == 0 || names.contains(field) {
            return Ok(());
        }
        Err(Error::new(format!(
            "{failed} rows are too long, and the field `{field}` stands in no prompt of the split once and unchanged"
        ))
        .at(format!("split `{split}`, setting `overflow`"))
        .hint(match names.is_empty() {
            true => "write the field into the template's prompt by its bare name: `{{ context }}`".to_owned(),
            false => spec::suggest::did_you_mean(field, &*names),
        }))
    }
}
