//! The command `rigl`.
fn main() {}
