//! The format of numpy's `.npy` files, versions 1 to 3: a header that is a Python dictionary in text, then the elements.
//! Little-endian elements in C order are read; no pickled objects, no structured elements, no `.npz`.
//!
//! Sizes in a header are claims: that of the header is limited to 64 KiB, and shape and element must make exactly the
//! bytes that follow, before any of them is read.

use std::io::Read;

use rigl_base::error::short;
use rigl_base::{Error, Result};

/// The first bytes of every file.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The most bytes that the text of a header may have.
const LONGEST_HEADER: u64 = (64 << 10) - 1;

/// What an array is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Element {
    /// `False` or `True`.
    Bool,
    /// Whole numbers of so many bytes, with a sign or without.
    Whole {
        /// 1, 2, 4 or 8.
        bytes: usize,
        /// Whether they may be negative.
        signed: bool,
    },
    /// 32-bit numbers.
    F32,
    /// 64-bit numbers.
    F64,
}

impl Element {
    /// Bytes 0 … 255.
    pub const BYTE: Element = Element::Whole { bytes: 1, signed: false };

    /// By what numpy calls it in a header: `<f4`.
    fn from_descr(descr: &str) -> Option<Element> {
        let whole = |bytes, signed| Some(Element::Whole { bytes, signed });
        match descr {
            "|b1" => Some(Element::Bool),
            "|u1" | "<u1" => whole(1, false),
            "|i1" | "<i1" => whole(1, true),
            "<u2" => whole(2, false),
            "<i2" => whole(2, true),
            "<u4" => whole(4, false),
            "<i4" => whole(4, true),
            "<u8" => whole(8, false),
            "<i8" => whole(8, true),
            "<f4" => Some(Element::F32),
            "<f8" => Some(Element::F64),
            _ => None,
        }
    }

    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Element::Bool => 1,
            Element::Whole { bytes, .. } => bytes,
            Element::F32 => 4,
            Element::F64 => 8,
        }
    }

    /// Whether labels may be made of it.
    pub fn is_whole(self) -> bool {
        matches!(self, Element::Bool | Element::Whole { .. })
    }

    /// The nearest 32-bit number of one; infinite beyond them.
    pub fn number(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Element::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Element::F64, _) => f64::from_le_bytes(first(bytes)) as f32,
            _ => self.whole(bytes) as f32,
        }
    }

    /// One that [is whole](Element::is_whole).
    pub fn whole(self, bytes: &[u8]) -> i128 {
        match self {
            Element::Whole { bytes: size, signed: true } => {
                // The sign stands at the other end.
                let shift = 64 - 8 * size;
                i128::from((u64::from_le_bytes(first(bytes)) << shift) as i64 >> shift)
            }
            _ => i128::from(u64::from_le_bytes(first(bytes))),
        }
    }
}

/// Up to eight bytes, filled up with zeros.
fn first(bytes: &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    let len = bytes.len().min(8);
    eight[..len].copy_from_slice(&bytes[..len]);
    eight
}

/// What the header of a file says.
///
/// Always so: the elements that its shape counts have as many bytes as follow it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// What the array is made of.
    pub element: Element,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Bytes before the first element.
    pub offset: u64,
}

impl Header {
    /// Reads the header of a file of `length` bytes; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) for anything but one whole array that can be read;
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if reading fails.
    pub fn read(file: &mut impl Read, length: u64, name: &str) -> Result<Header> {
        let refused = |what: String| Error::data(format!("`{name}`: {what}"));
        let mut take = |count: u64| {
            let mut bytes = Vec::new();
            let done = file.by_ref().take(count).read_to_end(&mut bytes);
            done.map_err(|e| Error::environment(format!("cannot read `{name}`")).caused_by(e))?;
            match bytes.len() as u64 {
                found if found < count => {
                    Err(refused(format!("ends within its header, after {length} bytes")))
                }
                _ => Ok(bytes),
            }
        };
        let start = take(length.min(8))?;
        if start.starts_with(b"PK\x03\x04") {
            return Err(refused("a zip archive, as `np.savez` writes them, is not read".into())
                .hint("save each array on its own: np.save(FILE, array)"));
        }
        let [.., major, _] = match start.strip_prefix(MAGIC) {
            Some(&[major, minor]) => [0, major, minor],
            _ => return Err(refused("no `.npy` file: it does not begin as numpy begins them".into())),
        };
        let size_bytes = match major {
            1 => 2,
            2 | 3 => 4,
            _ => return Err(refused(format!("version {major} of the format, versions 1 to 3 are read"))),
        };
        let size = u64::from_le_bytes(first(&take(size_bytes)?));
        if size > LONGEST_HEADER {
            return Err(refused(format!("a header of {size} bytes, at most {LONGEST_HEADER} are allowed")));
        }
        let text = take(size)?;
        let offset = start.len() as u64 + size_bytes + size;
        // Latin letters or UTF-8: of what is understood there is neither.
        let text = String::from_utf8_lossy(&text);
        let (element, shape) = described(&text).map_err(|(what, hint)| match hint {
            Some(hint) => refused(what).hint(hint),
            None => refused(what),
        })?;
        let follow = length.saturating_sub(offset);
        let claimed =
            shape.iter().try_fold(element.bytes() as u64, |product, &side| product.checked_mul(side as u64));
        if claimed != Some(follow) {
            let claimed =
                claimed.map_or_else(|| "more bytes than there can be".into(), |n| format!("{n} bytes"));
            return Err(refused(format!(
                "the header says shape {}, {claimed}, but {follow} follow",
                tuple(&shape)
            )));
        }
        Ok(Header { element, shape, offset })
    }
}

/// A shape as Python prints it.
pub(super) fn tuple(shape: &[usize]) -> String {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    if shape.len() == 1 { format!("({},)", sides[0]) } else { format!("({})", sides.join(", ")) }
}

/// Why a header is refused, and what to do about it.
type Refusal = (String, Option<&'static str>);

/// Element and shape of the text of a header.
fn described(text: &str) -> Result<(Element, Vec<usize>), Refusal> {
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    let no_header = || (format!("a header that cannot be read: `{}`", short(text)), None);
    let entries = dictionary(text).ok_or_else(no_header)?;
    for (key, value) in entries {
        let twice = match (key, value) {
            ("descr", value) => descr.replace(value).is_some(),
            ("fortran_order", Value::Bool(value)) => fortran.replace(value).is_some(),
            ("shape", Value::Tuple(value)) => shape.replace(value).is_some(),
            _ => return Err(no_header()),
        };
        if twice {
            return Err(no_header());
        }
    }
    let (Some(descr), Some(fortran), Some(shape)) = (descr, fortran, shape) else { return Err(no_header()) };
    let element = match descr {
        Value::Text(descr) => Element::from_descr(descr).ok_or_else(|| unread(descr))?,
        Value::List => {
            return Err((
                "elements of several fields are not read, only numbers".into(),
                Some("np.save(FILE, np.stack([array[name] for name in array.dtype.names], axis=1))"),
            ));
        }
        Value::Bool(_) | Value::Tuple(_) => return Err(no_header()),
    };
    // One row of elements lies in both orders at once.
    if fortran && shape.iter().filter(|&&side| side > 1).count() > 1 {
        return Err((
            "its elements lie in Fortran order, C order is read".into(),
            Some("np.save(FILE, np.ascontiguousarray(array))"),
        ));
    }
    Ok((element, shape))
}

fn unread(descr: &str) -> Refusal {
    let allowed = "allowed are `|b1`, `|u1`, `|i1`, `<u2`, `<i2`, `<u4`, `<i4`, `<u8`, `<i8`, `<f4`, `<f8`";
    match descr.as_bytes().first() {
        Some(b'|') if descr.starts_with("|O") => (
            "its elements are pickled Python objects (`|O`), which are never loaded".into(),
            Some("np.save(FILE, np.array(array.tolist(), dtype=np.float32))"),
        ),
        Some(b'>') => (
            format!("big-endian elements `{}`, {allowed}", short(descr)),
            Some("np.save(FILE, array.astype(array.dtype.newbyteorder('<')))"),
        ),
        _ => (
            format!("elements `{}`, {allowed}", short(descr)),
            Some("np.save(FILE, array.astype(np.float32)), or of labels array.astype(np.int64)"),
        ),
    }
}

/// What stands in a header.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Text(&'a str),
    Bool(bool),
    Tuple(Vec<usize>),
    /// A list, which describes elements of several fields.
    List,
}

/// The entries of a Python dictionary of texts, truth values and tuples of whole numbers; `None` for anything else.
fn dictionary(text: &str) -> Option<Vec<(&str, Value<'_>)>> {
    let mut entries = Vec::new();
    let mut rest = text.trim_start().strip_prefix('{')?.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return after.trim_matches([' ', '\n', '\0']).is_empty().then_some(entries);
        }
        let (key, after) = quoted(rest)?;
        let (value, after) = value(after.trim_start().strip_prefix(':')?.trim_start())?;
        entries.push((key, value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn value(text: &str) -> Option<(Value<'_>, &str)> {
    for (word, value) in [("True", true), ("False", false)] {
        if let Some(after) = text.strip_prefix(word) {
            return Some((Value::Bool(value), after));
        }
    }
    if text.starts_with('[') {
        return Some((Value::List, &text[list_end(text)?..]));
    }
    let Some(inside) = text.strip_prefix('(') else {
        return quoted(text).map(|(text, after)| (Value::Text(text), after));
    };
    let (inside, after) = inside.split_once(')')?;
    let inside = inside.trim();
    let listed = inside.strip_suffix(',').unwrap_or(inside);
    // `(3)` is a number in Python, and no tuple.
    if inside == listed && !listed.is_empty() && !listed.contains(',') {
        return None;
    }
    let sides = listed.split(',').filter(|_| !listed.is_empty());
    // Python 2 wrote an `L` behind long numbers.
    let side = |text: &str| text.trim().trim_end_matches('L').parse().ok();
    Some((Value::Tuple(sides.map(side).collect::<Option<_>>()?), after))
}

/// Where the list ends with which a text begins.
fn list_end(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0u32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            return Some(at + c.len_utf8());
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use rigl_base::Kind;

    use super::*;

    /// A file as numpy writes it: the header is filled up with spaces to a multiple of 64, and ends in a line feed.
    pub(crate) fn file(version: u8, descr: &str, fortran: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
        let mut text = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
        let start = if version == 1 { 10 } else { 12 };
        text.push_str(&" ".repeat(63 - (start + text.len()) % 64));
        text.push('\n');
        let size = match version {
            1 => (text.len() as u16).to_le_bytes().to_vec(),
            _ => (text.len() as u32).to_le_bytes().to_vec(),
        };
        [MAGIC.as_slice(), &[version, 0], &size, text.as_bytes(), elements].concat()
    }

    fn read(bytes: &[u8]) -> Result<Header> {
        Header::read(&mut &*bytes, bytes.len() as u64, "f")
    }

    fn refused(bytes: &[u8]) -> (String, Option<String>) {
        let error = read(bytes).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        (error.to_string(), error.hint_text().map(String::from))
    }

    #[test]
    fn all_versions_are_read_as_numpy_writes_them() {
        for version in [1, 2, 3] {
            let bytes = file(version, "'<f4'", "False", "(2, 3)", &[0; 24]);
            let header = read(&bytes).unwrap();
            assert_eq!((header.element, header.shape), (Element::F32, vec![2, 3]));
            assert_eq!((header.offset, bytes.len() as u64), (bytes.len() as u64 - 24, 64 + 64 + 24));
        }
        let shape =
            |text: &str, count| read(&file(1, "'|u1'", "False", text, &vec![0; count])).unwrap().shape;
        assert_eq!(
            (shape("(5,)", 5), shape("()", 1), shape("(2L, 1L, 3L)", 6)),
            (vec![5], vec![], vec![2, 1, 3])
        );
        // One row lies in both orders.
        assert_eq!(read(&file(1, "'<i8'", "True", "(1, 3, 1)", &[0; 24])).unwrap().shape, [1, 3, 1]);
    }

    #[test]
    fn elements_are_read_as_numbers_and_as_whole_numbers() {
        let signed = |bytes| Element::Whole { bytes, signed: true };
        let unsigned = |bytes| Element::Whole { bytes, signed: false };
        assert_eq!(signed(1).whole(&[0xfe]), -2);
        assert_eq!(signed(2).whole(&[0x00, 0x80]), -32768);
        assert_eq!(signed(8).whole(&i64::MIN.to_le_bytes()), i128::from(i64::MIN));
        assert_eq!(unsigned(8).whole(&u64::MAX.to_le_bytes()), i128::from(u64::MAX));
        assert_eq!(unsigned(4).number(&7u32.to_le_bytes()), 7.0);
        assert_eq!((Element::Bool.number(&[1]), Element::BYTE.number(&[255])), (1.0, 255.0));
        assert_eq!(Element::F32.number(&(-1.5f32).to_le_bytes()), -1.5);
        assert_eq!(Element::F64.number(&0.1f64.to_le_bytes()), 0.1);
        assert_eq!(Element::F64.number(&1e300f64.to_le_bytes()), f32::INFINITY);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_to_do() {
        let (text, hint) = refused(&file(1, "'|O'", "False", "(2,)", &[0; 16]));
        assert_eq!(text, "`f`: its elements are pickled Python objects (`|O`), which are never loaded");
        assert!(hint.unwrap().starts_with("np.save("));
        let (text, hint) = refused(&file(1, "'<f4'", "True", "(2, 3)", &[0; 24]));
        assert_eq!(text, "`f`: its elements lie in Fortran order, C order is read");
        assert_eq!(hint.as_deref(), Some("np.save(FILE, np.ascontiguousarray(array))"));
        let (text, hint) = refused(&file(1, "'>f4'", "False", "(2,)", &[0; 8]));
        assert!(text.starts_with("`f`: big-endian elements `>f4`, allowed are `|b1`"), "{text}");
        assert!(hint.unwrap().contains("newbyteorder"));
        for other in ["<f2", "<c8", "<U5", "|S3", "<M8[ns]", "=f4", "f4", ""] {
            let (text, _) = refused(&file(1, &format!("'{other}'"), "False", "(2,)", &[0; 8]));
            assert!(text.starts_with(&format!("`f`: elements `{other}`, allowed are `|b1`")), "{text}");
        }
        let (text, hint) = refused(&file(1, "[('a', '<f4'), ('b', '<f4')]", "False", "(2,)", &[0; 16]));
        assert!(text.contains("elements of several fields") && hint.is_some(), "{text}");
        let (text, hint) = refused(b"PK\x03\x04and so on");
        assert!(text.contains("a zip archive, as `np.savez` writes") && hint.is_some(), "{text}");
    }

    #[test]
    fn a_damaged_header_is_refused() {
        let good = file(1, "'<f4'", "False", "(2, 3)", &[0; 24]);
        let text = |bytes: &[u8]| refused(bytes).0;
        assert_eq!(text(b""), "`f`: no `.npy` file: it does not begin as numpy begins them");
        assert_eq!(text(&good[..60]), "`f`: ends within its header, after 60 bytes");
        assert_eq!(text(&good[..140]), "`f`: the header says shape (2, 3), 24 bytes, but 12 follow");
        let longer = [&good[..], &[0]].concat();
        assert_eq!(text(&longer), "`f`: the header says shape (2, 3), 24 bytes, but 25 follow");
        let mut other = good.clone();
        other[6] = 4;
        assert_eq!(text(&other), "`f`: version 4 of the format, versions 1 to 3 are read");
        let huge = [MAGIC.as_slice(), &[2, 0], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(text(&huge), "`f`: a header of 4294967295 bytes, at most 65535 are allowed");
        let sides = file(1, "'<f4'", "False", "(18446744073709551615, 8)", &[]);
        assert!(text(&sides).contains("more bytes than there can be"));
        for (descr, fortran, shape) in [
            ("'<f4'", "False", "(2)"),
            ("'<f4'", "False", "(-1,)"),
            ("'<f4'", "False", "(1.0,)"),
            ("'<f4'", "False", "[2]"),
            ("'<f4'", "0", "(2,)"),
            ("'<f4", "False", "(2,)"),
            ("True", "False", "(2,)"),
            ("'<f4', 'descr': '<f4'", "False", "(2,)"),
            ("'<f4', 'x': '<f4'", "False", "(2,)"),
        ] {
            let text = text(&file(1, descr, fortran, shape, &[0; 8]));
            assert!(text.contains("a header that cannot be read"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 0..4),
        ) {
            let mut good = file(1, "'<i2'", "False", "(2, 3)", &[7; 12]);
            for (at, bit) in &flips {
                let at = at.index(good.len());
                good[at] ^= 1 << bit;
            }
            for bytes in [[MAGIC.as_slice(), &[1, 0], &bytes].concat(), bytes, good] {
                match read(&bytes) {
                    Ok(Header { element, shape, offset }) => {
                        let elements: usize = shape.iter().product();
                        prop_assert_eq!(offset as usize + elements * element.bytes(), bytes.len());
                    }
                    Err(error) => prop_assert_eq!(error.kind(), Kind::Data),
                }
            }
        }
    }
}
