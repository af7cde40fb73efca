//! Layers of networks that are trained, for counting tasks.

use rigl_kernels::conv::ConvShape;

/// A convolution by its name, inputs, outputs, side of the input, kernel and stride; padded so that a stride of one
/// keeps the side.
const fn conv(
    name: &'static str,
    inputs: usize,
    outputs: usize,
    side: usize,
    kernel: usize,
    stride: usize,
) -> (&'static str, ConvShape) {
    let padding = kernel / 2;
    (name, ConvShape { inputs, rows: side, columns: side, outputs, kernel, stride, padding, groups: 1 })
}

/// The different convolutions of WRN-22-2.
pub const WRN_22_2: [(&str, ConvShape); 10] = [
    conv("3 → 16, 32 × 32", 3, 16, 32, 3, 1),
    conv("16 → 32, 32 × 32", 16, 32, 32, 3, 1),
    conv("32 → 32, 32 × 32", 32, 32, 32, 3, 1),
    conv("32 → 64, to 16 × 16", 32, 64, 32, 3, 2),
    conv("64 → 64, 16 × 16", 64, 64, 16, 3, 1),
    conv("64 → 128, to 8 × 8", 64, 128, 16, 3, 2),
    conv("128 → 128, 8 × 8", 128, 128, 8, 3, 1),
    conv("16 → 32 skip", 16, 32, 32, 1, 1),
    conv("32 → 64 skip", 32, 64, 32, 1, 2),
    conv("64 → 128 skip", 64, 128, 16, 1, 2),
];

/// The different convolutions of ResNet-50 on images of 224 × 224, but for those that bring a block's input to its
/// output, which are like others.
pub const RESNET_50: [(&str, ConvShape); 14] = [
    conv("3 → 64, 7 × 7, to 112 × 112", 3, 64, 224, 7, 2),
    conv("64 → 64, 1 × 1, 56 × 56", 64, 64, 56, 1, 1),
    conv("64 → 64, 3 × 3, 56 × 56", 64, 64, 56, 3, 1),
    conv("64 → 256, 1 × 1, 56 × 56", 64, 256, 56, 1, 1),
    conv("256 → 128, 1 × 1, 56 × 56", 256, 128, 56, 1, 1),
    conv("128 → 128, 3 × 3, to 28 × 28", 128, 128, 56, 3, 2),
    conv("128 → 128, 3 × 3, 28 × 28", 128, 128, 28, 3, 1),
    conv("128 → 512, 1 × 1, 28 × 28", 128, 512, 28, 1, 1),
    conv("256 → 256, 3 × 3, 14 × 14", 256, 256, 14, 3, 1),
    conv("256 → 1024, 1 × 1, 14 × 14", 256, 1024, 14, 1, 1),
    conv("1024 → 256, 1 × 1, 14 × 14", 1024, 256, 14, 1, 1),
    conv("512 → 512, 3 × 3, 7 × 7", 512, 512, 7, 3, 1),
    conv("512 → 2048, 1 × 1, 7 × 7", 512, 2048, 7, 1, 1),
    conv("2048 → 512, 1 × 1, 7 × 7", 2048, 512, 7, 1, 1),
];

/// Linear layers by inputs, outputs and batch: those of LeNet-300-100, and a square one.
pub const LINEAR: [(&str, usize, usize, usize); 5] = [
    ("784 → 300, batch 100", 784, 300, 100),
    ("300 → 100, batch 100", 300, 100, 100),
    ("100 → 10, batch 100", 100, 10, 100),
    ("384 → 384, batch 128", 384, 384, 128),
    ("384 → 384, batch 1024", 384, 384, 1024),
];

/// Indices of a share of `of` weights, evenly at random.
pub fn indices(of: usize, density: f64) -> Vec<u32> {
    let below = (density * f64::from(u32::MAX)) as u32;
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    (0..of as u32).filter(|_| draw() <= below).collect()
}
