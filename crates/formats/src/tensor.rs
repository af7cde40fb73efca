//! What must hold of a tensor before it is written and after it is read, and its key in the file.

use rigl_graph::state::{Role, Tensor, Values};

/// Positions that a u32 can name.
const MOST_POSITIONS: u64 = 1 << 32;

/// What must hold of a tensor, whether it comes from the engine or from a file.
pub(crate) fn check(tensor: &Tensor<'_>) -> Result<(), String> {
    let (shape, found) = (&tensor.shape, tensor.values.len());
    let positions = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let positions = positions.ok_or_else(|| format!("a shape of {} is too large", list(shape)))?;
    let Some(indices) = &tensor.indices else {
        if found == positions {
            return Ok(());
        }
        return Err(format!("{found} values in a shape of {}, expected {positions}", list(shape)));
    };
    if positions as u64 > MOST_POSITIONS {
        return Err(format!("a sparse shape of {} has more positions than 32 bits can name", list(shape)));
    }
    if found != indices.len() {
        return Err(format!("{found} values for {} indices", indices.len()));
    }
    if let Some(at) = indices.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(format!("index {} follows {}, indices must ascend", indices[at + 1], indices[at]));
    }
    match indices.last() {
        Some(&last) if last as usize >= positions => {
            Err(format!("index {last} lies outside a shape of {}", list(shape)))
        }
        _ => Ok(()),
    }
}

/// Where a tensor that training reads again holds a number that is not finite. A method may mark with them.
pub(crate) fn non_finite(tensor: &Tensor<'_>) -> Option<usize> {
    match &tensor.values {
        Values::F32(values) if tensor.role != Role::Method => values.iter().position(|v| !v.is_finite()),
        _ => None,
    }
}

/// The key of a tensor.
pub(crate) fn key_of(role: &Role, name: &str) -> String {
    match role {
        Role::Parameter => format!("parameter/{name}"),
        Role::Buffer => format!("buffer/{name}"),
        Role::Slot(slot) => format!("slot/{slot}/{name}"),
        Role::Method => format!("method/{name}"),
    }
}

/// The inverse of [`key_of`], for keys that a file may hold.
pub(crate) fn role_and_name(key: &str) -> Option<(Role, &str)> {
    let (role, rest) = key.split_once('/')?;
    let (role, name) = match role {
        "parameter" => (Role::Parameter, rest),
        "buffer" => (Role::Buffer, rest),
        "method" => (Role::Method, rest),
        "slot" => {
            let (slot, name) = rest.split_once('/')?;
            (Role::Slot(slot.to_owned()), name)
        }
        _ => return None,
    };
    let empty = name.is_empty() || role == Role::Slot(String::new());
    (!empty && !key.contains(':')).then_some((role, name))
}

/// A shape as JSON.
pub(crate) fn list(shape: &[usize]) -> String {
    format!("[{}]", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(shape: &[usize], indices: &[u32]) -> Tensor<'static> {
        Tensor {
            name: "w".into(),
            role: Role::Parameter,
            shape: shape.to_vec(),
            values: Values::F32(vec![1.0; indices.len()].into()),
            indices: Some(indices.to_vec().into()),
        }
    }

    #[test]
    fn indices_must_ascend_within_the_shape() {
        assert_eq!(check(&sparse(&[2, 3], &[0, 5])), Ok(()));
        assert_eq!(check(&sparse(&[0], &[])), Ok(()));
        assert_eq!(check(&sparse(&[], &[0])), Ok(()));
        assert!(check(&sparse(&[2, 3], &[6])).unwrap_err().contains("index 6 lies outside"));
        assert!(check(&sparse(&[2, 3], &[1, 1])).unwrap_err().contains("ascend"));
        assert!(check(&sparse(&[2, 3], &[2, 1])).unwrap_err().contains("ascend"));
        assert!(check(&sparse(&[0, 3], &[0])).unwrap_err().contains("outside"));
    }

    #[test]
    fn counts_must_fit_the_shape() {
        let mut tensor = sparse(&[2, 3], &[1, 2]);
        tensor.values = Values::F32(vec![1.0].into());
        assert!(check(&tensor).unwrap_err().contains("1 values for 2 indices"));
        tensor.indices = None;
        assert!(check(&tensor).unwrap_err().contains("expected 6"));
        tensor.values = Values::F32(vec![1.0; 6].into());
        assert_eq!(check(&tensor), Ok(()));
    }

    #[test]
    fn shapes_too_large_for_any_machine_are_refused() {
        assert!(check(&sparse(&[usize::MAX, 2], &[0])).unwrap_err().contains("too large"));
        assert!(check(&sparse(&[1 << 17, 1 << 16], &[0])).unwrap_err().contains("32 bits"));
        assert_eq!(check(&sparse(&[1 << 16, 1 << 16], &[u32::MAX])), Ok(()));
    }

    #[test]
    fn keys_and_names_are_each_others_inverse() {
        let roles = [Role::Parameter, Role::Buffer, Role::Method, Role::Slot("momentum".into())];
        for role in roles {
            for name in ["fc1.weight", "a/b"] {
                assert_eq!(role_and_name(&key_of(&role, name)), Some((role.clone(), name)));
            }
        }
        for key in ["", "parameter", "parameter/", "other/x", "slot/x", "slot//x", "slot/x/", "buffer/a:b"] {
            assert_eq!(role_and_name(key), None, "{key}");
        }
    }

    #[test]
    fn only_a_method_may_keep_numbers_that_are_not_finite() {
        let mut tensor = sparse(&[2], &[0, 1]);
        tensor.values = Values::F32(vec![0.0, f32::INFINITY].into());
        assert_eq!(non_finite(&tensor), Some(1));
        tensor.role = Role::Method;
        assert_eq!(non_finite(&tensor), None);
    }
}
