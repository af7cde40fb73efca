//! A state as the arrays of a file: their order, the header that tells it, their bytes and checksum. Header and
//! writing serve other files of arrays too.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rigl_base::{Error, Result, files};
use rigl_graph::state::{Tensor, Values};

use crate::header::{LIMIT, PREFIX};
use crate::metadata::Map;
use crate::tensor::{check, key_of, list, non_finite, role_and_name};

/// Ending of the key under which the values of a sparse tensor stand.
pub(crate) const VALUES: &str = ":values";
/// Ending of the key of its indices.
pub(crate) const INDICES: &str = ":indices";
/// Beginning of the metadata's key for its natural shape.
pub(crate) const SHAPE: &str = "shape:";

/// An array of the file: a dense tensor, or one half of a sparse one.
pub(crate) struct Piece<'a> {
    key: String,
    shape: Cow<'a, [usize]>,
    pub(crate) values: Values<'a>,
}

impl Piece<'_> {
    /// The name of its type in the file, and the bytes of one number.
    fn element(&self) -> (&'static str, usize) {
        match self.values {
            Values::F32(_) => ("F32", 4),
            Values::U8(_) => ("U8", 1),
            Values::U32(_) => ("U32", 4),
            Values::U64(_) => ("U64", 8),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.len() * self.element().1
    }

    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry { key: &self.key, dtype: self.element().0, shape: &self.shape, bytes: self.bytes() }
    }
}

/// An array as the header tells it.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a str,
    /// The name of its type in the file.
    pub(crate) dtype: &'static str,
    pub(crate) shape: &'a [usize],
    pub(crate) bytes: usize,
}

/// The arrays of a file in their order: wide numbers first, so that all are aligned, then by key. The natural
/// shapes of sparse tensors are added to the metadata.
pub(crate) fn pieces<'a>(state: &'a [Tensor<'_>], map: &mut Map) -> Result<Vec<Piece<'a>>> {
    let mut keys = BTreeSet::new();
    let mut pieces = Vec::new();
    for tensor in state {
        let base = key_of(&tensor.role, &tensor.name);
        match role_and_name(&base) {
            Some((role, name)) if role == tensor.role && name == tensor.name => {}
            _ => return Err(Error::usage(format!("no file can hold a tensor named `{}`", tensor.name))),
        }
        check(tensor).map_err(|problem| Error::internal(format!("`{base}`: {problem}")))?;
        if let Some(at) = non_finite(tensor) {
            return Err(Error::diverged(format!("`{base}`: number {at} is not finite")));
        }
        if !keys.insert(base.clone()) {
            return Err(Error::internal(format!("`{base}` is in the state twice")));
        }
        let values = borrow(&tensor.values);
        if let Some(indices) = &tensor.indices {
            let shape: Cow<'_, [usize]> = vec![indices.len()].into();
            let indices = Values::U32(Cow::Borrowed(indices));
            pieces.push(Piece { key: format!("{base}{VALUES}"), shape: shape.clone(), values });
            pieces.push(Piece { key: format!("{base}{INDICES}"), shape, values: indices });
            map.insert(format!("{SHAPE}{base}"), list(&tensor.shape));
        } else {
            pieces.push(Piece { key: base, shape: Cow::Borrowed(&tensor.shape), values });
        }
    }
    pieces.sort_by(|a, b| (Reverse(a.element().1), &a.key).cmp(&(Reverse(b.element().1), &b.key)));
    Ok(pieces)
}

/// Prefix and header, padded with spaces to a multiple of eight bytes.
pub(crate) fn head<'a>(entries: impl Iterator<Item = Entry<'a>>, map: &Map) -> Result<Vec<u8>> {
    let mut text = format!("{{\"__metadata__\":{}", json(map)?);
    let mut start = 0;
    for Entry { key, dtype, shape, bytes } in entries {
        let (shape, end) = (list(shape), start + bytes);
        text += &format!(
            ",{}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}",
            json(key)?
        );
        start = end;
    }
    text.push('}');
    text += &" ".repeat(text.len().next_multiple_of(PREFIX) - text.len());
    if text.len() > LIMIT {
        return Err(Error::usage(format!(
            "a header of {} bytes: configuration, graph and names may take {LIMIT}",
            text.len()
        )));
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    Ok(bytes)
}

/// Writes a file, all or nothing: its head, then what `fill` hands over, collected into large pieces. Gives its size.
pub(crate) fn write(
    path: &Path,
    head: Vec<u8>,
    fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
) -> Result<u64> {
    let mut buffer = head;
    let mut length = 0;
    files::write_atomic_with(path, |writer| {
        fill(&mut |chunk| {
            buffer.extend_from_slice(chunk);
            if buffer.len() < BUFFER {
                return Ok(());
            }
            length += buffer.len() as u64;
            let written = writer.write_all(&buffer);
            buffer.clear();
            written
        })?;
        length += buffer.len() as u64;
        writer.write_all(&buffer)
    })?;
    Ok(length)
}

/// Bytes that are collected before they are written: large enough for the disk, small beside any state.
pub(crate) const BUFFER: usize = 1 << 20;

/// Hands the numbers on, little-endian, a chunk at a time.
pub(crate) fn for_each_chunk<E>(
    values: &Values<'_>,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    fn numbers<T: Copy, E, const N: usize>(
        values: &[T],
        of: fn(T) -> [u8; N],
        take: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = [0; 1 << 13];
        for part in values.chunks((1 << 13) / N) {
            let bytes = &mut bytes[..part.len() * N];
            for (place, &value) in bytes.as_chunks_mut().0.iter_mut().zip(part) {
                *place = of(value);
            }
            take(bytes)?;
        }
        Ok(())
    }
    match values {
        Values::F32(v) => numbers(v, f32::to_le_bytes, &mut take),
        Values::U8(v) => take(v),
        Values::U32(v) => numbers(v, u32::to_le_bytes, &mut take),
        Values::U64(v) => numbers(v, u64::to_le_bytes, &mut take),
    }
}

fn borrow<'a>(values: &'a Values<'_>) -> Values<'a> {
    match values {
        Values::F32(v) => Values::F32(Cow::Borrowed(v)),
        Values::U8(v) => Values::U8(Cow::Borrowed(v)),
        Values::U32(v) => Values::U32(Cow::Borrowed(v)),
        Values::U64(v) => Values::U64(Cow::Borrowed(v)),
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("cannot write JSON").caused_by(e))
}

/// The checksum of the arrays after that of what stands before them.
pub(crate) fn crc32c_of(before: u32, pieces: &[Piece<'_>]) -> Result<u32> {
    let mut crc = before;
    for piece in pieces {
        for_each_chunk(&piece.values, |chunk| -> Result<()> {
            crc = crc32c::crc32c_append(crc, chunk);
            Ok(())
        })?;
    }
    Ok(crc)
}

/// The same tensor, borrowed.
pub(crate) fn lent<'a>(tensor: &'a Tensor<'_>) -> Tensor<'a> {
    Tensor {
        name: Cow::Borrowed(&tensor.name),
        role: tensor.role.clone(),
        shape: tensor.shape.clone(),
        values: borrow(&tensor.values),
        indices: tensor.indices.as_ref().map(|indices| Cow::Borrowed(&**indices)),
    }
}
