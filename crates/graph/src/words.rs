//! Shapes and attributes as text, and their limits.

use crate::init::Init;

/// The most dimensions a shape may have.
pub const MAX_RANK: usize = 8;

/// The most values one array may have: positions in it are 32-bit.
pub const MAX_ELEMENTS: usize = u32::MAX as usize;

/// The most inputs or attributes on a line.
pub(crate) const MAX_ITEMS: usize = 64;

/// The `KEY=VALUE` pairs of a line that have not been asked for yet.
pub(crate) struct Attributes<'t> {
    pairs: Vec<(&'t str, &'t str)>,
}

impl<'t> Attributes<'t> {
    pub(crate) fn read(text: &'t str) -> Result<Attributes<'t>, String> {
        let mut pairs: Vec<(&str, &str)> = vec![];
        for item in text.split_whitespace() {
            let (key, value) = item
                .split_once('=')
                .ok_or_else(|| format!("expected `KEY=VALUE`, found `{}`", clip(item)))?;
            if pairs.iter().any(|(k, _)| *k == key) {
                return Err(format!("attribute `{}` is given twice", clip(key)));
            }
            if pairs.len() == MAX_ITEMS {
                return Err(format!("more than {MAX_ITEMS} attributes"));
            }
            pairs.push((key, value));
        }
        Ok(Attributes { pairs })
    }

    fn take<T>(&mut self, key: &str, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let place = self.pairs.iter().position(|(k, _)| *k == key);
        let value = place.map(|i| self.pairs.swap_remove(i).1);
        let value = value.ok_or_else(|| format!("attribute `{key}` is missing"))?;
        read(value).ok_or_else(|| format!("attribute `{key}` must be {what}, found `{}`", clip(value)))
    }

    pub(crate) fn count(&mut self, key: &str) -> Result<usize, String> {
        self.take(key, "a whole number", whole)
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<bool, String> {
        self.take(key, "`true` or `false`", |v| v.parse().ok())
    }

    pub(crate) fn number(&mut self, key: &str) -> Result<f32, String> {
        self.take(key, "a number", |v| v.parse().ok())
    }

    pub(crate) fn init(&mut self, key: &str) -> Result<Init, String> {
        self.take(
            key,
            "`zeros`, `constant(VALUE)`, `glorot-uniform`, `truncated-normal`, `he-normal` or `normal(DEVIATION)`",
            Init::from_name,
        )
    }

    /// Nothing may be left over.
    pub(crate) fn finish(self, operation: &str) -> Result<(), String> {
        match self.pairs.first() {
            Some((key, _)) => Err(format!("`{operation}` has no attribute `{}`", clip(key))),
            None => Ok(()),
        }
    }
}

/// `[1, 28, 28]`, or `[]`.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    format!("{shape:?}")
}

pub(crate) fn read_shape(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("expected a shape like `[1, 28, 28]`, found `{}`", clip(text));
    let inner = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or_else(wrong)?.trim();
    if inner.is_empty() {
        return Ok(vec![]);
    }
    let rank = inner.split(',').count();
    if rank > MAX_RANK {
        return Err(format!("a shape has at most {MAX_RANK} dimensions, found {rank}"));
    }
    inner.split(',').map(|d| whole(d.trim()).ok_or_else(wrong)).collect()
}

/// Digits only, and within range.
fn whole(text: &str) -> Option<usize> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Text from elsewhere, as short and harmless as a message needs it.
pub(crate) fn clip(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(40).collect();
    format!("{}{}", head.escape_debug(), if chars.next().is_some() { "…" } else { "" })
}

/// The number of values of a shape, within the limits.
pub(crate) fn elements(shape: &[usize]) -> Result<usize, String> {
    if shape.len() > MAX_RANK {
        return Err(format!("at most {MAX_RANK} dimensions are allowed, found {}", shape.len()));
    }
    if shape.contains(&0) {
        return Err(format!("dimensions must be at least 1, found {}", shape_text(shape)));
    }
    let product = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_ELEMENTS);
    product
        .ok_or_else(|| format!("an array of shape {} has more than {MAX_ELEMENTS} values", shape_text(shape)))
}
