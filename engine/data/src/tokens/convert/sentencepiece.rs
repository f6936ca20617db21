//! The file of a SentencePiece model: pieces with their scores and kinds, and how it normalises. Reads the protobuf by its
//! field numbers (`sentencepiece_model.proto`); believes no length it is told. Knows nothing of tokenizers.

use std::collections::HashSet;

/// A SentencePiece model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    pub pieces: Vec<Piece>,
    pub algorithm: Algorithm,
    /// Characters without a piece become pieces of their bytes.
    pub byte_fallback: bool,
    pub unk_id: i32,
    /// Negative where there is none.
    pub bos_id: i32,
    pub eos_id: i32,
    /// What characters are rewritten to; empty where they stay.
    pub charsmap: Vec<u8>,
    /// A space is put before a text.
    pub dummy_prefix: bool,
    /// Runs of spaces become one, those at the ends none.
    pub removes_spaces: bool,
    /// Spaces are written as `▁`.
    pub escapes_spaces: bool,
}

/// A piece of the vocabulary; its place is its id.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: PieceKind,
}

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    Normal,
    Unknown,
    /// Written by no text, such as `<s>`.
    Control,
    /// Found in a text before anything else.
    UserDefined,
    Unused,
    Byte,
}

/// How text is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    Bpe,
}

/// The longest text of a piece: real ones have at most some dozen characters, but user-defined ones may be phrases.
const MOST_PIECE: usize = 4096;

impl Model {
    /// Reads a model file. The error says what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            byte_fallback: false,
            unk_id: 0,
            bos_id: 1,
            eos_id: 2,
            charsmap: Vec::new(),
            dummy_prefix: true,
            removes_spaces: true,
            escapes_spaces: true,
        };
        let mut fields = Fields { rest: bytes };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(piece)) => model.pieces.push(Piece::read(piece)?),
                (2, Value::Bytes(trainer)) => model.read_trainer(trainer)?,
                (3, Value::Bytes(normalizer)) => model.read_normalizer(normalizer)?,
                _ => {}
            }
        }
        model.check()?;
        Ok(model)
    }

    fn read_trainer(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut fields = Fields { rest: bytes };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (3, Value::Number(1)) => self.algorithm = Algorithm::Unigram,
                (3, Value::Number(2)) => self.algorithm = Algorithm::Bpe,
                (3, Value::Number(_)) => return Err("it divides text by words or characters, not by pieces".into()),
                (35, Value::Number(on)) => self.byte_fallback = on != 0,
                // Negative numbers are written in 64 bits.
                (40, Value::Number(id)) => self.unk_id = id as i32,
                (41, Value::Number(id)) => self.bos_id = id as i32,
                (42, Value::Number(id)) => self.eos_id = id as i32,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut fields = Fields { rest: bytes };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (2, Value::Bytes(charsmap)) => self.charsmap = charsmap.to_vec(),
                (3, Value::Number(on)) => self.dummy_prefix = on != 0,
                (4, Value::Number(on)) => self.removes_spaces = on != 0,
                (5, Value::Number(on)) => self.escapes_spaces = on != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.pieces.is_empty() {
            return Err("it has no pieces".into());
        }
        let mut seen = HashSet::new();
        for (id, piece) in self.pieces.iter().enumerate() {
            if piece.text.is_empty() || piece.text.len() > MOST_PIECE || !piece.score.is_finite() {
                return Err(format!("its piece {id} is empty, too long, or without a score"));
            }
            if !seen.insert(&piece.text) {
                return Err(format!("its piece {id}, `{}`, stands twice", piece.text.escape_debug()));
            }
        }
        if usize::try_from(self.unk_id).ok().is_none_or(|id| id >= self.pieces.len()) {
            return Err(format!("its unknown piece has the id {}, and there are {}", self.unk_id, self.pieces.len()));
        }
        Ok(())
    }

    /// The text of a piece that has an id.
    pub fn text(&self, id: i32) -> Option<&str> {
        self.pieces.get(usize::try_from(id).ok()?).map(|piece| piece.text.as_str())
    }
}

impl Piece {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: PieceKind::Normal };
        let mut fields = Fields { rest: bytes };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(text)) => {
                    piece.text = String::from_utf8(text.to_vec()).map_err(|_| "a piece is not UTF-8".to_owned())?;
                }
                (2, Value::Four(score)) => piece.score = f32::from_le_bytes(score),
                (3, Value::Number(kind)) => {
                    piece.kind = match kind {
                        1 => PieceKind::Normal,
                        2 => PieceKind::Unknown,
                        3 => PieceKind::Control,
                        4 => PieceKind::UserDefined,
                        5 => PieceKind::Unused,
                        6 => PieceKind::Byte,
                        other => return Err(format!("a piece is of the unknown kind {other}")),
                    };
                }
                _ => {}
            }
        }
        Ok(piece)
    }
}

/// The value of a field, as it is written.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Four([u8; 4]),
    Eight,
}

/// The fields of a message, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                self.take(8)?;
                Value::Eight
            }
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| cut())?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Four(self.take(4)?.try_into().map_err(|_| cut())?),
            other => return Err(format!("a field is written in the unknown way {other}")),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for place in 0..10 {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number is too long".into())
    }
}

fn cut() -> String {
    "it ends too early".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn field(place: u64, bytes: &[u8]) -> Vec<u8> {
        [number(place << 3 | 2), number(bytes.len() as u64), bytes.to_vec()].concat()
    }

    fn piece(text: &str, score: f32, kind: u64) -> Vec<u8> {
        let score = [vec![2 << 3 | 5], score.to_le_bytes().to_vec()].concat();
        field(1, &[field(1, text.as_bytes()), score, number(3 << 3), number(kind)].concat())
    }

    fn small() -> Vec<u8> {
        let trainer = [number(3 << 3), number(2), number(35 << 3), number(1), number(41 << 3), number(-1_i64 as u64)];
        let normalizer = [field(2, b"map"), number(3 << 3), number(0)];
        [
            piece("<unk>", 0.0, 2),
            piece("a", -1.5, 1),
            piece("<0x41>", 0.0, 6),
            field(2, &trainer.concat()),
            field(3, &normalizer.concat()),
            // A field of a later version.
            [number(9 << 3 | 1), vec![0; 8]].concat(),
        ]
        .concat()
    }

    #[test]
    fn a_model_is_read_by_its_field_numbers() {
        let model = Model::read(&small()).unwrap();
        assert_eq!(model.pieces[1], Piece { text: "a".into(), score: -1.5, kind: PieceKind::Normal });
        assert_eq!((model.pieces[2].kind, model.algorithm), (PieceKind::Byte, Algorithm::Bpe));
        assert_eq!((model.byte_fallback, model.bos_id, model.eos_id), (true, -1, 2));
        assert_eq!(
            (model.charsmap.as_slice(), model.dummy_prefix, model.removes_spaces),
            (b"map".as_slice(), false, true)
        );
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let whole = small();
        for length in 0..whole.len() {
            // Whatever is left out, the answer is a model or an error, never an end of the program.
            let _ = Model::read(&whole[..length]);
        }
        for place in 0..whole.len() {
            for byte in [0, 0x7F, 0x80, 0xFF] {
                let mut changed = whole.clone();
                changed[place] = byte;
                let _ = Model::read(&changed);
            }
        }
        let refused = |bytes: &[u8], why: &str| {
            let error = Model::read(bytes).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused(&[], "no pieces");
        refused(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], "too early");
        refused(&[0xFF; 20], "too long");
        refused(&[piece("a", 0.0, 2), piece("a", 0.0, 1)].concat(), "stands twice");
        refused(&[piece("a", f32::NAN, 2)].concat(), "without a score");
        refused(&[piece("a", 0.0, 2), field(2, &[number(40 << 3), number(7)].concat())].concat(), "the id 7");
    }
}
