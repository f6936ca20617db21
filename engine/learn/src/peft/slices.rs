//! Adapted slices of fused maps in an adapter's folder. PEFT knows whole modules alone: the tensors of a module's slices are
//! written as those of one adapter of the whole that does the same, and a file beside them says which rows they are, so
//! that they are slices again where they are read here. Knows the names of methods' tensors; no layer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::PREFIX;
use crate::adapters::Scale;
use crate::error::{Error, Result};
use crate::fused::RowNorms;
use crate::layers::Rows;
use crate::models::Model;
use crate::targets::{Place, Targets};
use crate::weights::{write_json, write_tensors};

/// The file that says which rows of a fused map each slice is.
const SLICES: &str = "slices.json";

/// Those B of slices that stand multiplied in the whole's B, as they are.
const AS_TRAINED: &str = "slices.safetensors";

/// The adapted slices by the name of their fused map.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slices(BTreeMap<String, Vec<Slice>>);

/// A slice of a fused map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slice {
    /// The last part of its name.
    name: String,
    /// The rows that it is.
    rows: Rows,
    /// Its low-rank part, where the method has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    low_rank: Option<Factors>,
}

/// What decides the scale of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factors {
    /// Its rank.
    pub rank: i64,
    /// Its alpha.
    pub alpha: f64,
}

/// How a tensor of the whole is made of those of its slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One below the other.
    Stacked,
    /// Each in its own rows and columns, zeros elsewhere.
    Blocks,
    /// Each in its own rows; elsewhere the lengths of the weight's rows, with which DoRA leaves a row as it is.
    Norms,
    /// Each in its own rows; elsewhere ones.
    Ones,
}

const WAYS: [(&str, Way); 4] = [
    ("lora_A.weight", Way::Stacked),
    ("lora_B.weight", Way::Blocks),
    ("lora_magnitude_vector", Way::Norms),
    ("ia3_l", Way::Ones),
];

/// A tensor of a slice as a part of one that a file holds.
#[derive(Debug)]
pub struct Cut {
    /// The slice's key.
    pub key: String,
    /// The key of the whole's tensor.
    pub of: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Of these sides, from these numbers on, so many.
    parts: Vec<(i64, i64, i64)>,
}

impl Cut {
    /// The slice's tensor of the whole's.
    pub fn of(&self, whole: &Tensor) -> Result<Tensor> {
        let mut part = whole.shallow_clone();
        for (side, first, count) in &self.parts {
            part = part.f_narrow(*side, *first, *count)?;
        }
        Ok(part.f_contiguous()?)
    }
}

impl Factors {
    fn scale(self, scale: Scale) -> f64 {
        scale.of(self.alpha, self.rank)
    }
}

impl Slices {
    /// These places, as far as they are slices, each with what decides its scale.
    pub fn of<'p>(places: impl Iterator<Item = &'p Place>, factors: impl Fn(&Place) -> Option<Factors>) -> Self {
        let mut slices: BTreeMap<String, Vec<Slice>> = BTreeMap::new();
        for place in places {
            let (Some(rows), Some((whole, name))) = (place.slice, place.name.rsplit_once('.')) else { continue };
            let slice = Slice { name: name.to_owned(), rows, low_rank: factors(place) };
            slices.entry(whole.to_owned()).or_default().push(slice);
        }
        Self(slices)
    }

    /// Those of the adapter in `folder`: none where no file speaks of any.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(SLICES);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let hint = "without this file the adapter is one of the whole maps";
        let slices: Self = serde_json::from_slice(&text)
            .map_err(|error| Error::file(&path, format!("does not say which rows slices are: {error}"), hint))?;
        let ranks = slices.0.values().flatten().filter_map(|slice| slice.low_rank);
        match ranks.into_iter().all(|factors| (1..=1 << 24).contains(&factors.rank) && factors.alpha > 0.0) {
            true => Ok(slices),
            false => Err(Error::file(&path, "gives a slice a rank or an alpha that is not above zero", hint)),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What decides the scale of the slice `name`.
    pub fn factors(&self, name: &str) -> Option<Factors> {
        let (whole, part) = name.rsplit_once('.')?;
        self.0.get(whole)?.iter().find(|slice| slice.name == part)?.low_rank
    }

    /// These slices, and of the maps that `targets` mean those that have none of them.
    pub fn targets(&self, targets: Targets) -> Targets {
        let names: BTreeSet<String> = self
            .0
            .iter()
            .flat_map(|(whole, slices)| slices.iter().map(move |slice| format!("{whole}.{}", slice.name)))
            .collect();
        if names.is_empty() { targets } else { Targets::Slices(Box::new(targets), names) }
    }

    /// Of each fused map the pattern that means it, and the rank and the alpha of the one adapter that does what those of
    /// its slices do.
    pub fn patterns(&self, scale: Scale) -> Vec<(String, Factors)> {
        let sums = || self.0.iter().filter_map(|(whole, slices)| Some((whole.as_str(), sum(slices, scale)?)));
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let mut patterns: Vec<(String, Factors)> = Vec::new();
        for (whole, factors) in sums() {
            let end = last(whole);
            let alike = sums().filter(|(other, _)| last(other) == end).all(|(_, other)| other == factors);
            let pattern = regex::escape(if alike { &end } else { whole });
            if !patterns.iter().any(|(known, _)| *known == pattern) {
                patterns.push((pattern, factors));
            }
        }
        patterns
    }

    /// The `tensors` of an adapter of `model` with those of slices made into those of their fused maps. What cannot be had
    /// back of these to the last bit is written into `folder`, with the rows of each slice.
    pub fn write(
        &self,
        tensors: Vec<(String, Tensor)>,
        scale: Scale,
        model: &Model,
        folder: &Path,
    ) -> Result<Vec<(String, Tensor)>> {
        if self.is_empty() {
            return Ok(tensors);
        }
        let (mut as_trained, mut joined) = (Vec::new(), Vec::new());
        for (whole, slices) in &self.0 {
            let weight = format!("{whole}.weight");
            let weight = model.frozen.get(&weight).or_else(|| model.trainable.get(&weight)).ok_or_else(|| {
                Error::setting(
                    &weight,
                    "the model lacks the map whose slices are adapted",
                    "report the adapter's settings",
                )
            })?;
            let common = slices.first().and_then(|slice| slice.low_rank).map_or(1.0, |first| first.scale(scale));
            for (end, way) in WAYS {
                let mut parts = Vec::new();
                for slice in slices {
                    let key = key(whole, Some(&slice.name), end);
                    let Some((_, tensor)) = tensors.iter().find(|(name, _)| *name == key) else { continue };
                    let tensor = tensor.f_detach()?;
                    let factor = slice.low_rank.map_or(1.0, |factors| factors.scale(scale) / common);
                    let tensor = match way == Way::Blocks && factor != 1.0 {
                        true => {
                            let times =
                                tensor.f_to_kind(Kind::Double)?.f_mul_scalar(factor)?.f_to_kind(tensor.f_kind()?)?;
                            as_trained.push((key, tensor));
                            times
                        }
                        false => tensor,
                    };
                    parts.push((slice.rows, tensor));
                }
                if !parts.is_empty() {
                    joined.push((key(whole, None, end), join(way, &parts, weight)?));
                }
            }
        }
        let is_of_slice = |key: &str| {
            self.0.iter().any(|(whole, slices)| {
                let inner =
                    key.strip_prefix(PREFIX).and_then(|name| name.strip_prefix(whole.as_str())?.strip_prefix('.'));
                let part = inner.and_then(|inner| inner.split_once('.')).map(|(part, _)| part);
                part.is_some_and(|part| slices.iter().any(|slice| slice.name == part))
            })
        };
        std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
        let value = serde_json::to_value(self).map_err(|error| {
            Error::file(&folder.join(SLICES), format!("has no JSON form: {error}"), "report the adapter's settings")
        })?;
        write_json(&folder.join(SLICES), &value)?;
        if !as_trained.is_empty() {
            write_tensors(&folder.join(AS_TRAINED), &as_trained)?;
        }
        let rest = tensors.into_iter().filter(|(key, _)| !is_of_slice(key));
        Ok(rest.chain(joined).collect())
    }

    /// The tensors of the slices as parts of those that a file holds, whose shapes are `shape`.
    pub fn cuts(&self, shape: impl Fn(&str) -> Option<Vec<i64>>, path: &Path) -> Result<Vec<Cut>> {
        let mut cuts = Vec::new();
        for (whole, slices) in &self.0 {
            for (end, way) in WAYS {
                let of = key(whole, None, end);
                let Some(found) = shape(&of) else { continue };
                let mut before = 0;
                for slice in slices {
                    let Rows { first, count } = slice.rows;
                    let rank = slice.low_rank.map_or(0, |factors| factors.rank);
                    let parts = match way {
                        Way::Stacked => vec![(0, before, rank)],
                        Way::Blocks => vec![(0, first, count), (1, before, rank)],
                        Way::Norms | Way::Ones => vec![(0, first, count)],
                    };
                    before += rank;
                    let mut shape = found.clone();
                    for (side, first, count) in &parts {
                        let size = usize::try_from(*side).ok().and_then(|side| shape.get_mut(side));
                        let Some(size) = size.filter(|size| Rows { first: *first, count: *count }.within(**size))
                        else {
                            let problem =
                                format!("the tensor `{of}` has shape {found:?}, too small for `{}`", slice.name);
                            return Err(Error::file(path, problem, format!("compare it with {SLICES} beside it")));
                        };
                        *size = *count;
                    }
                    cuts.push(Cut { key: key(whole, Some(&slice.name), end), of: of.clone(), shape, parts });
                }
            }
        }
        Ok(cuts)
    }
}

/// Where the B of slices are as they train, of the adapter in `folder`.
pub fn as_trained(folder: &Path) -> Option<std::path::PathBuf> {
    Some(folder.join(AS_TRAINED)).filter(|path| path.is_file())
}

/// The key of a tensor of a fused map, or of a slice of it.
fn key(whole: &str, slice: Option<&str>, end: &str) -> String {
    match slice {
        Some(slice) => format!("{PREFIX}{whole}.{slice}.{end}"),
        None => format!("{PREFIX}{whole}.{end}"),
    }
}

/// The rank of all together, and the alpha with which it has the first one's scale.
fn sum(slices: &[Slice], scale: Scale) -> Option<Factors> {
    let first = slices.first()?.low_rank?;
    let rank: i64 = slices.iter().filter_map(|slice| slice.low_rank).map(|factors| factors.rank).sum();
    let times = rank as f64 / first.rank as f64;
    let alpha = match scale {
        Scale::Standard => first.alpha * times,
        Scale::RankStabilized => first.alpha * times.sqrt(),
    };
    Some(Factors { rank, alpha })
}

fn join(way: Way, parts: &[(Rows, Tensor)], weight: &Tensor) -> Result<Tensor> {
    let (rows, first) = (weight.size2()?.0, parts.first().map(|(_, tensor)| tensor));
    let kind = first.map_or((Kind::Float, weight.device()), |tensor| (tensor.kind(), tensor.device()));
    let whole = match way {
        Way::Stacked => {
            let tensors: Vec<_> = parts.iter().map(|(_, tensor)| tensor).collect();
            return Ok(Tensor::f_cat(&tensors, 0)?);
        }
        Way::Blocks => {
            let columns = parts.iter().map(|(_, tensor)| Ok(tensor.size2()?.1)).sum::<Result<i64>>()?;
            let (whole, mut before) = (Tensor::f_zeros([rows, columns], kind)?, 0);
            for (of, tensor) in parts {
                let rank = tensor.size2()?.1;
                of.put(tensor, &whole.f_narrow(1, before, rank)?)?;
                before += rank;
            }
            return Ok(whole);
        }
        Way::Norms => RowNorms::new(weight)?.of_rows()?,
        Way::Ones => Tensor::f_ones([rows, 1], kind)?,
    };
    for (of, tensor) in parts {
        of.put(tensor, &whole)?;
    }
    Ok(whole)
}
