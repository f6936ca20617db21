//! Fine-tuning methods: what each does to the base model's tensors and linear maps, what trains, how it merges, and how
//! it is saved. Knows no model family, no optimiser and no pipeline file.

mod beside;
mod bitfit;
mod bottleneck;
mod combined;
mod dora;
pub mod first_values;
mod frozen;
mod full;
mod ia3;
mod lora;
mod lora_embedding;
mod lora_fa;
mod low_rank;
mod prefix;
mod prompt;
mod vera;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::layers::{Join, Linear, LinearMap, Lookup, PrefixSizes, Sum, Table, Values, VirtualTokens};
use crate::models::{Model, Task};
use crate::parameters::{Parameters, Stores};
use crate::peft::{self, AdapterConfig, Saved};
use crate::sublayers::Sublayer;
use crate::targets::Place;

pub use beside::{Beside, FactorSizes};
pub use bitfit::BitFit;
pub use bottleneck::{Bottleneck, First, Form, LinearBottleneck, Neck, Norms, Size, Style};
pub use combined::Combined;
pub use dora::Dora;
pub use frozen::Frozen;
pub use full::Full;
pub use ia3::Ia3;
pub use lora::Lora;
pub use lora_fa::{Gradient, LoraFa};
pub use low_rank::{Biases, LowRank, Scale};
pub use prefix::Prefix;
pub use prompt::{Prompt, Start};
pub use vera::Vera;

/// A fine-tuning method.
pub trait Method: Debug {
    /// Its name in a pipeline file.
    fn name(&self) -> &'static str;

    /// Whether a tensor of the base model trains; `of` is the linear map that it belongs to, where it belongs to one. Most
    /// methods train none.
    fn trains(&self, name: &str, of: Option<&Place>) -> bool {
        let _ = (name, of);
        false
    }

    /// Whether the task's head trains. It trains whole: a head that was newly made knows nothing yet.
    fn trains_head(&self) -> bool {
        true
    }

    /// Takes over a tensor of the base model: puts it into one of the stores and returns the model's handle to it.
    fn own(&self, name: &str, of: Option<&Place>, tensor: Tensor, stores: &mut Stores) -> Result<Tensor> {
        match self.trains(name, of) {
            true => stores.trainable.add(name, &tensor),
            false => stores.freeze(name, tensor),
        }
    }

    /// Whether it changes the linear map at `place`.
    fn changes(&self, place: &Place) -> bool {
        let _ = place;
        false
    }

    /// The first of the `slices` of the fused map `whole` that it changes, where it changes some: each of them is then a map
    /// of its own. Both a slice and the whole cannot be changed.
    fn takes_apart<'p>(&self, whole: &Place, slices: &'p [Place]) -> Result<Option<&'p Place>> {
        let found = slices.iter().find(|slice| self.changes(slice));
        match found.filter(|_| self.changes(whole)) {
            None => Ok(found),
            Some(slice) => {
                let problem =
                    format!("mean `{}` as a whole and its slice `{}`, of the same weight", whole.name, slice.name);
                let hint = "name slices by their roles (attention.q, …), or the whole map by its suffix, not both";
                Err(Error::setting("targets", problem, hint))
            }
        }
    }

    /// What becomes of the linear map at `place`, one that it [changes](Self::changes). The map's tensors are already in the
    /// stores; what the method adds goes into `stores.trainable`, named `<place>.<what>`.
    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let _ = (place, stores);
        Ok(Rc::new(plain))
    }

    /// What it puts beside the linear map at `place`, where it changes that one: the sizes of what `linear` makes.
    fn beside(&self, place: &Place) -> Option<Beside> {
        let _ = place;
        None
    }

    /// Whether it changes the embedding at `place`.
    fn changes_lookup(&self, place: &Place) -> bool {
        let _ = place;
        false
    }

    /// What becomes of the embedding at `place`, one that it [changes](Self::changes_lookup): as [`linear`](Self::linear).
    fn lookup(&self, place: &Place, plain: Table, stores: &mut Stores) -> Result<Rc<dyn Lookup>> {
        let _ = (place, stores);
        Ok(Rc::new(plain))
    }

    /// The rank of the factors that it puts beside the embedding at `place`, where it changes that one.
    fn beside_lookup(&self, place: &Place) -> Option<i64> {
        let _ = place;
        None
    }

    /// Whether it changes how what `sublayer` gives joins the hidden states.
    fn joins(&self, sublayer: &Sublayer) -> bool {
        let _ = sublayer;
        false
    }

    /// What becomes of the end of `sublayer`, one that it [joins](Self::joins); `plain` is how it was. What the method adds
    /// goes into `stores.trainable`, named `<sublayer>.<what>`.
    fn join(&self, sublayer: &Sublayer, plain: Sum, stores: &mut Stores) -> Result<Rc<dyn Join>> {
        let _ = (sublayer, stores);
        Ok(Rc::new(plain))
    }

    /// What it puts at the end of `sublayer`, where it changes that: the sizes of what `join` makes.
    fn neck(&self, sublayer: &Sublayer) -> Option<(Style, Neck)> {
        let _ = sublayer;
        None
    }

    /// The virtual tokens that it puts among the embedded tokens of every text, if it does. What trains of them goes into
    /// `stores.trainable`.
    fn prompt(&self, reading: &Reading, stores: &mut Stores) -> Result<Option<VirtualTokens>> {
        let _ = (reading, stores);
        Ok(None)
    }

    /// The keys and values that it puts before those of every text in each layer, if it does. What trains of them goes into
    /// `stores.trainable`.
    fn prefix(&self, attentions: &Attentions, stores: &mut Stores) -> Result<Option<(PrefixSizes, Values)>> {
        let _ = (attentions, stores);
        Ok(None)
    }

    /// Whether a plain model can compute the same, with other weights alone.
    fn merges(&self) -> bool {
        true
    }

    /// Makes what several maps share, when all are known.
    fn finish(&self, stores: &mut Stores) -> Result<()> {
        let _ = stores;
        Ok(())
    }

    /// Checks, when all linear maps, and the embeddings that it changes, are known, that the method found what it is to change.
    fn check(&self, places: &[&Place]) -> Result<()> {
        let _ = places;
        Ok(())
    }

    /// Checks, when the base model's tensors are known by their names, that the method has something to train.
    fn check_tensors(&self, names: &[&str]) -> Result<()> {
        let _ = names;
        Ok(())
    }

    /// The same for sublayers.
    fn check_sublayers(&self, sublayers: &[Sublayer]) -> Result<()> {
        let _ = sublayers;
        Ok(())
    }

    /// The parameter that has this key in the method's files.
    fn parameter(&self, key: &str) -> Option<String> {
        peft::name_of(key).map(str::to_owned)
    }

    /// The key in the method's files of a parameter.
    fn key(&self, parameter: &str) -> String {
        format!("{}{parameter}", peft::PREFIX)
    }

    /// Where the tensors of the method are that was saved in `folder`.
    fn file(&self, folder: &Path) -> PathBuf {
        peft::file::path(folder)
    }

    /// Whether the method's files hold this key although it is no parameter.
    fn knows(&self, key: &str) -> bool {
        let _ = key;
        false
    }

    /// Loads the files of `folder` into those parameters of a model made with this method whose names are `wanted`. Each key
    /// of these must match one. Returns the names of those that were there.
    fn load(
        &self,
        folder: &Path,
        wanted: &dyn Fn(&str) -> bool,
        parameters: &mut Parameters,
    ) -> Result<BTreeSet<String>> {
        peft::load_keys(folder, self, wanted, parameters)
    }

    /// Saves what was trained into `folder`, in the form that other tools read.
    fn save(&self, saved: &Saved, folder: &Path) -> Result<()>;
}

/// How a model reads texts: what a method needs to know to put tokens of its own among theirs.
pub struct Reading<'a> {
    /// Width of an embedded token.
    pub width: i64,
    /// How many token ids there are.
    pub vocabulary: i64,
    /// The most tokens that a text may have, where the model was made for so many.
    pub positions: Option<i64>,
    /// How many of a text's own tokens must stay in front: 1 where a head reads the state of the first.
    pub after: i64,
    /// The embedded tokens `[ids, width]` of these ids, as they go into the first layer.
    pub embed: &'a dyn Fn(&[i64]) -> Result<Tensor>,
}

/// The attentions of a model that keys and values may be put into.
#[derive(Debug, Clone, Copy)]
pub struct Attentions {
    /// Layers.
    pub layers: usize,
    /// Heads of the keys and values.
    pub heads: i64,
    /// Width of a head.
    pub width: i64,
    /// The most tokens that a text may have, where the model was made for so many.
    pub positions: Option<i64>,
    /// How far the slot of a layer, its pair of keys and values in PEFT's files, is behind that of the layer before: 1 where
    /// layers have their slots in order. For an encoder–decoder PEFT lays all slots twice after each other and hands each
    /// layer of the decoder the next two, for the text that is written and for the one that is read, of which transformers
    /// uses the first. So layer i has the slot 2i, counted round: of six layers 0, 2, 4, 0, 2, 4, while the slots 1, 3 and 5
    /// get no gradient.
    pub stride: usize,
}

/// Makes a method from the settings of an adapter, if it is the one that they describe.
type FromPeft = fn(&AdapterConfig) -> Result<Option<Box<dyn Method>>>;

/// The methods that the files of an adapter can hold.
const FROM_PEFT: &[FromPeft] = &[
    Lora::from_peft,
    LoraFa::from_peft,
    Dora::from_peft,
    BitFit::from_peft,
    Prefix::from_peft,
    Prompt::from_peft,
    Ia3::from_peft,
    Vera::from_peft,
    LinearBottleneck::from_peft,
    Bottleneck::from_saved,
];

/// The method that the adapter in `folder` was trained with. Make a model with it and then [`load`] the adapter's values.
pub fn saved_method(folder: &Path) -> Result<Box<dyn Method>> {
    match combined::parts(folder)? {
        None => method_of(folder),
        Some(_) => {
            let methods = saved_parts(folder)?.into_iter().map(|(_, method)| method).collect();
            Ok(Box::new(Combined::new(methods)?))
        }
    }
}

/// The folders of the adapter in `folder`, one where it is none of several, each with the method in it.
pub(crate) fn saved_parts(folder: &Path) -> Result<Vec<(PathBuf, Box<dyn Method>)>> {
    let folders = match combined::parts(folder)? {
        None => vec![folder.to_owned()],
        Some(parts) => parts.iter().map(|part| folder.join(part)).collect(),
    };
    folders.into_iter().map(|folder| method_of(&folder).map(|method| (folder, method))).collect()
}

fn method_of(folder: &Path) -> Result<Box<dyn Method>> {
    let config = AdapterConfig::read(folder)?;
    for from_peft in FROM_PEFT {
        if let Some(method) = from_peft(&config)? {
            return Ok(method);
        }
    }
    let problem = format!("its adapter is of the type `{}`", config.peft_type());
    let known = "adapters of LoRA, DoRA, BitFit, IA3, VeRA, bottlenecks, prompt and prefix tuning can be read";
    Err(Error::file(folder, problem, known))
}

/// Whether `folder` holds an adapter, or several that were trained together.
pub fn is_adapter(folder: &Path) -> bool {
    [peft::CONFIG, combined::PARTS].iter().any(|name| folder.join(name).exists())
}

/// What the adapter in `folder` was trained for.
pub fn task(folder: &Path) -> Result<Task> {
    match combined::parts(folder)?.as_deref() {
        Some([first, ..]) => peft::task(&folder.join(first)),
        _ => peft::task(folder),
    }
}

/// Loads the adapter in `folder` into the parameters of a model that was made with its [`saved_method`]. Every key must
/// match a parameter, and every parameter must be there.
pub fn load(folder: &Path, parameters: &mut Parameters) -> Result<()> {
    let found = load_keys(folder, parameters, |_| true)?;
    check_all_found(folder, &found, parameters)
}

/// Checks that every parameter was `found` in the files of the part that it belongs to.
fn check_all_found(folder: &Path, found: &BTreeSet<String>, parameters: &Parameters) -> Result<()> {
    for (index, (folder, method)) in saved_parts(folder)?.iter().enumerate() {
        let wanted = parameters.of_part(index).map(|(name, _)| name);
        peft::check_all_found(folder, method.as_ref(), found, wanted)?;
    }
    Ok(())
}

/// The same but for the head, which stays as `model` has it: newly made, perhaps for another task.
pub fn load_without_head(folder: &Path, model: &mut Model) -> Result<()> {
    let mut found = load_keys(folder, &mut model.trainable, |name| !peft::is_of_head(name))?;
    let of_head = |place: &Place| ["weight", "bias"].map(|part| format!("{}.{part}", place.name));
    found.extend(model.heads().flat_map(of_head));
    check_all_found(folder, &found, &model.trainable)
}

/// Loads the parameters that are `wanted`, and returns their names.
fn load_keys(folder: &Path, parameters: &mut Parameters, wanted: fn(&str) -> bool) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (folder, method) in saved_parts(folder)? {
        found.extend(method.load(&folder, &wanted, parameters)?);
    }
    Ok(found)
}
