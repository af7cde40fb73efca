//! Tests: what is said to somebody whose configuration is refused.

use proptest::prelude::*;
use proptest::sample::select;
use rigl_base::{Kind, Result};

use super::{Base, Config, Known, Override, Sources};

fn file(text: &str) -> Result<Config> {
    Config::from_text("my.toml", text, &Known::default())
}

fn command_line(base: Base, settings: &[&str]) -> Result<Config> {
    let overrides: Vec<_> = settings.iter().map(|text| Override::parse("--set", text).unwrap()).collect();
    Config::resolve(&Sources { base, overrides: &overrides }, &Known::default())
}

/// The message, and the hint or an empty string.
fn refusal(result: Result<Config>) -> (String, String) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    (error.to_string(), error.hint_text().unwrap_or_default().to_string())
}

fn check_file(text: &str, message: &str, hint: &str) {
    assert_eq!(refusal(file(text)), (message.to_string(), hint.to_string()), "{text}");
}

fn check_set(setting: &str, message: &str, hint: &str) {
    let found = refusal(command_line(Base::Default, &[setting]));
    assert_eq!(found, (message.to_string(), hint.to_string()), "{setting}");
}

#[test]
fn a_wrong_value_is_refused_with_file_line_key_and_what_is_allowed() {
    check_file(
        "\n\n# note\n[method]\nname = 'rigl'\n\nsparsity = 90",
        "`my.toml` line 7: `method.sparsity` is `90`, expected a number with 0 ≤ sparsity < 1",
        "0.9",
    );
    let sparsity = "expected a number with 0 ≤ sparsity < 1";
    for (value, hint) in [("nan", ""), ("inf", ""), ("-0.5", ""), ("1", ""), ("'0.5'", "0.5"), ("[]", "")] {
        let message = format!("`my.toml` line 1: `method.sparsity` is `{value}`, {sparsity}");
        check_file(&format!("method.sparsity = {value}"), &message, hint);
    }
    check_file(
        "[data]\nbatch = -5",
        "`my.toml` line 2: `data.batch` is `-5`, expected a whole number from 1 to 16777216",
        "",
    );
    check_file(
        "[data]\nbatch = 100.0",
        "`my.toml` line 2: `data.batch` is `100.0`, expected a whole number from 1 to 16777216",
        "100",
    );
    check_file(
        "[schedule]\nunit = 'epoch'",
        "`my.toml` line 2: `schedule.unit` is `'epoch'`, expected one of `epochs`, `steps`",
        "\"epochs\"",
    );
    check_file(
        "[schedule]\nmilestones = [\n  1,\n  'x',\n]",
        "`my.toml` line 2: `schedule.milestones` is `[   1,   'x', ]`, expected a list of numbers > 0, each at most \
         1000000000000",
        "",
    );
    check_file(
        "[data.batch]\nx = 1",
        "`my.toml` line 1: `data.batch` is a table, expected a whole number from 1 to 16777216",
        "",
    );
    check_file(
        "[[data.batch]]\nx = 1",
        "`my.toml` line 1: `data.batch` is an array of tables, expected a whole number from 1 to 16777216",
        "",
    );
    check_file(
        "seed = -1",
        "`my.toml` line 1: `seed` is `-1`, expected a whole number from 0 to 9223372036854775807",
        "",
    );
    check_file("seed = 99999999999999999999", "`my.toml` line 1: integer number overflowed", "");
    check_set(
        "seed=99999999999999999999",
        "`--set`: `seed` is `99999999999999999999`, expected a whole number from 0 to 9223372036854775807",
        "",
    );
    check_set("method.sparsity=90", &format!("`--set`: `method.sparsity` is `90`, {sparsity}"), "0.9");
    check_set("method.sparsity=", &format!("`--set`: `method.sparsity` is ``, {sparsity}"), "");
}

#[test]
fn a_wrong_layer_is_refused_at_its_own_line() {
    let allowed = "expected a number with 0 ≤ sparsity < 1";
    check_file(
        "[method.layers]\nfc1 = 0.5\nfc2 = 89",
        &format!("`my.toml` line 3: `method.layers.fc2` is `89`, {allowed}"),
        "0.89",
    );
    check_file(
        "[method.layers]\nlayer1.0.conv1 = 0.5",
        &format!("`my.toml` line 2: `method.layers.layer1` is a table, {allowed}"),
        "\"layer1.0.conv1\" = 0.5",
    );
    let (message, _) = refusal(file("method.layers = { 'a[' = 0.5 }"));
    assert!(message.starts_with("`my.toml` line 1: `method.layers`: glob `a[` is wrong"), "{message}");
    check_file(
        "[method]\nlayers = 0.5",
        "`my.toml` line 2: `method.layers` is `0.5`, expected a table from globs to numbers with 0 ≤ sparsity < 1",
        "",
    );
    check_set("method.layers.fc1=x", &format!("`--set`: `method.layers.fc1` is `x`, {allowed}"), "");
}

#[test]
fn messages_are_a_line_and_hints_can_be_pasted_whatever_the_file_holds() {
    let long = "x".repeat(100_000);
    let cases = [
        format!("[method.layers]\nlayer1.{long}.conv1 = 0.5"),
        "[method.layers]\nlayer1.\"\\u007f\".conv1 = 0.5".to_string(),
        format!("[method]\nfilter = '{long}'"),
        format!("[method]\nfilter = ['{long}']"),
        "[method]\nfilter = ['[\\u0002-\\u0001]']".replace('\'', "\""),
        "data.name = [\"\\n\"]".to_string(),
        format!("[schedule]\nmilestones = [{}]", "2, 1, ".repeat(10_000)),
        format!("[schedule]\nmilestones = [1, 2, 3]\ndivide-by = [{}]", "1, ".repeat(10_000)),
        format!("[method]\nname = \"{long}\""),
        format!("{long} = 1"),
        format!("a = {long}"),
    ];
    for text in cases {
        let (message, hint) = refusal(file(&text));
        for part in [message, hint] {
            assert!(part.len() < 600 && !part.contains(char::is_control), "{part:?}");
        }
    }
    let (_, hint) = refusal(file("[method.layers]\nlayer1.\"a\\\"b\".conv1 = 0.5"));
    assert_eq!(hint, "'layer1.a\"b.conv1' = 0.5");
}

#[test]
fn ten_thousand_layers_are_read_one_by_one() {
    let lines: String = (0..10_000).map(|i| format!("fc{i} = 0.5\n")).collect();
    let config = file(&format!("[method.layers]\n{lines}")).unwrap();
    assert_eq!(config.method.layers.0.len(), 10_000);
    let message = refusal(file(&format!("[method.layers]\n{lines}x = 2"))).0;
    assert!(message.starts_with("`my.toml` line 10002: `method.layers.x` is `2`"), "{message}");
}

#[test]
fn a_glob_that_cannot_be_compiled_is_refused_at_its_line() {
    let deep = format!("{}fc{}", "{".repeat(400), "}".repeat(400));
    let (message, _) = refusal(file(&format!("[method]\nfilter = ['{deep}']")));
    assert!(message.starts_with("`my.toml` line 2: `method.filter`: glob `{{{"), "{message}");
    let (message, _) = refusal(file(&format!("[method.layers]\n'{deep}' = 0.5")));
    assert!(message.starts_with("`my.toml` line 2: `method.layers`: glob `{{{"), "{message}");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    check_file(
        "[method]\ndrop_fraction = 0.3",
        "`my.toml` line 2: unknown key `method.drop_fraction`",
        "method.drop-fraction",
    );
    check_file("sparsity = 0.9", "`my.toml` line 1: unknown key `sparsity`", "method.sparsity");
    check_file("[methods]\nsparsity = 0.9", "`my.toml` line 1: unknown key `methods`", "method");
    check_file(
        "[optimizer]\nlearning-rate = 1",
        "`my.toml` line 2: unknown key `optimizer.learning-rate`",
        "schedule.learning-rate",
    );
    check_file("method = 'rigl'", "`my.toml` line 1: `method` is `'rigl'`, expected a table", "method.name");
    check_file("[frobnicate]\nx = 1", "`my.toml` line 1: unknown key `frobnicate`", "");
    check_set("methods.sparsity=0.9", "`--set`: unknown key `methods.sparsity`", "method.sparsity");
    check_set("preset=quickstart", "`--set`: `preset` may stand only in a file", "");
    check_set("method=rigl", "`--set`: `method` is `rigl`, expected a table", "method.name");
}

#[test]
fn broken_toml_and_double_keys_are_refused_with_the_line() {
    check_file("[data]\nbatch = 1\nbatch = 2", "`my.toml` line 3: duplicate key", "");
    let (message, _) = refusal(file("a = 1\nb = [1,\n"));
    assert!(message.starts_with("`my.toml` line ") && !message.contains('\n'), "{message}");
}

#[test]
fn unknown_methods_and_presets_are_refused_with_the_list() {
    check_file(
        "[method]\nname = 'rigel'",
        "`my.toml` line 2: no method is called `rigel`, allowed are `dense`, `small-dense`, `static`, `snip`, `set`, `snfs`, `rigl`, `pruning`, `deepr`, `dsr`, `dnw`",
        "rigl",
    );
    check_set(
        "method.drop=none",
        "`--set`: method `rigl` has `drop` = `none` and `grow` = `gradient`, allowed are both `none` or neither",
        "",
    );
    let (message, hint) = refusal(file("preset = 'mnist'"));
    assert!(
        message.starts_with("`my.toml` line 1: no preset is called `mnist`, allowed are `quickstart`"),
        "{message}"
    );
    assert_eq!(hint, "mnist-lenet");
    check_file("preset = 3", "`my.toml` line 1: `preset` is `3`, expected a string", "");
    let (_, hint) = refusal(command_line(Base::Preset("quick-start"), &[]));
    assert_eq!(hint, "quickstart");
}

#[test]
fn keys_that_do_not_fit_together_are_refused_where_they_were_set() {
    check_file(
        "[data]\nmicro-batches = 3",
        "`my.toml` line 2: `data.micro-batches` is `3`, expected a divisor of `data.batch`, which is `100`",
        "2",
    );
    check_set(
        "optimizer.momentum=0",
        "`optimizer.nesterov` is `true`, which needs `optimizer.momentum` > 0, but that is `0`",
        "optimizer.nesterov = false",
    );
}

#[test]
fn a_setting_without_a_value_is_refused() {
    let error = Override::parse("--set", "method.sparsity").unwrap_err();
    assert_eq!(error.to_string(), "`--set` is followed by `method.sparsity`, expected `key=value`");
}

/// Lines of a file that are right, wrong or nearly right.
const HEADERS: &[&str] =
    &["", "", "", "[method]", "[data]", "[seeds]", "[method.layers]", "[data.batch]", "[[log]]", "[x]"];

const KEYS: &[&str] = &[
    "seed",
    "preset",
    "name",
    "batch",
    "sparsity",
    "layers",
    "filter",
    "\"a\\nb\"",
    "a.b",
    "method",
    "mean",
];

const VALUES: &[&str] = &[
    "0",
    "-1",
    "0.5",
    "1e400",
    "nan",
    "99999999999999999999",
    "'rigl'",
    "\"a\\nb\"",
    "[]",
    "[0.5, 1]",
    "['x']",
    "{ x = 0.5 }",
    "{ x.y = 0.5 }",
    "{ \"\\n\" = 2 }",
    "{ \"[\\n\" = 0.5 }",
    "2020-01-01",
    "[[1], {}]",
    "\"\"\"\na\"\"\"",
];

proptest! {
    #[test]
    fn any_text_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = file(&text) {
            prop_assert!(!error.to_string().contains('\n'), "{}", error);
        }
    }

    #[test]
    fn any_mixture_of_keys_and_values_is_read_or_refused(
        lines in prop::collection::vec((select(HEADERS), select(KEYS), select(VALUES)), 0..8),
        setting in "(method|data|seeds|method.layers)?.?[a-z-]{0,10}=.{0,10}",
    ) {
        let overrides = [Override::parse("--set", &setting).unwrap()];
        let text: String =
            lines.iter().map(|(header, key, value)| format!("{header}\n{key} = {value}\n")).collect();
        let base = Base::File { name: "my.toml", text: &text };
        if let Err(error) = Config::resolve(&Sources { base, overrides: &overrides }, &Known::default()) {
            prop_assert!(!error.to_string().contains('\n'), "{}", error);
        }
    }
}
