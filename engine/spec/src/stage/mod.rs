//! The stage kinds: one file each, and the registry that lists them. Knows what a stage may say and which of its
//! settings are inputs; does not know how stages are run, keyed or stored.

mod chat;
mod command;
mod download;
mod evaluate;
mod format;
mod inspect;
mod join;
mod merge;
mod overflow;
mod preprocess;
mod report;
mod select;
mod snapshots;
mod take;
mod tokenize;
mod train;
mod validate;

pub use chat::Chat;
pub use command::{Command, CommandInput, ProjectFile, placeholders};
pub use download::{Download, HUB_SCHEME, Hub, Origin, Parts, Repository, RepositoryKind, Source, Url};
pub use evaluate::{Evaluate, EvaluateBatch};
pub use format::{Delimited, Format, LongRows, Quoting, ShortRows, Squad, SquadRows};
pub use inspect::{Amplification, Analysis, Inspect, Subspaces, SubspacesOf};
pub use join::{Join, Missing, Relation};
pub use merge::Merge;
pub use overflow::{Overflow, OverflowPolicy, Truncate, Windows};
pub use preprocess::{
    Empty, HoldOut, LiteralRow, LiteralRows, Permute, Preprocess, RowSource, Seeded, Split, SplitNames, Written,
};
pub use report::{Baseline, MetricRow, Published, Report, Table};
pub use select::{Best, Mode, Select};
pub use snapshots::Snapshots;
pub use take::{Take, WholeGroups};
pub use tokenize::{
    Boundary, BpeTraining, ChoicesForm, Form, MaxLength, SpecialToken, TextForm, Tokenize, TokenizerSource, Trained,
};
pub use train::{Batch, Checkpoint, Duration, LanguageModel, LossOn, Normalize, Objective, Seed, Seq2Seq, Train};
pub use validate::{Every, Keep, KeepBest, Validate};

use crate::{block::WantedBlock, reference::Reference, text::Side};

/// The program that does a stage's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The `engine` program itself, as a child process.
    Engine,
    /// `engine-worker`, which loads libtorch.
    Worker,
    /// The program that the stage names.
    Named,
}

/// A setting of a stage that names other stages: an edge of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Input<'a> {
    /// Where the setting stands, such as `data` or `in.corpus`; the input's name in the job and in the key.
    pub role: String,
    /// The stages it may come from. More than one makes an axis named after the role, one member for each.
    pub references: Vec<&'a Reference>,
    /// Whether all members are taken at once, instead of one member of this stage for each.
    pub gathers: bool,
    /// The files that are read, relative to what the stage left; all of them where empty. Only these are in the key.
    pub files: Vec<String>,
    /// The kinds of stage that may stand here besides `command`; any where empty.
    pub kinds: &'static [&'static str],
    /// Splits that must be among what the stage leaves.
    pub splits: Vec<WantedSplit>,
    /// Whether an adapter that the stage leaves becomes part of its model's weights, if it leaves one.
    pub merges: bool,
}

/// A split that an input must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSplit {
    /// The split.
    pub name: String,
    /// The setting that names it.
    pub path: String,
    /// Whether that setting's key or its value is the name.
    pub side: Side,
    /// Whether it must hold every row: what is scored is never dropped.
    pub is_whole: bool,
}

impl WantedSplit {
    /// A split that is named by the value of a setting.
    pub fn by_value(path: impl Into<String>, name: impl Into<String>) -> Self {
        Self { name: name.into(), path: path.into(), side: Side::Value, is_whole: false }
    }

    /// A split that is named by the key of a setting.
    pub fn by_key(path: impl Into<String>, name: impl Into<String>) -> Self {
        Self { side: Side::Key, ..Self::by_value(path, name) }
    }

    /// The same split, of which no row may be missing.
    pub fn whole(self) -> Self {
        Self { is_whole: true, ..self }
    }
}

impl<'a> Input<'a> {
    /// An input that is followed and read whole.
    pub fn follow(role: impl Into<String>, reference: &'a Reference) -> Self {
        Self::any_of(role, vec![reference])
    }

    /// An input that is followed and comes from one of several stages.
    pub fn any_of(role: impl Into<String>, references: Vec<&'a Reference>) -> Self {
        let (files, splits) = (Vec::new(), Vec::new());
        Self { role: role.into(), references, gathers: false, files, kinds: &[], splits, merges: false }
    }

    /// The same input, which only stages of these kinds (or a `command`) can give.
    pub fn of_kind(mut self, kinds: &'static [&'static str]) -> Self {
        self.kinds = kinds;
        self
    }

    /// The same input, which must hold these splits.
    pub fn with_splits(mut self, splits: impl IntoIterator<Item = WantedSplit>) -> Self {
        self.splits = splits.into_iter().collect();
        self
    }

    /// The same input, whose adapter, if it is one, becomes part of its model's weights.
    pub fn merged(mut self) -> Self {
        self.merges = true;
        self
    }

    /// The same input, of which only these files are read.
    pub fn only(mut self, files: impl IntoIterator<Item = String>) -> Self {
        self.files = files.into_iter().collect();
        self
    }
}

/// A file or folder of the project that a stage reads. Its contents are in the key; its path is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath {
    /// Where the setting stands, such as `template` or `from.path`.
    pub role: String,
    /// The path, relative to the project's root.
    pub path: String,
    /// What is read there.
    pub read: Read,
}

/// What a stage reads at a path of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// The file, or everything in the folder.
    Whole,
    /// A template, and the templates that it names.
    Template,
}

/// The splits that a stage leaves, as far as its settings tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Splits<'a> {
    /// Only a run shows them.
    Unknown,
    /// These.
    Named(Vec<&'a str>),
    /// Those of the input in this role.
    Of(&'static str),
}

/// What a stage leaves that no weights of a model can hold, as far as its settings tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside<'a> {
    /// Nothing.
    Nothing,
    /// What the method of this name adds.
    Method(&'a str),
    /// That of the input in this role.
    Of(&'static str),
}

/// A setting that is wrong in itself, found after it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands, relative to the stage: `schedule.linear.warmup`.
    pub path: String,
    /// Whether the key or the value is at fault.
    pub side: Side,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    /// A fault of the value at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.into(), side: Side::Value, message: message.into(), hint: hint.into() }
    }

    /// A fault of the map at a path: it lacks something, or its key is wrong.
    pub fn of_map(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { side: Side::Holder, ..Self::new(path, message, hint) }
    }
}

/// What every stage kind says of itself.
pub trait Kind: serde::Serialize + serde::de::DeserializeOwned + schemars::JsonSchema {
    /// The stage code's version, a part of every key: bump it when the same settings and inputs leave other bytes.
    const VERSION: u32;

    /// Who does the work.
    const PROGRAM: Program;

    /// The settings that name other stages.
    fn inputs(&self) -> Vec<Input<'_>>;

    /// The settings that name files of the project.
    fn local_paths(&self) -> Vec<LocalPath> {
        Vec::new()
    }

    /// The role of an input that whoever reads this stage reads too: a trained adapter carries its model.
    fn carries(&self) -> Option<&'static str> {
        None
    }

    /// The settings that name axes of the inputs, each with the axis.
    fn axes(&self) -> Vec<(String, &str)> {
        Vec::new()
    }

    /// Axes of what is gathered that make members of this stage, instead of being gathered.
    fn per(&self) -> &[String] {
        &[]
    }

    /// The splits it leaves, as far as the settings tell.
    fn splits(&self) -> Splits<'_> {
        Splits::Unknown
    }

    /// What it leaves that cannot be merged.
    fn beside(&self) -> Beside<'_> {
        Beside::Nothing
    }

    /// Whether rows of a split may be left out.
    fn drops(&self, _split: &str) -> bool {
        false
    }

    /// The blocks of templates without which it is sure to fail.
    fn wanted_blocks(&self) -> Vec<WantedBlock> {
        Vec::new()
    }

    /// The file or folder of a part, relative to what the stage leaves.
    fn part_path(&self, part: &str) -> String {
        part.to_owned()
    }

    /// A source whose contents may change while these settings do not: what it held first is pinned by the lock.
    fn moving_source(&self) -> Option<String> {
        None
    }

    /// Whether it measures the time that something takes: then the machine is in its key.
    fn measures(&self) -> bool {
        false
    }

    /// Whether it shows what the stages that it reads have measured: then it is made again when they measure again.
    fn shows_measured(&self) -> bool {
        false
    }

    /// Whether it shows how the stages that it reads were made: then their settings are in its key, and it is told them.
    fn shows_settings(&self) -> bool {
        false
    }

    /// Mistakes that no type can express.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }
}

macro_rules! stages {
    ($($(#[$doc:meta])* $key:ident => $variant:ident),+ $(,)?) => {
        /// A stage of any kind, its settings resolved and typed.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Stage { $($(#[$doc])* $variant(Box<$variant>)),+ }

        impl Stage {
            /// The kinds, in the order of the documentation.
            pub const KINDS: &'static [&'static str] = &[$(stringify!($key)),+];

            /// The kind as the pipeline file writes it.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($key)),+ }
            }

            /// Reads the settings of a stage of the kind `kind`; nothing when there is no such kind.
            pub fn deserialize<'de, D: serde::Deserializer<'de>>(kind: &str, settings: D) -> Option<Result<Self, D::Error>> {
                match kind {
                    $(stringify!($key) => Some(
                        <$variant as serde::Deserialize>::deserialize(settings).map(|stage| Self::$variant(Box::new(stage)))
                    ),)+
                    _ => None,
                }
            }

            /// The settings as JSON, defaults filled in.
            ///
            /// # Errors
            /// When a setting has no JSON form, such as a number that is not finite.
            pub fn settings(&self) -> Result<serde_json::Value, serde_json::Error> {
                match self { $(Self::$variant(stage) => serde_json::to_value(stage)),+ }
            }

            /// See [`Kind::VERSION`].
            pub fn version(&self) -> u32 {
                match self { $(Self::$variant(_) => <$variant as Kind>::VERSION),+ }
            }

            /// See [`Kind::PROGRAM`].
            pub fn program(&self) -> Program {
                match self { $(Self::$variant(_) => <$variant as Kind>::PROGRAM),+ }
            }

            /// See [`Kind::inputs`].
            pub fn inputs(&self) -> Vec<Input<'_>> {
                match self { $(Self::$variant(stage) => stage.inputs()),+ }
            }

            /// See [`Kind::local_paths`].
            pub fn local_paths(&self) -> Vec<LocalPath> {
                match self { $(Self::$variant(stage) => stage.local_paths()),+ }
            }

            /// See [`Kind::carries`].
            pub fn carries(&self) -> Option<&'static str> {
                match self { $(Self::$variant(stage) => stage.carries()),+ }
            }

            /// See [`Kind::axes`].
            pub fn axes(&self) -> Vec<(String, &str)> {
                match self { $(Self::$variant(stage) => stage.axes()),+ }
            }

            /// See [`Kind::per`].
            pub fn per(&self) -> &[String] {
                match self { $(Self::$variant(stage) => stage.per()),+ }
            }

            /// See [`Kind::splits`].
            pub fn splits(&self) -> Splits<'_> {
                match self { $(Self::$variant(stage) => stage.splits()),+ }
            }

            /// See [`Kind::beside`].
            pub fn beside(&self) -> Beside<'_> {
                match self { $(Self::$variant(stage) => stage.beside()),+ }
            }

            /// See [`Kind::drops`].
            pub fn drops(&self, split: &str) -> bool {
                match self { $(Self::$variant(stage) => stage.drops(split)),+ }
            }

            /// See [`Kind::wanted_blocks`].
            pub fn wanted_blocks(&self) -> Vec<WantedBlock> {
                match self { $(Self::$variant(stage) => stage.wanted_blocks()),+ }
            }

            /// See [`Kind::part_path`].
            pub fn part_path(&self, part: &str) -> String {
                match self { $(Self::$variant(stage) => stage.part_path(part)),+ }
            }

            /// See [`Kind::moving_source`].
            pub fn moving_source(&self) -> Option<String> {
                match self { $(Self::$variant(stage) => stage.moving_source()),+ }
            }

            /// See [`Kind::measures`].
            pub fn measures(&self) -> bool {
                match self { $(Self::$variant(stage) => stage.measures()),+ }
            }

            /// See [`Kind::shows_measured`].
            pub fn shows_measured(&self) -> bool {
                match self { $(Self::$variant(stage) => stage.shows_measured()),+ }
            }

            /// See [`Kind::shows_settings`].
            pub fn shows_settings(&self) -> bool {
                match self { $(Self::$variant(stage) => stage.shows_settings()),+ }
            }

            /// See [`Kind::faults`].
            pub fn faults(&self) -> Vec<Fault> {
                match self { $(Self::$variant(stage) => stage.faults()),+ }
            }

            /// The JSON Schema of each kind's settings.
            pub fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<(&'static str, schemars::Schema)> {
                vec![$((stringify!($key), <$variant as schemars::JsonSchema>::json_schema(generator))),+]
            }
        }
    };
}

stages! {
    /// Files from a local path, from https or from the Hugging Face Hub.
    download => Download,
    /// Rows from files, split and rendered by a template.
    preprocess => Preprocess,
    /// Rendered rows as token ids.
    tokenize => Tokenize,
    /// A trained model or adapter.
    train => Train,
    /// Scores of a model on rows.
    evaluate => Evaluate,
    /// A plain model from an adapter and its model.
    merge => Merge,
    /// The best member of a stage.
    select => Select,
    /// What training did to weights: norms, subspaces, magnitude and direction.
    inspect => Inspect,
    /// Tables and plots of what other stages left.
    report => Report,
    /// Any program.
    command => Command,
}
