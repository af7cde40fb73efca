//! One function per parser. Each takes any bytes, and panics only where something that must hold does not.

pub mod arrays;
pub mod checkpoint;
pub mod config;
pub mod graph;
pub mod idx;
pub mod log;
pub mod own_files;
pub mod records;
pub mod sweep;
