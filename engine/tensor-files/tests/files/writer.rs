//! Writes the pickles that `torch.save` would, and those that it never would, by hand.

/// A pickle of protocol 2, instruction by instruction.
#[derive(Clone)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub fn int(self, number: i64) -> Self {
        self.raw(&[0x8a, 8]).raw(&number.to_le_bytes())
    }

    pub fn ints(self, numbers: &[i64]) -> Self {
        numbers.iter().fold(self.raw(b"("), |pickle, &number| pickle.int(number)).raw(b"t")
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(b"c").raw(module.as_bytes()).raw(b"\n").raw(name.as_bytes()).raw(b"\n")
    }

    pub fn storage(self, class: &str, key: &str, length: i64) -> Self {
        self.raw(b"(").text("storage").global("torch", class).text(key).text("cpu").int(length).raw(b"tQ")
    }

    /// A view of a storage.
    pub fn view(self, storage: impl FnOnce(Self) -> Self, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        storage(self.global("torch._utils", "_rebuild_tensor_v2").raw(b"("))
            .int(offset)
            .ints(shape)
            .ints(strides)
            .raw(&[0x89])
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    pub fn map(self) -> Self {
        self.global("collections", "OrderedDict").raw(b")R")
    }

    pub fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}
