//! The matrices of a model folder by the names that its family gives them, with what each does; read one by one, so that
//! a model need not fit into memory. Knows which tensor of the files a matrix is; no method.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use tch::{Device, Kind, Tensor};
use tensor_files::WeightFiles;

use crate::adapters::Method;
use crate::error::{Error, Result};
use crate::models::{Model, Task, read_config};
use crate::parameters::Stores;
use crate::peft::Saved;
use crate::targets::{Place, Role};
use crate::weights::{Fresh, Init, Source, read_tensor};

/// A matrix of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// The name in the checkpoint without `.weight`, and what it does.
    pub place: Place,
    /// The number of the layer it stands in, from 0 on; of an encoder–decoder, in its part.
    pub layer: Option<u64>,
    /// What the tensor is called in the files.
    stored: String,
}

/// The matrices of a model folder.
#[derive(Debug)]
pub struct Matrices {
    files: WeightFiles,
    /// In the order of the model.
    all: Vec<Matrix>,
}

impl Matrices {
    /// Those of the model in `folder`: its linear maps and its embeddings of tokens. No tensor is read.
    pub fn open(folder: &Path) -> Result<Self> {
        let config = read_config(folder)?;
        let files = WeightFiles::open(folder)?;
        let asked = Rc::new(RefCell::new(String::new()));
        let noted = Noted { asked: Rc::clone(&asked), stored: RefCell::default() };
        let build = |task| {
            let mut names = Names { files: &files, asked: Rc::clone(&asked) };
            Model::build_from(task, &config, &mut names, &noted, &NoValues, Device::Cpu.into())
        };
        // What matrices there are does not depend on the task, but not every family has a network for each.
        let model = build(Task::LanguageModel)
            .or_else(|fault| build(Task::SequenceClassification { labels: 2 }).map_err(|_| fault))?;
        let stored = noted.stored.borrow();
        let embedding = model.lookups().find_map(|place| stored.get(&weight_of(place)));
        let mut all = Vec::new();
        for place in model.lookups().chain(model.places()) {
            // A head that is tied has no tensor of its own.
            let tied = || embedding.filter(|_| place.role == Role::Head);
            let Some(name) = stored.get(&weight_of(place)).or_else(tied) else { continue };
            let Some(stored) = resolved(&files, name) else { continue };
            let layer = place.name.split('.').find_map(|part| part.parse().ok());
            all.push(Matrix { place: place.clone(), layer, stored: stored.to_owned() });
        }
        drop(stored);
        Ok(Self { files, all })
    }

    /// All of them in the order of the model, embeddings first.
    pub fn iter(&self) -> impl Iterator<Item = &Matrix> {
        self.all.iter()
    }

    /// The matrix of this name.
    pub fn get(&self, name: &str) -> Option<&Matrix> {
        self.all.iter().find(|matrix| matrix.place.name == name)
    }

    /// The numbers `[outputs, inputs]` of the matrix of this name in float64.
    pub fn weight(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(matrix) = self.get(name) else { return Ok(None) };
        let Some(file) = self.files.holder(&matrix.stored) else { return Ok(None) };
        read_tensor(file, &matrix.stored, Device::Cpu, Kind::Double).map(Some)
    }
}

fn weight_of(place: &Place) -> String {
    format!("{}.weight", place.name)
}

/// The name that the files have of a tensor: files of a model without a head lack the prefix of those with one.
fn resolved<'a>(files: &WeightFiles, name: &'a str) -> Option<&'a str> {
    let bare = || name.split_once('.').map(|(_, bare)| bare);
    [Some(name), bare()].into_iter().flatten().find(|name| files.holder(name).is_some())
}

/// One number that looks like a tensor of this shape.
fn sketch(shape: &[i64], kind: Kind) -> Result<Tensor> {
    Ok(Tensor::f_zeros([1], (kind, Device::Cpu))?.f_expand(shape, false)?)
}

/// A source that gives no numbers and remembers what it was asked for last.
struct Names<'a> {
    files: &'a WeightFiles,
    asked: Rc<RefCell<String>>,
}

impl Source for Names<'_> {
    fn tensor(&mut self, name: &str, shape: &[i64], _init: Init, kind: Kind) -> Result<Tensor> {
        name.clone_into(&mut self.asked.borrow_mut());
        sketch(shape, kind)
    }

    fn extra(&mut self, _name: &str, _kind: Kind) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn holds(&self, name: &str) -> bool {
        resolved(self.files, name).is_some()
    }

    fn leave_out(&mut self, _prefix: &str) -> Vec<String> {
        Vec::new()
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// First values that are none.
#[derive(Debug)]
struct NoValues;

impl Fresh for NoValues {
    fn draw(&self, _name: &str, shape: &[i64], _init: Init) -> Result<Tensor> {
        sketch(shape, Kind::Float)
    }
}

/// No method, but it notes what the source was asked for when a tensor of the model was made.
#[derive(Debug)]
struct Noted {
    asked: Rc<RefCell<String>>,
    stored: RefCell<HashMap<String, String>>,
}

impl Method for Noted {
    fn name(&self) -> &'static str {
        "noted"
    }

    fn trains_head(&self) -> bool {
        false
    }

    fn own(&self, name: &str, _of: Option<&Place>, tensor: Tensor, stores: &mut Stores) -> Result<Tensor> {
        self.stored.borrow_mut().insert(name.to_owned(), self.asked.borrow().clone());
        stores.freeze(name, tensor)
    }

    fn save(&self, _saved: &Saved, folder: &Path) -> Result<()> {
        Err(Error::file(folder, "nothing was trained that could be saved", "look at the matrices alone"))
    }
}
