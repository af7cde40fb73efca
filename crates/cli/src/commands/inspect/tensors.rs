//! The tensors of a file: each of them, or how many there are of each kind.

use rigl_graph::state::{Role, Tensor, Values};
use serde_json::{Value, json};

use super::layers::shape_text;
use crate::output::{Align, Table, bytes, count};

/// The type of a tensor's numbers, and the bytes of each.
fn element(tensor: &Tensor<'_>) -> (&'static str, usize) {
    match tensor.values {
        Values::F32(_) => ("F32", 4),
        Values::U8(_) => ("U8", 1),
        Values::U32(_) => ("U32", 4),
        Values::U64(_) => ("U64", 8),
    }
}

/// What its numbers, and its indices if it is sparse, take.
fn size(tensor: &Tensor<'_>) -> u64 {
    (tensor.values.len() * element(tensor).1 + tensor.indices.as_ref().map_or(0, |i| 4 * i.len())) as u64
}

/// What tensors have in common: their key without the name of a parameter or buffer.
fn kind(tensor: &Tensor<'_>) -> String {
    match &tensor.role {
        Role::Parameter => "parameter".into(),
        Role::Buffer => "buffer".into(),
        Role::Slot(slot) => format!("slot/{slot}"),
        Role::Method => format!("method/{}", tensor.name.split('/').next().unwrap_or_default()),
    }
}

/// A row for each kind of tensor, in the order in which they come.
pub(super) fn by_kind(state: &[Tensor<'_>]) -> Table {
    let mut kinds: Vec<(String, [u64; 4])> = Vec::new();
    for tensor in state {
        let (kind, sparse) = (kind(tensor), u64::from(tensor.indices.is_some()));
        let numbers = [1, sparse, tensor.values.len() as u64, size(tensor)];
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sums)) => sums.iter_mut().zip(numbers).for_each(|(sum, n)| *sum += n),
            None => kinds.push((kind, numbers)),
        }
    }
    let mut table = Table::new(&[
        ("stored", Align::Left),
        ("tensors", Align::Right),
        ("sparse", Align::Right),
        ("numbers", Align::Right),
        ("size", Align::Right),
    ]);
    for (kind, [tensors, sparse, numbers, size]) in kinds {
        table.row(vec![kind, count(tensors), count(sparse), count(numbers), bytes(size)]);
    }
    table
}

/// A row for each tensor.
pub(super) fn each(state: &[Tensor<'_>]) -> Table {
    let mut table = Table::new(&[
        ("tensor", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("numbers", Align::Right),
        ("stored", Align::Left),
        ("size", Align::Right),
    ]);
    for tensor in state {
        table.row(vec![
            tensor.key(),
            element(tensor).0.into(),
            shape_text(&tensor.shape),
            count(tensor.values.len() as u64),
            if tensor.indices.is_some() { "sparse" } else { "dense" }.into(),
            bytes(size(tensor)),
        ]);
    }
    table
}

pub(super) fn json(tensor: &Tensor<'_>) -> Value {
    json!({
        "key": tensor.key(), "type": element(tensor).0, "shape": tensor.shape,
        "numbers": tensor.values.len(), "sparse": tensor.indices.is_some(), "bytes": size(tensor),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_a_kind_add_up() {
        let tensor = |role: Role, name: &str, values: Values<'static>, indices: Option<Vec<u32>>| Tensor {
            name: name.to_string().into(),
            role,
            shape: vec![values.len()],
            values,
            indices: indices.map(Into::into),
        };
        let floats = |n: usize| Values::F32(vec![0.0; n].into());
        let slot = Role::Slot("momentum".into());
        let state = [
            tensor(Role::Method, "explored/a.weight", Values::U8(vec![0; 3].into()), None),
            tensor(Role::Method, "explored/b.weight", Values::U8(vec![0; 4].into()), None),
            tensor(Role::Method, "updates", Values::U64(vec![1].into()), None),
            tensor(Role::Parameter, "a.weight", floats(2), Some(vec![0, 1])),
            tensor(Role::Parameter, "a.bias", floats(5), None),
            tensor(slot, "a.weight", floats(2), Some(vec![0, 1])),
        ];
        let text = by_kind(&state).to_string();
        let rows: Vec<Vec<&str>> = text.lines().skip(2).map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(
            rows,
            [
                ["method/explored", "2", "0", "7", "7", "B"],
                ["method/updates", "1", "0", "1", "8", "B"],
                ["parameter", "2", "1", "7", "36", "B"],
                ["slot/momentum", "1", "1", "2", "16", "B"],
            ]
        );
        assert_eq!(each(&state).to_string().lines().count(), 2 + state.len());
    }
}
