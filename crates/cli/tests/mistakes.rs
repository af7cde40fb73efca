//! What the command says to somebody who made a mistake: one line that says what is wrong, a hint where there is one,
//! the right exit code; nothing on standard output, and nothing changed on the disk.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use rigl_base::files;
use rigl_formats::checkpoint;
use rigl_graph::Models;
use rigl_topology::Method;
use support::{MNIST, Place, Said, checkpoints, events, mnist, newest, refused};

/// A short run on the data in `data`, saved after every batch; to be followed by a folder.
const SHORT: &str = "train quickstart --data-dir data --threads 1 --set data.name=mnist --set data.batch=50 \
    --set schedule.unit=steps --set schedule.length=6 --set schedule.milestones=[5] --set checkpoint.every-seconds=0 --run-dir";

fn place() -> Place {
    let place = Place::new();
    place.write_data(100, 50);
    place
}

/// Runs a command that must be refused in one line that has all of `parts`.
#[track_caller]
fn refused_with(place: &Place, line: &str, parts: &[&str]) -> Said {
    let before = place.contents();
    let said = place.run(line);
    let errors: Vec<&str> = said.err.lines().filter(|line| line.contains("error: ")).collect();
    assert_eq!(errors.len(), 1, "{line}: {}", said.err);
    for part in parts {
        assert!(errors[0].contains(part), "`{part}` is not in {}", errors[0]);
    }
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}");
    assert_eq!(place.contents(), before, "{line}");
    said
}

#[test]
fn names_that_do_not_exist() {
    let place = Place::new();
    let presets =
        "allowed are `quickstart`, `mnist-lenet`, `fashion-lenet`, `cifar10-wrn22-2`, `cifar100-wrn22-2`";
    let models: Vec<String> = Models::default().names().map(|name| format!("`{name}`")).collect();
    let models = models.join(", ");
    let methods: Vec<String> = Method::ALL.iter().map(|row| format!("`{}`", row.name)).collect();
    let methods = methods.join(", ");
    let cases = [
        ("train quickstrat", &*format!("no preset is called `quickstrat`, {presets}"), "quickstart"),
        ("train frobnicate", &format!("no preset is called `frobnicate`, {presets}"), ""),
        ("presets minst-lenet", &format!("no preset is called `minst-lenet`, {presets}"), "mnist-lenet"),
        (
            "flops resnet50",
            &format!("no preset or model is called `resnet50`, {presets}, {models}"),
            "resnet-50",
        ),
        (
            "train quickstart --method rigel",
            &format!("`--method`: no method is called `rigel`, allowed are {methods}"),
            "rigl",
        ),
        (
            "train quickstart --set method.sparsty=0.9",
            "`--set`: unknown key `method.sparsty`",
            "method.sparsity",
        ),
        ("train --set sparsity=0.9", "`--set`: unknown key `sparsity`", "method.sparsity"),
    ];
    for (line, error, hint) in cases {
        refused(&place, line, error, hint);
    }
    let nearest = [
        ("train quickstart --set model.name=lenet-300", ["`lenet-300`", "`mlp`"], "lenet-300-100"),
        ("train quickstart --set data.name=minst", ["`minst`", "`drawn-digits`"], "mnist"),
        ("train quickstart --set method.layers.fcl=0.5", ["`fcl`", "`fc2`"], "fc1"),
        ("train quickstart --set method.filter=['fcl']", ["`fcl`", "`fc2`"], "fc1"),
        ("train quickstart --method static --set method.layers.fcl=0.5", ["`fcl`", "`fc2`"], "fc1"),
    ];
    for (line, parts, hint) in nearest {
        let said = refused_with(&place, line, &parts);
        assert!(said.err.ends_with(&format!("\nhint: {hint}\n")), "{}", said.err);
    }
}

#[test]
fn values_out_of_range() {
    let place = Place::new();
    let cases = [
        ("--sparsity 90", "`method.sparsity` is `90`, expected a number with 0 ≤ sparsity < 1", "0.9"),
        ("--sparsity -1", "`method.sparsity` is `-1`, expected a number with 0 ≤ sparsity < 1", ""),
        ("--sparsity nan", "`method.sparsity` is `nan`, expected a number with 0 ≤ sparsity < 1", ""),
        ("--multiplier 0", "`multiplier` is `0`, expected a number with 0 < multiplier ≤ 1000000", ""),
        ("--seed -5", "`seed` is `-5`, expected a whole number from 0 to 9223372036854775807", ""),
        ("--compute fast", "`compute` is `fast`, expected one of `auto`, `sparse`, `masked`", ""),
        (
            "--distribution unifrom",
            "`method.distribution` is `unifrom`, expected one of `uniform`, `er`, `erk`",
            "\"uniform\"",
        ),
        ("--set data.batch=0", "`data.batch` is `0`, expected a whole number from 1 to 16777216", ""),
        (
            "--set checkpoint.every-seconds=-1",
            "`checkpoint.every-seconds` is `-1`, expected a number with 0 ≤ every-seconds ≤ 31536000",
            "",
        ),
        (
            "--set data.micro-batches=3",
            "`data.micro-batches` is `3`, expected a divisor of `data.batch`, which is `100`",
            "2",
        ),
    ];
    for (flag, error, hint) in cases {
        let origin = flag.split_whitespace().next().unwrap();
        refused(&place, &format!("train quickstart {flag}"), &format!("`{origin}`: {error}"), hint);
    }
    refused(
        &place,
        "train --set quickstart",
        "`--set` is followed by `quickstart`, expected `key=value`",
        "method.sparsity=0.9",
    );
    let memory = refused_with(&place, "train quickstart --set data.batch=16000000", &["GiB of memory"]);
    assert!(memory.err.contains("\nhint: --set data.batch="), "{}", memory.err);
}

#[test]
fn configuration_files() {
    let place = Place::new();
    let cases = [
        ("[method]\n\nsparsity = = 0.9\n", "`my.toml` line 3: extra `=`, expected nothing", ""),
        ("[data]\nbatch = 1\nbatch = 2\n", "`my.toml` line 3: duplicate key", ""),
        (
            "preset = 'quickstart'\n[method]\nsparsity = 95\n",
            "`my.toml` line 3: `method.sparsity` is `95`, expected a number with 0 ≤ sparsity < 1",
            "0.95",
        ),
        ("[data]\nbatchs = 3\n", "`my.toml` line 2: unknown key `data.batchs`", "data.batch"),
    ];
    for (text, error, hint) in cases {
        place.write("my.toml", text);
        refused(&place, "train my.toml", error, hint);
    }
    place.write("my.toml", b"\xff\xfe");
    refused(&place, "train my.toml", "`my.toml` is not UTF-8 text", "");
    place.write("my.toml", vec![b'#'; (1 << 20) + 1]);
    refused(&place, "train my.toml", "`my.toml` is larger than a configuration of 1 MiB", "");
    refused_with(&place, "train other.toml", &["error: cannot read `other.toml`: "]);
    place.write("mine", "preset = 'quickstart'");
    let said = refused_with(&place, "train mine", &["no preset is called `mine`"]);
    assert!(said.err.ends_with("\nhint: name configuration files with the ending `.toml`\n"), "{}", said.err);
}

#[test]
fn flags_that_do_not_exist_or_do_not_go_together() {
    let place = Place::new();
    let cases = [
        ("", "Usage"),
        ("trian", "'train'"),
        ("train --sparsty 0.9", "--sparsity"),
        ("train quickstart --threads 0", "1..=1024"),
        ("train quickstart --resume run", "cannot be used with '--resume"),
        ("train --resume run --dry-run", "cannot be used with"),
        ("train --overwrite", "--run-dir"),
        ("train --accept-arithmetic", "--resume"),
        ("eval", "<RUN>"),
        ("eval run --split tset", "'test'"),
    ];
    for (line, part) in cases {
        let said = place.run(line);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}");
        let errors = said.err.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, usize::from(!line.is_empty()), "{}", said.err);
        assert!(said.err.contains(part), "{}", said.err);
    }
    assert_eq!(place.contents(), []);
}

#[test]
fn the_environment() {
    let place = Place::new();
    for (name, value, error) in [
        ("RIGL_ISA", "sse9", "`RIGL_ISA` is `sse9`, this machine has `"),
        ("RIGL_NUM_THREADS", "abc", "`RIGL_NUM_THREADS` is `abc`, expected a whole number from 1 to 1024\n"),
        ("RIGL_NUM_THREADS", "0", "`RIGL_NUM_THREADS` is `0`, expected a whole number from 1 to 1024\n"),
    ] {
        for line in ["train", "train quickstart", "train quickstart --dry-run"] {
            let mut command = place.command(line.split_whitespace());
            command.env(name, value);
            let said = Said::of(command);
            assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}");
            assert!(said.err.starts_with(&format!("error: {error}")), "{}", said.err);
        }
    }
    assert_eq!(place.contents(), []);
}

#[test]
fn missing_data_files() {
    let place = Place::new();
    let hint = "\nhint: rigl data fetch mnist";
    let said = refused_with(&place, "train mnist-lenet", &MNIST);
    assert!(said.err.contains("cache/rigl") && said.err.ends_with(&format!("{hint}\n")), "{}", said.err);
    let said = refused_with(
        &place,
        "train mnist-lenet --data-dir data",
        &["missing; looked in `data/mnist`, `data/MNIST/raw` and `data` (files without `.gz` will do)"],
    );
    assert!(said.err.ends_with(&format!("{hint} --data-dir data\n")), "{}", said.err);
    place.write_data(20, 20);
    files::remove(&place.path(&format!("data/{}", MNIST[3]))).unwrap();
    let missing = format!("`{}.gz` is missing; looked in `data` ", MNIST[3]);
    let said = refused_with(&place, "train mnist-lenet --data-dir data", &["data set `mnist`", &missing]);
    assert!(!said.err.contains("train-images"), "{}", said.err);
}

#[test]
fn convolutional_networks_that_cannot_be() {
    // The network is looked at before the data, which is not there.
    let place = Place::new();
    let wide = "--model wide-resnet --set model.depth";
    let depths = "expected `auto` or a whole number 6n + 4 from 10 to 2002";
    let cases = [
        (&*format!("{wide}=12"), &*format!("`--set`: `model.depth` is `12`, {depths}"), "10"),
        (&*format!("{wide}=21"), &*format!("`--set`: `model.depth` is `21`, {depths}"), "22"),
        (
            "--set model.depth=16",
            "`--set`: `model.depth` is `16`, but `wrn-22-2` has no such option, allowed are `model.width`, \
             `model.dropout`, `model.bn-momentum`",
            "`resnet`, `resnet-cifar`, `vgg-cifar`, `wide-resnet` have it",
        ),
        (
            "--model mlp --set model.hiden=[20]",
            "`--set`: `model.hiden` is `[20]`, but `mlp` has no such option, allowed are `model.hidden`, `model.width`",
            "model.hidden",
        ),
        (
            "--set model.dropout=1",
            "`--set`: `model.dropout` is `1`, expected `auto` or a number with 0 ≤ dropout < 1",
            "",
        ),
        (
            "--set model.bn-momentum=0",
            "`--set`: `model.bn-momentum` is `0`, expected `auto` or a number with 0 < bn-momentum ≤ 1",
            "",
        ),
        (
            "--set method.layers.block4=0.5",
            "`--set`: `method.layers`: no layer matches `block4`, nearest are `block1.layer.0.conv1`, `block1.layer.0.conv2`, \
             `block1.layer.1.conv1`",
            "block1.layer.0.conv1",
        ),
    ];
    for (flags, error, hint) in cases {
        refused(&place, &format!("train cifar10-wrn22-2 {flags}"), error, hint);
    }
    refused(
        &place,
        "train quickstart --model vgg-cifar",
        "`vgg-cifar` halves images five times, so they must have 32×32 pixels at least, found 28×28",
        "",
    );
}

#[test]
fn missing_and_damaged_files_of_cifar10() {
    let place = Place::new();
    let missing = "data set `cifar10`: `cifar-10-binary.tar.gz` is missing; looked in `data/cifar10` and `data` \
                   (the unpacked folder `cifar-10-batches-bin` will do)";
    let line = "train cifar10-wrn22-2 --data-dir data";
    refused(&place, line, missing, "rigl data fetch cifar10 --data-dir data");
    place.write_cifar10(3);
    let file = "data/cifar-10-batches-bin/data_batch_4.bin";
    let good = std::fs::read(place.path(file)).unwrap();
    place.write(file, &good[..good.len() - 1]);
    let records = "9218 bytes, expected a whole number of records of 3073, at least one";
    refused(&place, line, &format!("`{file}` has {records}"), "");
    let mut label = good.clone();
    label[3073] = 10;
    place.write(file, label);
    refused_with(&place, line, &[file, "label 10", "below 10"]);
    files::remove(&place.path(file)).unwrap();
    refused_with(&place, line, &["data set `cifar10`", "data_batch_4.bin"]);
}

#[test]
fn damaged_data_files() {
    let good = mnist(20, 20);
    let gz = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let claim = "the header says 20 images of 28×28 pixels, 15680 bytes, but";
    let changed = |file: usize, at: usize, byte: u8| {
        let mut bytes = good[file].clone();
        bytes[at] = byte;
        bytes
    };
    let cases = [
        (0, "", vec![], "0 bytes, expected a header of 16"),
        (0, "", good[0][..10].to_vec(), "10 bytes, expected a header of 16"),
        (0, "", good[0][..1000].to_vec(), &*format!("{claim} the file holds 984 at most")),
        (2, "", [&good[2][..], &[0]].concat(), &format!("{claim} more follow")),
        (0, "", good[1].clone(), "the first number is 2049, expected 2051 or 2052 for images"),
        (1, "", good[0].clone(), "the first number is 2051, expected 2049 for labels"),
        (0, "", b"<!DOCTYPE html>".to_vec(), "expected 2051 or 2052 for images"),
        (0, ".gz", [&gz(&good[0])[..], b"notes"].concat(), "damaged gzip file: other bytes follow it"),
        (0, "", changed(0, 11, 27), "images of 27×28 pixels"),
        // Four thousand million images, claimed by sixteen bytes: refused before memory is asked for.
        (0, "", [&good[0][..4], &[0xff; 4], &good[0][8..16]].concat(), "the file holds 0 at most"),
        (0, ".gz", gz(&good[0])[..900].to_vec(), "the gzip file ends too early"),
        (0, ".gz", gz(&good[0][..1000]), &format!("{claim} 984 follow")),
        (3, ".gz", gz(&good[1][..8 + 10]), "the header says 20 labels"),
    ];
    for (file, ending, bytes, part) in cases {
        let place = Place::new();
        place.write_data(20, 20);
        let name = format!("data/{}{ending}", MNIST[file]);
        place.write(&name, bytes);
        refused_with(&place, "train mnist-lenet --data-dir data", &[&format!("error: `{name}`: "), part]);
    }
    let place = Place::new();
    place.write_data(20, 20);
    place.write(&format!("data/{}", MNIST[1]), &mnist(21, 1)[1]);
    refused_with(&place, "train mnist-lenet --data-dir data", &["has 21 labels, but", "has 20 images"]);
}

#[test]
fn folders_that_are_no_place_for_a_run() {
    let place = place();
    place.run(&format!("{SHORT} run")).succeeded();
    let both = SHORT.replace("quickstart ", "");
    place.run(&format!("{both} both")).succeeded();
    place.write("mine/thesis.tex", "");
    place.write("file", "");
    let hint = |run: &str| format!("`--resume {run}` goes on with it, `--overwrite` replaces it");
    let another = "choose another folder";
    refused(&place, &format!("{SHORT} run"), "`run` holds a run already", &hint("run"));
    refused(&place, &format!("{both} both"), "`both` holds a comparison of two runs already", &hint("both"));
    for overwrite in ["", " --overwrite"] {
        let line = |line: &str, folder: &str| format!("{line} {folder}{overwrite}");
        refused(&place, &line(SHORT, "mine"), "`mine` is not empty, and holds no run", another);
        refused(&place, &line(SHORT, "both"), "`both` is not empty, and holds no run", another);
        for folder in ["mine", "run"] {
            let error = format!("`{folder}` is not empty, and holds no comparison of two runs");
            refused(&place, &line(&both, folder), &error, another);
        }
        for line in [line(SHORT, "file"), line(SHORT, "file/run"), line(&both, "file")] {
            refused_with(&place, &line, &["`file", ": Not a directory"]);
        }
    }
    // Asked for, both are replaced.
    for (line, summary) in [(SHORT, "run/summary.json"), (&both, "both/dense/summary.json")] {
        let before = std::fs::read(place.path(summary)).unwrap();
        let folder = summary.split('/').next().unwrap();
        place.run(&format!("{line} {folder} --overwrite --seed 1")).succeeded();
        assert_ne!(std::fs::read(place.path(summary)).unwrap(), before);
    }
}

#[test]
fn a_folder_that_cannot_be_written_to() {
    let place = place();
    files::create_folder(&place.path("locked")).unwrap();
    let mut permissions = place.path("locked").metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(place.path("locked"), permissions).unwrap();
    if files::create_folder(&place.path("locked/probe")).is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    refused_with(&place, &format!("{SHORT} locked/run"), &["cannot create folder `locked/run`"]);
    refused_with(&place, &format!("{SHORT} locked"), &["`locked/run.lock`"]);
}

#[test]
fn what_is_not_a_run_cannot_be_resumed_or_evaluated() {
    let place = place();
    place.write("mine/thesis.tex", "");
    place.write("file", "");
    for command in ["train --resume", "eval"] {
        refused(&place, &format!("{command} mine"), "`mine` is not a run: it has no `config.toml`", "");
        refused_with(&place, &format!("{command} nowhere"), &["cannot open run `nowhere`: "]);
    }
    refused(&place, "train --resume file", "`file` is a file, expected the folder of a run", "");
    refused_with(&place, "eval file", &["`file`"]);
    refused(
        &place,
        "train --resume mine --seed 1",
        "`--resume` goes on with the configuration of the run, which cannot be changed",
        "",
    );
    // What a process leaves that was ended before it wrote the configuration.
    for folder in ["ended/checkpoints", "ended/patterns"] {
        files::create_folder(&place.path(folder)).unwrap();
    }
    place.write("ended/run.lock", "process 1 on host a\n");
    refused(
        &place,
        "train --resume ended",
        "`ended` is not a run: it has no `config.toml`",
        "it was ended before anything was trained; begin anew with `--run-dir ended --overwrite`",
    );
    place.run(&format!("{SHORT} ended --overwrite")).succeeded();

    place.run(&format!("{} both", SHORT.replace("quickstart ", ""))).succeeded();
    refused(
        &place,
        "eval both",
        "`both` is not a run: it has no `config.toml`",
        "it holds two runs: rigl eval both/sparse",
    );
    refused(
        &place,
        "eval ended --split validation --data-dir data",
        "the run split no validation samples off",
        "--split test",
    );
}

/// A run with all its steps done that does not know it: resuming it has to read a checkpoint.
fn unfinished(place: &Place, name: &str, flags: &str) {
    place.run(&format!("{SHORT} {name} {flags}")).succeeded();
    files::remove(&place.path(name).join("summary.json")).unwrap();
}

fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    files::write_atomic(file, &bytes).unwrap();
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged() {
    let place = place();
    unfinished(&place, "run", "");
    let files = checkpoints(&place.path("run"));
    assert_eq!(files.len(), 2);
    files.iter().for_each(|file| damage(file));
    let names = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect::<Vec<_>>();
    for line in ["train --resume run --data-dir data", "eval run --data-dir data"] {
        refused_with(&place, line, &[names[0], names[1], "damaged: the checksum of the data does not match"]);
    }
    // One good one is enough to be evaluated, with a warning.
    damage(&files[0]);
    let said = place.run("eval run --data-dir data").succeeded();
    assert!(said.err.starts_with("warning: ") && said.err.contains(names[1]), "{}", said.err);
}

#[test]
fn a_checkpoint_that_belongs_to_another_run() {
    let place = place();
    unfinished(&place, "run", "");
    unfinished(&place, "other", "--set model.name=mlp --set model.hidden=[20]");
    let [run, other] = ["run", "other"].map(|name| checkpoints(&place.path(name)).pop().unwrap());
    let own = newest(&place.path("run"));
    std::fs::copy(other, &run).unwrap();
    let file = run.file_name().unwrap().to_str().unwrap();
    let line = "train --resume run --data-dir data";
    let hint = "`rigl train run/config.toml` begins a new run with it";
    refused(
        &place,
        line,
        &format!(
            "checkpoint `{file}` belongs to another configuration: `model.name` is `\"mlp\"` there, \
             `\"lenet-300-100\"` in `config.toml`"
        ),
        hint,
    );
    // Another network under the same configuration: a program's own model has changed.
    let mut foreign = newest(&place.path("run"));
    foreign.metadata.configuration = own.metadata.configuration.clone();
    checkpoint::write(&run, &foreign.state, &foreign.metadata).unwrap();
    refused_with(&place, line, &[file, "another network than the configuration describes"]);
    // Another version of the arithmetic, which can be accepted.
    let mut older = own.clone();
    older.metadata.arithmetic_version = 0;
    checkpoint::write(&run, &older.state, &older.metadata).unwrap();
    let said = refused_with(&place, line, &["`run` was begun under version 0 of the arithmetic"]);
    assert!(said.err.ends_with("\nhint: rigl train --resume run --accept-arithmetic\n"), "{}", said.err);
    place.run(&format!("{line} --accept-arithmetic")).succeeded();
}

#[test]
fn a_configuration_that_was_changed_after_the_run_began() {
    let place = place();
    unfinished(&place, "run", "");
    let text = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
    place.write("run/config.toml", text.replace("sparsity = 0.9\n", "sparsity = 0.8\n"));
    refused_with(
        &place,
        "train --resume run --data-dir data",
        &["belongs to another configuration: `method.sparsity` is `0.9` there, `0.8` in `config.toml`"],
    );
    // How often it is saved and logged changes no weight.
    place.write("run/config.toml", text.replace("every-seconds = 0\n", "every-seconds = 5\n"));
    place.run("train --resume run --data-dir data").succeeded();
}

#[test]
fn a_run_that_diverges() {
    let place = place();
    let (rate, step) = ("1e30", 1);
    let part = "error: a number at step 1 is not finite, first in the forward pass of `fc2`\n";
    let said = place.run(&format!("{SHORT} run-{rate} --set schedule.learning-rate={rate}"));
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.err);
    let at = said.err.find("error: ").unwrap();
    let hint = format!(
        "\nhint: `rigl train run-{rate}/config.toml --set schedule.learning-rate=1e29` begins a new run, with a tenth of the learning rate\n"
    );
    assert_eq!(said.err[at..], format!("{part}{hint}"));
    let run = place.path(&format!("run-{rate}"));
    // The last good one is there; reading it checks that every number is finite.
    assert_eq!(newest(&run).metadata.step, step, "{rate}");
    assert!(checkpoints(&run).iter().all(|file| checkpoint::read(file).is_ok()));
    let end = events(&run, &["end"]).pop().unwrap();
    assert_eq!(end["status"], "diverged");
    assert!(part.contains(end["reason"].as_str().unwrap()), "{end}");
    assert!(!run.join("summary.json").exists());
}

/// Ends a command when the test does, however it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_processes_on_one_run() {
    let place = place();
    let long = |line: &str| format!("{line} --set schedule.length=1000000 -q");
    let both = SHORT.replace("quickstart ", "");
    for (line, folder, run) in [(SHORT, "run", "run"), (&both, "both", "both/sparse")] {
        let mut command = place.command(long(&format!("{line} {folder}")).split_whitespace());
        let first = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        while checkpoints(&place.path(run)).is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let holder = format!("error: `{run}` is in use by process {} on host ", first.0.id());
        for second in
            [format!("train --resume {folder} --data-dir data"), format!("{line} {folder} --overwrite")]
        {
            let said = place.run(&second);
            assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{second}: {}", said.err);
            assert!(said.err.starts_with(&holder), "{second}: {}", said.err);
            assert!(said.err.ends_with("\nhint: wait for it to end, or stop it\n"), "{}", said.err);
        }
        // To look at it is no harm.
        place.run(&format!("eval {run} --data-dir data")).succeeded();
    }
}

#[test]
fn a_reader_that_went_away_is_no_mistake() {
    let place = place();
    for line in ["presets", "presets quickstart --full", "flops --json", "--help", &format!("{SHORT} run")] {
        let mut command = place.command(line.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{line}: {}", said.err);
        assert!(!said.err.contains("error"), "{}", said.err);
    }
    // Nor one that no longer reads what is told on the way.
    let mut command = place.command(format!("{SHORT} run --overwrite").split_whitespace());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("test accuracy"), "{}", said.out);
}
