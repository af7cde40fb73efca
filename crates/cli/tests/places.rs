//! Folders of runs, and files in them: nothing is lost that the program did not write, whatever is asked for.
#![cfg(unix)]

mod support;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rigl_base::files;
use support::{Place, Said, checkpoints, events, newest, refused, spawn, summary};

/// A run of no time.
const SHORT: &str = "train quickstart --data-dir data --threads 1 --set data.name=mnist --set data.batch=20 \
    --set schedule.unit=steps --set schedule.length=4 --set schedule.milestones=[3] --set checkpoint.every-seconds=0 \
    --run-dir";

fn place() -> Place {
    let place = Place::new();
    place.write_data(100, 20);
    place
}

fn with_run() -> Place {
    let place = place();
    place.run(&format!("{SHORT} run")).succeeded();
    place
}

/// Runs a command in a folder of the place, that must be refused with this in what it says, and change nothing.
#[track_caller]
fn refused_in(place: &Place, folder: &str, line: &str, part: &str) -> Said {
    let before = place.contents();
    let mut command = place.command(line.split_whitespace());
    command.current_dir(place.path(folder));
    let said = Said::of(command);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}: {}", said.err);
    assert!(said.err.contains(part), "{line}: {}", said.err);
    assert_eq!(place.contents(), before, "{line}");
    said
}

#[test]
fn a_folder_with_some_config_toml_is_no_run() {
    let place = with_run();
    let config = std::fs::read(place.path("run/config.toml")).unwrap();
    for text in [&b"baseURL = 'x'\n[params]\n"[..], b"", &config] {
        place.write("site/config.toml", text);
        for file in ["index.md", ".git/HEAD", ".draft.tmp", ".page.aB3xYz.tmp", "checkpoints/mine.bin"] {
            place.write(&format!("site/{file}"), "mine");
        }
        for flag in ["", " --overwrite"] {
            let said = refused_in(
                &place,
                "",
                &format!("{SHORT} site{flag}"),
                "`site` is not empty, and holds no run",
            );
            assert!(!said.err.contains("--overwrite"), "{}", said.err);
            let both = SHORT.replace("quickstart ", "");
            refused_in(&place, "", &format!("{both} site{flag}"), "holds no comparison of two runs");
        }
        refused_in(&place, "", "train --resume site", "`site` is not a run");
        refused_in(
            &place,
            "",
            "eval site",
            if text == config { "no checkpoint" } else { "`site` is not a run" },
        );
        assert!(!place.path("site/run.lock").exists());
    }
}

#[test]
fn a_run_is_not_replaced_from_inside_nor_with_what_others_put_there() {
    let place = with_run();
    let line = SHORT.replace("--data-dir data", "--data-dir ../data") + " ";
    for folder in [".", "./", "../run", "../run/", "../run/."] {
        refused_in(
            &place,
            "run",
            &format!("{line}{folder} --overwrite"),
            "cannot be replaced by a command that runs in",
        );
    }
    refused_in(
        &place,
        "run/checkpoints",
        &format!("{SHORT} .. --overwrite").replace(" data ", " ../../data "),
        "cannot be replaced",
    );
    let above = refused_in(&place, "run", &format!("{line}.. --overwrite"), "is not empty, and holds no run");
    assert!(!above.err.contains("--overwrite"), "{}", above.err);
    for file in ["notes.md", "plots/loss.png", "checkpoints/net.safetensors"] {
        place.write(&format!("run/{file}"), "mine");
        refused_in(&place, "", &format!("{SHORT} run --overwrite"), "in it was not written by this program");
        let gone = if file.starts_with("plots") { "run/plots" } else { "" };
        match gone {
            "" => files::remove(&place.path(&format!("run/{file}"))).unwrap(),
            folder => place.remove_folder(folder),
        }
    }
    // By any other name of it.
    symlink("run", place.path("link")).unwrap();
    for (seed, folder) in ["run/", "run/.", "link", "link/", "data/../run"].iter().enumerate() {
        place.run(&format!("{SHORT} {folder} --overwrite --seed {}", seed + 1)).succeeded();
        assert_eq!(summary(&place.path("run")).seed, seed as u64 + 1);
    }
    assert!(place.path("link").is_symlink());
    let mut left: Vec<_> =
        std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["data", "link", "run"]);
}

#[test]
fn a_run_that_was_set_aside_is_found_again_by_every_command() {
    for (one, again) in
        [(true, "plain"), (true, "resume"), (true, "overwrite"), (false, "resume"), (false, "plain")]
    {
        let place = place();
        let line = if one { SHORT.to_string() } else { SHORT.replace("quickstart ", "") };
        place.run(&format!("{line} run")).succeeded();
        let before = place.contents();
        #[allow(clippy::disallowed_methods, reason = "as a process leaves it that is killed then")]
        std::fs::rename(place.path("run"), place.path(".run.replaced")).unwrap();
        for folder in if one { vec!["run"] } else { vec!["run/sparse", "run/dense"] } {
            place.write(&format!("{folder}/run.lock"), "process 1 on host a\n");
            files::create_folder(&place.path(&format!("{folder}/checkpoints"))).unwrap();
        }
        let look = if one { "run" } else { "run/sparse" };
        let said = place.run(&format!("eval {look} --data-dir data"));
        assert_eq!(said.code, Some(2));
        if one {
            let hint = "hint: `run/../.run.replaced".replace("run/../", "");
            assert!(
                said.err.contains(&hint) && said.err.contains("--resume run` puts it back"),
                "{}",
                said.err
            );
        }
        match again {
            "plain" => {
                let said = place.run(&format!("{line} run"));
                assert!(said.code == Some(2) && said.err.contains("already"), "{}", said.err);
            }
            "resume" => {
                let said = place.run("train --resume run --data-dir data").succeeded();
                assert!(said.err.contains("is finished already"), "{}", said.err);
            }
            _ => {
                place.run(&format!("{line} run --overwrite --seed 7")).succeeded();
                assert_eq!(summary(&place.path("run")).seed, 7);
            }
        }
        if again != "overwrite" {
            assert_eq!(place.contents(), before, "{one} {again}");
        }
        assert!(!place.path(".run.replaced").exists());
    }
}

/// Raced: one wins, the others are told, and a run is there whole.
#[test]
fn of_processes_that_replace_one_run_at_once_one_does() {
    let rounds = std::env::var("RIGL_TEST_RACES").map_or(6, |text| text.parse().expect("a number"));
    let place = with_run();
    place.write("notes.md", "mine");
    let [mut done, mut told] = [0; 2];
    for round in 0..rounds {
        let mut lines: Vec<String> =
            (1..=4).map(|n| format!("{SHORT} run --overwrite --seed {}{n} -q", round + 1)).collect();
        if round % 2 == 1 {
            files::remove(&place.path("run/summary.json")).unwrap();
            lines.truncate(3);
            lines.push("train --resume run --data-dir data --threads 1 -q".into());
        }
        let children: Vec<_> =
            lines.iter().map(|line| spawn(place.command(line.split_whitespace()))).collect();
        let said: Vec<Said> =
            children.into_iter().map(|child| Said::from(child.wait_with_output().unwrap())).collect();
        for said in &said {
            match said.code {
                Some(0) => done += 1,
                Some(2) => {
                    let busy = ["is in use by", "is being replaced by", "has just been replaced"];
                    assert!(busy.iter().any(|text| said.err.contains(text)), "round {round}: {}", said.err);
                    told += 1;
                }
                code => panic!("round {round}: {code:?} {}", said.err),
            }
        }
        assert!(said.iter().any(|said| said.code == Some(0)), "round {round}: nobody did it");
        let mut left: Vec<_> =
            std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["data", "notes.md", "run"], "round {round}");
        let run = place.path("run");
        assert_eq!(newest(&run).metadata.step, summary(&run).steps, "round {round}");
        assert_eq!(events(&run, &["run"]).len(), 1);
    }
    println!("{rounds} rounds: {done} did it, {told} were told that another does");
}

#[test]
fn an_export_does_not_take_the_place_of_what_a_run_keeps() {
    let place = with_run();
    place.run(&format!("{SHORT} other")).succeeded();
    symlink("run", place.path("link")).unwrap();
    let newest = |run: &str| {
        checkpoints(&place.path(run)).pop().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    };
    let files = [
        format!("run/checkpoints/{}", newest("run")),
        format!("link/checkpoints/{}", newest("run")),
        format!("other/checkpoints/{}", newest("other")),
        "run/checkpoints/best.safetensors".into(),
        "run/checkpoints/step-000000900-draw-000000900.safetensors".into(),
        "run/patterns/7.safetensors".into(),
        "data/../run/checkpoints/../checkpoints/best.safetensors".into(),
    ];
    for file in &files {
        for line in [
            format!("export run {file} --overwrite"),
            format!("eval run --data-dir data --logits {file} --overwrite"),
        ] {
            let error = format!("`{file}` is the name of a file that the run itself keeps");
            refused(&place, &line, &error, "choose a name outside of its folders");
        }
    }
    let own = checkpoints(&place.path("run")).pop().unwrap();
    place.write("copy.safetensors", std::fs::read(own).unwrap());
    refused(
        &place,
        "export copy.safetensors ./copy.safetensors --overwrite",
        "`./copy.safetensors` is the checkpoint that is read, and would be lost",
        "",
    );
    // A link is followed; so is one that leads into a run.
    place.run("export run net.safetensors").succeeded();
    symlink("net.safetensors", place.path("latest.safetensors")).unwrap();
    place.run("export run latest.safetensors --overwrite").succeeded();
    assert!(place.path("latest.safetensors").is_symlink());
    symlink(&files[0], place.path("into.safetensors")).unwrap();
    refused_in(&place, "", "export run into.safetensors --overwrite", "a file that the run itself keeps");
    // What a killed one left is cleared by the next.
    place.write(".net.safetensors.aB3xYz.tmp", "half");
    place.run("export run net.safetensors --overwrite").succeeded();
    assert!(!place.path(".net.safetensors.aB3xYz.tmp").exists());
}

#[test]
fn a_sweep_keeps_off_what_is_not_its_own() {
    let place = with_run();
    place.write("grid.toml", "preset = 'quickstart'\n[grid]\nseed = [0]\n");
    place.write("mine/table.md", "mine");
    let said = place.run("sweep grid.toml --out mine --data-dir data");
    assert!(said.err.contains("its `table.md` would be replaced"), "{}", said.err);
    let said = place.run("sweep grid.toml --out run --data-dir data");
    assert!(said.err.contains("`run` is the folder of a run, not of a sweep"), "{}", said.err);
    assert_eq!(std::fs::read(place.path("mine/table.md")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(place.path("mine")).unwrap().count(), 1);
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_somebody_left_in_a_run_is_refused_by_name_and_nothing_waits_for_it() {
    for (name, kind) in
        [("metrics.jsonl", "pipe"), ("metrics.jsonl", "link"), ("run.lock", "link"), ("summary.json", "pipe")]
    {
        let place = with_run();
        place.write("outside", "mine");
        let path = place.path(&format!("run/{name}"));
        files::remove(&place.path("run/summary.json")).unwrap();
        files::remove(&path).unwrap();
        match kind {
            "pipe" => pipe(&path),
            _ => symlink("../outside", &path).unwrap(),
        }
        for line in ["train --resume run --data-dir data".to_string(), format!("{SHORT} run --overwrite")] {
            refused_in(&place, "", &line, &format!("`run/{name}` is a {kind}, expected a file"));
        }
        assert_eq!(std::fs::read(place.path("outside")).unwrap(), b"mine");
        for line in ["inspect run", "compare run", "eval run --data-dir data"] {
            let mut command = place.command(line.split_whitespace());
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        }
    }
    let place = with_run();
    files::remove(&place.path("run/summary.json")).unwrap();
    let folder = "run/checkpoints/step-000000009-draw-000000009.safetensors";
    files::create_folder(&place.path(folder)).unwrap();
    refused_in(
        &place,
        "",
        "train --resume run --data-dir data",
        &format!("`{folder}` is a folder, expected a file"),
    );
}

#[test]
fn a_pipe_is_waited_for_by_no_command() {
    let place = with_run();
    for name in ["pipe.toml", "pipe.safetensors", "pipe.json", "pipe.jsonl"] {
        pipe(&place.path(name));
    }
    let file = "data/train-images-idx3-ubyte";
    files::remove(&place.path(file)).unwrap();
    pipe(&place.path(file));
    for line in [
        "train pipe.toml",
        "sweep pipe.toml",
        "inspect pipe.toml",
        "inspect pipe.json",
        "inspect pipe.jsonl",
        "eval pipe.safetensors",
        "export pipe.safetensors out.safetensors",
        "compare pipe.json",
        &format!("{SHORT} other"),
        "data --verify --data-dir data",
    ] {
        let said = place.run(line);
        assert!(said.code == Some(2) || line.starts_with("data"), "{line}: {}", said.err);
    }
}

#[test]
fn a_lost_log_or_configuration_is_no_end() {
    let place = with_run();
    let unfinished = |lost: &[&str]| {
        for file in ["summary.json"].iter().chain(lost) {
            files::remove(&place.path(&format!("run/{file}"))).unwrap();
        }
    };
    let resume = "train --resume run --data-dir data --threads 1";
    unfinished(&["metrics.jsonl"]);
    let said = place.run(resume).succeeded();
    assert!(said.err.contains("warning: `run/metrics.jsonl` has lost "), "{}", said.err);
    let names: Vec<String> = events(&place.path("run"), &["run", "network", "checkpoint", "resume", "end"])
        .iter()
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names[..4], ["run", "network", "checkpoint", "resume"]);
    // Its end is torn off.
    let log = place.path("run/metrics.jsonl");
    let bytes = std::fs::read(&log).unwrap();
    unfinished(&[]);
    place.write("run/metrics.jsonl", &bytes[..bytes.len() / 2]);
    let said = place.run(resume).succeeded();
    assert!(said.err.contains("has lost "), "{}", said.err);
    events(&place.path("run"), &["run"]);
    // The configuration of a run, be it finished or not.
    let config = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
    for finished in [false, true] {
        files::remove(&place.path("run/config.toml")).unwrap();
        if !finished {
            unfinished(&[]);
        }
        place.run("eval run --data-dir data").succeeded();
        let said = place.run("inspect run");
        assert!(said.err.starts_with("error: `run` has lost its `config.toml`\n"), "{}", said.err);
        assert!(said.err.contains("`rigl train --resume run` writes it again"), "{}", said.err);
        place.run(resume).succeeded();
        let again = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
        assert!(config.ends_with(&again), "{again}");
    }
}

#[test]
fn a_run_that_goes_on_tells_the_checkpoint_it_went_on_from() {
    let place = with_run();
    files::remove(&place.path("run/summary.json")).unwrap();
    let last: PathBuf = checkpoints(&place.path("run")).pop().unwrap();
    let before = events(&place.path("run"), &["checkpoint"]);
    place.run("train --resume run --data-dir data --threads 1").succeeded();
    let found = events(&place.path("run"), &["checkpoint", "resume"]);
    let at = found.iter().position(|event| event["event"] == "resume").unwrap();
    assert_eq!(found[..at], before);
    assert_eq!(found[at]["checkpoint"].as_str(), last.file_name().unwrap().to_str());
}
