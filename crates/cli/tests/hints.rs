//! Hints lead to what there is: names of other programs, keys, files.

mod support;

use support::{Place, refused};

#[track_caller]
fn hint(line: &str, hint: &str) {
    let place = Place::new();
    let said = place.run(line);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}: {}", said.err);
    assert!(said.err.ends_with(&format!("\nhint: {hint}\n")), "{line}: {}", said.err);
}

#[test]
fn names_of_other_programs_lead_to_what_there_is() {
    let none =
        "there is none of that kind; docs/models.md has the networks, and how one of your own is added";
    hint("train quickstart --model resnet18", "`--model resnet --set model.depth=18`");
    hint("flops vgg16_bn", "`--model vgg-cifar --set model.depth=16`");
    hint("train resnet18", "a preset with `--model resnet --set model.depth=18`");
    hint("train vit_b_16", none);
    hint("train quickstart --model vit_b_16", none);
    hint("flops efficientnet_b0", none);
    hint(
        "train --set data.name=imagenet",
        "docs/data.md says what is read, and how a program reads data of its own",
    );
    let sgd = "the optimiser is SGD: `optimizer.momentum`, `optimizer.nesterov`, `optimizer.l2`";
    hint("train --set optimizer=AdamW", "optimizer.name");
    hint("train --set optimizer.betas=[0.9,0.99]", sgd);
    hint("train --set optimizer.weight_decay=0.1", "optimizer.l2");
    hint("train --set schedule.decay=0.1", "schedule.divide-by");
    hint(
        "train --set method.layers.BatchNorm2d=0.5",
        "layers go by their names, not by what they are; `rigl flops` lists them",
    );
}

#[test]
fn a_key_that_there_is_not_leads_to_the_list_of_all() {
    let list = "rigl presets quickstart --full";
    hint("train --set frobnicate=1", list);
    let place = Place::new();
    let keys = place.run(list.strip_prefix("rigl ").unwrap()).succeeded();
    assert!(keys.out.contains("learning-rate = "), "{}", keys.out);
    assert!(place.run("presets").succeeded().err.contains("`rigl presets NAME --full`"));
}

#[test]
fn a_folder_is_no_file_to_export_to() {
    let place = Place::new();
    place.write("dir.safetensors/x", "");
    for (target, file) in [
        (".", "./network.safetensors"),
        ("..", "../network.safetensors"),
        ("dir.safetensors", "dir.safetensors/network.safetensors"),
    ] {
        refused(&place, &format!("export val {target}"), &format!("`{target}` is a folder"), file);
    }
    refused(
        &place,
        "export val net.pt",
        "the ending of `net.pt` names no format that rigl writes, allowed is `.safetensors`",
        "net.safetensors",
    );
}
