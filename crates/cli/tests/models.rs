//! Networks by name: a recipe with another network than its own is the same for every command, and each network's options
//! are listed where people look for them.

mod support;

use rigl_graph::Models;
use support::Place;

const SWEEP: &str = "
preset = 'cifar10-wrn22-2'
[grid]
'model.name' = ['wrn-22-2', 'resnet-cifar']
";

/// Commands that take a recipe with flags, or make one such run of a sweep.
const COMMANDS: [&str; 4] = [
    "train cifar10-wrn22-2 --model resnet-cifar --dry-run --data-dir data",
    "flops cifar10-wrn22-2 --model resnet-cifar",
    "bench step cifar10-wrn22-2 --model resnet-cifar --batch 2 --seconds 0.001 --threads 1",
    "sweep short.toml --dry-run",
];

fn place() -> Place {
    let place = Place::new();
    place.write_cifar10(42);
    place.write("short.toml", SWEEP);
    place
}

#[test]
fn what_a_recipe_says_of_its_own_network_is_left_out_for_another_by_every_command() {
    let place = place();
    let warning = "warning: left out for `resnet-cifar`, as it was meant for `wrn-22-2`: `model.dropout = 0.3` \
                   (preset `cifar10-wrn22-2` line 6)\n";
    for line in COMMANDS {
        let said = place.run(line).succeeded();
        assert_eq!(said.err.matches("left out for").count(), 1, "{line}: {}", said.err);
        assert!(said.err.contains(warning), "{line}: {}", said.err);
    }
    for line in COMMANDS {
        let said = place.run(&line.replace("resnet-cifar", "wrn-22-2")).succeeded();
        assert!(line.starts_with("sweep") || !said.err.contains("left out"), "{line}: {}", said.err);
    }
}

#[test]
fn what_is_asked_of_a_network_that_does_not_have_it_is_refused_by_every_command() {
    let place = place();
    let error = "`model.dropout` is `0.1`, but `resnet-cifar` has no such option, allowed are `model.depth`, \
                 `model.width`, `model.bn-momentum`\n\nhint: `wide-resnet`, `wrn-22-2` have it\n";
    for line in &COMMANDS[..3] {
        let said = place.run(&format!("{line} --set model.dropout=0.1"));
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}");
        assert_eq!(said.err, format!("error: `--set`: {error}"), "{line}");
    }
}

#[test]
fn every_network_is_listed_with_its_options() {
    let place = Place::new();
    for command in ["train", "flops", "bench"] {
        let help = place.run(&format!("{command} --help")).succeeded().out;
        let lines: Vec<&str> = help.lines().map(str::trim).collect();
        for model in Models::default().iter() {
            let options: Vec<String> =
                model.options.iter().map(|option| format!("{} = {}", option.name, option.default)).collect();
            let line = format!("{}: {}", model.name, options.join(", "));
            assert!(lines.contains(&&*line), "{command}: {line}\n{help}");
        }
    }
    let text = place.run("presets cifar10-wrn22-2 --full").succeeded().out;
    let lines: Vec<&str> = text.lines().collect();
    for option in &Models::default().get("wrn-22-2").unwrap().options {
        let key = format!("{} = ", option.name);
        let at =
            lines.iter().position(|line| line.starts_with(&key)).unwrap_or_else(|| panic!("{key}\n{text}"));
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("# "));
        let about: Vec<&str> = above.map(|line| line.trim_start_matches("# ")).collect();
        let about = about.into_iter().rev().collect::<Vec<_>>().join(" ");
        assert_eq!(about, format!("{} Takes `auto` or {}.", option.doc, option.allowed()));
    }
    assert!(lines.contains(&"dropout = 0.3") && lines.contains(&"width = 2"), "{text}");
    assert!(!lines.iter().any(|line| line.starts_with("depth = ")), "{text}");
}
