//! Digests of bytes, and the framing that makes a digest of several fields injective. Knows no file's meaning.

use std::{fmt, fs::File, io, io::Read, path::Path, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A BLAKE3 digest; shown and written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Files from this size on are mapped and hashed by all cores.
const LARGE: u64 = 1 << 20;

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a file's contents, and how many bytes were read.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn of_file(path: &Path) -> io::Result<(Self, u64)> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut hasher = blake3::Hasher::new();
        if length >= LARGE {
            hasher.update_mmap_rayon(path)?;
        } else {
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
            file.read_to_end(&mut bytes)?;
            hasher.update(&bytes);
        }
        Ok((Self(*hasher.finalize().as_bytes()), hasher.count()))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A digest from its raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().as_str().to_owned()
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: 64 hexadecimal digits are expected")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| NotADigest(text.to_owned()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl de::Visitor<'_> for Hex {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

/// Hashes named fields so that no two different lists of fields give the same bytes: each name and each value is
/// preceded by its length, and the whole by what it is and by the version of that layout.
pub struct Framed(blake3::Hasher);

impl Framed {
    /// Begins a digest of `what`, in version `version` of its layout.
    pub fn new(what: &str, version: u32) -> Self {
        let mut framed = Self(blake3::Hasher::new());
        framed.bytes(what.as_bytes());
        framed.bytes(&version.to_le_bytes());
        framed
    }

    /// A field of bytes.
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(name.as_bytes());
        self.bytes(value.as_ref());
        self
    }

    /// A field that is a number, or the count of what follows.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.field(name, value.to_le_bytes())
    }

    /// A field that is a digest.
    pub fn digest(&mut self, name: &str, value: &Digest) -> &mut Self {
        self.field(name, value.0)
    }

    /// The digest of all fields so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let digest = |pairs: &[(&str, &str)]| {
            let mut framed = Framed::new("test", 1);
            for (name, value) in pairs {
                framed.field(name, value);
            }
            framed.finish()
        };
        let all = [
            digest(&[("a", "bc")]),
            digest(&[("ab", "c")]),
            digest(&[("a", "b"), ("c", "")]),
            digest(&[("a", ""), ("b", "c")]),
            digest(&[("b", "c"), ("a", "")]),
            digest(&[]),
            Framed::new("test", 2).finish(),
            Framed::new("tes", 1).finish(),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn hex_is_read_back() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.hex(), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        assert_eq!(digest.hex().parse::<Digest>().unwrap(), digest);
        assert!("6437".parse::<Digest>().is_err());
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn large_and_small_files_hash_the_same_way() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0_usize, 10, 1 << 20, (1 << 20) + 1] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let path = folder.path().join("file");
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Digest::of_file(&path).unwrap(), (Digest::of(&bytes), size as u64));
        }
    }
}
