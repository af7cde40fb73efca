//! Maps of images inside a network: `[block of 16 samples][row][channel][column][16]`. A row of all channels, the
//! unit in which convolutions read and write, is one contiguous piece; one weight multiplies whole vectors.
//!
//! Only the inputs of batch norms and the results of additions are stored. What is pointwise after them is a
//! [`View`], and what is pointwise before a gradient a [`GradientView`]: both are computed from the stored maps
//! when a row is staged for a convolution. Kernels touch stored maps through `stored` alone, most of them by `channel`.

mod channel;
pub mod dropout;
pub mod norm;
pub mod passes;
mod scatter;
mod shape;
mod stage;
mod store;
mod stored;
mod strips;
mod sums;
mod view;

pub(crate) use channel::{Gradients, Values};
pub(crate) use scatter::{Target, scatter, scatter_workspace};
pub(crate) use shape::lanes;
pub use shape::{BLOCK, MapShape, blocks};
pub(crate) use stage::{StageGradient, StageView, Staging};
pub(crate) use store::{Classes, GradientSource, Source, StoreForward, StoreGradient, SumRow};
pub(crate) use stored::{StoredMut, lines};
pub(crate) use strips::{Part, Strips};
pub(crate) use sums::{AddLanes, SUM_ROWS, add_up};
pub use view::{Affine, DataGradient, Dropout, GradientView, NormGradient, Statistics, View};
