//! What the program says of itself: its version, the commit it was built from, and the names that a shell completes.

mod support;

use std::process::Command;

use support::{Place, events, summary};

/// Whether git knows a commit; `None` if these sources lie in no repository, or there is no git.
fn is_known(commit: &str) -> Option<bool> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        let output = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        output.is_ok_and(|output| output.status.success())
    };
    git(&["rev-parse", "HEAD"]).then(|| git(&["cat-file", "-e", &format!("{commit}^{{commit}}")]))
}

#[test]
fn the_version_names_the_commit_and_its_day() {
    let said = Place::new().run("--version").succeeded();
    let rest = said.out.strip_prefix(concat!("rigl ", env!("CARGO_PKG_VERSION"))).unwrap().trim_end();
    if rest.is_empty() {
        return;
    }
    let (commit, day) = rest
        .strip_prefix(" (")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|rest| rest.split_once(' '))
        .unwrap();
    let digits = commit.trim_end_matches("-dirty");
    assert!(digits.len() == 10 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{rest}");
    assert!(day.len() == 10 && day.chars().all(|c| c.is_ascii_digit() || c == '-'), "{rest}");
}

#[test]
fn logs_and_summaries_name_the_commit_that_the_program_was_built_from() {
    let place = Place::new();
    place.write_data(20, 10);
    let short = "train quickstart --data-dir data --threads 1 --set data.name=mnist --set data.batch=10 --set \
                 schedule.unit=steps --set schedule.length=2 --set schedule.milestones=[] --run-dir run";
    place.run(short).succeeded();
    let run = place.path("run");
    let begun = &events(&run, &["run"])[0];
    let of_summary = summary(&run).commit;
    assert_eq!(begun["commit"].as_str(), of_summary.as_deref());
    assert_eq!(begun["program"].as_str(), Some(&*summary(&run).program));
    if let Some(built) = of_summary {
        assert_ne!(is_known(built.trim_end_matches("-dirty")), Some(false), "{built}");
    }
}

/// What bash would offer for the last of these words.
fn completed(script: &str, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let (last, before) = (words.len() - 1, words.len() - 2);
    let text = format!(
        "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={last}\n_rigl rigl '{}' '{}' 2>/dev/null\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words[last],
        words[before]
    );
    let said = Command::new("bash").arg("-c").arg(text).output().unwrap();
    String::from_utf8(said.stdout).unwrap().lines().map(String::from).collect()
}

#[test]
fn a_shell_completes_methods_models_presets_data_sets_and_keys() {
    let place = Place::new();
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&format!("completions {shell}")).succeeded().out;
        for name in ["small-dense", "wrn-22-2", "erk", "mnist-lenet", "fashion-mnist", "optimizer.l2="] {
            assert!(script.contains(name) || shell == "elvish" || shell == "powershell", "{shell}: {name}");
        }
    }
    if Command::new("bash").arg("--version").output().is_err() {
        return;
    }
    let script = place.run("completions bash").succeeded().out;
    for (words, names) in [
        (&["rigl", "train", "mnist"][..], &["mnist-lenet"][..]),
        (&["rigl", "train", "--method", "sn"], &["snfs", "snip"]),
        (&["rigl", "train", "--model", "wrn"], &["wrn-22-2"]),
        (&["rigl", "train", "--distribution", "e"], &["er", "erk"]),
        (
            &["rigl", "train", "--set", "optimizer."],
            &["optimizer.l2=", "optimizer.momentum=", "optimizer.name=", "optimizer.nesterov="],
        ),
        (&["rigl", "train", "--set", "data.name=m"], &["data.name=mnist"]),
        (&["rigl", "train", "--set", "model.depth"], &["model.depth="]),
        (&["rigl", "flops", "mobilenet-v"], &["mobilenet-v1", "mobilenet-v2"]),
        (&["rigl", "presets", "cifar100"], &["cifar100-wrn22-2"]),
        (&["rigl", "data", "fetch", "fashion"], &["fashion-mnist"]),
    ] {
        let mut found = completed(&script, words);
        found.sort();
        assert_eq!(found, names, "{words:?}");
    }
}
