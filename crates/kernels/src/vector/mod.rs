//! Vectors of features: how they lie in memory, and the ways between them and maps.

pub mod layout;
pub mod reshape;

#[cfg(test)]
mod tests;
