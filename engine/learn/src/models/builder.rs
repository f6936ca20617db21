//! Puts a model together: a family asks for its tensors and linear maps by name, the source gives the values, and the
//! method decides what is frozen, what trains and what a linear map becomes. Knows no family and no method.

use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use crate::adapters::{Attentions, Method, Reading};
use crate::error::{Error, Result};
use crate::layers::{
    Activations, Join, Linear, LinearMap, Lookup, Prefix, Rows, Several, Stacked, Sum, Table, VirtualTokens,
};
use crate::numerics::Numerics;
use crate::parameters::Stores;
use crate::sublayers::Sublayer;
use crate::targets::{Place, Role};
use crate::weights::{Fresh, Init, Source};

/// Builds one model.
pub struct Builder<'a> {
    source: &'a mut dyn Source,
    method: &'a dyn Method,
    numerics: Numerics,
    activations: Rc<Activations>,
    /// Beginnings of names, and what stands for each in the source.
    stored: Vec<(String, String)>,
    parts: Parts<'a>,
}

/// What a builder has made beside the network itself.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Frozen and trainable tensors.
    pub stores: Stores<'a>,
    /// The names of the base model's tensors, in the order of the model.
    pub base: Vec<String>,
    /// Every linear map by its place, but those of the task's head.
    pub maps: Vec<(Place, Rc<dyn LinearMap>)>,
    /// The slices of those that are fused.
    pub slices: Vec<Place>,
    /// Every embedding of tokens by its place.
    pub lookups: Vec<(Place, Rc<dyn Lookup>)>,
    /// Every sublayer.
    pub sublayers: Vec<Sublayer>,
    /// Names of the source's tensors that the family knowingly does without.
    pub left_out: Vec<String>,
    /// The linear maps of the task's head.
    pub heads: Vec<Place>,
    /// The head's tensors that the source did not hold.
    pub fresh: Vec<String>,
    /// How many tokens the method adds to every text.
    pub virtual_tokens: i64,
    /// How many of a text's own tokens stand in front of those.
    pub virtual_tokens_after: i64,
    /// Keys and values that the method puts before those of every text.
    pub prefix: Option<Rc<Prefix>>,
}

impl<'a> Builder<'a> {
    /// A builder that takes the base model's tensors from `source` (which puts them on the device) and gives every linear
    /// map to `method`. New parameters get their first values from `fresh`.
    pub fn new(source: &'a mut dyn Source, method: &'a dyn Method, fresh: &'a dyn Fresh, numerics: Numerics) -> Self {
        let activations = Rc::new(numerics.activations());
        let stores = Stores::new(fresh);
        let (base, maps, heads, left_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let parts = Parts {
            stores,
            base,
            maps,
            slices: Vec::new(),
            lookups: Vec::new(),
            sublayers: Vec::new(),
            left_out,
            heads,
            fresh: Vec::new(),
            virtual_tokens: 0,
            virtual_tokens_after: 0,
            prefix: None,
        };
        Self { source, method, numerics, activations, stored: Vec::new(), parts }
    }

    /// Where the model's tensors are.
    pub fn device(&self) -> Device {
        self.numerics.device
    }

    /// The kind of the hidden states: what embeddings give.
    pub fn compute(&self) -> Kind {
        self.numerics.compute
    }

    /// What training passes keep: a model's layers compute their segments through it.
    pub fn activations(&self) -> Rc<Activations> {
        Rc::clone(&self.activations)
    }

    /// Whether the source holds the tensor `name`; one of random values holds every tensor of a model but its head's.
    pub fn holds(&self, name: &str) -> bool {
        self.source.holds(name)
    }

    /// From now on, tensors whose names begin with the part `model` are found under `stored` instead of it.
    pub fn stored_under(&mut self, model: &str, stored: &str) {
        self.stored.push((format!("{model}."), format!("{stored}.")));
    }

    /// Sets aside the source's tensors whose names begin with `prefix`: the family knowingly does without them.
    pub fn leave_out(&mut self, prefix: &str) {
        self.parts.left_out.extend(self.source.leave_out(prefix));
    }

    fn stored_name(&self, name: &str) -> String {
        let found = self.stored.iter().find_map(|(model, stored)| Some((stored, name.strip_prefix(model.as_str())?)));
        found.map_or_else(|| name.to_owned(), |(stored, rest)| format!("{stored}{rest}"))
    }

    /// A tensor of the base model that is not the weight of a linear map: an embedding or a norm.
    pub fn tensor(&mut self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        self.tensor_of(None, name, shape, init)
    }

    fn tensor_of(&mut self, of: Option<&Place>, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let kind = self.kept(name, of);
        let tensor = self.source.tensor(&self.stored_name(name), shape, init, kind)?;
        self.own(name, of, tensor)
    }

    /// The kind in which a tensor of the base model is kept: what trains is float32.
    fn kept(&self, name: &str, of: Option<&Place>) -> Kind {
        if self.method.trains(name, of) { Kind::Float } else { self.numerics.base }
    }

    /// The linear map `name` with the weight `name.weight` `[outputs, inputs]`, drawn by `init` where nothing is loaded,
    /// and the bias `name.bias` where `bias` asks for one.
    pub fn linear(
        &mut self,
        name: &str,
        role: Role,
        inputs: i64,
        outputs: i64,
        bias: bool,
        init: Init,
    ) -> Result<Rc<dyn LinearMap>> {
        let place = Place::new(name, role);
        let weight = self.tensor_of(Some(&place), &format!("{name}.weight"), &[outputs, inputs], init)?;
        let bias = match bias {
            true => Some(self.tensor_of(Some(&place), &format!("{name}.bias"), &[outputs], Init::Constant(0.0))?),
            false => None,
        };
        self.wrap(place, Linear { weight, bias })
    }

    /// The fused map `name`: several maps of the same inputs whose rows stand one below the other in one weight, each given
    /// by the last part of its name, its role and its outputs. Where the method changes none of them it is one map. Where
    /// it does, each is a map over its rows of the one weight, which the method takes as any other.
    pub fn fused<const N: usize>(
        &mut self,
        name: &str,
        parts: [(&str, Role, i64); N],
        inputs: i64,
        bias: bool,
        init: Init,
    ) -> Result<Several<N>> {
        let whole = Place::new(name, Role::Fused);
        let mut outputs = 0;
        let slices = parts.map(|(part, role, count)| {
            let rows = Rows { first: outputs, count };
            outputs += count;
            (Place::slice(name, part, role, rows), rows)
        });
        let places = slices.each_ref().map(|(place, _)| place.clone());
        let changed = self.method.takes_apart(&whole, &places)?;
        let of = changed.unwrap_or(&whole);
        let weight = self.tensor_of(Some(of), &format!("{name}.weight"), &[outputs, inputs], init)?;
        let bias = match bias {
            true => Some(self.tensor_of(Some(of), &format!("{name}.bias"), &[outputs], Init::Constant(0.0))?),
            false => None,
        };
        if changed.is_some() && bias.as_ref().is_some_and(Tensor::requires_grad) {
            let problem = format!("trains that of `{name}`, of which slices are adapted");
            return Err(Error::setting("bias", problem, "train no biases, or adapt the whole map by its suffix"));
        }
        let is_apart = changed.is_some();
        self.parts.slices.extend(places.iter().cloned());
        if !is_apart {
            let map = self.wrap(whole, Linear { weight, bias })?;
            return Ok(Several::Fused(map, parts.map(|(_, _, count)| count)));
        }
        let mut maps = Vec::new();
        for (place, rows) in &slices {
            let of_slice = bias.as_ref().map(|bias| rows.of(bias)).transpose()?;
            let map = self.changed(place, Linear { weight: rows.of(&weight)?, bias: of_slice })?;
            maps.push((*rows, map));
        }
        let each = maps.iter().map(|(_, map)| Rc::clone(map)).collect::<Vec<_>>();
        self.parts.maps.push((whole, Rc::new(Stacked { maps, bias })));
        Several::apart(each)
    }

    /// The embedding `name` over a weight that the model has already, `name.weight`. The row of the id `padding` gets no
    /// gradient.
    pub fn lookup(&mut self, name: &str, weight: &Tensor, padding: i64) -> Result<Rc<dyn Lookup>> {
        let place = Place::new(name, Role::Embedding);
        let plain = Table { weight: weight.shallow_clone(), padding };
        let lookup: Rc<dyn Lookup> = match self.method.changes_lookup(&place) {
            true => self.method.lookup(&place, plain, &mut self.parts.stores)?,
            false => Rc::new(plain),
        };
        self.parts.lookups.push((place, Rc::clone(&lookup)));
        Ok(lookup)
    }

    /// Refuses a method that would change the embedding `name`, which must stay as it is for this `reason`.
    pub fn fixed_lookup(&self, name: &str, reason: &str) -> Result<()> {
        let place = Place::new(name, Role::Embedding);
        match self.method.changes_lookup(&place) {
            false => Ok(()),
            true => {
                let problem = format!("mean the embedding `{name}`, which cannot be adapted: {reason}");
                Err(Error::setting("targets", problem, "leave it out of the targets"))
            }
        }
    }

    /// Refuses a method that would change the linear map `name`, which must stay as it is for this `reason`.
    pub fn fixed_linear(&self, name: &str, role: Role, reason: &str) -> Result<()> {
        match self.method.beside(&Place::new(name, role)) {
            None => Ok(()),
            Some(_) => {
                let problem = format!("mean `{name}`, which cannot be adapted: {reason}");
                Err(Error::setting("targets", problem, "leave it out of the targets"))
            }
        }
    }

    /// The linear map `name` over a weight that the model has already, such as an output head tied to the embedding.
    /// A checkpoint may hold it a second time under `name.weight`, with the same values.
    pub fn tied_linear(&mut self, name: &str, role: Role, weight: &Tensor) -> Result<Rc<dyn LinearMap>> {
        self.same_tensor(&format!("{name}.weight"), weight)?;
        let place = Place::new(name, role);
        self.wrap(place, Linear { weight: weight.shallow_clone(), bias: None })
    }

    /// Accepts a tensor that a checkpoint may hold although it is the same as the embedding.
    pub fn same_tensor(&mut self, name: &str, weight: &Tensor) -> Result<()> {
        let name = self.stored_name(name);
        match self.source.extra(&name, weight.f_kind()?)? {
            Some(again) if again.size() != weight.size() || !again.f_equal(weight)? => Err(Error::setting(
                name,
                "config.json ties it to the embedding, but the weights hold other values for it",
                "set `tie_word_embeddings` to false in config.json if the model has a head of its own",
            )),
            _ => Ok(()),
        }
    }

    /// A tensor as [`tensor`](Self::tensor), which older files hold under another name.
    pub fn tensor_once_called(&mut self, name: &str, older: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let kind = self.kept(name, None);
        match self.source.extra(older, kind)? {
            Some(tensor) => {
                let tensor = shaped(older, tensor, shape)?;
                self.own(name, None, tensor)
            }
            None => self.tensor(name, shape, init),
        }
    }

    /// A linear map of the task's head. It is newly made where the source has none, and trains whole whatever the method
    /// does to the model's own maps.
    pub fn head(&mut self, name: &str, inputs: i64, outputs: i64, bias: bool, init: Init) -> Result<Rc<dyn LinearMap>> {
        self.parts.heads.push(Place::new(name, Role::Head));
        let weight = self.head_tensor(&format!("{name}.weight"), &[outputs, inputs], init)?;
        let bias =
            if bias { Some(self.head_tensor(&format!("{name}.bias"), &[outputs], Init::Constant(0.0))?) } else { None };
        Ok(Rc::new(Linear { weight, bias }))
    }

    fn head_tensor(&mut self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let tensor = match self.source.extra(name, Kind::Float)? {
            Some(tensor) => shaped(name, tensor, shape)?,
            None => {
                self.parts.fresh.push(name.to_owned());
                self.parts.stores.fresh.draw(name, shape, init)?
            }
        };
        self.parts.base.push(name.to_owned());
        match self.method.trains_head() {
            true => self.parts.stores.trainable.add(name, &tensor),
            false => self.parts.stores.freeze(name, tensor),
        }
    }

    /// The virtual tokens that the method puts among the embedded tokens of every text, if it does. A model asks once.
    pub fn prompt(&mut self, reading: &Reading) -> Result<Option<VirtualTokens>> {
        let prompt = self.method.prompt(reading, &mut self.parts.stores)?;
        if let Some(prompt) = &prompt {
            (self.parts.virtual_tokens, self.parts.virtual_tokens_after) = (prompt.count(), prompt.after());
        }
        Ok(prompt)
    }

    /// The keys and values that the method puts before those of every text, if it does. A model asks once.
    pub fn prefix(&mut self, attentions: &Attentions) -> Result<Option<Rc<Prefix>>> {
        let made = self.method.prefix(attentions, &mut self.parts.stores)?;
        let prefix = |(sizes, values)| Rc::new(Prefix::new(values, sizes, attentions.stride, self.activations()));
        self.parts.prefix = made.map(prefix);
        Ok(self.parts.prefix.clone())
    }

    /// The end of a sublayer: `plain`, or what the method makes of it.
    pub fn join(&mut self, sublayer: Sublayer, plain: Sum) -> Result<Rc<dyn Join>> {
        let join: Rc<dyn Join> = match self.method.joins(&sublayer) {
            true => self.method.join(&sublayer, plain, &mut self.parts.stores)?,
            false => Rc::new(plain),
        };
        self.parts.sublayers.push(sublayer);
        Ok(join)
    }

    /// Accepts a tensor that checkpoints may hold although it can be computed.
    pub fn accept(&mut self, name: &str) {
        // Not read: position numbers, for one, are whole numbers.
        self.source.leave_out(&self.stored_name(name));
    }

    /// Ends the building: everything the source has must have been used, and the method's targets must exist.
    pub fn finish(mut self) -> Result<Parts<'a>> {
        self.source.finish()?;
        let lookups = self.parts.lookups.iter().map(|(place, _)| place);
        let lookups = lookups.filter(|place| self.method.changes_lookup(place));
        let maps = self.parts.maps.iter().map(|(place, _)| place).chain(&self.parts.slices);
        let places: Vec<&Place> = maps.chain(lookups).collect();
        self.method.check(&places)?;
        self.method.check_tensors(&self.parts.base.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.method.check_sublayers(&self.parts.sublayers)?;
        self.method.finish(&mut self.parts.stores)?;
        Ok(self.parts)
    }

    fn own(&mut self, name: &str, of: Option<&Place>, tensor: Tensor) -> Result<Tensor> {
        self.parts.base.push(name.to_owned());
        self.method.own(name, of, tensor, &mut self.parts.stores)
    }

    fn wrap(&mut self, place: Place, plain: Linear) -> Result<Rc<dyn LinearMap>> {
        let map = self.changed(&place, plain)?;
        self.parts.maps.push((place, Rc::clone(&map)));
        Ok(map)
    }

    fn changed(&mut self, place: &Place, plain: Linear) -> Result<Rc<dyn LinearMap>> {
        Ok(match self.method.changes(place) {
            true => self.method.linear(place, plain, &mut self.parts.stores)?,
            false => Rc::new(plain),
        })
    }
}

fn shaped(name: &str, tensor: Tensor, shape: &[i64]) -> Result<Tensor> {
    if tensor.size() == shape {
        return Ok(tensor);
    }
    Err(Error::setting(
        name,
        format!("has shape {:?} in the weights, {shape:?} is asked for", tensor.size()),
        "check that the number of classes is that of the model's head, or take a model without a head",
    ))
}
