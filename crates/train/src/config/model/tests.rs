use rigl_base::Kind;

use super::*;
use crate::config::{Base, Known, Override, Sources};

fn resolve(base: Base, settings: &[&str], known: &Known) -> Result<Config> {
    let overrides: Vec<_> = settings.iter().map(|text| Override::parse("--set", text).unwrap()).collect();
    Config::resolve(&Sources { base, overrides: &overrides }, known)
}

fn file(text: &str) -> Result<Config> {
    Config::from_text("my.toml", text, &Known::default())
}

fn refused_with(result: Result<Config>, message: &str, hint: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!((error.to_string().as_str(), error.hint_text().unwrap_or_default()), (message, hint));
}

fn options(config: &Config) -> Vec<String> {
    config.options().iter().map(|option| format!("{} = {}", option.path, option.value)).collect()
}

#[test]
fn the_keys_are_those_of_the_network_with_its_own_values() {
    let config = file("[model]\ndepth = 28\nname = 'wide-resnet'").unwrap();
    let expected = ["model.depth = 28", "model.width = 2", "model.dropout = 0", "model.bn-momentum = 0.1"];
    assert_eq!(options(&config), expected);
    assert_eq!(config.options()[0].default.as_deref(), Some("22"));
    assert_eq!((config.get("model.width").as_deref(), config.get("model.hidden")), (Some("2"), None));
    let text = config.to_toml();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| *line == "depth = 28").unwrap();
    let about = "# Layers with weights. Takes `auto` or a whole number 6n + 4 from 10 to 2002.";
    assert_eq!(lines[at - 1], about);
}

#[test]
fn the_networks_own_value_is_the_same_written_or_not() {
    for text in ["width = 1", "width = 1.0", "width = 'auto'", "width = []"] {
        assert_eq!(file(&format!("model.{text}")).unwrap(), Config::default(), "{text}");
    }
    let mlp = |hidden: &str| file(&format!("[model]\nname = 'mlp'\nhidden = {hidden}")).unwrap();
    assert_eq!(mlp("[]"), mlp("[300, 100]"));
    let (one, other) = (mlp("[300, 99]"), mlp("[]"));
    let found = one.difference(&other).unwrap();
    assert_eq!(
        (found.key, found.here, found.there),
        ("model.hidden".into(), "[300, 99]".into(), "[300, 100]".into())
    );
    // Whether a configuration knows what its network declares is no difference.
    let mut unknown = Config::default();
    unknown.model.name = "mlp".into();
    assert_eq!((unknown.difference(&other), other.difference(&unknown)), (None, None));
    assert_eq!(unknown.difference(&one).unwrap().here, "[300, 100]");
}

#[test]
fn what_every_network_was_asked_once_reads_as_before() {
    let keys = "hidden = []\ndepth = 'auto'\nwidth = 'auto'\ndropout = 'auto'\nbn-momentum = 'auto'";
    for model in Models::default().names() {
        let name = format!("[model]\nname = '{model}'\n");
        assert_eq!(file(&format!("{name}{keys}")).unwrap(), file(&name).unwrap(), "{model}");
    }
    assert!(file("model.widht = 'auto'").is_err());
}

#[test]
fn what_earlier_versions_printed_is_let_pass_and_nothing_else() {
    let old = "[method]\nname = 'static'\ndrop-fraction = 0.5\nupdate-interval = 50\nupdate-begin = 'auto'\nupdate-end = 'auto'\n\
               decay = 'cosine'\ndrop = 'none'\ngrow = 'none'\ngrown-init = 'zeros'\nstep-policy = 'replace'\nthreshold = 0.5\n\
               [data]\nstandardize = 'per-image'\nmean = [0.5]\n[model]\nhidden = [20]\ndropout = 0.5\n";
    let config = file(old).unwrap();
    assert_eq!((config.get("model.hidden"), config.get("data.mean")), (None, None));
    let own = "but `lenet-300-100` has no such option, allowed are `model.width`";
    refused_with(
        file(&format!("{old}widht = 2")),
        &format!("`my.toml` line 19: `model.widht` is `2`, {own}"),
        "model.width",
    );
    let present = file(&format!("{old}[method.updates]\nevery-step = true")).unwrap_err().to_string();
    assert!(present.starts_with("`my.toml` line 20: `method.updates.every-step` does nothing"), "{present}");
}

#[test]
fn an_option_that_the_network_does_not_have_is_refused() {
    let line = |line: u8, key: &str, found: &str, model: &str| {
        format!(
            "`my.toml` line {line}: `model.{key}` is `{found}`, but `{model}` has no such option, allowed are "
        )
    };
    let own = "`model.width`, `model.dropout`, `model.bn-momentum`";
    refused_with(
        file("[model]\nname = 'wrn-22-2'\ndepth = 16"),
        &(line(3, "depth", "16", "wrn-22-2") + own),
        "`resnet`, `resnet-cifar`, `vgg-cifar`, `wide-resnet` have it",
    );
    for (key, value, hint) in [
        ("hidden", "[20]", "model.name = \"mlp\""),
        ("widht", "2", "model.width"),
        ("label-smothing", "0.1", "model.label-smoothing"),
        ("frobnicate", "0.1", ""),
    ] {
        let message = line(1, key, value, "lenet-300-100") + "`model.width`";
        refused_with(file(&format!("model.{key} = {value}")), &message, hint);
    }
    let message = line(1, "a", "x", "lenet-300-100").replace("`x`", "a table") + "`model.width`";
    refused_with(file("model.a.b = 3"), &message, "");
}

#[test]
fn a_value_that_an_option_does_not_take_is_refused_with_what_was_meant() {
    let width = "expected `auto` or a number with 0 < width ≤ 1000";
    let dropout = "expected `auto` or a number with 0 ≤ dropout < 1";
    let groups = "expected `auto` or a whole number 6n + 4 from 10 to 2002";
    for (model, key, value, expected, hint) in [
        ("wide-resnet", "depth", "21", groups, "22"),
        ("wide-resnet", "depth", "'16'", groups, "16"),
        ("wide-resnet", "depth", "16.0", groups, "16"),
        ("wide-resnet", "depth", "-1", groups, ""),
        ("vgg-cifar", "depth", "18", "expected `auto` or one of 11, 13, 16, 19", "19"),
        ("mlp", "width", "0", width, ""),
        ("mlp", "width", "nan", width, ""),
        ("mlp", "width", "'2'", width, "2"),
        ("mlp", "width", "true", width, ""),
        ("wrn-22-2", "dropout", "30", dropout, "0.3"),
        ("wrn-22-2", "dropout", "1", dropout, ""),
        ("mlp", "hidden", "20", "expected `auto` or a list of whole numbers from 1 to 16777216", "[20]"),
        ("mlp", "hidden", "[0]", "expected `auto` or a list of whole numbers from 1 to 16777216", ""),
    ] {
        let message = format!("`my.toml` line 3: `model.{key}` is `{value}`, {expected}");
        refused_with(file(&format!("[model]\nname = '{model}'\n{key} = {value}")), &message, hint);
    }
    let text = "[model]\nname = 'mlp'\n[model.width]\nx = 1";
    refused_with(file(text), &format!("`my.toml` line 3: `model.width` is a table, {width}"), "");
}

#[test]
fn what_a_recipe_says_of_its_own_network_is_left_out_for_another_and_noted() {
    let known = Known::default();
    let preset = Base::Preset("cifar10-wrn22-2");
    let config = resolve(preset, &["model.depth=8", "model.name=resnet-cifar"], &known).unwrap();
    assert_eq!(options(&config), ["model.depth = 8", "model.width = 1", "model.bn-momentum = 0.1"]);
    let place = "(preset `cifar10-wrn22-2` line 6)";
    let left_out = |model: &str| {
        format!("left out for `{model}`, as it was meant for `wrn-22-2`: `model.dropout = 0.3` {place}")
    };
    assert_eq!(config.left_out(), Some(&*left_out("resnet-cifar")));
    // Also where the other network has such an option.
    let config = resolve(preset, &["model.name=wide-resnet"], &known).unwrap();
    assert_eq!(config.get("model.dropout").as_deref(), Some("0"));
    assert_eq!(config.left_out(), Some(&*left_out("wide-resnet")));
    for settings in [&["model.name=wrn-22-2"][..], &[], &["model.name=wide-resnet", "model.dropout=0.3"]] {
        let config = resolve(preset, settings, &known).unwrap();
        assert_eq!((config.get("model.dropout").as_deref(), config.left_out()), (Some("0.3"), None));
    }
    // What somebody asks for is not left out.
    let own = "`model.depth`, `model.width`, `model.bn-momentum`";
    refused_with(
        resolve(preset, &["model.name=resnet-cifar", "model.dropout=0.1"], &known),
        &format!(
            "`--set`: `model.dropout` is `0.1`, but `resnet-cifar` has no such option, allowed are {own}"
        ),
        "`wide-resnet`, `wrn-22-2` have it",
    );
    // A file on a preset is such a recipe too; back at the first network its options are back.
    let text = "preset = 'cifar10-wrn22-2'\n[model]\nname = 'resnet-cifar'\nwidth = 2";
    let on_file = Base::File { name: "my.toml", text };
    assert_eq!(resolve(on_file, &[], &known).unwrap().left_out(), Some(&*left_out("resnet-cifar")));
    let config = resolve(on_file, &["model.name=wrn-22-2"], &known).unwrap();
    assert_eq!(config.get("model.dropout").as_deref(), Some("0.3"));
    assert_eq!(
        config.left_out(),
        Some(
            "left out for `wrn-22-2`, as it was meant for `resnet-cifar`: `model.width = 2` (`my.toml` line 4)"
        )
    );
}

#[test]
fn a_file_that_says_all_of_its_network_leaves_nothing_out() {
    let known = Known::default();
    let begun = resolve(Base::Preset("cifar10-wrn22-2"), &["model.name=resnet-cifar"], &known).unwrap();
    let text = begun.to_toml();
    let base = Base::File { name: "config.toml", text: &text };
    let again = resolve(base, &[], &known).unwrap();
    assert_eq!((&again, again.left_out()), (&begun, None));
    // Back at the preset's network, its options are back.
    let back = resolve(base, &["model.name=wrn-22-2"], &known).unwrap();
    assert_eq!(back.get("model.dropout").as_deref(), Some("0.3"));
}

#[test]
fn a_setting_that_runs_share_may_be_one_that_a_network_does_not_have() {
    let shared = |key: &str| Override { shared: true, ..Override::new("--set", key, "0.5") };
    let of = |key: &str| {
        let overrides = [shared(key)];
        Config::resolve(&Sources { base: Base::Default, overrides: &overrides }, &Known::default())
    };
    assert_eq!(of("model.dropout").unwrap(), Config::default());
    assert_eq!(of("model.width").unwrap().get("model.width").as_deref(), Some("0.5"));
}

#[test]
fn options_of_a_network_that_is_not_known_are_kept_as_they_are() {
    let text = "[model]\nname = 'mine'\nact = 'relu'\nbias = false\nn = 3\nx = 0.5\ny = 2.0\nsizes = [3, 4]\nz = 'auto'\nw = []";
    let config = file(text).unwrap();
    let expected = ["act = \"relu\"", "bias = false", "n = 3", "sizes = [3, 4]", "x = 0.5", "y = 2.0"];
    assert_eq!(options(&config), expected.map(|option| format!("model.{option}")));
    assert_eq!(file(&config.to_toml()).unwrap(), config);
    config.check().unwrap();
    for value in ["[0.5]", "{ a = 1 }", "1979-05-27", "['a']"] {
        assert!(file(&format!("[model]\nname = 'mine'\nx = {value}")).is_err(), "{value}");
    }
}

#[test]
fn options_of_a_users_own_network_are_keys_like_the_others() {
    let mut known = Known::default();
    let build = |_: &rigl_graph::ModelSpec| Err(Error::usage("not built"));
    known.models.insert(
        Network::new("mine", build)
            .option(ModelOption::word("act", "relu", vec!["relu", "gelu", "auto"]).doc("What is between."))
            .option(ModelOption::flag("bias", true)),
    );
    let of = |settings: &[&str]| resolve(Base::Default, &[&["model.name=mine"], settings].concat(), &known);
    assert_eq!(options(&of(&[]).unwrap()), ["model.act = \"relu\"", "model.bias = true"]);
    let config = of(&["model.act=gelu", "model.bias=false"]).unwrap();
    assert_eq!(options(&config), ["model.act = \"gelu\"", "model.bias = false"]);
    assert_eq!(Config::from_text("config.toml", &config.to_toml(), &known).unwrap(), config);
    assert_eq!(of(&["model.act=auto"]).unwrap().get("model.act").as_deref(), Some("\"auto\""));
    let allowed = "expected one of `relu`, `gelu`, `auto`";
    refused_with(of(&["model.act=gleu"]), &format!("`--set`: `model.act` is `gleu`, {allowed}"), "\"gelu\"");
    let flag = "`--set`: `model.bias` is `no`, expected `auto` or `true` or `false`";
    refused_with(of(&["model.bias=no"]), flag, "false");
}

#[test]
fn options_that_are_set_directly_are_checked() {
    let mut config = Config::from_text("my.toml", "", &Known::default()).unwrap();
    config.model.options.set("width", 0.0);
    let error = config.check().unwrap_err().to_string();
    assert_eq!(error, "`model.width` is `0`, expected `auto` or a number with 0 < width ≤ 1000");
    config.model.options.unset("width");
    config.model.options.set("depth", 20usize);
    let error = config.check().unwrap_err().to_string();
    assert!(error.starts_with("`model.depth` is `20`, but `lenet-300-100` has no such option"), "{error}");
    // Of another network than the sources named nothing is known here.
    config.model.name = "resnet-cifar".into();
    config.check().unwrap();
}
