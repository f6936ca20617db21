//! Data sets of a configuration as one download and the splits of its rows: several become parts of one download. Knows
//! stages' settings, no tool's keys.

use std::{collections::BTreeMap, path::PathBuf};

use spec::stage::{Format, HoldOut, Origin, Source, Split, SplitNames, Take};

use super::{
    left::{LeftOut, Said},
    source,
};

/// The split that is learned from.
pub const TRAIN: &str = "train";
/// The split that is not.
pub const VALIDATION: &str = "validation";

/// A data set of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Where the configuration names it, for the list.
    pub key: String,
    /// What it is called there.
    pub called: String,
    /// Where it comes from.
    pub from: Source,
    /// The files of it that are read.
    pub files: Vec<String>,
    /// How they are read, where the tool says so.
    pub format: Option<Format>,
    /// How many rows are kept.
    pub take: Option<u64>,
    /// The key that bounds them.
    pub bounded_by: String,
    /// The file or folder of this machine, where its rows can be counted.
    pub here: Option<PathBuf>,
}

/// The rows that are not learned from.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    /// None.
    Nothing,
    /// Rows of other data sets.
    Parts(Vec<Part>),
    /// So many rows of those that are there.
    Rows(u64),
    /// This part of them.
    Fraction {
        /// The key that says so.
        key: String,
        /// The part, between 0 and 1.
        part: f64,
    },
}

/// What a download brings, and the splits of its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Corpus {
    /// The download.
    pub from: Source,
    /// How files are read.
    pub format: Option<Format>,
    /// The splits.
    pub splits: BTreeMap<String, Split>,
    /// What could not be brought together.
    pub left: Vec<LeftOut>,
}

/// Rows that are held out where it is not known how many the data set has.
const HELD: usize = 100;

/// Brings data sets together; `train` has at least one. `seed` chooses the rows that are held out.
pub fn assemble(train: Vec<Part>, held: Held, seed: u64) -> Option<Corpus> {
    let mut left = Vec::new();
    let first = train.first()?.clone();
    let others = match &held {
        Held::Parts(parts) => parts.clone(),
        _ => Vec::new(),
    };
    let fits = |part: &Part| {
        let alike = match (&first.from, &part.from) {
            (Source::Path(_), Source::Path(_)) | (Source::Hub(_), Source::Hub(_)) => true,
            (first, other) => first == other,
        };
        alike && first.format == part.format
    };
    let mut keep = |parts: Vec<Part>| {
        let (kept, out): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| fits(part));
        const WHY: &str = "left out: files of this machine and of the Hub, or of two formats, cannot be parts of one download; \
                           make them one file";
        left.extend(out.into_iter().map(|part| LeftOut::of(part.key, &part.called.into(), WHY)));
        kept
    };
    let train = keep(train);
    let validation = keep(others);
    let mut sources: Vec<(Source, String)> = Vec::new();
    for part in train.iter().chain(&validation) {
        if !sources.iter().any(|(source, _)| *source == part.from) {
            let name = free_name(&part.called, &sources);
            sources.push((part.from.clone(), name));
        }
    }
    let is_single = sources.len() == 1;
    let files = |parts: &[Part]| {
        let each = parts.iter().flat_map(|part| {
            let folder = sources.iter().find(|(source, _)| *source == part.from).map_or("", |(_, name)| name.as_str());
            part.files.iter().map(move |file| if is_single { file.clone() } else { format!("{folder}/{file}") })
        });
        SplitNames(each.collect())
    };
    let (train_take, train_left) = taken(&train);
    let (validation_take, validation_left) = taken(&validation);
    left.extend(train_left.into_iter().chain(validation_left));
    let split = |from: SplitNames, take: Take| Split {
        from,
        filter: None,
        hold_out: None,
        rest_of: None,
        shuffle: None,
        take,
        permute: None,
    };
    let mut learned = split(files(&train), train_take);
    let rows = match &held {
        Held::Nothing | Held::Parts(_) => None,
        Held::Rows(rows) => usize::try_from(*rows).ok().filter(|rows| *rows > 0),
        Held::Fraction { key, part } => {
            let (rows, why) = held_rows(&train, *part);
            left.extend(why.map(|why| LeftOut::of(key.as_str(), &(*part).into(), why)));
            Some(rows)
        }
    };
    let mut splits = BTreeMap::new();
    let taken_whole = matches!(learned.take, Take::All);
    if let Some(rows) = rows {
        left.extend((!taken_whole).then(|| LeftOut {
            key: first.bounded_by.clone(),
            said: Said::Whatever,
            why: "rows are held out of all rows here, before so many are taken; there, of those that were taken".into(),
        }));
        let held = Split { hold_out: Some(HoldOut { rows, by: None, seed }), ..split(learned.from.clone(), Take::All) };
        splits.insert(VALIDATION.to_owned(), held);
        learned.rest_of = Some(VALIDATION.to_owned());
    } else if !validation.is_empty() {
        splits.insert(VALIDATION.to_owned(), split(files(&validation), validation_take));
    }
    splits.insert(TRAIN.to_owned(), learned);
    let from = match is_single {
        true => first.from,
        false => Source::Parts(sources.into_iter().map(|(source, name)| (name, Origin(source))).collect()),
    };
    Some(Corpus { from, format: first.format, splits, left })
}

/// The rows of a part of all, rounded up as scikit-learn and datasets do; with what is to be said where they are not known.
fn held_rows(parts: &[Part], part: f64) -> (usize, Option<String>) {
    let rows_of = |part: &Part| {
        let most = part.take.and_then(|take| usize::try_from(take).ok()).unwrap_or(usize::MAX);
        let here = part.here.as_deref()?;
        let rows: Option<usize> = part.files.iter().map(|file| source::rows_in(here, file)).sum();
        rows.map(|rows| rows.min(most))
    };
    let all: Option<usize> = parts.iter().map(rows_of).sum();
    match all.filter(|rows| *rows > 1) {
        // Whole numbers of this size are exactly floats.
        Some(rows) => (((rows as f64 * part).ceil() as usize).clamp(1, rows - 1), None),
        None => (
            HELD,
            Some(format!(
                "{HELD} rows: how many that part is is not known before the data set is here; change \
                 `stages.rows.splits.{VALIDATION}.hold_out.rows`"
            )),
        ),
    }
}

/// How many rows of a split are kept: of one data set so many; of several it cannot be said.
fn taken(parts: &[Part]) -> (Take, Vec<LeftOut>) {
    if let [part] = parts {
        let take = part.take.and_then(|rows| usize::try_from(rows).ok()).filter(|rows| *rows > 0);
        return (take.map_or(Take::All, Take::Rows), Vec::new());
    }
    let bounded = parts.iter().filter_map(|part| Some((part, part.take?)));
    let left = bounded.map(|(part, take)| {
        let why = format!(
            "the first so many rows of `{}` there, all of them here: of several data sets in one split, `take` cannot bound each",
            part.called
        );
        LeftOut::of(part.bounded_by.as_str(), &take.into(), why)
    });
    (Take::All, left.collect())
}

/// A name for a part of a download, unlike those that are there.
fn free_name(called: &str, taken: &[(Source, String)]) -> String {
    let last = called.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = last.split('.').next().unwrap_or_default();
    let name = super::name_of(stem, "data");
    let is_free = |name: &str| !taken.iter().any(|(_, other)| other == name);
    match is_free(&name) {
        true => name,
        false => (2..).map(|number| format!("{name}_{number}")).find(|name| is_free(name)).unwrap_or(name),
    }
}
