//! TensorBoard: a file of events a run, with its figures by step and, for the HParams view, its settings. Knows what is
//! written when, not how.

mod messages;
mod records;

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use prost::Message;

use self::messages::{
    Event, HParams, PluginData, SessionEnd, SessionStart, Setting, Status, Summary, SummaryMetadata, SummaryValue,
    Tensor, event::What, h_params::Data, setting::Kind as SettingKind,
};
use crate::{
    http::Trouble,
    run::{Point, Run},
    tracker::{Ended, Tracker},
};

/// The file of a run's events; `tensorboard` looks for `tfevents` in names.
const FILE: &str = "events.out.tfevents.engine";
/// The version that readers of event files ask for.
const FILE_VERSION: &str = "brain.Event:2";

/// A folder of event files.
#[derive(Debug)]
pub struct TensorBoard {
    /// The folder, for messages.
    shown: String,
    /// The folder of one pipeline's runs.
    folder: PathBuf,
    pipeline: String,
}

impl TensorBoard {
    /// Writes below `folder`, which people know as `shown`, into a folder for the pipeline.
    pub fn new(folder: &Path, shown: &str, pipeline: &str) -> Self {
        Self { shown: shown.to_owned(), folder: folder.join(pipeline), pipeline: pipeline.to_owned() }
    }

    fn write(&self, id: &str, events: &[Event]) -> Result<(), Trouble> {
        let path = self.folder.join(id).join(FILE);
        let mut file = OpenOptions::new().append(true).open(path)?;
        let mut bytes = Vec::new();
        for event in events {
            records::write(&mut bytes, &event.encode_to_vec());
        }
        Ok(file.write_all(&bytes)?)
    }
}

impl Tracker for TensorBoard {
    fn name(&self) -> String {
        format!("TensorBoard in {}", self.shown)
    }

    fn place(&self) -> String {
        self.pipeline.clone()
    }

    fn begin(&mut self, run: &Run, known: Option<&str>, at: f64) -> Result<String, Trouble> {
        let folder = self.folder.join(&run.folder);
        fs::create_dir_all(&folder)?;
        let path = folder.join(FILE);
        let mut file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // A killed run may have left a torn record, at which readers would stop. What a run with other settings left in the
        // folder of the same member is no part of this one.
        let whole = known.map_or(0, |_| records::whole(&bytes));
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::Start(whole as u64))?;
        if whole == 0 {
            let mut bytes = Vec::new();
            let version = Event { wall_time: at, step: 0, what: Some(What::FileVersion(FILE_VERSION.into())) };
            records::write(&mut bytes, &version.encode_to_vec());
            let start = SessionStart { settings: settings(run), group_name: run.name.clone(), start_time_secs: at };
            let start = of_the_session("_hparams_/session_start_info", Data::SessionStart(start), at);
            records::write(&mut bytes, &start.encode_to_vec());
            file.write_all(&bytes)?;
        }
        Ok(run.folder.display().to_string())
    }

    fn add(&mut self, id: &str, points: &[Point]) -> Result<(), Trouble> {
        let events: Vec<Event> = points
            .chunk_by(|a, b| a.step == b.step)
            .map(|same| figures(same.iter().map(|point| (&point.name, point.value)), same[0].step, same[0].at))
            .collect();
        self.write(id, &events)
    }

    fn end(&mut self, id: &str, _run: &Run, ended: &Ended) -> Result<Vec<String>, Trouble> {
        let mut events = Vec::new();
        let (status, at) = match ended {
            Ended::Done(left) => {
                events.push(figures(left.figures.iter().map(|(name, value)| (name, *value)), left.steps, left.span.1));
                (Status::Success, left.span.1)
            }
            Ended::Failed(_) => (Status::Failure, crate::sender::now()),
        };
        let end = SessionEnd { status: status.into(), end_time_secs: at };
        events.push(of_the_session("_hparams_/session_end_info", Data::SessionEnd(end), at));
        self.write(id, &events)?;
        Ok(Vec::new())
    }
}

fn figures<'a>(figures: impl Iterator<Item = (&'a String, f64)>, step: u64, at: f64) -> Event {
    let value = figures.map(|(name, value)| SummaryValue {
        tag: name.replace('.', "/"),
        simple_value: Some(value as f32),
        ..SummaryValue::default()
    });
    let summary = Summary { value: value.collect() };
    Event { wall_time: at, step: i64::try_from(step).unwrap_or(i64::MAX), what: Some(What::Summary(summary)) }
}

/// An event that the HParams view reads.
fn of_the_session(tag: &str, data: Data, at: f64) -> Event {
    let content = HParams { version: 0, data: Some(data) }.encode_to_vec();
    let plugin = PluginData { plugin_name: "hparams".into(), content };
    let value = SummaryValue {
        tag: tag.into(),
        metadata: Some(SummaryMetadata { plugin_data: Some(plugin) }),
        tensor: Some(Tensor::nothing()),
        simple_value: None,
    };
    Event { wall_time: at, step: 0, what: Some(What::Summary(Summary { value: vec![value] })) }
}

/// Axes and settings, numbers as numbers.
fn settings(run: &Run) -> HashMap<String, Setting> {
    let kind = |text: &str| match (text.parse::<f64>(), text) {
        (Ok(number), _) if number.is_finite() => SettingKind::Number(number),
        (_, "true") => SettingKind::Bool(true),
        (_, "false") => SettingKind::Bool(false),
        _ => SettingKind::Text(text.to_owned()),
    };
    let all = run.parameters.iter().chain(&run.coordinates);
    all.map(|(name, text)| (name.clone(), Setting { kind: Some(kind(text)) })).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::run::Kind;

    #[test]
    fn a_run_goes_on_as_itself_and_another_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::new(folder.path(), "shown", "p");
        let run = Run {
            key: "a".into(),
            name: "tuned".into(),
            folder: PathBuf::from("tuned"),
            kind: Kind::Training,
            pipeline: "p".into(),
            coordinates: Vec::new(),
            parameters: Vec::new(),
        };
        let length = || fs::metadata(folder.path().join("p/tuned").join(FILE)).unwrap().len();
        let id = board.begin(&run, None, 1.0).unwrap();
        let begun = length();
        board.add(&id, &[Point { name: "loss".into(), step: 1, value: 0.5, at: 2.0 }]).unwrap();
        let grown = length();
        board.begin(&run, Some(&id), 3.0).unwrap();
        assert!(grown > begun && length() == grown, "the same run keeps its figures");
        board.begin(&run, None, 1.0).unwrap();
        assert_eq!(length(), begun, "another run has none of them");
    }
}
