//! One checkpoint, one safetensors file. It is read with the `safetensors` crate and written by the few lines
//! here, because the same state must give the same bytes and that crate orders its metadata at random.
//!
//! Two CRC-32C cover every byte of a file, so that a damaged one is refused and never loaded wrong. The format
//! is described in `docs/file-format.md`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rigl_base::error::short;
use rigl_base::{Error, Result, files};
use rigl_graph::state::{Role, State, Tensor, Values};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::header::{self, DATA_CRC, HEADER_CRC, NO_CRC, PREFIX};
use crate::metadata::{self, Map, Metadata};
use crate::pieces::{self, INDICES, Piece, SHAPE, VALUES, crc32c_of, for_each_chunk, head, lent, pieces};
use crate::tensor::{check, key_of, non_finite, role_and_name};

/// A model's state, and where its run stood.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Every tensor, sorted by its key in the file.
    pub state: State<'static>,
    /// Where the run stood, and what its network is.
    pub metadata: Metadata,
}

/// Reads a checkpoint.
///
/// # Errors
/// `Kind::Environment` if the file cannot be read, `Kind::Data` if it is not, byte for byte, what was written.
pub fn read(path: &Path) -> Result<Checkpoint> {
    let (mut bytes, file, length) = read_head(path)?;
    let rest = length - bytes.len() as u64;
    let memory = |e| Error::environment(format!("no memory for `{}`", path.display())).caused_by(e);
    bytes.try_reserve_exact(rest as usize).map_err(memory)?;
    file.take(rest).read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", path, e))?;
    parse(&bytes, &path.display().to_string())
}

/// Reads the metadata alone. The head of the file and its length are checked, its data is not.
///
/// # Errors
/// As [`read`].
pub fn read_metadata(path: &Path) -> Result<Metadata> {
    let (head, _, length) = read_head(path)?;
    header::read(&head, length - head.len() as u64)
        .and_then(|map| Metadata::from_map(&map))
        .map_err(|e| named(e, &path.display().to_string()))
}

/// Writes a checkpoint, all or nothing, and gives its size in bytes.
///
/// # Errors
/// As [`to_bytes`], and `Kind::Environment` if the file cannot be written.
pub fn write(path: &Path, state: &[Tensor<'_>], metadata: &Metadata) -> Result<u64> {
    let (head, pieces) = sealed(state, metadata)?;
    pieces::write(path, head, |take| {
        pieces.iter().try_for_each(|piece| for_each_chunk(&piece.values, &mut *take))
    })
}

/// Parses the bytes of a checkpoint; `file` is its name in messages.
///
/// # Errors
/// `Kind::Data`, naming the file and what is wrong with it.
pub fn parse(bytes: &[u8], file: &str) -> Result<Checkpoint> {
    parse_bytes(bytes).map_err(|e| named(e, file))
}

/// The bytes of a checkpoint. They depend on the state and the metadata alone, not on the order of tensors.
///
/// # Errors
/// `Kind::Diverged`, naming the tensor, if a parameter, buffer or slot holds a number that is not finite.
/// `Kind::Usage` for a name that no key can hold, or a header beyond 16 MiB; `Kind::Internal` for a state that
/// is not well-formed.
pub fn to_bytes(state: &[Tensor<'_>], metadata: &Metadata) -> Result<Vec<u8>> {
    let (mut bytes, pieces) = sealed(state, metadata)?;
    bytes.reserve_exact(pieces.iter().map(Piece::bytes).sum());
    for piece in &pieces {
        for_each_chunk(&piece.values, |chunk| -> Result<()> {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
    }
    Ok(bytes)
}

/// The head of a file with its checksums, and the arrays that follow it.
fn sealed<'a>(state: &'a [Tensor<'_>], metadata: &Metadata) -> Result<(Vec<u8>, Vec<Piece<'a>>)> {
    let mut map = metadata.to_map()?;
    map.insert(DATA_CRC.into(), NO_CRC.into());
    map.insert(HEADER_CRC.into(), NO_CRC.into());
    let pieces = pieces(state, &mut map)?;
    let mut head = head(pieces.iter().map(Piece::entry), &map)?;
    header::seal(&mut head, crc32c_of(0, &pieces)?)?;
    Ok((head, pieces))
}

/// A CRC-32C of the parameters alone: their names, shapes, patterns and values. It tells whether two runs ended
/// at the same weights.
///
/// # Errors
/// As [`to_bytes`].
pub fn parameters_crc32c(state: &[Tensor<'_>]) -> Result<u32> {
    let parameters: Vec<_> = state.iter().filter(|t| t.role == Role::Parameter).map(lent).collect();
    let mut map = Map::new();
    let pieces = pieces(&parameters, &mut map)?;
    crc32c_of(crc32c::crc32c(&head(pieces.iter().map(Piece::entry), &map)?), &pieces)
}

fn named(error: Error, file: &str) -> Error {
    error.context(format!("checkpoint `{file}`"))
}

/// Opens a file and reads its head, unchecked but for its length, which is claimed by the file.
pub(crate) fn read_head(path: &Path) -> Result<(Vec<u8>, File, u64)> {
    let cannot = |e| Error::io("cannot read", path, e);
    let mut file = files::open(path)?;
    let length = file.metadata().map_err(cannot)?.len();
    let mut bytes = Vec::new();
    (&mut file).take(PREFIX as u64).read_to_end(&mut bytes).map_err(cannot)?;
    let head = prefix(&bytes)
        .and_then(|prefix| header::length(prefix, length))
        .map_err(|e| named(e, &path.display().to_string()))?;
    (&mut file).take((head - PREFIX) as u64).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() < head {
        return Err(named(Error::data("cut short while it was read"), &path.display().to_string()));
    }
    Ok((bytes, file, length))
}

fn prefix(bytes: &[u8]) -> Result<[u8; PREFIX]> {
    bytes
        .first_chunk()
        .copied()
        .ok_or_else(|| Error::data(format!("cut short: {} bytes long, no header", bytes.len())))
}

fn parse_bytes(bytes: &[u8]) -> Result<Checkpoint> {
    let end = header::length(prefix(bytes)?, bytes.len() as u64)?;
    let (head, data) = bytes.split_at(end);
    let map = header::read(head, data.len() as u64)?;
    let metadata = Metadata::from_map(&map)?;
    if metadata::text(&map, DATA_CRC)? != header::digits(crc32c::crc32c(data)) {
        return Err(Error::data("damaged: the checksum of the data does not match"));
    }
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::data("not a valid safetensors file").caused_by(e))?;
    let views: BTreeMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
    Ok(Checkpoint { state: state(&views, &map)?, metadata })
}

/// Puts tensors together from the arrays of a file.
fn state(views: &BTreeMap<String, TensorView<'_>>, map: &Map) -> Result<State<'static>> {
    let shape_of = |base: &str| -> Result<Vec<usize>> {
        serde_json::from_str(metadata::text(map, &format!("{SHAPE}{base}"))?).map_err(|e| {
            Error::data(format!("the shape of `{}` is not a list of sizes", short(base))).caused_by(e)
        })
    };
    let mut state = State::new();
    let mut sparse = 0;
    for (key, view) in views {
        let (base, shape, indices) = if let Some(base) = key.strip_suffix(VALUES) {
            sparse += 1;
            let indices = views.get(&format!("{base}{INDICES}"));
            let indices =
                indices.ok_or_else(|| Error::data(format!("`{}` without its indices", short(key))))?;
            let Values::U32(indices) = values(base, indices)? else {
                return Err(Error::data(format!("the indices of `{}` are not of type U32", short(base))));
            };
            if views.contains_key(base) {
                return Err(Error::data(format!("`{}` is there both dense and sparse", short(base))));
            }
            (base, shape_of(base)?, Some(indices))
        } else if let Some(base) = key.strip_suffix(INDICES) {
            if !views.contains_key(&format!("{base}{VALUES}")) {
                return Err(Error::data(format!("`{}` without its values", short(key))));
            }
            continue;
        } else {
            (&**key, view.shape().to_vec(), None)
        };
        let (role, name) = role_and_name(base)
            .ok_or_else(|| Error::data(format!("`{}` is not a key of this format version", short(base))))?;
        let tensor =
            Tensor { name: name.to_owned().into(), role, shape, values: values(base, view)?, indices };
        check(&tensor).map_err(|problem| Error::data(format!("`{}`: {problem}", short(base))))?;
        if let Some(at) = non_finite(&tensor) {
            return Err(Error::data(format!("`{}`: number {at} is not finite", short(base))));
        }
        state.push(tensor);
    }
    if map.keys().filter(|key| key.starts_with(SHAPE)).count() != sparse {
        return Err(Error::data("a shape without its tensor"));
    }
    state.sort_by_cached_key(|t| key_of(&t.role, &t.name));
    Ok(state)
}

/// The numbers of an array, which the file keeps little-endian.
fn values(base: &str, view: &TensorView<'_>) -> Result<Values<'static>> {
    fn numbers<T, const N: usize>(view: &TensorView<'_>, number: fn([u8; N]) -> T) -> Vec<T> {
        view.data().as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
    }
    match view.dtype() {
        Dtype::F32 => Ok(Values::F32(numbers(view, f32::from_le_bytes).into())),
        Dtype::U8 => Ok(Values::U8(view.data().to_vec().into())),
        Dtype::U32 => Ok(Values::U32(numbers(view, u32::from_le_bytes).into())),
        Dtype::U64 => Ok(Values::U64(numbers(view, u64::from_le_bytes).into())),
        other => {
            Err(Error::data(format!("`{}` is of type {other}, allowed are F32, U8, U32, U64", short(base))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::BUFFER;
    use proptest::prelude::*;
    use rigl_base::{Kind, files};

    fn tensor(role: Role, name: &str, shape: &[usize], values: Values<'static>) -> Tensor<'static> {
        Tensor { name: name.to_owned().into(), role, shape: shape.to_vec(), values, indices: None }
    }

    fn sparse(role: Role, name: &str, shape: &[usize], pairs: &[(u32, f32)]) -> Tensor<'static> {
        let values = Values::F32(pairs.iter().map(|p| p.1).collect::<Vec<_>>().into());
        let indices = pairs.iter().map(|p| p.0).collect::<Vec<_>>();
        Tensor { indices: Some(indices.into()), ..tensor(role, name, shape, values) }
    }

    /// One of everything; sorted by key. The committed file of format version 1 holds exactly this.
    fn sample() -> (State<'static>, Metadata) {
        let momentum = || Role::Slot("momentum".into());
        let state = vec![
            tensor(Role::Buffer, "bn.running_var", &[2], Values::F32(vec![0.5, f32::MIN_POSITIVE].into())),
            tensor(Role::Method, "explored/fc.weight", &[3], Values::U8(vec![1, 0, 255].into())),
            tensor(Role::Method, "updates", &[], Values::U64(vec![u64::MAX].into())),
            tensor(Role::Parameter, "fc.bias", &[2], Values::F32(vec![-0.0, 1e-45].into())),
            sparse(Role::Parameter, "fc.weight", &[2, 3, 4], &[(0, 1.5), (7, -2.25), (23, 0.0)]),
            sparse(Role::Parameter, "none.weight", &[0, 5], &[]),
            tensor(momentum(), "counts", &[1, 2], Values::U32(vec![7, u32::MAX].into())),
            sparse(momentum(), "fc.weight", &[2, 3, 4], &[(0, 1.0), (7, 2.0), (23, 3.0)]),
        ];
        let metadata = Metadata {
            arithmetic_version: 1,
            step: 300,
            draw: 303,
            updated: true,
            elapsed_s: 12.25,
            log_length: 4096,
            configuration: "[method]\nname = \"rigl\"\n".into(),
            graph: "x = input [3]".into(),
            classes: vec!["cat".into(), "dog".into()],
            preprocessing: "none".into(),
            extra: [("note".to_owned(), "ü".to_owned())].into(),
            ..Metadata::default()
        };
        (state, metadata)
    }

    fn sample_bytes() -> Vec<u8> {
        let (state, metadata) = sample();
        to_bytes(&state, &metadata).unwrap()
    }

    /// Lets a file with a changed header or changed data pass the checksums.
    fn resealed(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
        let old = header::length(prefix(&bytes).unwrap(), u64::MAX).unwrap();
        let text = std::str::from_utf8(&bytes[PREFIX..old]).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        let mut text = text.replacen(from, to, 1);
        for key in [DATA_CRC, HEADER_CRC] {
            let at = text.find(key).unwrap() + key.len() + 3;
            text.replace_range(at..at + 8, NO_CRC);
        }
        let mut new = (text.len() as u64).to_le_bytes().to_vec();
        new.extend_from_slice(text.as_bytes());
        let mut data = bytes.split_off(old);
        header::seal(&mut new, crc32c::crc32c(&data)).unwrap();
        new.append(&mut data);
        new
    }

    #[test]
    fn a_file_holds_the_bytes_that_would_be_in_memory_whatever_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let (state, metadata) = sample();
        let mut large = state.clone();
        // Several buffers, and an end inside one.
        let values: Vec<f32> = (0..3 * BUFFER / 4 + 5).map(|i| i as f32).collect();
        large.push(Tensor {
            name: "large".into(),
            role: Role::Parameter,
            shape: vec![values.len()],
            values: Values::F32(values.into()),
            indices: None,
        });
        for state in [state, large] {
            let length = write(&path, &state, &metadata).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes == to_bytes(&state, &metadata).unwrap() && bytes.len() as u64 == length);
            assert!(read(&path).is_ok());
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (state, metadata) = sample();
        let checkpoint = parse(&sample_bytes(), "a").unwrap();
        assert_eq!(checkpoint.state, state);
        assert_eq!(checkpoint.metadata, metadata);
        let empty = parse(&to_bytes(&[], &Metadata::default()).unwrap(), "a").unwrap();
        assert_eq!(empty, Checkpoint { state: vec![], metadata: Metadata::default() });
    }

    #[test]
    fn the_file_of_format_version_1_is_read_and_still_written_alike() {
        let committed = include_bytes!("../tests/format-1.safetensors");
        let (state, metadata) = sample();
        assert_eq!(parse(committed, "format-1").unwrap(), Checkpoint { state, metadata });
        assert!(sample_bytes() == committed, "the bytes of format version 1 have changed");
    }

    #[test]
    fn the_order_of_tensors_does_not_change_the_bytes() {
        let (mut state, metadata) = sample();
        state.reverse();
        assert_eq!(to_bytes(&state, &metadata).unwrap(), sample_bytes());
    }

    #[test]
    fn every_flipped_bit_is_an_error_that_names_the_file() {
        let bytes = sample_bytes();
        for at in 0..bytes.len() {
            for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut damaged = bytes.clone();
                damaged[at] ^= mask;
                let error = parse(&damaged, "some-file").expect_err("a flipped byte was not seen");
                assert_eq!(error.kind(), Kind::Data, "byte {at}: {error}");
                assert!(error.to_string().contains("some-file"), "{error}");
            }
        }
    }

    #[test]
    fn every_cut_is_an_error_that_names_the_file() {
        let mut bytes = sample_bytes();
        bytes.push(0);
        for length in (0..bytes.len() - 1).chain([bytes.len()]) {
            let error = parse(&bytes[..length], "some-file").expect_err("a cut was not seen");
            assert_eq!(error.kind(), Kind::Data, "length {length}: {error}");
            assert!(error.to_string().contains("some-file"), "{error}");
        }
    }

    #[test]
    fn files_are_written_and_read_and_their_metadata_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let (state, metadata) = sample();
        assert_eq!(write(&path, &state, &metadata).unwrap(), sample_bytes().len() as u64);
        assert_eq!(read(&path).unwrap(), Checkpoint { state, metadata: metadata.clone() });
        assert_eq!(read_metadata(&path).unwrap(), metadata);
        for length in (0..sample_bytes().len()).step_by(61) {
            files::write_atomic(&path, &sample_bytes()[..length]).unwrap();
            for error in [read(&path).unwrap_err(), read_metadata(&path).unwrap_err()] {
                assert_eq!(error.kind(), Kind::Data, "{error}");
                assert!(error.to_string().contains("a.safetensors"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_not_a_file_is_an_error_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("absent")] {
            assert_eq!(read(&path).unwrap_err().kind(), Kind::Environment);
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_not_written() {
        for role in [Role::Parameter, Role::Buffer, Role::Slot("momentum".into())] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let state = [tensor(role.clone(), "fc.weight", &[2], Values::F32(vec![1.0, bad].into()))];
                let error = to_bytes(&state, &Metadata::default()).unwrap_err();
                assert_eq!(error.kind(), Kind::Diverged);
                assert!(error.to_string().contains("fc.weight"), "{error}");
            }
        }
    }

    #[test]
    fn a_state_that_is_not_well_formed_is_not_written() {
        let refused = |tensors: &[Tensor<'_>]| to_bytes(tensors, &Metadata::default()).unwrap_err().kind();
        let fine = sparse(Role::Parameter, "w", &[4], &[(1, 1.0), (2, 1.0)]);
        assert_eq!(refused(&[fine.clone(), fine.clone()]), Kind::Internal);
        assert_eq!(refused(&[sparse(Role::Parameter, "w", &[4], &[(2, 1.0), (1, 1.0)])]), Kind::Internal);
        assert_eq!(refused(&[Tensor { name: "".into(), ..fine.clone() }]), Kind::Usage);
        assert_eq!(refused(&[Tensor { name: "a:values".into(), ..fine.clone() }]), Kind::Usage);
        assert_eq!(refused(&[Tensor { role: Role::Slot("a/b".into()), ..fine }]), Kind::Usage);
        let huge = Metadata { configuration: "x".repeat(header::LIMIT), ..Metadata::default() };
        assert_eq!(to_bytes(&[], &huge).unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn sealed_files_that_are_not_checkpoints_are_refused() {
        let cases = [
            (r#""format-version":"1""#, r#""format-version":"2""#, "format version 2"),
            (r#""format-version":"1","#, "", "no `format-version`"),
            (r#""shape:parameter/fc.weight":"[2,3,4]""#, r#""shape:parameter/fc.weight":"[2,3]""#, "outside"),
            (r#""shape:parameter/fc.weight":"[2,3,4]""#, r#""shape:parameter/fc.weight":"[-1]""#, "a list"),
            (r#""shape:parameter/fc.weight":"#, r#""shape:parameter/fd.weight":"#, "no `shape:"),
            (r#""shape:parameter/fc.weight":"#, r#""shape:x":"[]","shape:parameter/fc.weight":"#, "a shape"),
            (r#""parameter/fc.weight:indices""#, r#""parameter/fd.weight:indices""#, "without its"),
            (r#""parameter/fc.weight:values""#, r#""parameter/fd.weight""#, "without its values"),
            (r#""parameter/fc.bias""#, r#""parameter/fc.weight""#, "both dense and sparse"),
            (r#""parameter/fc.bias""#, r#""other/fc.bias""#, "not a key"),
            (r#""method/updates":{"dtype":"U64""#, r#""method/updates":{"dtype":"F64""#, "type F64"),
            (
                r#""parameter/fc.bias":{"dtype":"F32","shape":[2]"#,
                r#""parameter/fc.bias":{"dtype":"F32","shape":[3]"#,
                "shape",
            ),
            (r#""step":"300""#, r#""step":"three""#, "`step` is `three`"),
            (r#""class-names":"["#, r#""class-names":"("#, "list of names"),
        ];
        for (from, to, expected) in cases {
            let error = parse(&resealed(sample_bytes(), from, to), "f").expect_err(to);
            assert_eq!(error.kind(), Kind::Data);
            assert!(error.to_string().contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn messages_are_a_line_whatever_names_the_file_holds() {
        for name in ["\\u007f\\n\\u0000", &"x".repeat(100_000)] {
            let file = resealed(sample_bytes(), r#""parameter/fc.bias""#, &format!("\"other/{name}\""));
            let text = parse(&file, "f").unwrap_err().to_string();
            assert!(text.contains("other/") && text.contains("not a key"), "{text}");
            assert!(text.len() < 300 && !text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn other_safetensors_files_are_called_what_they_are() {
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let bytes = safetensors::serialize([("weight", view)], None).unwrap();
        let error = parse(&bytes, "other").unwrap_err();
        assert!(error.to_string().contains("`other`: not a checkpoint: no `format-version`"), "{error}");
    }

    #[test]
    fn the_checksum_of_parameters_follows_values_and_patterns_alone() {
        let (mut state, _) = sample();
        let crc = parameters_crc32c(&state).unwrap();
        state.remove(0);
        assert_eq!(parameters_crc32c(&state).unwrap(), crc);
        let moved = sparse(Role::Parameter, "fc.weight", &[2, 3, 4], &[(0, 1.5), (8, -2.25), (23, 0.0)]);
        state.retain(|t| t.role != Role::Parameter || t.name != "fc.weight");
        state.push(moved);
        assert_ne!(parameters_crc32c(&state).unwrap(), crc);
    }

    proptest! {
        #[test]
        fn any_state_survives(
            dense in prop::collection::vec(-1e30f32..1e30, 0..20),
            pairs in prop::collection::btree_map(0u32..1000, -1e30f32..1e30, 0..50),
            words in prop::collection::vec(any::<u64>(), 0..5),
            text in ".{0,40}",
        ) {
            let pairs: Vec<_> = pairs.into_iter().collect();
            let state = vec![
                tensor(Role::Method, "m", &[words.len()], Values::U64(words.into())),
                tensor(Role::Parameter, "a", &[1, dense.len()], Values::F32(dense.into())),
                sparse(Role::Parameter, "b", &[10, 100], &pairs),
            ];
            let metadata = Metadata { configuration: text, ..Metadata::default() };
            let bytes = to_bytes(&state, &metadata).unwrap();
            let checkpoint = parse(&bytes, "a").unwrap();
            prop_assert_eq!(&checkpoint, &Checkpoint { state, metadata });
            prop_assert_eq!(to_bytes(&checkpoint.state, &checkpoint.metadata).unwrap(), bytes);
        }

        #[test]
        fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(parse(&bytes, "a").unwrap_err().kind(), Kind::Data);
        }
    }
}
