//! `rigl flops`: the paper's numbers to the digits they are printed with, and what it makes of its arguments.

mod support;

use serde_json::Value;
use support::Place;

fn json(line: &str) -> Value {
    Place::new().run(&format!("flops {line} --json")).succeeded().json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whether `found` is what `printed` says, to its last digit.
#[track_caller]
fn prints_as(found: f64, printed: &str, what: &str) {
    let decimals = printed.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    assert_eq!(format!("{found:.decimals$}"), printed, "{what}: {found}");
}

/// FLOPs of a prediction as a share of the dense network's.
fn share(found: &Value) -> f64 {
    number(&found["network"]["flops"]) / number(&found["network"]["dense_flops"])
}

/// The rows of weights of which all are there.
fn dense_layers(found: &Value) -> Vec<&str> {
    let rows = found["network"]["parameters"].as_array().unwrap();
    let weights = rows.iter().filter(|row| row["shape"].as_array().unwrap().len() > 1);
    let dense = weights.filter(|row| row["active"] == row["weights"]);
    dense.map(|row| row["name"].as_str().unwrap().trim_end_matches(".weight")).collect()
}

fn density(found: &Value, layer: &str) -> f64 {
    let rows = found["network"]["parameters"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == format!("{layer}.weight")).unwrap();
    number(&row["active"]) / number(&row["weights"])
}

#[test]
fn resnet_50_costs_what_the_paper_says() {
    let at = |distribution: &str, sparsity: &str| {
        json(&format!("resnet-50 --sparsity {sparsity} --distribution {distribution}"))
    };
    let found = at("erk", "0.8");
    assert_eq!(
        (&found["sample_shape"], &found["classes"]),
        (&serde_json::json!([3, 224, 224]), &1000.into())
    );
    assert_eq!(found["network"]["weights"], 25_502_912);
    prints_as(number(&found["network"]["dense_flops"]) / 1e9, "8.178", "dense GFLOPs");
    prints_as(number(&found["network"]["dense_flops"]) / 2e9, "4.0892", "dense GMAC");
    for (distribution, shares) in [
        ("uniform", ["0.2231", "0.1260", "0.0774"]),
        ("er", ["0.4530", "0.2571", "0.1426"]),
        ("erk", ["0.4138", "0.2418", "0.1217"]),
    ] {
        for (sparsity, printed) in ["0.8", "0.9", "0.95"].into_iter().zip(shares) {
            prints_as(share(&at(distribution, sparsity)), printed, &format!("{distribution} at {sparsity}"));
        }
    }
    // The paper's, in MB: they count a few weights less, by rounding in another place.
    for (sparsity, bytes, megabytes) in
        [("0.8", 23_683_728, 23.683), ("0.9", 13_499_004, 13.499), ("0.95", 8_398_904, 8.399)]
    {
        assert_eq!(at("erk", sparsity)["network"]["bytes"], bytes, "{sparsity}");
        assert!((f64::from(bytes) / 1e6 - megabytes).abs() < 1e-3);
    }
}

#[test]
fn erk_of_resnet_50_makes_the_layers_dense_that_the_paper_has_dense() {
    let found = json("resnet-50 --sparsity 0.8 --distribution erk");
    assert_eq!(
        dense_layers(&found),
        [
            "layer1.0.conv1",
            "layer1.0.conv3",
            "layer1.0.downsample.0",
            "layer1.1.conv1",
            "layer1.1.conv3",
            "layer1.2.conv1",
            "layer1.2.conv3",
            "layer2.0.conv1"
        ]
    );
    prints_as(number(&found["epsilon"]), "99.562", "epsilon");
    for (layer, printed) in
        [("conv1", "0.8572"), ("layer1.0.conv2", "0.3619"), ("layer4.0.conv2", "0.0435"), ("fc", "0.1482")]
    {
        prints_as(density(&found, layer), printed, layer);
    }
    let found = json("resnet-50 --sparsity 0.9 --distribution erk");
    assert_eq!(dense_layers(&found), ["layer1.0.conv1"]);
    prints_as(number(&found["epsilon"]), "48.787", "epsilon");
    let uniform = json("resnet-50 --sparsity 0.9 --distribution uniform");
    assert_eq!((dense_layers(&uniform), &uniform["epsilon"]), (vec!["conv1"], &Value::Null));
}

#[test]
fn training_costs_what_the_papers_formulas_say() {
    for (sparsity, rigl, snfs) in [("0.8", "0.4157", "0.6092"), ("0.9", "0.2443", "0.4946")] {
        let found = json(&format!("resnet-50 --sparsity {sparsity} --distribution erk"));
        let sparse = share(&found);
        let training = |method: &str| number(&found["training"][method]["of_dense"]);
        prints_as(training("rigl"), rigl, sparsity);
        assert_eq!(training("dense"), 1.0);
        for method in ["static", "snip", "set", "deepr", "dsr"] {
            assert!((training(method) - sparse).abs() < 1e-15, "{method}");
        }
        // Dense gradients at every step: (2 f_S + f_D) / 3 f_D.
        prints_as(training("snfs"), snfs, sparsity);
        assert!((training("dnw") - training("snfs")).abs() < 1e-15);
    }
}

#[test]
fn a_recipe_is_counted_by_the_samples_it_trains_on_and_whatever_other_methods_can_do_with_it() {
    let mean = |line: &str, method: &str| json(line)["training"][method]["run_of_dense"].clone();
    // One epoch is one step, so SNIP's first batch is one of as many as there are epochs.
    let few = mean("mnist-lenet --set data.train-samples=100 --set schedule.length=9", "snip");
    let (sparse, dense) = (mean("mnist-lenet", "static"), 1.0);
    assert!((number(&few) - (9.0 * number(&sparse) + dense) / 10.0).abs() < 1e-12, "{few}");
    // Pruning cannot go on beyond the run.
    let late = "mnist-lenet --set method.update-end=1000000";
    assert!(mean(late, "rigl").is_number() && mean(late, "pruning").is_null());
    let early = "mnist-lenet --set method.update-end=1";
    assert!(mean(early, "snip").is_number() && mean(early, "pruning").is_number());
}

#[test]
fn mobilenet_v1_costs_what_the_paper_says() {
    let at = |distribution: &str, sparsity: &str| {
        json(&format!("mobilenet-v1 --sparsity {sparsity} --distribution {distribution}"))
    };
    for (distribution, sparsity, printed) in [
        ("erk", "0.75", "595.3"),
        ("erk", "0.9", "330.5"),
        ("uniform", "0.75", "326.7"),
        ("uniform", "0.9", "164.6"),
    ] {
        let found = at(distribution, sparsity);
        prints_as(
            number(&found["network"]["flops"]) / 1e6,
            printed,
            &format!("{distribution} at {sparsity}"),
        );
        prints_as(number(&found["network"]["dense_flops"]) / 1e6, "1137.5", "dense");
        let dense = dense_layers(&found);
        assert_eq!(dense[0], "conv1");
        assert_eq!(dense.iter().filter(|layer| layer.ends_with(".depthwise")).count(), 13);
    }
}

#[test]
fn big_sparse_mobilenet_costs_what_the_paper_says_once_depthwise_layers_are_sparse_too() {
    let dense = number(&json("mobilenet-v1")["network"]["dense_flops"]);
    for (filter, share) in [("default", 1.034), ("all", 0.988)] {
        let set = format!("--set model.width=1.98 --set method.filter={filter}");
        let found = json(&format!("mobilenet-v1 --sparsity 0.75 --distribution uniform {set}"));
        let found = number(&found["network"]["flops"]) / dense;
        assert!((found - share).abs() < 5e-4, "{filter}: {found}");
    }
}

#[test]
fn wrn_22_2_costs_what_the_paper_says() {
    for (sparsity, printed) in [("0.5", "0.728"), ("0.8", "0.352"), ("0.9", "0.174"), ("0.95", "0.088")] {
        let found = json(&format!("wrn-22-2 --sparsity {sparsity} --distribution erk"));
        prints_as(share(&found), printed, sparsity);
        assert_eq!(found["network"]["weights"], 1_076_912);
        prints_as(number(&found["network"]["dense_flops"]) / 2e6, "157.73", "dense MMACs");
    }
}

#[test]
fn the_lenet_of_the_paper_costs_what_its_formulas_say() {
    let found = json("mnist-lenet");
    assert_eq!(found["network"]["dense_flops"], 2 * (784 * 300 + 300 * 100 + 100 * 10));
    // N − floor(s·N) for each layer: 99 %, 89 %, dense.
    let active: u64 = 2_352 + 3_300 + 1_000;
    assert_eq!(
        (&found["network"]["active"], &found["network"]["flops"]),
        (&active.into(), &(2 * active).into())
    );
    let (dense, sparse) = (532_400.0, 2.0 * active as f64);
    let training = |method: &str| number(&found["training"][method]["flops_per_sample"]);
    assert_eq!(
        [training("dense"), training("static"), training("set")],
        [3.0 * dense, 3.0 * sparse, 3.0 * sparse]
    );
    let rigl = (3.0 * sparse * 100.0 + 2.0 * sparse + dense) / 101.0;
    assert!((training("rigl") - rigl).abs() < 1e-9 * rigl);
}

#[test]
fn the_table_shows_what_is_needed_and_no_more() {
    let place = Place::new();
    let said = place.run("flops resnet-50 --sparsity 0.8 --distribution erk").succeeded();
    for part in [
        "layer1.0.downsample.0.weight",
        "23,683,728 B",
        "8,178,368,512  102,121,888 B",
        "41.38 %",
        "static",
        "41.57 %",
    ] {
        assert!(said.out.contains(part), "`{part}` is not in\n{}", said.out);
    }
    assert!(said.err.contains("resnet-50 for samples of 3×224×224 and 1,000 classes"), "{}", said.err);
    // 54 weights, a bias, the norms, three totals, two headings, three rules, the methods.
    assert!(said.out.lines().count() < 80, "{}", said.out);
    assert!(said.out.lines().all(|line| line.chars().count() <= 110), "{}", said.out);
    assert_eq!(place.contents(), []);
}

#[test]
fn every_model_has_samples_that_it_is_usually_for_and_others_can_be_asked_for() {
    for (name, shape, classes) in [
        ("lenet-300-100", vec![1, 28, 28], 10),
        ("mlp", vec![1, 28, 28], 10),
        ("wide-resnet", vec![3, 32, 32], 10),
        ("resnet-cifar", vec![3, 32, 32], 10),
        ("vgg-cifar", vec![3, 32, 32], 10),
        ("resnet", vec![3, 224, 224], 1000),
        ("mobilenet-v2", vec![3, 224, 224], 1000),
    ] {
        let found = json(name);
        assert_eq!(
            (&found["model"], &found["sample_shape"], &found["classes"]),
            (&name.into(), &shape.into(), &classes.into())
        );
    }
    let shape_of = |line: &str| {
        let found = json(line);
        (found["sample_shape"].to_string(), found["classes"].as_u64().unwrap())
    };
    assert_eq!(shape_of("resnet-50 --input 3x160x160"), ("[3,160,160]".into(), 1000));
    assert_eq!(shape_of("resnet-50 --classes 7"), ("[3,224,224]".into(), 7));
    assert_eq!(shape_of("mlp --input 12 --classes 3"), ("[12]".into(), 3));
    assert_eq!(shape_of("wrn-22-2 --set data.name=cifar100"), ("[3,32,32]".into(), 100));
    // A recipe's network is counted for the recipe's data, another one in its place too, without its options.
    assert_eq!(shape_of("cifar100-wrn22-2"), ("[3,32,32]".into(), 100));
    assert_eq!(shape_of("cifar100-wrn22-2 --model resnet-50"), ("[3,32,32]".into(), 100));
    assert_eq!(shape_of("cifar100-wrn22-2 --input 3x64x64"), ("[3,64,64]".into(), 100));
}

#[test]
fn widths_make_networks_small() {
    for (line, weights) in [
        ("lenet-300-100 --set model.width=0.1", 784 * 30 + 30 * 10 + 10 * 10),
        ("mlp --set model.width=0.5 --set model.hidden=[20]", 784 * 10 + 10 * 10),
        ("resnet-50 --set model.width=0.34", 3_409_708),
    ] {
        assert_eq!(json(line)["network"]["weights"], weights, "{line}");
    }
}

#[test]
fn samples_that_do_not_fit_are_refused_with_some_that_do() {
    for (line, error, hint) in [
        (
            "quickstart --model vgg-cifar",
            "data set `drawn-digits`: `vgg-cifar` halves images five times, so they must have 32×32 pixels at least, \
             found 28×28",
            "--input 3x32x32 --classes 10",
        ),
        (
            "wrn-22-2 --input 784",
            "network `wrn-22-2`: node `conv1`: conv2d: expects maps [channels, rows, columns], found [784]",
            "--input 3x32x32 --classes 10",
        ),
    ] {
        let said = Place::new().run(&format!("flops {line}"));
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}");
        assert_eq!(said.err, format!("error: {error}\n\nhint: {hint}\n"));
    }
    for flags in ["--input 3xx4", "--input 3x0x4", "--input x", "--classes 1"] {
        let said = Place::new().run(&format!("flops resnet-50 {flags}"));
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{flags}");
    }
}

#[test]
fn small_dense_resnet_50_has_the_papers_widths() {
    // By bytes, as the official notebook chooses them: the network it finds is that of the printed width, to 2 %.
    for (sparsity, width) in [("0.8", "0.465"), ("0.9", "0.34"), ("0.95", "0.26")] {
        let flags = format!("--sparsity {sparsity} --distribution erk --method small-dense");
        let found = json(&format!("resnet-50 {flags} --set method.narrow-to=bytes"));
        let printed = json(&format!("resnet-50 --method dense --set model.width={width}"));
        let ratio = number(&found["network"]["bytes"]) / number(&printed["network"]["bytes"]);
        assert!((ratio - 1.0).abs() < 0.03, "{sparsity}: {ratio}");
        // By weights, it has as many.
        let found = json(&format!("resnet-50 {flags}"));
        let sparse = json(&format!("resnet-50 --sparsity {sparsity} --distribution erk"));
        let ratio = number(&found["network"]["weights"]) / number(&sparse["network"]["active"]);
        assert!((ratio - 1.0).abs() < 0.005, "{sparsity}: {ratio}");
    }
}
