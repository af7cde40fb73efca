//! Files for other programs: safetensors files whose arrays are dense, under plain names. A network has the names and
//! shapes of PyTorch's `state_dict`, so that a module of the same architecture loads it with `strict=True`.
//!
//! Dense arrays are made while they are written: no array of the dense size is in memory.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rigl_base::{Error, Result, files};
use rigl_graph::state::{self, Role, Tensor, Values};
use rigl_graph::{Graph, Op};

use crate::pieces::{self, Entry, for_each_chunk, head};
use crate::tensor::list;

/// An array of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<'a> {
    /// Its name in the file, all of it.
    pub name: String,
    /// Its sizes, the outermost dimension first; none for a single number.
    pub shape: Vec<usize>,
    /// What it holds, row-major.
    pub numbers: Numbers<'a>,
}

/// What an array holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers<'a> {
    /// All of its numbers (`F32`).
    F32(Cow<'a, [f32]>),
    /// Whole numbers (`I64`, the type of labels and counters in PyTorch).
    I64(Cow<'a, [i64]>),
    /// Values at some positions, sorted, and zeros everywhere else (`F32`).
    Scattered {
        /// One for each position.
        values: &'a [f32],
        /// The positions.
        indices: &'a [u32],
    },
    /// True at these positions, sorted, and false everywhere else (`BOOL`).
    Mask(&'a [u32]),
}

/// The parameters and buffers of a network. Each norm has PyTorch's counter of batches too, at `batches`.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data) if the state does not fit the graph, naming the tensor.
pub fn network<'a>(graph: &Graph, state: &'a [Tensor<'_>], batches: u64) -> Result<Vec<Array<'a>>> {
    state::check(graph, state)?;
    let held = |tensor: &&Tensor<'_>| matches!(tensor.role, Role::Parameter | Role::Buffer);
    let mut arrays = Vec::new();
    for tensor in state.iter().filter(held) {
        let numbers = match (tensor.values.as_f32(), &tensor.indices) {
            (Some(values), None) => Numbers::F32(values.into()),
            (Some(values), Some(indices)) => Numbers::Scattered { values, indices },
            (None, _) => return Err(Error::internal("a checked state holds what is no 32-bit float")),
        };
        arrays.push(Array { name: tensor.name.to_string(), shape: tensor.shape.clone(), numbers });
    }
    for norm in graph.nodes().iter().filter(|node| matches!(node.op, Op::BatchNorm { .. })) {
        let batches = vec![i64::try_from(batches).unwrap_or(i64::MAX)];
        arrays.push(Array {
            name: format!("{}.num_batches_tracked", norm.name),
            shape: Vec::new(),
            numbers: Numbers::I64(batches.into()),
        });
    }
    Ok(arrays)
}

/// The masks of a network's sparse weights, under the names of the weights.
///
/// # Errors
/// As [`network`].
pub fn masks<'a>(graph: &Graph, state: &'a [Tensor<'_>]) -> Result<Vec<Array<'a>>> {
    state::check(graph, state)?;
    let parameters = state.iter().filter(|tensor| tensor.role == Role::Parameter);
    let mask = |tensor: &'a Tensor<'_>| {
        let indices = tensor.indices.as_deref()?;
        let (name, shape) = (tensor.name.to_string(), tensor.shape.clone());
        Some(Array { name, shape, numbers: Numbers::Mask(indices) })
    };
    Ok(parameters.filter_map(mask).collect())
}

/// Writes a file, all or nothing, and gives its size in bytes. The same arrays and metadata give the same bytes. What an
/// earlier write to it left half done when it was killed is removed.
///
/// # Errors
/// `Kind::Internal` for an array that is not well-formed or is there twice, `Kind::Usage` for a header beyond 16 MiB,
/// `Kind::Environment` if the file cannot be written.
pub fn write(path: &Path, arrays: &[Array<'_>], metadata: &BTreeMap<String, String>) -> Result<u64> {
    let mut names = BTreeSet::from(["__metadata__"]);
    for array in arrays {
        array.check().map_err(|problem| Error::internal(format!("array `{}`: {problem}", array.name)))?;
        if !names.insert(&array.name) {
            return Err(Error::internal(format!("array `{}` is there twice", array.name)));
        }
    }
    // Wide numbers first, so that all are aligned.
    let mut sorted: Vec<&Array<'_>> = arrays.iter().collect();
    sorted.sort_by_key(|array| (Reverse(array.element().1), &array.name));
    let head = head(sorted.iter().map(|array| array.entry()), metadata)?;
    files::clear_abandoned(path);
    pieces::write(path, head, |take| sorted.iter().try_for_each(|array| array.for_each_chunk(take)))
}

impl Array<'_> {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The name of its type in the file, and the bytes of one number.
    fn element(&self) -> (&'static str, usize) {
        match self.numbers {
            Numbers::F32(_) | Numbers::Scattered { .. } => ("F32", 4),
            Numbers::I64(_) => ("I64", 8),
            Numbers::Mask(_) => ("BOOL", 1),
        }
    }

    fn entry(&self) -> Entry<'_> {
        let (dtype, bytes) = self.element();
        Entry { key: &self.name, dtype, shape: &self.shape, bytes: bytes * self.len() }
    }

    fn check(&self) -> Result<(), String> {
        let size = self.shape.iter().try_fold(self.element().1, |size, &side| size.checked_mul(side));
        if size.is_none() {
            return Err(format!("a shape of {} is too large", list(&self.shape)));
        }
        let places = |indices: &[u32]| {
            let sorted = indices.windows(2).all(|pair| pair[0] < pair[1]);
            sorted && indices.last().is_none_or(|&last| (last as usize) < self.len())
        };
        let fits = match &self.numbers {
            Numbers::F32(numbers) => numbers.len() == self.len(),
            Numbers::I64(numbers) => numbers.len() == self.len(),
            Numbers::Scattered { values, indices } => values.len() == indices.len() && places(indices),
            Numbers::Mask(indices) => places(indices),
        };
        if fits { Ok(()) } else { Err(format!("its numbers do not fit a shape of {}", list(&self.shape))) }
    }

    /// Hands the numbers on, little-endian, a chunk at a time.
    fn for_each_chunk<E>(&self, take: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match &self.numbers {
            Numbers::F32(numbers) => for_each_chunk(&Values::F32(Cow::Borrowed(numbers)), take),
            Numbers::I64(numbers) => numbers.iter().try_for_each(|number| take(&number.to_le_bytes())),
            Numbers::Scattered { values, indices } => {
                scatter(self.len(), indices, |at| values[at], &mut |numbers| {
                    for_each_chunk(&Values::F32(Cow::Borrowed(numbers)), &mut *take)
                })
            }
            Numbers::Mask(indices) => scatter(self.len(), indices, |_| 1u8, take),
        }
    }
}

/// Hands on `len` numbers, a chunk at a time: `of(k)` at the k-th of these positions, zero elsewhere.
fn scatter<T: Copy + Default, E>(
    len: usize,
    indices: &[u32],
    of: impl Fn(usize) -> T,
    take: &mut dyn FnMut(&[T]) -> Result<(), E>,
) -> Result<(), E> {
    let mut chunk = [T::default(); 1 << 11];
    let mut next = 0;
    for start in (0..len).step_by(chunk.len()) {
        let chunk = &mut chunk[..(len - start).min(1 << 11)];
        chunk.fill(T::default());
        while let Some(&index) = indices.get(next).filter(|&&index| (index as usize) < start + chunk.len()) {
            chunk[index as usize - start] = of(next);
            next += 1;
        }
        take(chunk)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rigl_base::Kind;
    use rigl_graph::{BatchNorm, Builder, Linear};
    use safetensors::{Dtype, SafeTensors};

    fn graph() -> Graph {
        let mut g = Builder::new("net");
        let x = g.input("image", &[100]);
        let h = g.linear("fc1", x, 50, Linear::default());
        let h = g.batch_norm("bn1", h, BatchNorm::default());
        g.cross_entropy(h, 50, 0.0);
        g.finish().unwrap()
    }

    fn tensor(role: Role, name: &str, shape: &[usize], values: Vec<f32>) -> Tensor<'static> {
        let (name, values) = (name.to_owned().into(), Values::F32(values.into()));
        Tensor { name, role, shape: shape.to_vec(), values, indices: None }
    }

    /// A weight over several chunks, active at both ends, at the border of two chunks, and in between.
    fn state() -> Vec<Tensor<'static>> {
        let indices: Vec<u32> = vec![0, 7, 2047, 2048, 4096, 4999];
        let values = [1.5, -0.25, f32::MIN_POSITIVE, 1e-45, 0.0, -8.0];
        let weight = tensor(Role::Parameter, "fc1.weight", &[50, 100], values.to_vec());
        vec![
            Tensor { indices: Some(indices.into()), ..weight },
            tensor(Role::Slot("momentum".into()), "fc1.bias", &[50], vec![1.0; 50]),
            tensor(Role::Parameter, "fc1.bias", &[50], (0..50).map(|i| i as f32).collect()),
            tensor(Role::Parameter, "bn1.weight", &[50], vec![2.0; 50]),
            tensor(Role::Parameter, "bn1.bias", &[50], vec![-0.0; 50]),
            tensor(Role::Buffer, "bn1.running_mean", &[50], vec![0.5; 50]),
            tensor(Role::Buffer, "bn1.running_var", &[50], vec![0.25; 50]),
        ]
    }

    fn written(arrays: &[Array<'_>]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        let bytes = write(&path, arrays, &metadata).unwrap();
        let read = std::fs::read(&path).unwrap();
        assert_eq!(read.len() as u64, bytes);
        read
    }

    fn floats(data: &[u8]) -> Vec<u32> {
        data.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect()
    }

    #[test]
    fn a_network_without_a_loss_is_written_like_one_with_it() {
        let mut g = Builder::new("net");
        let x = g.input("image", &[100]);
        let h = g.linear("fc1", x, 50, Linear::default());
        let h = g.batch_norm("bn1", h, BatchNorm::default());
        g.outputs(&[h]);
        let (state, bare) = (state(), g.finish().unwrap());
        assert_eq!(network(&bare, &state, 7).unwrap(), network(&graph(), &state, 7).unwrap());
    }

    #[test]
    fn every_value_is_in_its_place_and_all_others_are_zero() {
        let state = state();
        let bytes = written(&network(&graph(), &state, 7).unwrap());
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names = file.names();
        names.sort();
        let expected = ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"];
        let mut expected: Vec<String> = expected.iter().map(|name| format!("bn1.{name}")).collect();
        expected.extend(["fc1.bias".to_string(), "fc1.weight".to_string()]);
        assert_eq!(names, expected);
        for tensor in state.iter().filter(|t| !matches!(t.role, Role::Slot(_))) {
            let mut dense = vec![0f32; tensor.shape.iter().product()];
            let values = tensor.values.as_f32().unwrap();
            for (k, &value) in values.iter().enumerate() {
                dense[tensor.indices.as_ref().map_or(k, |indices| indices[k] as usize)] = value;
            }
            let view = file.tensor(&tensor.name).unwrap();
            assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &*tensor.shape), "{}", tensor.name);
            let dense: Vec<u32> = dense.iter().map(|x| x.to_bits()).collect();
            assert!(floats(view.data()) == dense, "{}", tensor.name);
        }
        let batches = file.tensor("bn1.num_batches_tracked").unwrap();
        assert_eq!((batches.dtype(), batches.shape().len()), (Dtype::I64, 0));
        assert_eq!(batches.data(), 7i64.to_le_bytes());
    }

    #[test]
    fn masks_are_true_exactly_at_the_pattern() {
        let state = state();
        let bytes = written(&masks(&graph(), &state).unwrap());
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.names(), ["fc1.weight"]);
        let mask = file.tensor("fc1.weight").unwrap();
        assert_eq!((mask.dtype(), mask.shape()), (Dtype::BOOL, &[50, 100][..]));
        let places: Vec<u32> =
            (0..).zip(mask.data()).filter(|(_, flag)| **flag == 1).map(|(i, _)| i).collect();
        assert_eq!(places, **state[0].indices.as_ref().unwrap());
        assert_eq!(mask.data().iter().filter(|flag| **flag > 1).count(), 0);
    }

    #[test]
    fn the_order_of_arrays_does_not_show_and_no_arrays_are_a_file_too() {
        let state = state();
        let mut arrays = network(&graph(), &state, 7).unwrap();
        let bytes = written(&arrays);
        arrays.reverse();
        assert!(written(&arrays) == bytes);
        assert!(SafeTensors::deserialize(&written(&[])).unwrap().is_empty());
    }

    #[test]
    fn a_state_of_another_network_and_arrays_that_contradict_themselves_are_refused() {
        let mut short = state();
        short.pop();
        let error = network(&graph(), &short, 0).unwrap_err();
        assert_eq!((error.kind(), masks(&graph(), &short).unwrap_err().kind()), (Kind::Data, Kind::Data));
        assert!(error.to_string().contains("bn1.running_var"), "{error}");

        let array = |name: &str, shape: &[usize], numbers| Array {
            name: name.into(),
            shape: shape.to_vec(),
            numbers,
        };
        let wrong = [
            vec![array("a", &[2], Numbers::F32(vec![0.0; 3].into()))],
            vec![array("a", &[], Numbers::I64(vec![].into()))],
            vec![array("a", &[2], Numbers::Scattered { values: &[1.0], indices: &[0, 1] })],
            vec![array("a", &[2], Numbers::Scattered { values: &[1.0, 2.0], indices: &[1, 0] })],
            vec![array("a", &[2], Numbers::Mask(&[2]))],
            vec![array("a", &[usize::MAX, 2], Numbers::Mask(&[]))],
            vec![array("a", &[0], Numbers::Mask(&[])), array("a", &[0], Numbers::Mask(&[]))],
            vec![array("__metadata__", &[0], Numbers::Mask(&[]))],
        ];
        let folder = tempfile::tempdir().unwrap();
        for arrays in wrong {
            let error = write(&folder.path().join("a"), &arrays, &BTreeMap::new()).unwrap_err();
            assert_eq!(error.kind(), Kind::Internal, "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
