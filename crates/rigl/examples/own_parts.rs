//! A network and a method of one's own, under every command: `cargo run --release -p rigl --example own_parts -- train
//! quickstart --set model.name=narrow --method mine`.

use rigl::graph::{Builder, Graph, Linear, ModelSpec};
use rigl::topology::{DropRule, Dynamics, GrowRule, Method, StepPolicy, Topology, UpdateRule};

fn narrow(spec: &ModelSpec) -> rigl::Result<Graph> {
    let mut g = Builder::new("narrow");
    let x = g.input("image", &spec.sample_shape);
    let x = g.flatten(x);
    let h = g.linear("fc1", x, 50, Linear::default());
    let h = g.relu(h);
    let logits = g.linear("fc2", h, spec.classes, Linear::default());
    g.cross_entropy(logits, spec.classes, spec.label_smoothing);
    g.finish()
}

fn main() -> std::process::ExitCode {
    // RigL's schedule and step policy, with random growth.
    let rule = UpdateRule::replace(DropRule::Magnitude, GrowRule::RANDOM);
    let dynamics = Dynamics { step_policy: StepPolicy::Replace, ..Dynamics::new(rule) };
    let mine = Method { name: "mine".into(), topology: Topology::dynamic(dynamics), ..Method::RIGL };
    rigl::cli::run(rigl::Registry::default().model("narrow", narrow).method(mine))
}
