//! Training, evaluating and predicting from a program, without a command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints")]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rigl::data::Sample;
use rigl::{Ended, MachineOptions, Observer, Progress, Registry, Trained};

/// Shows where training stands; `rigl::Silent` looks away.
struct Lines;

impl Observer for Lines {
    fn progress(&mut self, now: &Progress) {
        eprintln!("step {} of {}, loss {:.3}", now.step, now.steps, now.mean_loss);
    }
}

/// A network trained in `folder`; its accuracy on the test set.
pub fn run(folder: &Path) -> rigl::Result<f64> {
    let (registry, machine) = (Registry::default(), MachineOptions::default());
    let config = registry.config("quickstart", &["method.sparsity=0.95", "schedule.length=5"])?;
    let test = registry.sets(&config, None, 1)?.test;

    // Set from elsewhere, it makes the run save and stop.
    let stop = AtomicBool::new(false);
    match rigl::train_in(folder, config, &registry, &machine, &mut Lines, &stop)? {
        Ended::Finished(summary) => {
            println!("{} of {} weights, in {:.1} s", summary.active, summary.weights, summary.seconds);
        }
        Ended::Interrupted => println!("stopped; `rigl train --resume {}` goes on", folder.display()),
    }

    let mut network = Trained::open(folder, &registry, &machine)?;
    let accuracy = network.evaluate(&test)?.accuracy();
    println!("accuracy on {} test images: {:.2} %", test.len(), 100.0 * accuracy);

    let mut sample = Sample::default();
    test.read(0, &mut sample)?;
    let answer = &network.predict(&[&sample.image])?[0];
    let classes = &network.metadata().classes;
    println!(
        "the first is a {}, which the network says with probability {:.3}",
        classes[sample.label as usize], answer.probabilities[sample.label as usize]
    );
    Ok(accuracy)
}

fn main() -> rigl::Result<()> {
    run(Path::new("runs/from-a-program")).map(drop)
}
