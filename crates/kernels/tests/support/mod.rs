//! What the tests of hostile arguments stand on.

#![allow(dead_code, reason = "each of the tests uses its part of it")]

pub mod case;
pub mod guard;
pub mod lengths;
pub mod map_case;
