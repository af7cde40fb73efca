//! Layers of the paper's networks, for tests: shapes, and how many output positions each is applied at.

use crate::layer::{Layer, LayerKind};

/// A network as its layers and their output positions.
pub(crate) struct Network {
    pub(crate) layers: Vec<Layer>,
    positions: Vec<usize>,
}

impl Network {
    fn new() -> Network {
        Network { layers: Vec::new(), positions: Vec::new() }
    }

    fn add(&mut self, name: String, shape: &[usize], kind: LayerKind, size: usize) {
        let first = self.layers.is_empty();
        self.layers.push(Layer::new(name + ".weight", shape, kind, first).unwrap());
        self.positions.push(size * size);
    }

    fn conv(&mut self, name: impl Into<String>, input: usize, output: usize, kernel: usize, size: usize) {
        self.add(name.into(), &[output, input, kernel, kernel], LayerKind::Conv, size);
    }

    /// Forward FLOPs of one sample, at two a multiply-accumulate; `None` is a dense layer.
    pub(crate) fn flops(&self, active: &[Option<usize>]) -> f64 {
        let layers = self.layers.iter().zip(&self.positions).zip(active);
        layers.map(|((layer, n), active)| 2.0 * (active.unwrap_or(layer.weights()) * n) as f64).sum()
    }

    /// Forward FLOPs of one sample of the dense network.
    pub(crate) fn dense_flops(&self) -> f64 {
        self.flops(&vec![None; self.layers.len()])
    }
}

/// ResNet-50 v1.5 (stride on the 3×3) at 224².
pub(crate) fn resnet50() -> Network {
    let mut net = Network::new();
    net.conv("conv1", 3, 64, 7, 112);
    let (mut input, mut size) = (64, 56);
    for (group, (width, blocks)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate() {
        for block in 0..blocks {
            let out_size = if group > 0 && block == 0 { size / 2 } else { size };
            let name = |part: &str| format!("layer{}.{block}.{part}", group + 1);
            net.conv(name("conv1"), input, width, 1, size);
            net.conv(name("conv2"), width, width, 3, out_size);
            net.conv(name("conv3"), width, 4 * width, 1, out_size);
            if block == 0 {
                net.conv(name("downsample.0"), input, 4 * width, 1, out_size);
            }
            (input, size) = (4 * width, out_size);
        }
    }
    net.add("fc".into(), &[1000, 2048], LayerKind::Linear, 1);
    net
}

/// WRN-22-2 at 32²: channels 16-32-64-128, three blocks a group.
pub(crate) fn wrn22_2() -> Network {
    let mut net = Network::new();
    net.conv("conv1", 3, 16, 3, 32);
    let mut input = 16;
    for (group, (width, size)) in [(32, 32), (64, 16), (128, 8)].into_iter().enumerate() {
        for block in 0..3 {
            let name = |part: &str| format!("layer{}.{block}.{part}", group + 1);
            net.conv(name("conv1"), input, width, 3, size);
            net.conv(name("conv2"), width, width, 3, size);
            if block == 0 {
                net.conv(name("skip"), input, width, 1, size);
            }
            input = width;
        }
    }
    net.add("fc".into(), &[10, 128], LayerKind::Linear, 1);
    net
}

/// MobileNet-v1 at 224².
pub(crate) fn mobilenet_v1() -> Network {
    let mut net = Network::new();
    net.conv("conv1", 3, 32, 3, 112);
    let (mut input, mut size) = (32, 112);
    let widths = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024];
    for (block, width) in widths.into_iter().enumerate() {
        size /= if [1, 3, 5, 11].contains(&block) { 2 } else { 1 };
        net.add(format!("blocks.{block}.depthwise"), &[input, 1, 3, 3], LayerKind::Depthwise, size);
        net.conv(format!("blocks.{block}.pointwise"), input, width, 1, size);
        input = width;
    }
    net.add("fc".into(), &[1000, 1024], LayerKind::Linear, 1);
    net
}
