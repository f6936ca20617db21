//! A model's outline: its tensors and linear maps as the model's own family and the method make them, with sizes and
//! without memory. Knows no operation.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use serde_json::Value as Json;
use tch::{Device, Kind, Tensor};

use crate::adapters::{Attentions, Beside, Method, Neck, Reading, Style};
use crate::error::{Error, Result};
use crate::layers::{Join, Linear, LinearMap, Lookup, PrefixSizes, Sum, Table, Values, VirtualTokens};
use crate::models::{Model, Task};
use crate::numerics::Numerics;
use crate::parameters::Stores;
use crate::peft::{self, Saved, vera};
use crate::sublayers::Sublayer;
use crate::targets::Place;
use crate::weights::{Checkpoint, Fresh, Init, Source};

/// A tensor of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensors {
    /// How many numbers it holds.
    pub count: u64,
    /// Bytes of a number.
    pub size: u64,
    /// Whether it trains.
    pub trains: bool,
}

/// A linear map of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Map {
    /// Numbers that come out.
    pub outputs: u64,
    /// Numbers that go in.
    pub inputs: u64,
    /// Its weight.
    pub weight: Tensors,
    /// Its bias.
    pub bias: Option<Tensors>,
    /// What the method puts beside it.
    pub beside: Option<Beside>,
}

/// A bottleneck at the end of a sublayer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Necked {
    /// Where it stands.
    pub style: Style,
    /// How it is made.
    pub neck: Neck,
    /// Numbers of a hidden state.
    pub width: u64,
}

/// A model without numbers.
#[derive(Debug)]
pub struct Outline {
    /// Its `config.json`.
    pub config: Json,
    /// What it is made for.
    pub task: Task,
    /// Its kinds of numbers.
    pub numerics: Numerics,
    /// Where it would train.
    pub device: Device,
    /// Numbers that train.
    pub trainable: u64,
    /// Those of them that are in no head.
    pub beside_heads: u64,
    /// Numbers that do not.
    pub frozen: u64,
    /// Tokens that the method adds to every text.
    pub virtual_tokens: u64,
    /// Keys that the method puts before those of every text, in each layer.
    pub keys_before: u64,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    tensors: HashMap<String, (Vec<u64>, Tensors)>,
    maps: HashMap<String, Map>,
    lookups: HashMap<String, u64>,
    necks: HashMap<String, Necked>,
}

impl Outline {
    /// The outline of the model that `config` describes with `method` applied. Where the checkpoint is there, its names
    /// decide which heads it has.
    pub fn new(
        task: Task,
        config: &Json,
        checkpoint: Option<&Path>,
        method: &dyn Method,
        numerics: Numerics,
    ) -> Result<Self> {
        let device = numerics.device;
        let numerics = Numerics { device: Device::Cpu, ..numerics };
        let names = checkpoint.map(|folder| Checkpoint::open(folder, Device::Cpu)).transpose()?;
        let drafted =
            Drafted { method, maps: RefCell::default(), lookups: RefCell::default(), necks: RefCell::default() };
        let model = Model::build_from(task, config, &mut Sizes { names }, &drafted, &Sketches, numerics)?;
        let mut outline = Self {
            config: config.clone(),
            task,
            numerics,
            device,
            trainable: model.trainable.elements() as u64,
            beside_heads: 0,
            frozen: model.frozen.elements() as u64,
            virtual_tokens: model.virtual_tokens.unsigned_abs(),
            keys_before: model.prefix.as_ref().map_or(0, |prefix| prefix.count().unsigned_abs()),
            weight_bytes: 0,
            tensors: HashMap::new(),
            maps: drafted.maps.into_inner(),
            lookups: drafted.lookups.into_inner(),
            necks: drafted.necks.into_inner(),
        };
        for (name, tensor) in model.trainable.iter().chain(model.frozen.iter()) {
            let shape = tensor.size().iter().map(|&size| size.unsigned_abs()).collect();
            let tensor = sized(tensor)?;
            outline.weight_bytes += tensor.count * tensor.size;
            let counts = tensor.trains && !peft::is_of_head(name);
            outline.beside_heads += if counts { tensor.count } else { 0 };
            outline.tensors.insert(name.to_owned(), (shape, tensor));
        }
        for place in model.heads() {
            let (Some((shape, weight)), bias) = (
                outline.tensors.get(&format!("{}.weight", place.name)),
                outline.tensor(&format!("{}.bias", place.name)),
            ) else {
                continue;
            };
            if let [outputs, inputs] = shape.as_slice() {
                let map = Map { outputs: *outputs, inputs: *inputs, weight: *weight, bias, beside: None };
                outline.maps.insert(place.name.clone(), map);
            }
        }
        Ok(outline)
    }

    /// Bytes of a number that is computed with.
    pub fn compute(&self) -> u64 {
        bytes_of(self.numerics.compute)
    }

    /// The tensor `name`.
    pub fn tensor(&self, name: &str) -> Option<Tensors> {
        self.tensors.get(name).map(|(_, tensor)| *tensor)
    }

    /// The first tensor whose name ends so: what stands before, and its shape.
    pub fn ending(&self, end: &str) -> Option<(&str, &[u64])> {
        let mut found: Vec<_> =
            self.tensors.iter().filter_map(|(name, (shape, _))| Some((name.strip_suffix(end)?, shape))).collect();
        found.sort_unstable();
        found.first().map(|(name, shape)| (*name, shape.as_slice()))
    }

    /// The linear map `name`.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.get(name)
    }

    /// The rank of the factors beside the embedding `name`, where there are some.
    pub fn lookup(&self, name: &str) -> Option<u64> {
        self.lookups.get(name).copied()
    }

    /// What the method puts at the end of the sublayer `name`.
    pub fn neck(&self, name: &str) -> Option<Necked> {
        self.necks.get(name).copied()
    }

    /// Whether matrices beside those of heads train that hidden states are multiplied with: not where a method puts nothing
    /// but rows among those of tokens, or scales.
    pub fn weights_learn(&self) -> bool {
        let learns = |(name, map): (&String, &Map)| {
            let beside = !matches!(map.beside, None | Some(Beside::Scales { .. }));
            beside || (map.weight.trains && !peft::is_of_head(&format!("{name}.weight")))
        };
        !self.necks.is_empty() || !self.lookups.is_empty() || self.maps.iter().any(learns)
    }

    /// The sizes, outputs and inputs, of the largest linear map but those over the vocabulary.
    pub fn typical(&self) -> [i64; 2] {
        let maps = self.maps.iter().filter(|(name, _)| name.contains(|letter: char| letter.is_ascii_digit()));
        let largest = maps.map(|(_, map)| [map.outputs, map.inputs]).max_by_key(|[outputs, inputs]| outputs * inputs);
        largest.unwrap_or([1, 1]).map(|size| i64::try_from(size).unwrap_or(i64::MAX))
    }

    /// How many layers there are whose maps are called `<before><number><behind>`.
    pub fn layers(&self, before: &str, behind: &str) -> usize {
        (0..).take_while(|index| self.maps.contains_key(&format!("{before}{index}{behind}"))).count()
    }

    /// A number of the configuration, or of the part of it that describes the text model.
    pub fn setting(&self, key: &str) -> Option<f64> {
        let of = |config: &Json| config.get(key).and_then(Json::as_f64);
        of(&self.config).or_else(|| self.config.get("text_config").and_then(of))
    }
}

/// Bytes of a number.
pub fn bytes_of(kind: Kind) -> u64 {
    match kind {
        Kind::BFloat16 | Kind::Half => 2,
        Kind::Double | Kind::Int64 => 8,
        _ => 4,
    }
}

fn sized(tensor: &Tensor) -> Result<Tensors> {
    let (count, size) = (tensor.numel() as u64, bytes_of(tensor.f_kind()?));
    Ok(Tensors { count, size, trains: tensor.requires_grad() })
}

/// One number in memory that looks like a tensor of this shape.
fn sketch(shape: &[i64], kind: Kind) -> Result<Tensor> {
    Ok(Tensor::f_zeros([1], (kind, Device::Cpu))?.f_expand(shape, false)?)
}

/// A source of tensors of any name and shape that take no memory.
struct Sizes {
    names: Option<Checkpoint>,
}

impl Source for Sizes {
    fn tensor(&mut self, _name: &str, shape: &[i64], _init: Init, kind: Kind) -> Result<Tensor> {
        sketch(shape, kind)
    }

    fn extra(&mut self, _name: &str, _kind: Kind) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn holds(&self, name: &str) -> bool {
        let Some(names) = &self.names else { return true };
        names.holds(name) || name.split_once('.').is_some_and(|(_, bare)| names.holds(bare))
    }

    fn leave_out(&mut self, _prefix: &str) -> Vec<String> {
        Vec::new()
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// First values that take no memory.
#[derive(Debug)]
struct Sketches;

impl Fresh for Sketches {
    fn draw(&self, _name: &str, shape: &[i64], _init: Init) -> Result<Tensor> {
        sketch(shape, Kind::Float)
    }
}

/// A method that notes what it would put where.
#[derive(Debug)]
struct Drafted<'a> {
    method: &'a dyn Method,
    maps: RefCell<HashMap<String, Map>>,
    lookups: RefCell<HashMap<String, u64>>,
    necks: RefCell<HashMap<String, Necked>>,
}

impl Method for Drafted<'_> {
    fn name(&self) -> &'static str {
        self.method.name()
    }

    fn trains(&self, name: &str, of: Option<&Place>) -> bool {
        self.method.trains(name, of)
    }

    fn trains_head(&self) -> bool {
        self.method.trains_head()
    }

    /// Every map is noted, also those that stay as they are.
    fn changes(&self, _place: &Place) -> bool {
        true
    }

    fn takes_apart<'p>(&self, whole: &Place, slices: &'p [Place]) -> Result<Option<&'p Place>> {
        self.method.takes_apart(whole, slices)
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let (outputs, inputs) = plain.weight.size2()?;
        let beside = self.method.beside(place);
        if let Some(beside) = beside {
            for (name, shape, trains) in beside.tensors(&place.name, [outputs, inputs]) {
                let tensor = sketch(&shape, Kind::Float)?;
                let _ = if trains { stores.trainable.add(&name, &tensor)? } else { stores.freeze(&name, tensor)? };
            }
        }
        let map = Map {
            outputs: outputs.unsigned_abs(),
            inputs: inputs.unsigned_abs(),
            weight: sized(&plain.weight)?,
            bias: plain.bias.as_ref().map(sized).transpose()?,
            beside,
        };
        self.maps.borrow_mut().insert(place.name.clone(), map);
        Ok(Rc::new(plain))
    }

    fn changes_lookup(&self, place: &Place) -> bool {
        self.method.changes_lookup(place)
    }

    fn lookup(&self, place: &Place, plain: Table, stores: &mut Stores) -> Result<Rc<dyn Lookup>> {
        let (count, width) = plain.weight.size2()?;
        // A method that refuses embeddings says so before it says sizes.
        let Some(rank) = self.method.beside_lookup(place) else { return self.method.lookup(place, plain, stores) };
        for (factor, shape) in [("A", [rank, count]), ("B", [width, rank])] {
            let name = format!("{}.lora_embedding_{factor}", place.name);
            let _ = stores.trainable.add(&name, &sketch(&shape, Kind::Float)?)?;
        }
        self.lookups.borrow_mut().insert(place.name.clone(), rank.unsigned_abs());
        Ok(Rc::new(plain))
    }

    fn prompt(&self, reading: &Reading, stores: &mut Stores) -> Result<Option<VirtualTokens>> {
        let embed = |ids: &[i64]| sketch(&[ids.len() as i64, reading.width], Kind::Float);
        self.method.prompt(&Reading { embed: &embed, ..*reading }, stores)
    }

    fn prefix(&self, attentions: &Attentions, stores: &mut Stores) -> Result<Option<(PrefixSizes, Values)>> {
        self.method.prefix(attentions, stores)
    }

    fn merges(&self) -> bool {
        self.method.merges()
    }

    fn joins(&self, sublayer: &Sublayer) -> bool {
        self.method.joins(sublayer)
    }

    fn join(&self, sublayer: &Sublayer, plain: Sum, stores: &mut Stores) -> Result<Rc<dyn Join>> {
        if let Some((style, neck)) = self.method.neck(sublayer) {
            for (name, shape) in neck.tensors(&sublayer.name, [sublayer.width, sublayer.width]) {
                let _ = stores.trainable.add(&name, &sketch(&shape, Kind::Float)?)?;
            }
            self.necks
                .borrow_mut()
                .insert(sublayer.name.clone(), Necked { style, neck, width: sublayer.width.unsigned_abs() });
        }
        Ok(Rc::new(plain))
    }

    /// The factors that maps share are as large as the largest of these.
    fn finish(&self, stores: &mut Stores) -> Result<()> {
        let maps = self.maps.borrow();
        let shared = maps.values().filter_map(|map| match map.beside {
            Some(Beside::Shared { rank, .. }) => Some([rank, map.inputs.cast_signed(), map.outputs.cast_signed()]),
            _ => None,
        });
        let largest = shared.reduce(|one, other| std::array::from_fn(|at| one[at].max(other[at])));
        if let Some([rank, inputs, outputs]) = largest {
            let _ = stores.freeze(vera::A, sketch(&[rank, inputs], Kind::Float)?)?;
            let _ = stores.freeze(vera::B, sketch(&[outputs, rank], Kind::Float)?)?;
        }
        Ok(())
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.method.check(places)
    }

    fn check_tensors(&self, names: &[&str]) -> Result<()> {
        self.method.check_tensors(names)
    }

    fn check_sublayers(&self, sublayers: &[Sublayer]) -> Result<()> {
        self.method.check_sublayers(sublayers)
    }

    fn save(&self, _saved: &Saved, folder: &Path) -> Result<()> {
        Err(Error::file(folder, "an outline has no values to save", "save a model"))
    }
}
