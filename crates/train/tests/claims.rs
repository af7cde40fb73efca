//! What a checkpoint claims is not what it holds: a small file is evaluated in memory of its own size, or refused.

use rigl_formats::{Checkpoint, Metadata};
use rigl_graph::state::{Role, State, Tensor, Values};
use rigl_graph::{Builder, Conv2d, Graph, Linear};
use rigl_train::{Config, MachineOptions, Registry, Trained};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// A network of claims: `channels` of maps of so many rows and columns, whose weights are all inactive.
fn claims(channels: usize, side: usize, layers: usize) -> Graph {
    let mut g = Builder::new("claims");
    let x = g.input("image", &[1, side, side]);
    let mut h = g.conv2d("stem", x, channels, Conv2d::k1());
    for layer in 0..layers {
        h = g.conv2d(&format!("conv{layer}"), h, channels, Conv2d::k1().groups(2));
    }
    let h = g.global_avg_pool(h);
    let h = g.linear("fc", h, 2, Linear::default());
    g.cross_entropy(h, 2, 0.0);
    g.finish().unwrap()
}

/// A checkpoint of it, as small as one can be.
fn forged(graph: &Graph) -> Checkpoint {
    let tensor = |name: &str, shape: &[usize], sparse: bool| Tensor {
        name: name.to_string().into(),
        role: Role::Parameter,
        shape: shape.to_vec(),
        values: Values::F32(vec![0.0; if sparse { 0 } else { shape.iter().product() }].into()),
        indices: sparse.then(|| vec![].into()),
    };
    let state: State<'static> =
        graph.parameters().iter().map(|p| tensor(&p.name, &p.shape, p.is_weight())).collect();
    let metadata = Metadata {
        configuration: Config::default().to_toml(),
        graph: graph.to_text(),
        classes: vec!["a".into(), "b".into()],
        ..Metadata::default()
    };
    Checkpoint { state, metadata }
}

fn open(graph: &Graph) -> rigl_base::Result<Trained> {
    let machine = MachineOptions { threads: 1, ..MachineOptions::default() };
    Trained::new(forged(graph), "forged", &Registry::default(), &machine)
}

#[test]
fn a_network_is_evaluated_in_memory_of_what_is_active_and_refused_where_its_maps_do_not_fit() {
    // 134 million weights, none of them active.
    let graph = claims(16_384, 1, 1);
    let region = Region::new(ALLOCATOR);
    open(&graph).unwrap();
    let taken = region.change().bytes_allocated;
    assert!(taken < 100 << 20, "{taken} bytes");
    // A terabyte of maps.
    let graph = claims(65_536, 64, 1);
    let error = open(&graph).err().expect("refused");
    assert_eq!(error.kind(), rigl_base::Kind::Environment);
    assert!(error.to_string().contains("evaluation needs "), "{error}");
    // As many layers as a network may well have take time and memory by their number.
    let graph = claims(2, 1, 2000);
    let region = Region::new(ALLOCATOR);
    open(&graph).unwrap();
    let taken = region.change().bytes_allocated;
    assert!(taken < 200 << 20, "{taken} bytes");
}

#[test]
fn names_of_classes_are_as_many_as_the_network_tells_apart() {
    let graph = claims(2, 1, 1);
    let mut checkpoint = forged(&graph);
    checkpoint.metadata.classes.clear();
    let error = Trained::new(checkpoint, "forged", &Registry::default(), &MachineOptions::default());
    let error = error.err().unwrap().to_string();
    assert_eq!(error, "`forged`: names 0 classes, and its network tells 2 apart");
}
