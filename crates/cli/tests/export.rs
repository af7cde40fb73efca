//! `rigl export` and `rigl eval --logits`: other programs read what was trained, and what the network answers.

mod support;

use std::collections::HashMap;

use rigl_base::files;
use rigl_formats::checkpoint;
use rigl_graph::state::{Role, State};
use safetensors::{Dtype, SafeTensors};
use support::{Place, checkpoints, events, newest};

/// A short run; to be followed by a folder.
const LENET: &str = "train mnist-lenet --data-dir data --threads 1 --set data.batch=20 --set schedule.unit=steps \
    --set schedule.length=40 --set schedule.milestones=[30] --set schedule.divide-by=[3] \
    --set method.updates.interval=10 --set method.updates.end=30 --run-dir";

/// What of it a dense network has no use for.
const UPDATES: &str = "--set method.updates.interval=10 --set method.updates.end=30";

/// The same of a network with norms.
const WIDE: &str = "train cifar10-wrn22-2 --data-dir data --threads 1 --model wide-resnet --set model.depth=10 \
    --set model.width=0.5 --set data.batch=10 --set schedule.unit=steps --set schedule.length=3 \
    --set schedule.milestones=[2] --set schedule.divide-by=[5] --set method.update-interval=1 \
    --set method.update-end=2 --run-dir";

fn lenet() -> Place {
    let place = Place::new();
    place.write_data(200, 100);
    place.run(&format!("{LENET} run")).succeeded();
    place
}

/// What a file holds: type, shape and bytes of each array; and its metadata.
struct Exported {
    arrays: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl Exported {
    fn read(place: &Place, file: &str) -> Exported {
        let bytes = std::fs::read(place.path(file)).unwrap();
        let arrays = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        Exported {
            arrays: arrays.map(|(n, a)| (n, (a.dtype(), a.shape().to_vec(), a.data().to_vec()))).collect(),
            metadata: header.metadata().clone().unwrap(),
        }
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.arrays.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    #[track_caller]
    fn floats(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let (kind, found, bytes) = &self.arrays[name];
        assert_eq!((*kind, found.as_slice()), (Dtype::F32, shape), "{name}");
        bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    #[track_caller]
    fn whole(&self, name: &str, shape: &[usize]) -> Vec<i64> {
        let (kind, found, bytes) = &self.arrays[name];
        assert_eq!((*kind, found.as_slice()), (Dtype::I64, shape), "{name}");
        bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect()
    }
}

/// Asserts that an exported file holds this state, and another the masks of its sparse parameters, to the bit.
#[track_caller]
fn holds(network: &Exported, masks: &Exported, state: &State<'_>) {
    let kept = || state.iter().filter(|t| matches!(t.role, Role::Parameter | Role::Buffer));
    let mut names: Vec<String> = kept().map(|t| t.name.to_string()).collect();
    let norms = kept().filter_map(|t| t.name.strip_suffix("running_mean"));
    names.extend(norms.map(|norm| format!("{norm}num_batches_tracked")));
    names.sort_unstable();
    assert_eq!(network.names(), names);
    for tensor in kept() {
        let mut dense = vec![0f32; tensor.shape.iter().product()];
        let mut mask = vec![0u8; dense.len()];
        for (k, &value) in tensor.values.as_f32().unwrap().iter().enumerate() {
            let at = tensor.indices.as_ref().map_or(k, |indices| indices[k] as usize);
            (dense[at], mask[at]) = (value, 1);
        }
        let found = network.floats(&tensor.name, &tensor.shape);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&found) == bits(&dense), "{}", tensor.name);
        match masks.arrays.get(&*tensor.name) {
            Some(found) => assert!(*found == (Dtype::BOOL, tensor.shape.clone(), mask), "{}", tensor.name),
            None => assert!(tensor.indices.is_none(), "{}", tensor.name),
        }
    }
    assert_eq!(masks.arrays.len(), kept().filter(|t| t.indices.is_some()).count());
}

#[test]
fn a_file_holds_what_the_newest_checkpoint_holds() {
    let place = lenet();
    let value = place.run("export run net.safetensors --masks --json").succeeded().json();
    let checkpoint = newest(&place.path("run"));
    let [network, masks] = ["net.safetensors", "net.masks.safetensors"].map(|file| {
        let exported = Exported::read(&place, file);
        let about = &exported.metadata;
        assert_eq!(about["format"], "pt");
        assert_eq!(about["network"], "lenet-300-100");
        assert_eq!(about["graph"], checkpoint.metadata.graph);
        assert_eq!(about["configuration"], checkpoint.metadata.configuration);
        assert_eq!(about["input-preprocessing"], checkpoint.metadata.preprocessing);
        assert_eq!(about["class-names"], r#"["0","1","2","3","4","5","6","7","8","9"]"#);
        assert_eq!(about["step"], "40");
        assert_eq!(about["sparsity"].parse::<f64>().unwrap(), 1.0 - 6652.0 / 266_200.0);
        exported
    });
    holds(&network, &masks, &checkpoint.state);
    assert_eq!(masks.names(), ["fc1.weight", "fc2.weight"]);
    for (key, expected) in [("step", 40), ("weights", 266_200), ("active", 6652), ("tensors", 6)] {
        assert_eq!(value[key], expected, "{key}");
    }
    assert_eq!(value["masks"]["file"], "net.masks.safetensors");
    assert_eq!(value["bytes"], place.path("net.safetensors").metadata().unwrap().len());

    // The same again, from the checkpoint's own file and as text; without `--masks` there are none.
    let file = checkpoints(&place.path("run")).pop().unwrap();
    let said = place.run(&format!("export {} again.safetensors", file.display())).succeeded();
    assert!(said.out.contains("\nagain.safetensors ") && !said.out.contains("masks"), "{}", said.out);
    let bytes = |file: &str| std::fs::read(place.path(file)).unwrap();
    assert!(bytes("again.safetensors") == bytes("net.safetensors"));
    assert!(!place.path("again.masks.safetensors").exists());
}

#[test]
fn norms_have_all_that_a_strict_loader_asks_for() {
    let place = Place::new();
    place.write_cifar10(10);
    place.run(&format!("{WIDE} run")).succeeded();
    place.run("export run net.safetensors --masks").succeeded();
    let checkpoint = newest(&place.path("run"));
    let network = Exported::read(&place, "net.safetensors");
    holds(&network, &Exported::read(&place, "net.masks.safetensors"), &checkpoint.state);
    let batches = i64::try_from(checkpoint.metadata.draw).unwrap();
    assert_eq!(network.whole("block1.layer.0.bn1.num_batches_tracked", &[]), [batches]);
    assert_eq!(network.floats("bn1.running_var", &[32]).len(), 32);
}

#[test]
fn the_best_checkpoint_is_taken_where_it_is_asked_for() {
    let place = lenet();
    place.run(&format!("{LENET} validated --set data.validation=0.2")).succeeded();
    place.run("export validated best.safetensors --best --masks").succeeded();
    let best = place.path("validated/checkpoints/best.safetensors");
    let best = checkpoint::read(&best).unwrap();
    let [network, masks] =
        ["best.safetensors", "best.masks.safetensors"].map(|file| Exported::read(&place, file));
    holds(&network, &masks, &best.state);
    let cases = [
        (
            "run",
            "error: `run` has no best checkpoint: it split no validation samples off, or has not evaluated yet\n",
        ),
        (
            "validated/checkpoints/best.safetensors",
            "error: `--best` chooses among the checkpoints of a run, `validated/checkpoints/best.safetensors` is a file\n",
        ),
    ];
    for (of, error) in cases {
        for command in [format!("export {of} none.safetensors --best"), format!("eval {of} --best")] {
            let said = place.run(&command);
            assert_eq!((said.code, &*said.err), (Some(2), error), "{command}");
        }
    }
}

#[test]
fn the_best_checkpoint_is_evaluated_where_it_is_asked_for() {
    let place = Place::new();
    place.write_data(200, 100);
    place.run(&format!("{LENET} validated --set data.validation=0.2")).succeeded();
    let step = checkpoint::read(&place.path("validated/checkpoints/best.safetensors")).unwrap().metadata.step;
    for split in ["validation", "test"] {
        let told = events(&place.path("validated"), &["evaluation"]);
        let told = told.iter().find(|event| event["split"] == split && event["step"] == step);
        let found = place.run(&format!("eval validated --best --split {split} --json --data-dir data"));
        let found: serde_json::Value = serde_json::from_str(&found.succeeded().out).unwrap();
        assert_eq!((&found["step"], &found["split"]), (&step.into(), &split.into()));
        assert_eq!(found["accuracy"], told.unwrap()["accuracy"], "{split}");
    }
    let said = place.run("eval validated --best --data-dir data").succeeded();
    assert!(said.err.contains(&format!("best.safetensors`, step {step}")), "{}", said.err);
}

#[test]
fn a_dense_network_has_no_masks() {
    let place = Place::new();
    place.write_data(200, 100);
    place.run(&format!("{} run --method dense", LENET.replace(UPDATES, ""))).succeeded();
    place.run("export run net.safetensors --masks").succeeded();
    let [network, masks] =
        ["net.safetensors", "net.masks.safetensors"].map(|file| Exported::read(&place, file));
    holds(&network, &masks, &newest(&place.path("run")).state);
    assert_eq!(network.metadata["sparsity"], "0");
}

#[test]
fn nothing_is_written_where_something_is_wrong() {
    let place = lenet();
    place.run("export run there.safetensors").succeeded();
    place.write("masked.masks.safetensors", "");
    place.write("folder.safetensors/file", "");
    place.write("notes.txt", "notes");
    place.run(&format!("{LENET} patterned --set log.patterns=1")).succeeded();
    let whole = std::fs::read(checkpoints(&place.path("run")).pop().unwrap()).unwrap();
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        place.write(&format!("cut/{length}.safetensors"), &whole[..length]);
    }
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    place.write("damaged.safetensors", damaged);
    let before = place.contents();
    let mut cases = vec![
        (
            "run net.pt".to_string(),
            "error: the ending of `net.pt` names no format that rigl writes, allowed is `.safetensors`",
            "net.safetensors",
        ),
        ("run net".into(), "error: the ending of `net` names no format", "net.safetensors"),
        ("run there.safetensors".into(), "error: `there.safetensors` is there already\n", "--overwrite"),
        (
            "run masked.safetensors --masks".into(),
            "error: `masked.masks.safetensors` is there already\n",
            "--overwrite",
        ),
        (
            "run folder.safetensors --overwrite".into(),
            "error: `folder.safetensors` is a folder\n",
            "folder.safetensors/network.safetensors",
        ),
        ("run no/folder/net.safetensors".into(), "error: cannot write `no/folder/net.safetensors`: ", ""),
        ("nowhere net.safetensors".into(), "error: ", ""),
        ("notes.txt net.safetensors".into(), "error: checkpoint `notes.txt`: ", ""),
        (
            "patterned/patterns/10.safetensors net.safetensors".into(),
            "error: `patterned/patterns/10.safetensors`: tensor `parameter/fc1.weight` is missing\n",
            "",
        ),
        (
            "damaged.safetensors net.safetensors".into(),
            "error: checkpoint `damaged.safetensors`: damaged: ",
            "",
        ),
        // It is no checkpoint, but a file for others.
        (
            "there.safetensors net.safetensors".into(),
            "error: checkpoint `there.safetensors`: not a checkpoint",
            "",
        ),
    ];
    for (file, _) in
        before.iter().filter(|(path, _)| path.parent().is_some_and(|folder| folder.ends_with("cut")))
    {
        cases.push((format!("{} net.safetensors", file.display()), "error: checkpoint `", ""));
    }
    assert_eq!(cases.len(), 11 + 6);
    for (arguments, error, hint) in cases {
        let said = place.run(&format!("export {arguments}"));
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments}");
        assert!(said.err.starts_with(error), "{}", said.err);
        assert_eq!(said.err.lines().count(), if hint.is_empty() { 1 } else { 3 }, "{}", said.err);
        assert!(hint.is_empty() || said.err.ends_with(&format!("\nhint: {hint}\n")), "{}", said.err);
        assert_eq!(place.contents(), before, "{arguments}");
    }
    // Masks of before do not belong to what is written now.
    let said = place.run("export run masked.safetensors").succeeded();
    assert!(
        said.err.ends_with("warning: `masked.masks.safetensors` is of an earlier export\n"),
        "{}",
        said.err
    );
    place.run("export run masked.safetensors --masks --overwrite").succeeded();
    assert_eq!(Exported::read(&place, "masked.masks.safetensors").names(), ["fc1.weight", "fc2.weight"]);
}

/// The logits of an exported LeNet in f64, and by how much f32 may differ: each sum of n products by n + 1 roundings.
fn forward(network: &Exported, input: &[f32]) -> Vec<(f64, f64)> {
    let mut h: Vec<(f64, f64)> = input.iter().map(|&x| (f64::from(x), 0.0)).collect();
    for (layer, outputs) in [("fc1", 300), ("fc2", 100), ("fc3", 10)] {
        let weight = network.floats(&format!("{layer}.weight"), &[outputs, h.len()]);
        let bias = network.floats(&format!("{layer}.bias"), &[outputs]);
        let rounding = (h.len() + 1) as f64 * f64::from(f32::EPSILON);
        let row = |(weights, &bias): (&[f32], &f32)| {
            let (mut sum, mut sizes, mut carried) = (f64::from(bias), f64::from(bias).abs(), 0.0);
            for (&w, &(x, error)) in weights.iter().zip(&h) {
                sum += f64::from(w) * x;
                sizes += (f64::from(w) * x).abs();
                carried += f64::from(w).abs() * error;
            }
            let sum = if layer == "fc3" { sum } else { sum.max(0.0) };
            (sum, carried + rounding * (sizes + carried))
        };
        h = weight.chunks(h.len()).zip(&bias).map(row).collect();
    }
    h
}

#[test]
fn logits_are_those_of_the_exported_network_on_the_inputs_beside_them() {
    let place = lenet();
    place.run("export run net.safetensors").succeeded();
    let value = place
        .run("eval run --data-dir data --samples 70 --logits logits.safetensors --json")
        .succeeded()
        .json();
    assert_eq!((&value["samples"], &value["split"]), (&70.into(), &"test".into()));
    let network = Exported::read(&place, "net.safetensors");
    let answers = Exported::read(&place, "logits.safetensors");
    assert_eq!(answers.names(), ["input", "label", "logits"]);
    for key in ["network", "graph", "configuration", "input-preprocessing", "step"] {
        assert_eq!(answers.metadata[key], network.metadata[key], "{key}");
    }
    assert_eq!(answers.metadata["split"], "test");
    let inputs = answers.floats("input", &[70, 1, 28, 28]);
    let labels = answers.whole("label", &[70]);
    let logits = answers.floats("logits", &[70, 10]);

    // Labels and bytes as they are in the files of the data set, which `mnist` writes.
    let [_, _, images, expected] = support::mnist(200, 100);
    assert_eq!(labels, expected[8..78].iter().map(|&label| i64::from(label)).collect::<Vec<_>>());
    let affine = |at: usize| f64::from(inputs[at]);
    // One scale and shift for all pixels, fixed by two of different bytes.
    let bytes = &images[16..16 + 70 * 784];
    let brightest = (0..bytes.len()).max_by_key(|&at| bytes[at]).unwrap();
    let dark = bytes.iter().position(|&byte| byte == 0).unwrap();
    let slope = (affine(brightest) - affine(dark)) / f64::from(bytes[brightest]);
    for (at, &byte) in bytes.iter().enumerate() {
        let expected = affine(dark) + slope * f64::from(byte);
        assert!((affine(at) - expected).abs() < 8.0 * f64::from(f32::EPSILON), "{at}");
    }

    let (mut loss, mut correct) = (0.0, 0);
    for ((input, logits), &label) in inputs.chunks(784).zip(logits.chunks(10)).zip(&labels) {
        for (&found, (exact, tolerance)) in logits.iter().zip(forward(&network, input)) {
            assert!((f64::from(found) - exact).abs() <= tolerance, "{found} {exact} {tolerance}");
        }
        let sum: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
        loss += sum.ln() - f64::from(logits[label as usize]);
        let best = (0..10).fold(0, |best, c| if logits[c] > logits[best] { c } else { best });
        correct += usize::from(best == label as usize);
    }
    assert_eq!(value["correct"], correct);
    assert!((value["loss"].as_f64().unwrap() - loss / 70.0).abs() < 1e-5);
    assert_eq!(value["logits"]["bytes"], place.path("logits.safetensors").metadata().unwrap().len());

    let before = place.contents();
    for (arguments, error, hint) in [
        ("--logits logits.safetensors", "error: `logits.safetensors` is there already\n", "--overwrite"),
        ("--logits logits.npz", "error: the ending of `logits.npz` names no format", "logits.safetensors"),
        ("--samples 101", "error: `--samples` is 101, the test split has 100\n", "--samples 100"),
    ] {
        let said = place.run(&format!("eval run --data-dir data {arguments}"));
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments}");
        assert!(said.err.starts_with(error), "{}", said.err);
        assert!(said.err.ends_with(&format!("\nhint: {hint}\n")), "{}", said.err);
    }
    assert_eq!(place.contents(), before);
    let again = "eval run --data-dir data --samples 70 --logits logits.safetensors --overwrite";
    let old = std::fs::read(place.path("logits.safetensors")).unwrap();
    files::remove(&place.path("logits.safetensors")).unwrap();
    place.run(again).succeeded();
    let said = place.run(again).succeeded();
    assert!(said.err.contains("logits are in `logits.safetensors`"), "{}", said.err);
    assert!(std::fs::read(place.path("logits.safetensors")).unwrap() == old);
}

/// The blocks in Python are run by `reference/check_docs.py`, for which these commands make the files.
#[test]
fn the_commands_of_the_document_for_users_of_pytorch_make_its_files() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/from-pytorch.md");
    let text = std::fs::read_to_string(document).unwrap();
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("$ rigl ")).collect();
    assert_eq!(commands.len(), 3);
    let place = Place::new();
    for command in commands {
        place.run(command).succeeded();
    }
    let files =
        text.split(['"', '`', ' ']).filter(|word| word.ends_with(".safetensors") && !word.contains('{'));
    let mut found = 0;
    for file in files {
        assert!(place.path(file).is_file(), "{file}");
        found += 1;
    }
    assert!(found > 5);
}
