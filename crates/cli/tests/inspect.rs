//! `rigl inspect`, `rigl completions` and `rigl man`: what they say agrees with what was trained, and with each other.

mod support;

use std::process::Command;

use rigl_base::files;
use rigl_graph::state::{Role, find};
use rigl_metrics::Summary;
use support::{Place, Said, checkpoints, events, newest};

/// A short run with patterns and a validation split; to be followed by a folder.
const TRAIN: &str = "train mnist-lenet --data-dir data --threads 1 --set data.batch=20 --set schedule.unit=steps \
    --set schedule.length=40 --set schedule.milestones=[30] --set schedule.divide-by=[3] --set data.validation=0.2 \
    --set method.update-interval=10 --set method.update-end=30 --set log.patterns=1 --set log.every-steps=10 --run-dir";

fn trained() -> Place {
    let place = Place::new();
    place.write_data(200, 100);
    place.run(&format!("{TRAIN} run")).succeeded();
    place
}

/// The one file in `folder` that ends so.
fn file(place: &Place, folder: &str, ending: &str) -> String {
    let mut names: Vec<String> = std::fs::read_dir(place.path(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(ending))
        .collect();
    names.sort();
    format!("{folder}/{}", names.pop().expect("a file"))
}

#[test]
fn a_run_is_told_as_it_is() {
    let place = trained();
    let before = place.contents();
    let value = place.run("inspect run --pixels --json").succeeded().json();
    let run = place.path("run");
    let summary = Summary::read(&run.join("summary.json")).unwrap();
    for (key, expected) in [
        ("kind", "run"),
        ("preset", "mnist-lenet"),
        ("method", "rigl"),
        ("status", "finished"),
        ("data", "mnist"),
    ] {
        assert_eq!(value[key], expected, "{key}");
    }
    assert_eq!(value["seeds"]["topology"], 0);
    let log = &value["log"];
    assert_eq!((&log["step"], &log["draw"]), (&40.into(), &summary.draws.into()));
    assert_eq!(log["events"]["update"], 3);
    assert_eq!(log["machine"]["threads"], 1);
    assert_eq!(log["evaluations"]["test"]["loss"].as_f64(), Some(summary.loss));
    assert_eq!(log["evaluations"]["validation"]["samples"], 40);
    assert_eq!(log["train"]["loss"], events(&run, &["train"]).pop().unwrap()["loss"]);

    // Counted from the checkpoint's own indices.
    let checkpoint = newest(&run);
    let layers = value["layers"].as_array().unwrap();
    assert_eq!(layers.len(), summary.layers.len());
    for (layer, expected) in layers.iter().zip(&summary.layers) {
        let name = expected.name.as_str();
        assert_eq!(layer["name"], name);
        assert_eq!(layer["active"], expected.active, "{name}");
        assert_eq!(layer["explored"], expected.explored, "{name}");
        let tensor = find(&checkpoint.state, &Role::Parameter, name).unwrap();
        let values = tensor.values.as_f32().unwrap();
        let magnitude = values.iter().map(|w| f64::from(w.abs())).sum::<f64>() / values.len() as f64;
        assert_eq!(layer["values"]["mean_magnitude"], magnitude);
        let mean = values.iter().map(|&w| f64::from(w)).sum::<f64>() / values.len() as f64;
        let squares = values.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum::<f64>();
        assert_eq!(layer["values"]["deviation"], (squares / values.len() as f64).sqrt());
        assert_eq!(layer["values"]["zeros"], values.iter().filter(|&&w| w == 0.0).count());
        assert_eq!(
            layer["values"]["max"].as_f64().unwrap() as f32,
            values.iter().copied().fold(f32::MIN, f32::max)
        );
        let without = |count: usize, of: &dyn Fn(usize) -> usize| match &tensor.indices {
            None => 0,
            Some(indices) => (0..count).filter(|&n| indices.iter().all(|&i| of(i as usize) != n)).count(),
        };
        let [outputs, inputs] = tensor.shape[..] else { panic!("{name}") };
        assert_eq!(layer["dead_outputs"], without(outputs, &|i| i / inputs), "{name}");
        assert_eq!(layer["unused_inputs"], without(inputs, &|i| i % inputs), "{name}");
    }
    let rows = value["pixels"]["connections"].as_array().unwrap();
    assert_eq!((rows.len(), rows[0].as_array().unwrap().len()), (28, 28));
    let pixels: Vec<u64> =
        rows.iter().flat_map(|row| row.as_array().unwrap()).map(|n| n.as_u64().unwrap()).collect();
    assert_eq!(pixels.iter().sum::<u64>(), summary.layers[0].active);
    assert_eq!(
        pixels.iter().filter(|&&n| n == 0).count() as u64,
        layers[0]["unused_inputs"].as_u64().unwrap()
    );

    let best = &value["checkpoints"][0];
    assert_eq!((&best["file"], &best["good"]), (&"best.safetensors".into(), &true.into()));
    assert_eq!(value["checkpoints"].as_array().unwrap().len(), 1 + checkpoints(&run).len());

    let said = place.run("inspect run --pixels").succeeded();
    for part in [
        "mnist-lenet",
        "rigl, erk, 97.50 % sparse",
        "finished",
        "epoch 5",
        "verified",
        "\nfc1 ",
        "blank: none;",
    ] {
        assert!(said.out.contains(part), "`{part}` is not in {}", said.out);
    }
    assert_eq!(said.out.lines().filter(|line| line.starts_with('│')).count(), 28);
    assert_eq!(said.err, "");
    assert_eq!(place.contents(), before);
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_is_shown() {
    let place = trained();
    let files = checkpoints(&place.path("run"));
    let [before, newest] = &files[..] else { panic!("{files:?}") };
    let mut bytes = std::fs::read(newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    files::write_atomic(newest, &bytes).unwrap();
    files::remove(&place.path("run/checkpoints/best.safetensors")).unwrap();
    let value = place.run("inspect run --json").succeeded().json();
    assert_eq!(value["shown"], before.file_name().unwrap().to_str().unwrap());
    let told: Vec<bool> =
        value["checkpoints"].as_array().unwrap().iter().map(|c| c["good"] == true).collect();
    assert_eq!(told, [true, false]);
    let problem = "damaged: the checksum of the data does not match";
    assert_eq!(value["checkpoints"][1]["problem"], problem);
    assert!(place.run("inspect run").succeeded().out.contains(problem));

    // A checkpoint under the name of another, and one without any.
    files::write_atomic(newest, &std::fs::read(before).unwrap()).unwrap();
    let value = place.run("inspect run --json").succeeded().json();
    assert_eq!(value["checkpoints"][1]["problem"], "holds step 0, draw 0");
    files.iter().for_each(|file| files::remove(file).unwrap());
    files::remove(&place.path("run/summary.json")).unwrap();
    let said = place.run("inspect run").succeeded();
    assert!(!said.out.contains("\nfc1 "), "{}", said.out);
    let said = place.run("inspect run --pixels");
    assert_eq!((said.code, &*said.err), (Some(2), "error: `--pixels` needs a checkpoint, `run` has none\n"));
}

#[test]
fn a_run_that_has_not_ended_says_how_to_go_on() {
    let place = trained();
    files::remove(&place.path("run/summary.json")).unwrap();
    let log = std::fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("\"event\":\"end\"")).collect();
    // Torn by a kill.
    place.write("run/metrics.jsonl", format!("{}\n{{\"ver", lines.join("\n")));
    let said = place.run("inspect run").succeeded();
    assert!(said.out.contains("unfinished: being trained, or ended by a kill"), "{}", said.out);
    assert_eq!(said.err, "`rigl train --resume run` goes on with it\n");
    assert_eq!(place.run("inspect run --json").json()["status"], "unfinished");
    // Damaged in the middle: told as far as it goes.
    place.write("run/metrics.jsonl", format!("{}\nnonsense\n", lines[..4].join("\n")));
    let said = place.run("inspect run").succeeded();
    assert!(said.err.starts_with("warning: ") && said.err.contains("line 5"), "{}", said.err);
}

#[test]
fn each_kind_of_file_has_its_digest() {
    let place = trained();
    let json = |file: &str| place.run(&format!("inspect {file} --json")).succeeded().json();
    let text = |file: &str| place.run(&format!("inspect {file}")).succeeded().out;

    let checkpoint = file(&place, "run/checkpoints", "43.safetensors");
    let value = json(&checkpoint);
    assert_eq!(
        (&value["kind"], &value["step"], &value["draw"]),
        (&"checkpoint".into(), &40.into(), &43.into())
    );
    assert_eq!(value["network"], "lenet-300-100");
    let tensors = value["tensors"].as_array().unwrap();
    let weight = tensors.iter().find(|t| t["key"] == "parameter/fc1.weight").unwrap();
    assert_eq!((&weight["sparse"], &weight["numbers"]), (&true.into(), &value["layers"][0]["active"]));
    assert_eq!(value["layers"], json("run")["layers"]);
    let said = text(&checkpoint);
    let everything = ["slot/momentum/fc2.weight", "fc1 = linear(flatten)"];
    for part in ["300×784", "unused in", "mean |w|", "min", "max", "\nslot/momentum "] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    for part in everything {
        assert!(!said.contains(part), "`{part}` is in {said}");
        for of in [&checkpoint, "run"] {
            let said = text(&format!("{of} --all"));
            assert!(said.contains(part), "`{part}` is not in {said}");
        }
    }

    let patterns = file(&place, "run/patterns", "40.safetensors");
    let value = json(&format!("{patterns} --pixels"));
    assert_eq!(value["kind"], "patterns");
    assert_eq!(value["pixels"], json("run --pixels")["pixels"]);
    assert_eq!(value["layers"][0]["values"], serde_json::Value::Null);
    assert!(!text(&patterns).contains("mean |w|"));

    let value = json("run/config.toml");
    assert_eq!(value["kind"], "configuration");
    assert_eq!(value["keys"]["data.batch"], 20);
    assert_eq!(value["keys"]["method.layers"]["fc1"], 0.99);
    assert_eq!(value["keys"]["schedule.milestones"], serde_json::json!([30]));
    let said = text("run/config.toml");
    assert!(said.contains("data.batch") && !said.contains("optimizer.momentum"), "{said}");

    let value = json("run/summary.json");
    assert_eq!((&value["kind"], &value["steps"]), (&"summary".into(), &40.into()));
    assert!(text("run/summary.json").contains("weights ever active"));

    let value = json("run/metrics.jsonl");
    assert_eq!((&value["kind"], &value["status"]), (&"log".into(), &"finished".into()));
    assert_eq!(value["events"]["network"], 1);
    assert!(text("run/metrics.jsonl").contains("checkpoint"));
}

#[test]
fn what_cannot_be_inspected_is_refused_in_one_line() {
    let place = trained();
    place
        .run(&format!(
            "{} --run-dir both",
            TRAIN.replace("mnist-lenet", "").replace("--run-dir", "--set data.name=mnist")
        ))
        .succeeded();
    place.write("notes.txt", "");
    place.write("other.json", "{}");
    place.write("other.safetensors", [&8u64.to_le_bytes()[..], b"{} x    "].concat());
    place.write("patterns/none", "");
    let board = file(&place, "run", ".0");
    let cases = [
        ("nowhere", "error: cannot read `nowhere`: ", ""),
        ("patterns", "error: `patterns` is not a run: it has no `config.toml`\n", ""),
        (
            "both",
            "error: `both` is not a run: it has no `config.toml`\n",
            "it holds two runs: rigl inspect both/sparse",
        ),
        ("notes.txt", "error: cannot tell what `notes.txt` is, allowed are the folder of a run, ", ""),
        ("other.json", "error: `other.json` is not a summary: ", ""),
        (
            "other.safetensors",
            "error: checkpoint `other.safetensors`: not a checkpoint, or damaged: the header is not valid",
            "",
        ),
        (
            "run/config.toml --pixels",
            "error: `--pixels` needs a run or a file of checkpoints or patterns",
            "",
        ),
        (
            "run/config.toml --all",
            "error: `--all` needs a run or a file of checkpoints or patterns, `run/config.toml` is none\n",
            "",
        ),
        (&board, "error: cannot tell what `run/events.out.tfevents.", "tensorboard --logdir run"),
    ];
    let before = place.contents();
    for (arguments, error, hint) in cases {
        let said = place.run(&format!("inspect {arguments}"));
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{arguments}");
        assert!(said.err.starts_with(error), "{}", said.err);
        let lines = if hint.is_empty() { 1 } else { 3 };
        assert_eq!(said.err.lines().count(), lines, "{}", said.err);
        assert!(hint.is_empty() || said.err.ends_with(&format!("\nhint: {hint}\n")), "{}", said.err);
    }
    assert_eq!(place.contents(), before);
}

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    let place = Place::new();
    for (shell, part) in [
        ("bash", "complete -F _rigl"),
        ("zsh", "#compdef rigl"),
        ("fish", "complete -c rigl"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer[rigl]"),
    ] {
        let said = place.run(&format!("completions {shell}")).succeeded();
        for part in [part, "inspect", "pixels", "resume"] {
            assert!(said.out.contains(part), "{shell}: `{part}` is missing");
        }
        assert_eq!(said.err, "");
        let value = place.run(&format!("completions {shell} --json")).succeeded().json();
        assert_eq!(value["script"].as_str().unwrap().trim_end(), said.out.trim_end());
    }
    assert_eq!(place.run("completions tcsh").code, Some(2));
}

#[test]
#[cfg(unix)]
fn bash_completes_commands_and_flags() {
    let place = Place::new();
    let script = place.run("completions bash").succeeded().out;
    place.write("rigl.bash", script);
    for (words, expected) in
        [("rigl ins", "inspect"), ("rigl inspect --pi", "--pixels"), ("rigl completions z", "zsh")]
    {
        let asked = format!(
            "source rigl.bash; COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); \
             _rigl rigl \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        match bash.args(["--norc", "-c", &asked]).current_dir(place.path("")).output() {
            Ok(output) => {
                let said = Said::from(output);
                assert_eq!(said.out.trim(), expected, "{}", said.err);
            }
            Err(_) => return println!("skipped: there is no bash here"),
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let place = Place::new();
    let main = place.run("man").succeeded().out;
    let written = place.run("man --out pages/man1").succeeded().out;
    let names: Vec<&str> = written.lines().map(|path| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(names[0], "rigl.1");
    assert_eq!(std::fs::read_to_string(place.path("pages/man1/rigl.1")).unwrap(), main);
    assert!(
        main.starts_with(".ie") && main.contains(".TH rigl 1") && main.contains(".SH \"EXIT STATUS\""),
        "{main}"
    );
    let help = place.run("--help").succeeded().out;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|&name| name != "help")
        .collect();
    assert!(commands.contains(&"inspect") && commands.contains(&"man"), "{commands:?}");
    // That of a command below a command is there too.
    assert!(names.contains(&"rigl-data-fetch.1"), "{names:?}");
    for command in commands {
        let name = format!("rigl-{command}.1");
        assert!(names.contains(&&*name) && main.contains(&format!("rigl\\-{command}(1)")), "{name}");
        let page = std::fs::read_to_string(place.path("pages/man1").join(&name)).unwrap();
        for part in [&*format!(".TH rigl-{command} 1"), ".SH SYNOPSIS", ".SH EXAMPLES", "\\-\\-json"] {
            assert!(page.contains(part), "{name}: `{part}` is missing");
        }
        assert!(page.contains(&format!("rigl {command}")), "{name}");
    }
}
