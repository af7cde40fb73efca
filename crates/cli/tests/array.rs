//! Data of one's own: arrays of numpy and tables, under every command.

mod support;

use rigl_base::random::{Purpose, Stream, normals};
use rigl_train::{MachineOptions, Registry, Trained};
use support::{Place, newest, refused, summary};

/// A recipe for little data.
const RECIPE: &str = "
[model]
name = 'mlp'
hidden = [20]

[data]
name = 'array'
batch = 20

[schedule]
unit = 'steps'
length = 150

[method]
sparsity = 0.5
update-interval = 20

[log]
evaluate-every = 0
";

/// Rows of two classes: Gaussians, one unit of deviation wide and three apart, in features of very different sizes, and
/// one that never varies.
fn rows(first: u64, count: u64) -> Vec<([f64; 4], &'static str)> {
    let row = |index: u64| {
        let [a, b, ..] = normals(Stream::new(1, Purpose::Test, 7).block(index));
        let (kind, shift) = if index.is_multiple_of(2) { ("small", 0.0) } else { ("large", 3.0) };
        ([2000.0 + 10.0 * (a + shift), 1e-4 * (b + shift), 7.0, -1e5 * (a - b)], kind)
    };
    (first..first + count).map(row).collect()
}

fn csv(rows: &[([f64; 4], &str)]) -> String {
    let mut text = String::from("year,share,constant,noise,kind\n");
    for ([a, b, c, d], kind) in rows {
        text.push_str(&format!("{a},{b},{c},{d},{kind}\n"));
    }
    text
}

/// A file as `np.save` writes it.
fn npy(descr: &str, shape: &str, elements: Vec<u8>) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    text.push_str(&" ".repeat(63 - (10 + text.len()) % 64));
    text.push('\n');
    let size = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0".as_slice(), &size, text.as_bytes(), &elements].concat()
}

fn with_tables() -> Place {
    let place = Place::new();
    place.write("my.toml", RECIPE);
    place.write("data/train.csv", csv(&rows(0, 400)));
    place.write("data/test.csv", csv(&rows(400, 200)));
    place
}

/// The same as arrays of 64-bit numbers.
fn with_arrays() -> Place {
    let place = Place::new();
    place.write("my.toml", RECIPE);
    for (name, rows) in [("train", rows(0, 400)), ("test", rows(400, 200))] {
        let numbers = rows.iter().flat_map(|(numbers, _)| numbers).flat_map(|x| x.to_le_bytes()).collect();
        place.write(&format!("data/{name}-inputs.npy"), npy("<f8", &format!("({}, 4)", rows.len()), numbers));
        // In the order of the words: `large` comes first.
        let labels = rows.iter().map(|(_, kind)| u8::from(*kind == "small")).collect();
        place.write(&format!("data/{name}-labels.npy"), npy("|u1", &format!("({},)", rows.len()), labels));
    }
    place
}

#[test]
fn a_table_is_learnt_and_its_checkpoint_needs_no_training_set() {
    let place = with_tables();
    place.run("train my.toml --data-dir data --run-dir run --threads 1").succeeded();
    let accuracy = summary(&place.path("run")).accuracy.unwrap();
    // Three deviations apart along two features: 98.3 % at best.
    assert!(accuracy > 0.95, "{accuracy}");
    let config = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(
        config.contains("standardize = \"training\"") && config.contains("header = \"auto\""),
        "{config}"
    );
    let metadata = newest(&place.path("run")).metadata;
    assert_eq!(metadata.classes, ["large", "small"]);
    let text = &metadata.preprocessing;
    // The third feature is 7 and never varies.
    assert!(text.starts_with("(x - [20") && text.contains(", 7.0, ") && text.contains(", 1.0, "), "{text}");

    let said = place.run("eval run --data-dir data --json").succeeded().json();
    assert_eq!(said["accuracy"].as_f64(), Some(accuracy));
    place.run("export run net.safetensors").succeeded();
    let run = place.path("run");
    let mut network =
        Trained::open(&run, &Registry::default(), &MachineOptions { threads: 1, ..Default::default() })
            .unwrap();
    let samples: Vec<Vec<f32>> =
        rows(400, 200).iter().map(|(row, _)| row.iter().map(|&x| x as f32).collect()).collect();
    let samples: Vec<&[f32]> = samples.iter().map(Vec::as_slice).collect();
    let said = network.predict_numbers(&samples).unwrap();
    let names = metadata.classes;
    let hits = said.iter().zip(rows(400, 200)).filter(|(said, (_, kind))| names[said.class] == *kind).count();
    assert_eq!(hits as f64 / 200.0, accuracy);
    let text = network.predict(&[&[1, 2, 3, 4]]).unwrap_err().to_string();
    assert_eq!(text, "a sample of bytes, where the network was trained on numbers");
    assert!(network.predict_numbers(&[&[1.0; 3]]).unwrap_err().to_string().contains("3 numbers"));
    assert!(network.predict_numbers(&[&[f32::NAN; 4]]).unwrap_err().to_string().contains("not finite"));
}

#[test]
fn arrays_and_tables_of_the_same_numbers_come_to_the_same_weights_however_a_run_is_interrupted() {
    let (tables, arrays) = (with_tables(), with_arrays());
    for place in [&tables, &arrays] {
        place
            .run("train my.toml --data-dir data --run-dir run --threads 1 --set data.validation=0.2")
            .succeeded();
    }
    let weights = |place: &Place, run: &str| summary(&place.path(run)).weights_crc32c;
    assert_eq!(weights(&tables, "run"), weights(&arrays, "run"));
    assert_eq!(
        newest(&tables.path("run")).metadata.preprocessing,
        newest(&arrays.path("run")).metadata.preprocessing
    );
    // A run that has written its first checkpoint and no more: it is gone on with from there.
    let line =
        "train my.toml --data-dir data --run-dir again --threads 2 --set data.validation=0.2 --stop-at-eof";
    arrays.run(line);
    assert!(!arrays.path("again/summary.json").exists());
    arrays.run("train --resume again --data-dir data --threads 1").succeeded();
    assert_eq!(weights(&arrays, "again"), weights(&arrays, "run"));
    // And again from the file that it left.
    arrays.run("train again/config.toml --data-dir data --run-dir third --threads 1").succeeded();
    assert_eq!(weights(&arrays, "third"), weights(&arrays, "run"));
}

#[test]
fn images_of_numbers_are_trained_on_by_convolutions_and_changed_at_random() {
    let place = Place::new();
    let mut draws = Stream::new(2, Purpose::Test, 1).draws();
    for (name, count) in [("train", 40), ("test", 20)] {
        let numbers = (0..count * 2 * 8 * 8).flat_map(|_| (draws.below(1000) as f32).to_le_bytes()).collect();
        place.write(&format!("data/{name}-inputs.npy"), npy("<f4", &format!("({count}, 2, 8, 8)"), numbers));
        let labels = (0..count).flat_map(|n: i64| (n % 3).to_le_bytes()).collect();
        place.write(&format!("data/{name}-labels.npy"), npy("<i8", &format!("({count},)"), labels));
    }
    let line = "train my.toml --data-dir data --threads 1 --model resnet-cifar --set model.depth=8 --set schedule.length=3 \
                --set data.batch=10 --set data.augment=crop-flip";
    place.write("my.toml", RECIPE.replace("hidden = [20]", ""));
    place.run(&format!("{line} --run-dir run")).succeeded();
    let text = newest(&place.path("run")).metadata.preprocessing;
    assert!(text.matches(", ").count() == 2 && text.starts_with("(x - ["), "{text}");
    place.run("eval run --data-dir data --logits logits.safetensors").succeeded();
    refused(
        &place,
        &format!("{line} --set data.standardize=per-image"),
        "`--set`: `data.standardize` is `per-image`, which is for images of bytes; samples of `array` are numbers",
        "--set data.standardize=training",
    );
}

#[test]
fn every_command_finds_out_what_samples_are_like() {
    let place = with_tables();
    let said = place.run("train my.toml --data-dir data --dry-run --json").succeeded().json();
    assert_eq!((said["train_samples"].as_u64(), said["test_samples"].as_u64()), (Some(400), Some(200)));
    let said = place.run("flops my.toml --data-dir data --json").succeeded().json();
    assert_eq!((said["sample_shape"][0].as_u64(), said["classes"].as_u64()), (Some(4), Some(2)));
    place.write("sweep.toml", "base = 'my.toml'\n[set]\n'schedule.length' = 5\n[grid]\n'data.target' = ['last', 'constant']\nseed = [1, 2]\n");
    let said = place.run("sweep sweep.toml --data-dir data --dry-run");
    // With another target the words are a feature.
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("line 2, column 5 (`kind`): `small` is no number"), "{}", said.err);
    place.write(
        "sweep.toml",
        "base = 'my.toml'\n[set]\n'schedule.length' = 5\n[grid]\n'method.sparsity' = [0.2, 0.5]\n",
    );
    place.run("sweep sweep.toml --data-dir data --threads 1").succeeded();
    let said = place.run("data --data-dir data").succeeded().out;
    assert!(said.lines().any(|line| line.contains("array") && line.contains("your own files")), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_in_a_line() {
    let place = with_tables();
    let train = "train my.toml --data-dir data";
    let file = |name: &str| format!("data/array/{name}");
    refused(
        &place,
        &format!("{train} --set data.augment=crop-flip"),
        "`--set`: `data.augment`: samples of shape [4] cannot be cropped, expected channels, rows and columns",
        "",
    );
    refused(
        &place,
        &format!("{train} --set data.target=kinds"),
        "`data.target`: no column is called `kinds`, allowed are `year`, `share`, `constant`, `noise`, `kind`",
        "kind",
    );
    refused(
        &place,
        &format!("{train} --set data.name=mnist --set data.target=kind"),
        "`--set`: `data.target` does nothing: it is read where `data.name` is `array`",
        "",
    );
    let before = std::fs::read_to_string(place.path("data/train.csv")).unwrap();
    place.write("data/train.csv", before.replace(",7,", ",seven,"));
    let said = place.run(train);
    assert!(
        said.err.contains("`data/train.csv` line 2, column 3 (`constant`): `seven` is no number"),
        "{}",
        said.err
    );
    assert_eq!(said.code, Some(2));
    place.write("data/train.csv", before);
    place.write(&file("train.csv"), "1,a\n2,b\n");
    let said = place.run(train);
    assert!(
        said.err.starts_with("error: data set `array`: `test.csv` is missing in `data/array`"),
        "{}",
        said.err
    );
    place.write(&file("test.csv"), "1,a\n2,c\n");
    let said = place.run(train);
    assert!(said.err.contains("line 2, column 2: `c` is no class of the table trained on"), "{}", said.err);
}
