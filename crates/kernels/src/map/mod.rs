//! Maps of images inside a network: `[block of 16 samples][row][channel][column][16]`. A row of all channels, the
//! unit in which convolutions read and write, is one contiguous piece; one weight multiplies whole vectors.
//!
//! Only the inputs of batch norms and the results of additions are stored. What is pointwise after them is a
//! [`View`], and what is pointwise before a gradient a [`GradientView`]: both are computed from the stored maps
//! when a row is staged for a convolution. Staging and storing of rows, in `rows`, are the only places that touch
//! stored maps.

mod channels;
pub mod dropout;
pub mod norm;
pub mod passes;
mod rows;
mod shape;
mod strips;
mod sums;
mod view;

pub(crate) use channels::{Reader, Strip, Writer, scatter, scatter_workspace};
pub(crate) use rows::{
    Classes, Pointwise, StageGradient, StageView, Staging, StoreForward, StoreGradient, SumRow,
};
pub(crate) use shape::lanes;
pub use shape::{BLOCK, MapShape, blocks};
pub(crate) use strips::Strips;
pub(crate) use sums::{AddLanes, SUM_ROWS, add_up};
pub use view::{Affine, DataGradient, Dropout, GradientView, NormGradient, Statistics, View};
