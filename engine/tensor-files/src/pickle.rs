//! A machine for the pickles of `torch.save`, which can name, hold and put together a few kinds of values and do nothing
//! else. A pickle is a program: Python's machine calls whatever function it names. This one knows the functions that
//! tensors are made of by a list ([`Global`]), computes itself what they give, and refuses every other name.
//!
//! No instruction costs more than its own bytes ask for, values are shared and never copied, and nothing recurses; so what
//! a pickle needs is bounded by its length and by [`MOST_INSTRUCTIONS`]. The instructions are those of Python's
//! `pickletools`; torch writes protocol 2.

use std::collections::HashMap;

use crate::error::{Damage, shown};
use crate::stored::Dtype;

/// A tensor takes about 40, so these are 50,000 tensors in one file.
const MOST_INSTRUCTIONS: usize = 1 << 21;

/// libtorch's own limit for the dimensions of a tensor.
const MOST_DIMENSIONS: usize = 64;

const UNTRUSTED: &str = "nothing of a file is run, and only tensors are read: take model.safetensors; or, if you trust the \
    source of this file, load it with transformers and write it with save_pretrained";

/// A value by its place in [`Pickle::values`].
pub type Id = usize;

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// `collections.OrderedDict`: a map.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`: a view of a storage.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`: a tensor that is trained, which is the same tensor.
    RebuildParameter,
    /// `torch.FloatStorage` and the like: the kind of a storage's numbers.
    Storage(Dtype),
}

impl Global {
    fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            ("torch", "DoubleStorage") => Self::Storage(Dtype::Other("F64")),
            ("torch", "LongStorage") => Self::Storage(Dtype::Other("I64")),
            ("torch", "IntStorage") => Self::Storage(Dtype::Other("I32")),
            ("torch", "ShortStorage") => Self::Storage(Dtype::Other("I16")),
            ("torch", "CharStorage") => Self::Storage(Dtype::Other("I8")),
            ("torch", "ByteStorage") => Self::Storage(Dtype::Other("U8")),
            ("torch", "BoolStorage") => Self::Storage(Dtype::Other("BOOL")),
            _ => return None,
        })
    }
}

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `None`, or a number with a fraction: nothing that a tensor is made of.
    Nothing,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(&'a str),
    /// A tuple or a list.
    List(Vec<Id>),
    /// A map, in the order in which it was filled.
    Map(Vec<(Id, Id)>),
    /// A name of the list.
    Global(Global),
    /// A storage, by what it is called in the file around the pickle.
    Storage {
        /// The kind of its numbers.
        dtype: Dtype,
        /// Its name.
        key: &'a str,
        /// How many numbers it has.
        length: usize,
    },
    /// A view of a storage.
    Tensor {
        /// The storage.
        storage: Id,
        /// Its first number.
        offset: usize,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides, in numbers.
        strides: Vec<usize>,
    },
}

/// What a pickle made.
#[derive(Debug)]
pub struct Pickle<'a> {
    /// All values.
    pub values: Vec<Value<'a>>,
    /// The one that the pickle stands for.
    pub top: Id,
}

/// Runs a pickle.
///
/// # Errors
/// When it names a function that is not on the list, does what tensors do not need, or is damaged.
pub fn read(bytes: &[u8]) -> Result<Pickle<'_>, Damage> {
    let machine =
        Machine { bytes, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    machine.run()
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// How many values were on the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Pickle<'a>, Damage> {
        for _ in 0..MOST_INSTRUCTIONS {
            let start = self.at;
            if let Some(top) = self.step().map_err(|fault| fault.told(start))? {
                return Ok(Pickle { values: self.values, top });
            }
        }
        let problem = format!("the pickle has more than {MOST_INSTRUCTIONS} instructions");
        Err(Damage::new(problem, UNTRUSTED))
    }

    /// Does one instruction; gives the result at the last.
    fn step(&mut self) -> Result<Option<Id>, Fault> {
        match self.byte()? {
            b'.' => return self.pop().map(Some),
            // Of what the pickle is made: the protocol's version, and how far it may be read ahead.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Value::Nothing),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()));
            }
            b'K' => {
                let number = self.byte()?;
                self.push(Value::Int(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Nothing);
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(u64::from(length))?;
            }
            0x8c => {
                let length = self.byte()?;
                self.text(u64::from(length))?;
            }
            0x8d => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(length)?;
            }
            b')' | b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Map(Vec::new())),
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::List(items));
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.fill(vec![key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.fill(items)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.value(module), self.value(name)) {
                    (&Value::Text(module), &Value::Text(name)) => self.global(module, name)?,
                    _ => return Err(Fault::broken("names a function by something that is no text")),
                }
            }
            // An instance of a class, in the way of protocol 0.
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
                return Err(Fault::refused("makes an instance of a class"));
            }
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'Q' => self.persistent()?,
            b'q' => {
                let place = self.byte()?;
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.array()?);
                self.remember(place)?;
            }
            0x94 => {
                let place = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                self.remember(place)?;
            }
            b'h' => {
                let place = self.byte()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.array()?);
                self.recall(place)?;
            }
            other => {
                return Err(Fault::refused(&format!("has the instruction 0x{other:02x}, which tensors do not need")));
            }
        }
        Ok(None)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(length).ok_or(Fault::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Fault::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| Fault::Short)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(Fault::Short)?;
        let line = self.take(length)?;
        self.take(1)?;
        str::from_utf8(line).map_err(|_| Fault::broken("holds a name that is not UTF-8"))
    }

    fn text(&mut self, length: u64) -> Result<(), Fault> {
        let length = usize::try_from(length).map_err(|_| Fault::Short)?;
        let text = str::from_utf8(self.take(length)?).map_err(|_| Fault::broken("holds a text that is not UTF-8"))?;
        self.push(Value::Text(text));
        Ok(())
    }

    /// A whole number of any length, of which those of up to eight bytes mean something here.
    fn long(&mut self) -> Result<(), Fault> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(Fault::broken("holds a whole number of more than eight bytes"));
        }
        let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut number = [fill; 8];
        number[..length].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(number)));
        Ok(())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn value(&self, id: Id) -> &Value<'a> {
        self.values.get(id).unwrap_or(&Value::Nothing)
    }

    /// The uppermost value since the last mark.
    fn top(&self) -> Result<Id, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let above = self.stack.get(floor..).unwrap_or_default();
        above.last().copied().ok_or_else(|| Fault::broken("takes a value from an empty stack"))
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let floor = self.marks.pop().ok_or_else(|| Fault::broken("goes back to a mark that is not there"))?;
        Ok(self.stack.split_off(floor.min(self.stack.len())))
    }

    fn tuple(&mut self, length: usize) -> Result<(), Fault> {
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::List(items));
        Ok(())
    }

    fn extend(&mut self, mut items: Vec<Id>) -> Result<(), Fault> {
        let top = self.top()?;
        match self.values.get_mut(top) {
            Some(Value::List(list)) => list.append(&mut items),
            _ => return Err(Fault::broken("appends to something that is no list")),
        }
        Ok(())
    }

    fn fill(&mut self, items: Vec<Id>) -> Result<(), Fault> {
        let top = self.top()?;
        let Some(Value::Map(map)) = self.values.get_mut(top) else {
            return Err(Fault::broken("puts entries into something that is no map"));
        };
        if !items.len().is_multiple_of(2) {
            return Err(Fault::broken("puts a key without a value into a map"));
        }
        map.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Fault> {
        let Some(global) = Global::named(module, name) else {
            return Err(Fault::refused(&format!("wants `{}.{}`: refused", shown(module), shown(name))));
        };
        self.push(Value::Global(global));
        Ok(())
    }

    /// What a function of the list gives for its arguments.
    fn reduce(&mut self) -> Result<(), Fault> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::List(arguments) = self.value(arguments) else {
            return Err(Fault::broken("calls a function with something that is no tuple"));
        };
        let made = match (self.value(function), arguments.as_slice()) {
            (Value::Global(Global::OrderedDict), []) => Value::Map(Vec::new()),
            (
                Value::Global(Global::RebuildTensor),
                &[storage, offset, shape, strides, _, _] | &[storage, offset, shape, strides, _, _, _],
            ) => self.tensor(storage, offset, shape, strides)?,
            (Value::Global(Global::RebuildParameter), &[tensor, _, _]) => {
                if !matches!(self.value(tensor), Value::Tensor { .. }) {
                    return Err(Fault::broken("makes a parameter of something that is no tensor"));
                }
                self.stack.push(tensor);
                return Ok(());
            }
            (Value::Global(global), arguments) => {
                let problem = format!("calls {global:?} with {} arguments of another kind", arguments.len());
                return Err(Fault::broken(&problem));
            }
            _ => return Err(Fault::refused("calls something that is no function")),
        };
        self.push(made);
        Ok(())
    }

    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<Value<'a>, Fault> {
        if !matches!(self.value(storage), Value::Storage { .. }) {
            return Err(Fault::broken("makes a tensor of something that is no storage"));
        }
        let offset = self.count(offset)?;
        Ok(Value::Tensor { storage, offset, shape: self.counts(shape)?, strides: self.counts(strides)? })
    }

    fn count(&self, id: Id) -> Result<usize, Fault> {
        match self.value(id) {
            &Value::Int(number) => {
                usize::try_from(number).map_err(|_| Fault::broken("holds a size, stride or offset below zero"))
            }
            _ => Err(Fault::broken("holds a size, stride or offset that is no whole number")),
        }
    }

    fn counts(&self, id: Id) -> Result<Vec<usize>, Fault> {
        match self.value(id) {
            Value::List(items) if items.len() <= MOST_DIMENSIONS => {
                items.iter().map(|&item| self.count(item)).collect()
            }
            Value::List(_) => Err(Fault::broken("holds a tensor of more than 64 dimensions")),
            _ => Err(Fault::broken("holds a shape or strides that are no tuple")),
        }
    }

    /// What an object gets beside its entries. Of a map of tensors that is the version of each module, which says nothing
    /// of a tensor.
    fn build(&mut self) -> Result<(), Fault> {
        let (state, object) = (self.pop()?, self.top()?);
        match (self.value(object), self.value(state)) {
            (Value::Map(_), Value::Map(_)) => Ok(()),
            _ => Err(Fault::refused("sets attributes of something that is no map of tensors")),
        }
    }

    /// `("storage", torch.FloatStorage, "0", "cpu", 60)`: a storage in the file around the pickle. On which device it was
    /// does not matter.
    fn persistent(&mut self) -> Result<(), Fault> {
        let id = self.pop()?;
        let Value::List(parts) = self.value(id) else {
            return Err(Fault::broken("asks for a storage by something that is no tuple"));
        };
        let known: Option<[&Value<'a>; 5]> =
            <[Id; 5]>::try_from(parts.as_slice()).ok().map(|parts| parts.map(|part| self.value(part)));
        let storage = match known {
            Some(
                [
                    Value::Text("storage"),
                    Value::Global(Global::Storage(dtype)),
                    Value::Text(key),
                    Value::Text(_),
                    Value::Int(length),
                ],
            ) => {
                let length =
                    usize::try_from(*length).map_err(|_| Fault::broken("holds a storage shorter than nothing"))?;
                Value::Storage { dtype: *dtype, key, length }
            }
            _ => return Err(Fault::broken("asks for a storage in a way that is not torch's")),
        };
        self.push(storage);
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<(), Fault> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), Fault> {
        let id = *self.memo.get(&place).ok_or_else(|| Fault::broken("recalls what it never remembered"))?;
        self.stack.push(id);
        Ok(())
    }
}

/// What is wrong with an instruction.
enum Fault {
    /// The pickle ends within it.
    Short,
    /// It makes no sense.
    Broken(String),
    /// It asks for what is not given.
    Refused(String),
}

impl Fault {
    fn broken(problem: &str) -> Self {
        Self::Broken(problem.to_owned())
    }

    fn refused(problem: &str) -> Self {
        Self::Refused(problem.to_owned())
    }

    fn told(self, at: usize) -> Damage {
        let damaged =
            "fetch the file again; if it is whole, load it with transformers and write it with save_pretrained";
        match self {
            Self::Short => Damage::new("the pickle ends within an instruction, or without its last", damaged),
            Self::Broken(problem) => Damage::new(format!("the pickle {problem} (at byte {at})"), damaged),
            Self::Refused(problem) => Damage::new(format!("the pickle {problem} (at byte {at})"), UNTRUSTED),
        }
    }
}
