//! What the tests of hostile arguments stand on.

pub mod case;
pub mod guard;
