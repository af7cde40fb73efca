//! What is answered to whoever interrupts: at once, and what a second interrupt would lose.
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use support::{Place, checkpoints, spawn};

/// Steps that take long enough to be interrupted in.
fn slow(place: &Place) -> Child {
    place.write_cifar10(40);
    let line = "train cifar10-wrn22-2 --data-dir data --threads 1 --set data.batch=100 --set schedule.unit=steps \
                --set schedule.length=100 --set schedule.milestones=[] --run-dir run";
    let child = spawn(place.command(line.split_whitespace()));
    let patience = Instant::now();
    while checkpoints(&place.path("run")).is_empty() {
        assert!(patience.elapsed() < Duration::from_secs(300), "no checkpoint yet");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn the_first_interrupt_is_answered_before_the_step_ends_and_the_second_says_what_is_lost() {
    let place = Place::new();
    let mut child = slow(&place);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    interrupt(&child);
    let answer = loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).unwrap() > 0, "no answer");
        if line.starts_with("interrupt: ") {
            break line;
        }
    };
    let expected = "interrupt: saves after this step, and stops; a second one ends at once, and loses what was trained \
                    since the checkpoint of step ";
    let step = answer.strip_prefix(expected).unwrap_or_else(|| panic!("{answer}")).trim_end().to_string();
    interrupt(&child);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    // The machine may have been so busy that the step ended in between.
    let ended = format!(
        "ended at once: what was trained since step {step} is lost, the checkpoint of that step is kept\n"
    );
    assert!(rest == ended || rest.contains("everything up to here is saved, go on with\n"), "{rest}");
    assert!(!checkpoints(&place.path("run")).is_empty());
}
