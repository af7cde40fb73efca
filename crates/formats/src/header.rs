//! The head of a checkpoint file: eight bytes of length, then one JSON object. Everything in it is a claim
//! until its checksum, its keys and its offsets have been checked, and that happens here, before the
//! `safetensors` crate sees it: that crate keeps the last of two equal keys and adds offsets unchecked.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use rigl_base::{Error, Result};
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use crate::metadata::{Map, check_version};

/// Bytes of the length in front of the header.
pub(crate) const PREFIX: usize = 8;

/// Most bytes a header may have: 16 MiB.
pub(crate) const LIMIT: usize = 16 << 20;

/// Metadata key of the checksum of the data.
pub(crate) const DATA_CRC: &str = "crc32c-data";

/// Metadata key of the checksum of the head itself.
pub(crate) const HEADER_CRC: &str = "crc32c-header";

/// What a checksum's digits are while the checksum is computed.
pub(crate) const NO_CRC: &str = "00000000";

/// A checksum as it is written: eight lower-case hexadecimal digits.
pub(crate) fn digits(crc: u32) -> String {
    format!("{crc:08x}")
}

/// Bytes of the whole head, given the first eight of a file that is `file_length` long.
pub(crate) fn length(prefix: [u8; PREFIX], file_length: u64) -> Result<usize> {
    let header = u64::from_le_bytes(prefix);
    if header > LIMIT as u64 {
        return Err(Error::data(format!(
            "not a checkpoint, or damaged: a header of {header} bytes, at most {LIMIT} are allowed"
        )));
    }
    let length = PREFIX + header as usize;
    if length as u64 > file_length {
        return Err(Error::data(format!(
            "cut short: {file_length} bytes long, the header alone ends at {length}"
        )));
    }
    Ok(length)
}

/// Checks a head (prefix and header) and gives its metadata. `data_length` is what lies behind it.
pub(crate) fn read(head: &[u8], data_length: u64) -> Result<Map> {
    let found = find(head, HEADER_CRC);
    if let Some(at) = found {
        let expected = digits(crc_without(head, at));
        if head.get(at..at + NO_CRC.len()) != Some(expected.as_bytes()) {
            return Err(Error::data("damaged: the checksum of the header does not match"));
        }
    }
    let header: Header<Place> = serde_json::from_slice(&head[PREFIX..])
        .map_err(|e| Error::data("not a checkpoint, or damaged: the header is not valid").caused_by(e))?;
    if found.is_none() {
        // Another version may do without this key, so the version, if there is one, says more.
        check_version(&header.metadata)?;
        return Err(Error::data(format!("not a checkpoint, or damaged: no `{HEADER_CRC}` in the header")));
    }
    let end = header.tensors.iter().map(|(_, place)| place.data_offsets.1).max().unwrap_or(0);
    if end > data_length {
        return Err(Error::data(format!("cut short: {data_length} bytes of data, {end} expected")));
    }
    if end < data_length {
        return Err(Error::data(format!("too long: {data_length} bytes of data, {end} expected")));
    }
    Ok(header.metadata)
}

/// Fills in the checksums of a head written with [`NO_CRC`] in their places; `data` is that of what follows it.
pub(crate) fn seal(head: &mut [u8], data: u32) -> Result<()> {
    let missing = || Error::internal("a checkpoint's header was written without checksums");
    let at = find(head, DATA_CRC).ok_or_else(missing)?;
    head[at..at + NO_CRC.len()].copy_from_slice(digits(data).as_bytes());
    let at = find(head, HEADER_CRC).ok_or_else(missing)?;
    let crc = crc_without(head, at);
    head[at..at + NO_CRC.len()].copy_from_slice(digits(crc).as_bytes());
    Ok(())
}

/// Where the digits of checksum `key` begin. Inside a JSON string every quote has a backslash before it, so
/// that this can only find a key.
fn find(head: &[u8], key: &str) -> Option<usize> {
    let pattern = format!("\"{key}\":\"");
    let at = head.windows(pattern.len()).position(|w| w == pattern.as_bytes())? + pattern.len();
    (at + NO_CRC.len() <= head.len()).then_some(at)
}

/// The checksum of `head` as it is with [`NO_CRC`] at `at`.
fn crc_without(head: &[u8], at: usize) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..at]), NO_CRC.as_bytes());
    crc32c::crc32c_append(crc, &head[at + NO_CRC.len()..])
}

/// A header's JSON: metadata, and what is said of each tensor. A name given twice is refused.
pub(crate) struct Header<T> {
    pub(crate) metadata: Map,
    pub(crate) tensors: Vec<(String, T)>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Header<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Header<T>, D::Error> {
        struct Keys<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = Header<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<T>, A::Error> {
                let mut seen = BTreeSet::new();
                let mut header = Header { metadata: Map::new(), tensors: Vec::new() };
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("`{key}` stands there twice")));
                    }
                    if key == "__metadata__" {
                        header.metadata = map.next_value::<Strings>()?.0;
                    } else {
                        header.tensors.push((key, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Keys(PhantomData))
    }
}

/// All of a tensor that has to be known before the data is looked at: where it lies behind the head.
#[derive(Deserialize)]
struct Place {
    data_offsets: (u64, u64),
}

/// A map of strings that refuses a key given twice.
struct Strings(Map);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Strings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
                let mut strings = Map::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if strings.contains_key(&key) {
                        return Err(A::Error::custom(format!("`{key}` stands there twice")));
                    }
                    strings.insert(key, value);
                }
                Ok(Strings(strings))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sealed file of this header and data.
    fn sealed(json: &str, data: &[u8]) -> (Vec<u8>, usize) {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        let end = bytes.len();
        seal(&mut bytes, crc32c::crc32c(data)).unwrap();
        bytes.extend_from_slice(data);
        (bytes, end)
    }

    const CRCS: &str = r#""__metadata__":{"crc32c-data":"00000000","crc32c-header":"00000000"}"#;

    fn refusal(json: &str, data: &[u8]) -> String {
        let (bytes, end) = sealed(json, data);
        let error = read(&bytes[..end], data.len() as u64).unwrap_err();
        assert_eq!(error.kind(), rigl_base::Kind::Data);
        error.to_string()
    }

    #[test]
    fn a_sealed_head_is_read_and_its_padding_is_sealed_too() {
        let (mut bytes, end) = sealed(&format!("{{{CRCS}}}  "), b"");
        assert_eq!(read(&bytes[..end], 0).unwrap()[DATA_CRC], digits(0));
        bytes[end - 1] = b'\n';
        assert!(read(&bytes[..end], 0).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn keys_given_twice_are_refused() {
        let tensor = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        assert!(refusal(&format!("{{{CRCS},{tensor},{tensor}}}"), b"x").contains("`a` stands there twice"));
        assert!(refusal(&format!("{{{CRCS},{CRCS}}}"), b"").contains("`__metadata__` stands there twice"));
        let json = CRCS.replace('{', r#"{"x":"1","x":"2","#);
        assert!(refusal(&format!("{{{json}}}"), b"").contains("`x` stands there twice"));
    }

    #[test]
    fn offsets_beyond_the_file_are_refused_however_large() {
        for end in [2, u64::MAX - 8, u64::MAX] {
            let json = format!(r#"{{{CRCS},"a":{{"dtype":"U8","shape":[1],"data_offsets":[0,{end}]}}}}"#);
            assert!(refusal(&json, b"x").contains("cut short"), "{end}");
        }
        assert!(refusal(&format!("{{{CRCS}}}"), b"x").contains("too long"));
    }

    #[test]
    fn the_length_is_a_claim() {
        assert_eq!(length(2u64.to_le_bytes(), 10).unwrap(), 10);
        assert!(length(2u64.to_le_bytes(), 9).unwrap_err().to_string().contains("cut short"));
        for huge in [LIMIT as u64 + 1, u64::MAX - 7, u64::MAX] {
            assert!(length(huge.to_le_bytes(), u64::MAX).unwrap_err().to_string().contains("at most"));
        }
    }

    #[test]
    fn text_that_looks_like_a_checksum_is_not_taken_for_one() {
        let text = serde_json::to_string(r#""crc32c-header":"deadbeef""#).unwrap();
        let json = CRCS.replace('{', &format!("{{\"a\":{text},"));
        let (bytes, end) = sealed(&format!("{{{json}}}"), b"");
        assert!(read(&bytes[..end], 0).is_ok());
    }
}
