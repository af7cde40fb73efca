//! `rigl bench`: what it measures and says, not how fast anything is.

mod support;

use serde_json::Value;
use support::{Place, Said};

const SMALL: &str = "cifar10-wrn22-2 --model wide-resnet --set model.depth=10 --set model.width=0.5 --batch 20 \
    --sparsity 0.8 --distribution uniform --threads 2 --seconds 0.001";

fn json(line: &str) -> Value {
    Place::new().run(&format!("{line} --json")).succeeded().json()
}

#[test]
fn every_layer_of_a_convolutional_network_has_a_row_with_its_real_work() {
    let value = json(&format!("bench layers {SMALL}"));
    assert_eq!(value["network"]["sample_shape"], serde_json::json!([3, 32, 32]));
    let result = &value["result"];
    let rows = result["layers"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["layer"] == name).unwrap_or_else(|| panic!("{name}"));
    let names: Vec<&str> = rows.iter().map(|row| row["layer"].as_str().unwrap()).collect();
    assert_eq!(names[0], "conv1");
    assert_eq!(names[names.len() - 4..], ["fc", "pooling, additions, loss", "optimiser", "everything else"]);
    assert_eq!(names.iter().filter(|name| name.ends_with("convShortcut")).count(), 3);
    // The first convolution stays dense under the uniform distribution: 3×3 weights from 3 to 16 channels at 32×32
    // positions; and nobody needs the gradient of the images.
    let first = row("conv1");
    assert_eq!((&first["storage"], &first["density"]), (&"dense".into(), &1.0.into()));
    let forward = 2.0 * 432.0 * 1024.0 * 20.0;
    assert_eq!(first["flops_per_pass"].as_f64(), Some(forward));
    assert!(first["data_s"].is_null() && first["data_flops_per_s"].is_null());
    // From 16 to 32 channels with stride 2: a fifth of the weights, at 8×8 positions.
    let middle = row("block3.layer.0.conv1");
    let active = (middle["density"].as_f64().unwrap() * 4608.0).round();
    assert_eq!(middle["flops_per_pass"].as_f64(), Some(2.0 * active * 64.0 * 20.0));
    assert_eq!(row("fc")["flops_per_pass"].as_f64().map(|flops| flops % 40.0), Some(0.0));
    // The work of a step: three passes of each layer, two of the first.
    let of = |row: &Value| row["flops_per_pass"].as_f64().unwrap_or(0.0);
    let work = rows.iter().map(of).sum::<f64>() * 3.0 - forward;
    assert_eq!(result["flops"].as_f64(), Some(work));
    let shares: f64 = rows.iter().map(|row| row["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
}

#[test]
fn a_step_is_measured_with_its_update_and_without_dropout() {
    let place = Place::new();
    let value = json(&format!("bench step {SMALL}"));
    for part in ["step", "gradients", "update"] {
        assert!(value["result"][part]["median_s"].as_f64().unwrap() > 0.0, "{part}");
    }
    let small = |what: &str, more: &str| {
        let line = format!("bench {what} cifar10-wrn22-2 --batch 2 --seconds 0.001 --threads 1 {more}");
        place.run(&line).succeeded()
    };
    let note = "without the recipe's dropout; with it: --set model.dropout=0.3\n";
    let said = |said: &Said| said.err.contains(note);
    let plain = small("step", "");
    assert!(said(&plain), "{}", plain.err);
    assert!(plain.out.contains("wrn-22-2 on 2 samples of 3×32×32; peak memory"), "{}", plain.out);
    for more in ["--set model.dropout=0.3", "--model resnet-cifar", "--layers 8-4-2"] {
        assert!(!said(&small("step", more)), "{more}");
    }
    let layers = small("layers", "");
    assert!(layers.out.contains("one after the other"), "{}", layers.out);
    let widest =
        layers.out.lines().take_while(|line| !line.starts_with("forward, ")).map(|l| l.chars().count());
    assert!(widest.max() <= Some(110), "{}", layers.out);
    assert!(!small("layers", "--layers 8-4-2").out.contains("one after the other"));
}

#[test]
fn the_help_says_how_layers_are_timed() {
    let said = Place::new().run("bench --help").succeeded();
    let text = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("a convolution computes its two gradients one after the other"), "{}", said.out);
    assert!(text.contains("Dropout is left out"), "{}", said.out);
}

#[test]
fn another_network_takes_nothing_from_that_of_the_recipe() {
    for (model, more) in [("mlp", "--set model.hidden=[5]"), ("vgg-cifar", "--set model.width=0.1")] {
        let line = format!("bench step cifar10-wrn22-2 --model {model} {more} --batch 1 --seconds 0.001");
        assert_eq!(json(&line)["network"]["name"], model);
    }
    for line in ["resnet-50 --set model.width=0.1", "mobilenet-v1 --set model.width=0.1"] {
        let small = "--input 3x32x32 --classes 5 --batch 3 --sparsity 0.8 --seconds 0.001";
        let value = json(&format!("bench step {line} {small}"));
        assert_eq!(value["network"]["sample_shape"], serde_json::json!([3, 32, 32]));
        assert!(value["result"]["update"]["median_s"].as_f64().unwrap() > 0.0, "{line}");
    }
    let said = Place::new().run("bench step resnet-50 --input 3x2048x2048 --batch 60000");
    assert!(
        said.code == Some(2) && said.err.contains("samples needs") && said.err.contains("memory"),
        "{}",
        said.err
    );
    let said = Place::new().run("bench step --model mlp --layers 8-4-2");
    assert_eq!(said.code, Some(2), "{}", said.err);
}

#[test]
fn a_density_is_that_of_every_layer_and_of_sparse_methods() {
    let line = "bench step --layers 40-30-20-10 --batch 8 --threads 1 --seconds 0.001";
    let value = json(&format!("{line} --density 0.25 --method pruning"));
    let weights = value["network"]["parameters"].as_array().unwrap().iter();
    let weights: Vec<_> = weights.filter(|p| p["shape"].as_array().unwrap().len() == 2).collect();
    // As many as it leaves in the end: it is not measured where it begins.
    assert_eq!(weights.iter().map(|p| p["active"].as_u64().unwrap()).collect::<Vec<_>>(), [300, 150, 50]);
    let said = Place::new().run(&format!("{line} --density 0.25 --method dense"));
    let error = "error: `--density` is of sparse layers, and `dense` leaves every layer dense\n\nhint: --method static\n";
    assert_eq!((said.code, said.err.as_str()), (Some(2), error));
    Place::new().run(&format!("{line} --density 1 --method dense")).succeeded();
}
