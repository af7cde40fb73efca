//! What any safetensors file says of itself: the arrays it holds and its metadata. Its numbers are not read.

use std::path::Path;

use rigl_base::error::short;
use rigl_base::{Error, Result, shown};
use serde::Deserialize;

use crate::checkpoint::read_head;
use crate::header::{Header, PREFIX};
use crate::metadata::{FORMAT, Map};

/// What a file says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Its metadata.
    pub metadata: Map,
    /// Its arrays, in the order of their names.
    pub arrays: Vec<ArrayInfo>,
}

/// What a file says of one of its arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayInfo {
    /// Its name.
    pub name: String,
    /// The type of its numbers, `F32`.
    pub dtype: String,
    /// Its sizes, the outermost dimension first; none for a single number.
    pub shape: Vec<u64>,
    /// The bytes it takes.
    pub bytes: u64,
}

impl Contents {
    /// Whether the file says that it is a checkpoint, or a file of patterns: [`checkpoint::read`](crate::checkpoint::read)
    /// reads those, and checks them.
    pub fn is_checkpoint(&self) -> bool {
        self.metadata.contains_key(FORMAT)
    }
}

impl ArrayInfo {
    /// How many numbers it holds.
    pub fn numbers(&self) -> u64 {
        self.shape.iter().fold(1, |count: u64, &side| count.saturating_mul(side))
    }
}

/// Reads what the file says, checked against its length.
///
/// # Errors
/// `Kind::Environment` if the file cannot be read, `Kind::Data` if it is no safetensors file.
pub fn read(path: &Path) -> Result<Contents> {
    let (head, _, length) = read_head(path)?;
    parse(&head[PREFIX..], length - head.len() as u64)
        .map_err(|e| e.context(format!("`{}`", shown::path(path))))
}

/// What a header, the JSON behind its length, says of the `data_length` bytes behind it.
///
/// # Errors
/// `Kind::Data` if it is no header of a safetensors file, or claims more than these bytes.
pub fn parse(json: &[u8], data_length: u64) -> Result<Contents> {
    let header: Header<Claim> =
        serde_json::from_slice(json).map_err(|e| Error::data("not a safetensors file").caused_by(e))?;
    let Header { metadata, tensors: mut arrays } = header;
    arrays.sort_by(|(a, _), (b, _)| a.cmp(b));
    let check = |(name, claim): (String, Claim)| {
        let (begin, end) = claim.data_offsets;
        match end.checked_sub(begin) {
            Some(bytes) if end <= data_length => {
                Ok(ArrayInfo { name, dtype: claim.dtype, shape: claim.shape, bytes })
            }
            _ => Err(Error::data(format!(
                "array `{}` is said to lie at {begin} to {end} of {data_length} bytes",
                short(&name)
            ))),
        }
    };
    Ok(Contents { metadata, arrays: arrays.into_iter().map(check).collect::<Result<_>>()? })
}

#[derive(Deserialize)]
struct Claim {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::export::{self, Array, Numbers};

    #[test]
    fn what_export_wrote_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.safetensors");
        let array =
            |name: &str, shape: &[usize], numbers| Array { name: name.into(), shape: shape.into(), numbers };
        let arrays = [
            array("fc.weight", &[2, 3], Numbers::Scattered { values: &[1.0], indices: &[4] }),
            array("count", &[], Numbers::I64(vec![7].into())),
            array("mask", &[2, 3], Numbers::Mask(&[0])),
        ];
        let about = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        export::write(&path, &arrays, &about).unwrap();
        let found = read(&path).unwrap();
        assert!(!found.is_checkpoint() && found.metadata == about);
        let rows: Vec<_> = found.arrays.iter().map(|a| (&*a.name, &*a.dtype, a.numbers(), a.bytes)).collect();
        assert_eq!(rows, [("count", "I64", 1, 8), ("fc.weight", "F32", 6, 24), ("mask", "BOOL", 6, 6)]);
    }

    #[test]
    fn a_header_that_claims_what_cannot_be_is_refused() {
        for (json, message) in [
            ("", "not a safetensors file"),
            (
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[9],\"data_offsets\":[0,36]}}",
                "`a` is said to lie at 0 to 36 of 8",
            ),
            (
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[8,4]}}",
                "`a` is said to lie at 8 to 4",
            ),
            ("{\"__metadata__\":{},\"__metadata__\":{}}", "stands there twice"),
        ] {
            let error = parse(json.as_bytes(), 8).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        let wild = "{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551615,3],\"data_offsets\":[0,8]}}";
        assert_eq!(parse(wild.as_bytes(), 8).unwrap().arrays[0].numbers(), u64::MAX);
    }
}
