//! A data set, a preset and scores of one's own, trained, evaluated and read back without a command line.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::path::Path;
use std::sync::Arc;

use rigl::data::{InMemory, Sets, Spec};
use rigl::metrics::{Event, EventReader, RunFolder};
use rigl::topology::{DropRule, Dynamics, GrowRule, Method, Score, Topology, UpdateRule, Weight};
use rigl::{MachineOptions, Preset, Registry, Silent, Trained};

/// Images of 8×8 pixels in which one row or one column is bright.
fn stripes(samples: usize) -> rigl::Result<InMemory> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for sample in 0..samples {
        let (along, bright) = (sample % 2, sample / 2 % 8);
        images.extend(
            (0..64).map(|at| if [at / 8, at % 8][along] == bright { 255 } else { (at * 7 % 50) as u8 }),
        );
        labels.push(along as u8);
    }
    InMemory::new(Spec::new("stripes", [1, 8, 8], ["across", "along"]), images, labels)
}

const STRIPES: Preset = Preset {
    name: "stripes",
    about: "bright rows and columns told apart",
    text: "
        model = { name = 'mlp', hidden = [32] }
        data = { name = 'stripes', batch = 16 }
        schedule = { unit = 'steps', length = 300, shape = 'cosine' }
        method = { name = 'momentous', sparsity = 0.8, updates = { interval = 20 } }
        ",
};

/// A weight stays if it is large or on its way; one is grown where the loss falls fastest as it rises.
fn momentous() -> Method {
    let stays = Score { name: "size-and-speed", of: |w: Weight| w.value.abs() + w.velocity.abs() };
    let comes = Score { name: "descent", of: |w: Weight| -w.gradient };
    let rule = UpdateRule::replace(DropRule::Own(stays), GrowRule::own(comes));
    Method { name: "momentous".into(), topology: Topology::dynamic(Dynamics::new(rule)), ..Method::RIGL }
}

/// What `data.name`, `preset` and `method.name` may say here.
pub fn registry() -> Registry {
    let load = |_: &rigl::data::DataOptions| Ok(Sets::new(Arc::new(stripes(512)?), Arc::new(stripes(64)?)));
    Registry::default().dataset("stripes", load).preset(STRIPES).method(momentous())
}

/// A run in `folder`: its accuracy, and the losses that it logged.
pub fn run(folder: &Path) -> rigl::Result<(f64, Vec<f64>)> {
    let (registry, machine) = (registry(), MachineOptions::default());
    let config = registry.config("stripes", &[])?;
    let test = registry.sets(&config, None, 1)?.test;
    rigl::train_in(folder, config, &registry, &machine, &mut Silent, &false.into())?;

    let mut network = Trained::open(folder, &registry, &machine)?;
    let answer = &network.predict(&[&[0; 64]])?[0];
    println!("of a dark image the network says {:?}, by logits {:?}", answer.class, answer.logits);
    let mut losses = Vec::new();
    for record in EventReader::open(&RunFolder::open(folder)?.log())? {
        if let Event::Train(train) = record?.event {
            losses.push(train.loss);
        }
    }
    Ok((network.evaluate(&test)?.accuracy(), losses))
}

fn main() -> rigl::Result<()> {
    let (accuracy, losses) = run(Path::new("runs/stripes"))?;
    println!("accuracy {:.2} %, losses {losses:?}", 100.0 * accuracy);
    Ok(())
}
