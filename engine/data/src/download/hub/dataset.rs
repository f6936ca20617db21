//! Which files of a data set's repository are its splits: those that its README names, else those whose names and folders
//! say so, or the Parquet files that the Hub converted it into. Knows the habits of data sets there; asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;
use spec::suggest;

use super::listing::Listing;
use crate::Error;

/// What says how a data set's files are to be read.
pub(super) const README: &str = "README.md";
/// The most bytes that it may take.
pub(super) const LONGEST_README: u64 = 4 << 20;
/// Where the Hub keeps what it converted.
pub(super) const CONVERTED: &str = "refs/convert/parquet";
/// The configuration of a data set that names none.
const DEFAULT: &str = "default";
/// What files of rows end in.
const ENDINGS: [&str; 6] = ["parquet", "jsonl", "json", "ndjson", "csv", "tsv"];
/// Files of those endings that hold no rows.
const NO_ROWS: [&str; 4] = ["dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"];
/// Words in names of files and folders that tell a split.
const WORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// What is wanted of a data set.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The configuration.
    pub config: Option<&'a str>,
    /// The splits; all where it is `None`.
    pub splits: Option<&'a [String]>,
}

/// The files of each split, in the order of their rows.
type Splits = BTreeMap<String, Vec<String>>;

/// Where a data set's rows are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// In these files of the repository; each with the name it is left under.
    Here(Vec<(String, String)>),
    /// Among what the Hub converted: the repository holds a program that makes them, or files of another kind. Says which.
    Converted(String),
}

/// Chooses the files of the wanted splits; `readme` is the text of [`README`], where there is one.
///
/// # Errors
/// A configuration or split that is not there or not named, or files that do not belong together.
pub(super) fn rows(listing: &Listing, name: &str, readme: Option<&str>, wanted: Wanted<'_>) -> Result<Rows, Error> {
    let configs = readme.map(configs).transpose()?.unwrap_or_default();
    let script = format!("{}.py", name.rsplit('/').next().unwrap_or(name));
    if configs.is_empty() && listing.has(&script) {
        return Ok(Rows::Converted(format!("`{script}` makes its rows")));
    }
    let splits = if configs.is_empty() {
        let folder = match wanted.config {
            None | Some(DEFAULT) => String::new(),
            Some(config) => folder_of(listing, config)?,
        };
        by_names(listing, &folder)?
    } else {
        let config = choose(configs.iter().map(|config| (config.name.as_str(), config.is_default)), wanted.config)?;
        let config = configs.iter().find(|known| known.name == config);
        config.map_or_else(|| Ok(Splits::new()), |config| config.splits(listing))?
    };
    if splits.is_empty() {
        return Ok(Rows::Converted("it holds no Parquet, JSON, CSV or TSV file of rows".to_owned()));
    }
    if let Some(other) = splits.values().flatten().find(|path| ending(path).is_none()) {
        return Ok(Rows::Converted(format!("`{other}` is of another kind than Parquet, JSON, CSV or TSV")));
    }
    named(&splits, wanted.splits).map(Rows::Here)
}

/// Chooses the files of the wanted splits among what the Hub converted: `CONFIG/SPLIT/0000.parquet`.
///
/// # Errors
/// A configuration or split that is not there or not named, or of which only a part was converted.
pub(super) fn converted(listing: &Listing, wanted: Wanted<'_>) -> Result<Vec<(String, String)>, Error> {
    let mut configs: BTreeMap<&str, Splits> = BTreeMap::new();
    for path in listing.files.keys() {
        let steps: Vec<&str> = path.split('/').collect();
        if let [config, split, file] = steps[..]
            && file.ends_with(".parquet")
        {
            configs.entry(config).or_default().entry(split.to_owned()).or_default().push(path.clone());
        }
    }
    let config = choose(configs.keys().map(|name| (*name, *name == DEFAULT)), wanted.config)?.to_owned();
    let splits = configs.remove(config.as_str()).unwrap_or_default();
    if let Some(part) = splits.keys().find_map(|split| split.strip_prefix("partial-")) {
        return Err(Error::new(format!("the Hub converted only the beginning of the split `{part}`")).hint(
            "the whole is too large for it: name the repository's own files with `files`, or another copy of the data set",
        ));
    }
    named(&splits, wanted.splits)
}

/// A configuration that a README describes.
struct Config {
    name: String,
    is_default: bool,
    folder: String,
    /// Splits with patterns; none where names of files tell.
    patterns: Vec<(String, Vec<String>)>,
}

impl Config {
    fn splits(&self, listing: &Listing) -> Result<Splits, Error> {
        if self.patterns.is_empty() {
            return by_names(listing, &self.folder);
        }
        let mut splits = Splits::new();
        for (split, patterns) in &self.patterns {
            let patterns: Vec<String> = patterns
                .iter()
                .map(|pattern| format!("{}{}", self.folder, pattern.strip_prefix("./").unwrap_or(pattern)))
                .collect();
            if let Some(far) = patterns.iter().find(|pattern| pattern.contains("://")) {
                return Err(Error::new(format!("the README names files elsewhere: `{}`", far.escape_debug()))
                    .hint("name the files that are wanted with `files`, or download them by their addresses"));
            }
            splits.entry(split.clone()).or_default().extend(listing.fitting(&patterns)?);
        }
        Ok(splits)
    }
}

/// The configurations that a README describes in the YAML at its beginning.
fn configs(readme: &str) -> Result<Vec<Config>, Error> {
    let odd = |why: &str| {
        Error::new(format!("the README's `configs` cannot be read: {why}"))
            .hint("name the files that are wanted with `files`")
    };
    let text = readme.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let Some(rest) = text.strip_prefix("---\n") else { return Ok(Vec::new()) };
    let Some(end) = rest.find("\n---") else { return Ok(Vec::new()) };
    // A head that is no YAML says nothing of files; the Hub itself shows such a page without it.
    let Ok(head) = serde_yaml::from_str::<Value>(&rest[..end]) else { return Ok(Vec::new()) };
    let Some(list) = head.get("configs").and_then(Value::as_sequence) else { return Ok(Vec::new()) };
    let mut configs = Vec::new();
    for item in list {
        let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
        let folder = text("data_dir").map(|folder| folder.trim_start_matches("./").trim_matches('/').to_owned());
        let patterns = match item.get("data_files") {
            None | Some(Value::Null) => Vec::new(),
            Some(files) => {
                patterns(files).ok_or_else(|| odd("`data_files` is neither a pattern nor a list of splits"))?
            }
        };
        configs.push(Config {
            name: text("config_name").unwrap_or_else(|| DEFAULT.to_owned()),
            is_default: item.get("default").and_then(Value::as_bool) == Some(true),
            folder: folder.filter(|folder| !folder.is_empty()).map_or_else(String::new, |folder| format!("{folder}/")),
            patterns,
        });
    }
    for config in &mut configs {
        config.is_default |= config.name == DEFAULT;
    }
    Ok(configs)
}

/// `data_files`: a pattern, some patterns, or splits with theirs.
fn patterns(files: &Value) -> Option<Vec<(String, Vec<String>)>> {
    let texts = |value: &Value| -> Option<Vec<String>> {
        match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Sequence(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        }
    };
    if let Some(all) = texts(files) {
        return Some(vec![("train".to_owned(), all)]);
    }
    match files {
        Value::Sequence(list) => {
            list.iter().map(|item| Some((item.get("split")?.as_str()?.to_owned(), texts(item.get("path")?)?))).collect()
        }
        Value::Mapping(map) => {
            map.iter().map(|(split, paths)| Some((split.as_str()?.to_owned(), texts(paths)?))).collect()
        }
        _ => None,
    }
}

/// The configuration that is wanted, else the only one or the default.
fn choose<'a>(known: impl Iterator<Item = (&'a str, bool)>, wanted: Option<&str>) -> Result<&'a str, Error> {
    let known: Vec<(&str, bool)> = known.collect();
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    if let Some(wanted) = wanted {
        return names.iter().find(|name| **name == wanted).copied().ok_or_else(|| {
            Error::new(format!("the data set has no configuration `{wanted}`")).hint(did_you_mean(wanted, &names))
        });
    }
    let default = known.iter().find(|(_, is_default)| *is_default).map(|(name, _)| *name);
    match (names.as_slice(), default) {
        ([only], _) => Ok(only),
        (_, Some(default)) => Ok(default),
        ([], _) => Err(Error::new("the data set has no configuration").hint("name its files with `files`")),
        _ => Err(Error::new("the data set has several configurations, and none is its default")
            .hint(format!("name one with `config`: {}", shown(&names)))),
    }
}

/// The folder of a configuration that no README describes.
fn folder_of(listing: &Listing, config: &str) -> Result<String, Error> {
    let folders: BTreeSet<&str> = listing
        .files
        .keys()
        .filter(|path| ending(path).is_some())
        .filter_map(|path| Some(path.rsplit_once('/')?.0))
        .collect();
    let is_there =
        |folder: &str| folders.iter().any(|known| *known == folder || known.starts_with(&format!("{folder}/")));
    match [config.to_owned(), format!("data/{config}")].into_iter().find(|folder| is_there(folder)) {
        Some(folder) => Ok(format!("{folder}/")),
        None => {
            let names: Vec<&str> = folders.into_iter().collect();
            let hint = if names.is_empty() {
                "take `config` out: there are none".to_owned()
            } else {
                did_you_mean(config, &names)
            };
            Err(Error::new(format!("the data set has no configuration `{config}`")).hint(hint))
        }
    }
}

/// Splits as names of files and folders tell: of a file's own name, else of its folder's; where none tells, all is `train`.
fn by_names(listing: &Listing, folder: &str) -> Result<Splits, Error> {
    let hidden = |path: &str| path.split('/').any(|step| step.starts_with(['.', '_']));
    let all: Vec<(&str, &str)> = listing
        .files
        .keys()
        .filter_map(|path| Some((path.as_str(), path.strip_prefix(folder)?)))
        .filter(|(_, below)| !hidden(below) && !NO_ROWS.contains(&below.rsplit('/').next().unwrap_or_default()))
        .filter(|(path, _)| ending(path).is_some())
        .collect();
    let mut splits = Splits::new();
    for ending_wanted in ENDINGS {
        let of_kind: Vec<&(&str, &str)> = all
            .iter()
            .filter(|(path, _)| ending(path).is_some_and(|found| found.trim_end_matches(".gz") == ending_wanted))
            .collect();
        for (path, below) in &of_kind {
            if let Some(split) = split_of(below) {
                splits.entry(split).or_default().push((*path).to_owned());
            }
        }
        if splits.is_empty() && !of_kind.is_empty() {
            splits.insert("train".to_owned(), of_kind.iter().map(|(path, _)| (*path).to_owned()).collect());
        }
        // Formats beside each other are copies of each other.
        if !splits.is_empty() {
            break;
        }
    }
    for (split, files) in &splits {
        let folders: BTreeSet<&str> =
            files.iter().map(|path| path.rsplit_once('/').map_or("", |(folder, _)| folder)).collect();
        if folders.len() > 1 {
            let folders: Vec<&str> = folders.into_iter().collect();
            return Err(Error::new(format!(
                "files of the split `{split}` lie in several folders, and the README does not say which belong together"
            ))
            .hint(format!("name one of the folders with `config`, or the files with `files`: {}", shown(&folders))));
        }
    }
    Ok(splits)
}

/// The split that a path tells.
fn split_of(path: &str) -> Option<String> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.split('.').next().unwrap_or_default();
    if let Some((split, _)) = stem.split_once("-of-").and_then(|(before, _)| before.rsplit_once('-')) {
        return Some(split.to_owned());
    }
    let told = |text: &str| {
        let text = text.to_lowercase();
        let mut words = text.split(|c: char| !c.is_alphabetic());
        words.find_map(|word| {
            WORDS.iter().find(|(_, known)| known.contains(&word)).map(|(split, _)| (*split).to_owned())
        })
    };
    told(stem).or_else(|| folders.rsplit('/').find_map(told))
}

/// What a file of rows ends in: `jsonl`, `csv.gz`.
fn ending(path: &str) -> Option<String> {
    let lower = path.to_lowercase();
    let plain = lower.strip_suffix(".gz").unwrap_or(&lower);
    let ending = plain.rsplit_once('.')?.1;
    let is_packed = plain.len() < lower.len();
    (ENDINGS.contains(&ending) && !(is_packed && ending == "parquet"))
        .then(|| if is_packed { format!("{ending}.gz") } else { ending.to_owned() })
}

/// The files of the wanted splits, each with the name it is left under: `train.parquet`, or
/// `train-00000-of-00002.parquet`.
fn named(splits: &Splits, wanted: Option<&[String]>) -> Result<Vec<(String, String)>, Error> {
    let known: Vec<&str> = splits.keys().map(String::as_str).collect();
    for split in wanted.into_iter().flatten() {
        if !splits.contains_key(split) {
            return Err(Error::new(format!("the data set has no split `{split}`")).hint(did_you_mean(split, &known)));
        }
    }
    let mut named = Vec::new();
    for (split, files) in splits.iter().filter(|(split, _)| wanted.is_none_or(|wanted| wanted.contains(split))) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if split.is_empty() || split.len() > 100 || split.starts_with('.') || !split.chars().all(is_plain) {
            return Err(Error::new(format!("`{}` is no name for a split's file", split.escape_debug()))
                .hint("name the files that are wanted with `files`"));
        }
        let endings: BTreeSet<String> = files.iter().filter_map(|path| ending(path)).collect();
        let [ending] = endings.iter().collect::<Vec<_>>()[..] else {
            let endings: Vec<&str> = endings.iter().map(String::as_str).collect();
            return Err(Error::new(format!(
                "the files of the split `{split}` are of different kinds: {}",
                shown(&endings)
            ))
            .hint("name the files that are wanted with `files`"));
        };
        let total = files.len();
        for (number, path) in files.iter().enumerate() {
            let name = match total {
                1 => format!("{split}.{ending}"),
                _ => format!("{split}-{number:05}-of-{total:05}.{ending}"),
            };
            named.push((path.clone(), name));
        }
    }
    Ok(named)
}

fn did_you_mean(wanted: &str, known: &[&str]) -> String {
    match suggest::nearest(wanted, known) {
        Some(near) => format!("did you mean `{near}`? there: {}", shown(known)),
        None => format!("there: {}", shown(known)),
    }
}

fn shown(names: &[&str]) -> String {
    let some: Vec<String> = names.iter().take(20).map(|name| format!("`{}`", name.escape_debug())).collect();
    let more = names.len() - some.len();
    if more == 0 { some.join(", ") } else { format!("{} and {more} more", some.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::{super::listing::Entry, *};

    fn listing(names: &[&str]) -> Listing {
        let entry = Entry { size: 1, id: "0".repeat(40) };
        let files = names.iter().map(|name| ((*name).to_owned(), entry.clone())).collect();
        Listing { commit: "0".repeat(40), files }
    }

    const ALL: Wanted<'_> = Wanted { config: None, splits: None };

    /// `FROM > NAME`, joined.
    fn here(names: &[&str], readme: Option<&str>, wanted: Wanted<'_>) -> Result<String, Error> {
        match rows(&listing(names), "owner/things", readme, wanted)? {
            Rows::Here(files) => {
                Ok(files.iter().map(|(from, to)| format!("{from} > {to}")).collect::<Vec<_>>().join("; "))
            }
            Rows::Converted(why) => Ok(format!("converted: {why}")),
        }
    }

    #[test]
    fn names_tell_splits() {
        let told = |names: &[&str]| here(names, None, ALL).unwrap();
        assert_eq!(told(&["train.csv", "dev.csv", "README.md"]), "train.csv > train.csv; dev.csv > validation.csv");
        let shards = [
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/extra-00000-of-00001-ab.parquet",
        ];
        assert_eq!(
            told(&shards),
            "data/extra-00000-of-00001-ab.parquet > extra.parquet; data/train-00000-of-00002.parquet > \
             train-00000-of-00002.parquet; data/train-00001-of-00002.parquet > train-00001-of-00002.parquet"
        );
        assert_eq!(told(&["train/part1.json.gz"]), "train/part1.json.gz > train.json.gz");
        assert_eq!(
            told(&["my_Test_set.jsonl", ".hidden/train.jsonl", "dataset_infos.json"]),
            "my_Test_set.jsonl > test.jsonl"
        );
        assert_eq!(told(&["rows.jsonl"]), "rows.jsonl > train.jsonl");
        // The same rows in two formats.
        assert_eq!(told(&["train.csv", "train.parquet"]), "train.parquet > train.parquet");
        assert!(told(&["data.zip", "README.md"]).starts_with("converted: it holds no Parquet"));
        assert!(told(&["things.py", "train.csv"]).starts_with("converted: `things.py`"));
        let several = here(&["cola/train.tsv", "sst2/train.tsv"], None, ALL).unwrap_err();
        assert!(several.message.contains("several folders") && several.hint.unwrap().contains("`cola`, `sst2`"));
        let cola = Wanted { config: Some("cola"), ..ALL };
        assert_eq!(here(&["cola/train.tsv", "sst2/train.tsv"], None, cola).unwrap(), "cola/train.tsv > train.tsv");
        let none = here(&["cola/train.tsv"], None, Wanted { config: Some("coal"), ..ALL }).unwrap_err();
        assert!(none.hint.unwrap().contains("did you mean `cola`?"));
    }

    const README_TEXT: &str = "---\nlicense: mit\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: \
        a/train-*\n  - split: 'test'\n    path: [a/t1.json, 'a/t[2-3].json']\n- config_name: b\n  data_files: \
        'b/*.csv'\n- config_name: c\n  data_dir: c\n---\n# Text\n";
    const FILES: [&str; 8] =
        ["a/t1.json", "a/t2.json", "a/t3.json", "a/train-0.json", "b/1.csv", "b/2.csv", "c/test.tsv", "c/x.zip"];

    #[test]
    fn a_readme_tells_configurations() {
        let of = |config: &str| here(&FILES, Some(README_TEXT), Wanted { config: Some(config), splits: None });
        assert_eq!(
            of("a").unwrap(),
            "a/t1.json > test-00000-of-00003.json; a/t2.json > test-00001-of-00003.json; a/t3.json > \
             test-00002-of-00003.json; a/train-0.json > train.json"
        );
        assert_eq!(of("b").unwrap(), "b/1.csv > train-00000-of-00002.csv; b/2.csv > train-00001-of-00002.csv");
        assert_eq!(of("c").unwrap(), "c/test.tsv > test.tsv");
        assert!(of("d").unwrap_err().hint.unwrap().contains("`a`, `b`, `c`"));
        let none = here(&FILES, Some(README_TEXT), ALL).unwrap_err();
        assert!(none.message.contains("several configurations") && none.hint.unwrap().contains("`a`, `b`, `c`"));
        let default = README_TEXT.replace("config_name: c\n", "config_name: c\n  default: true\n");
        assert_eq!(here(&FILES, Some(&default), ALL).unwrap(), "c/test.tsv > test.tsv");
        let test = ["test".to_owned()];
        let some = Wanted { config: Some("a"), splits: Some(&test) };
        assert!(!here(&FILES, Some(README_TEXT), some).unwrap().contains("train"));
        let tset = ["tset".to_owned()];
        let typo = here(&FILES, Some(README_TEXT), Wanted { splits: Some(&tset), ..some }).unwrap_err();
        assert!(typo.hint.unwrap().contains("did you mean `test`?"));
        let gone = here(&FILES[..1], Some(README_TEXT), some).unwrap_err();
        assert!(gone.message.contains("no file fits `a/train-*`"), "{gone}");
    }

    #[test]
    fn names_of_splits_stay_in_their_folder() {
        let hostile = |split: &str| {
            let readme = format!("---\nconfigs:\n- data_files:\n  - {{split: '{split}', path: x.csv}}\n---\n");
            here(&["x.csv"], Some(&readme), ALL)
        };
        assert_eq!(hostile("my.own").unwrap(), "x.csv > my.own.csv");
        for split in ["../x", "/x", "..", "", "a/b", ".x"] {
            assert!(hostile(split).unwrap_err().message.contains("no name for a split"), "{split}");
        }
        let far = "---\nconfigs:\n- data_files: https://example.org/x.csv\n---\n";
        assert!(here(&["x.csv"], Some(far), ALL).unwrap_err().message.contains("elsewhere"));
        assert!(here(&["x.csv"], Some("---\nconfigs:\n- data_files: 3\n---\n"), ALL).is_err());
        // What is no list of configurations says nothing.
        for readme in ["---\n- [\n---\n", "---\nconfigs: 3\n---\n", "---\nconfigs: []", "text"] {
            assert_eq!(here(&["x.csv"], Some(readme), ALL).unwrap(), "x.csv > train.csv", "{readme}");
        }
    }

    #[test]
    fn converted_files_are_by_configuration_and_split() {
        let names = [
            "one/train/0000.parquet",
            "one/train/0001.parquet",
            "one/test/0000.parquet",
            "two/partial-train/0000.parquet",
        ];
        let of = |config: Option<&str>| converted(&listing(&names), Wanted { config, splits: None });
        let one: Vec<String> = of(Some("one")).unwrap().into_iter().map(|(_, name)| name).collect();
        assert_eq!(one, ["test.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]);
        assert!(of(None).unwrap_err().message.contains("several configurations"));
        assert!(of(Some("two")).unwrap_err().message.contains("only the beginning of the split `train`"));
        assert!(converted(&listing(&[]), ALL).is_err());
    }
}
