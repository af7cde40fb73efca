//! The memory that a run is planned with is what its process holds at its peak: for every method, with updates.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use rigl_metrics::{RunFolder, machine::peak_memory_bytes};
use rigl_topology::Method;
use rigl_train::config::{Base, Override, Sources};
use rigl_train::{Config, Ended, MachineOptions, Prepared, Registry, Silent, train_in};

/// A network whose weights are most of what a process holds, trained for a few steps with updates among them.
fn config(method: &str) -> Config {
    let updates = match Method::ALL.iter().find(|m| m.name == method).and_then(|m| m.dynamics()) {
        Some(dynamics) if !dynamics.every_step => "updates = { interval = 2 }",
        _ => "",
    };
    let text = format!(
        "
        model = {{ name = 'mlp', hidden = [2500, 2500] }}
        data = {{ name = 'drawn-digits', batch = 20, train-samples = 200, test-samples = 100 }}
        schedule = {{ unit = 'steps', length = 8 }}
        log = {{ tensorboard = false }}
        [method]
        name = '{method}'
        {updates}
        "
    );
    let sources =
        Sources { base: Base::File { name: "a test", text: &text }, overrides: &Vec::<Override>::new() };
    Config::resolve(&sources, &Registry::default().known()).unwrap()
}

fn two_threads() -> MachineOptions {
    MachineOptions { threads: 2, ..MachineOptions::default() }
}

/// What the other test runs in a process of its own: a run, and what it held at its peak.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn child() {
    let mut method = String::new();
    std::io::stdin().read_to_string(&mut method).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let never = AtomicBool::new(false);
    let ended = train_in(&run, config(&method), &Registry::default(), &two_threads(), &mut Silent, &never);
    assert!(matches!(ended.unwrap(), Ended::Finished(_)));
    assert!(RunFolder::open(&run).is_ok());
    println!("peak={};", peak_memory_bytes().unwrap());
}

#[test]
#[cfg(target_os = "linux")]
fn planned_memory_is_what_a_run_of_any_method_takes() {
    let mut wrong = Vec::new();
    for method in Method::ALL {
        let planned = Prepared::new(config(&method.name), &Registry::default(), &two_threads()).unwrap();
        let planned = planned.memory().unwrap().bytes();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), method.name.as_bytes()).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let peak = said.split("peak=").nth(1).and_then(|rest| rest.split(';').next()?.parse::<u64>().ok());
        let peak = peak.unwrap_or_else(|| panic!("{}: {said}", method.name));
        let share = planned as f64 / peak as f64;
        println!("{}: {planned} planned, {peak} held, {share:.3}", method.name);
        // What an allocator keeps differs from run to run; of too little planned a machine would know first.
        if !(0.9..=1.4).contains(&share) {
            wrong.push((&method.name, planned, peak, share));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
