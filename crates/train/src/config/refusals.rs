//! Tests: what is said to somebody whose configuration is refused.

use proptest::prelude::*;
use proptest::sample::select;
use rigl_base::{Kind, Result};

use super::{Base, Config, Known, Override, Sources, UpdateEnd};

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

/// What has all keys.
const ALL: &str = "rigl presets quickstart --full";

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    check_file(
        "[method]\ndrop_fraction = 0.3",
        "`my.toml` line 2: unknown key `method.drop_fraction`",
        "method.updates.drop-fraction",
    );
    check_file("sparsity = 0.9", "`my.toml` line 1: unknown key `sparsity`", "method.sparsity");
    check_file("[methods]\nsparsity = 0.9", "`my.toml` line 1: unknown key `methods`", "method");
    check_file(
        "[optimizer]\nlearning-rate = 1",
        "`my.toml` line 2: unknown key `optimizer.learning-rate`",
        "schedule.learning-rate",
    );
    check_file("method = 'rigl'", "`my.toml` line 1: `method` is `'rigl'`, expected a table", "method.name");
    check_file("[frobnicate]\nx = 1", "`my.toml` line 1: unknown key `frobnicate`", ALL);
    // What other programs call it, which here is something else.
    check_set("schedule.decay=0.1", "`--set`: unknown key `schedule.decay`", "schedule.divide-by");
    check_set("optimizer.weight-decay=0.1", "`--set`: unknown key `optimizer.weight-decay`", "optimizer.l2");
    check_set("epochs=10", "`--set`: unknown key `epochs`", "schedule.length");
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
    let methods: Vec<String> =
        rigl_topology::Method::ALL.iter().map(|row| format!("`{}`", row.name)).collect();
    check_file(
        "[method]\nname = 'rigel'",
        &format!("`my.toml` line 2: no method is called `rigel`, allowed are {}", methods.join(", ")),
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
        "`--set`: `optimizer.nesterov` is `true`, which needs `optimizer.momentum` > 0, but that is `0`",
        "optimizer.nesterov = false",
    );
}

#[test]
fn of_keys_that_do_not_fit_together_the_last_one_that_was_set_is_to_blame() {
    let by =
        "method `rigl` has `count.by` = `momentum` and `grow` = `gradient`, allowed is `momentum` with it";
    let setting = command_line(Base::Preset("quickstart"), &["method.count.by=momentum"]);
    assert_eq!(refusal(setting).0, format!("`--set`: {by}"));
    check_file("[method.count]\nby = 'momentum'", &format!("`my.toml` line 2: {by}"), "");
    let text = "[method]\nname = 'pruning'\nsparsity = 0.9\n[method.start]\nkind = 'random'\n[method.count]\n\
                initial-sparsity = 0.5";
    let base = Base::File { name: "my.toml", text };
    let sparsity = Override::new("--sparsity", "method.sparsity", "0.4");
    let config = Config::resolve(&Sources { base, overrides: &[sparsity] }, &Known::default());
    let above =
        "method `pruning` has `count.initial-sparsity` = `0.5`, expected at most `sparsity`, which is `0.4`";
    assert_eq!(refusal(config).0, format!("`--sparsity`: {above}"));
    // One that says of what kind its table is has set that too.
    let (message, _) = refusal(command_line(
        Base::File { name: "my.toml", text: "method.name = 'static'" },
        &["method.count.by=survivors"],
    ));
    assert!(message.starts_with("`--set`: method `static` has `count` = `redistributed`"), "{message}");
}

#[test]
fn milestones_under_a_cosine_are_refused() {
    check_file(
        "[schedule]\nshape = 'cosine'\nmilestones = [5]",
        "`my.toml` line 3: `schedule.milestones` does nothing: it is read where `schedule.shape` is `steps`",
        "",
    );
    check_set(
        "schedule.shape=linear",
        "`--set`: `schedule.shape` is `linear`, expected one of `steps`, `cosine`",
        "",
    );
    // Those of a preset that another source has given another shape say nothing.
    let config = command_line(Base::Preset("mnist-lenet"), &["schedule.shape=cosine"]).unwrap();
    assert!(config.schedule.milestones.is_empty());
}

#[test]
fn a_divisor_without_milestones_is_refused() {
    check_file(
        "[schedule]\ndivide-by = [5]",
        "`my.toml` line 2: `schedule.divide-by` does nothing: it is read where `schedule.milestones` has any",
        "",
    );
    // By its default, and where another source took the milestones out, it says nothing.
    assert_eq!(file("[schedule]\ndivide-by = [10]").unwrap(), Config::default());
    command_line(Base::Preset("quickstart"), &["schedule.milestones=[]"]).unwrap();
    // Every configuration had it once.
    let printed = "[schedule]\nunit = 'epochs'\nlength = 20\nlearning-rate = 0.1\nwarmup = 0\nmilestones = []\ndivide-by = [5]";
    assert_eq!(file(printed).unwrap(), Config::default());
}

#[test]
fn a_key_that_nothing_reads_is_refused_with_the_kind_that_reads_it() {
    check_set(
        "method.drop.threshold=0.1",
        "`--set`: `method.drop.threshold` does nothing where `method.drop.kind` is `magnitude`, expected `threshold`",
        "method.drop.kind = \"threshold\"",
    );
    check_file(
        "[method]\nthreshold = 0.1",
        "`my.toml` line 2: `method.threshold` does nothing where `method.drop.kind` is `magnitude`, expected `threshold`",
        "method.drop.kind = \"threshold\"",
    );
    check_file(
        "[method]\nname = 'static'\n[method.updates]\ninterval = 50",
        "`my.toml` line 4: `method.updates.interval` does nothing for method `static`: it is read where the topology is \
         updated, but not at every step",
        "",
    );
    check_file(
        "[method]\nname = 'dnw'\ngrow.init = 'normal'",
        "`my.toml` line 3: `method.grow.init` does nothing where `method.grow.kind` is `magnitude`, expected one of \
         `random`, `gradient`, `momentum`, `own`",
        "",
    );
    check_file(
        "[data]\nstandardize = 'per-image'\nmean = [0.5]",
        "`my.toml` line 3: `data.mean` does nothing: it is read where `data.standardize` is `auto` or `fixed`",
        "",
    );
    let idle = [
        ("static", "method.updates.drop-fraction=0.5"),
        ("static", "method.step-policy=after"),
        ("dense", "method.update-begin=5"),
        ("deepr", "method.updates.begin=5"),
        ("deepr", "method.updates.interval=5"),
        ("dnw", "method.updates.end=5"),
        ("pruning", "method.updates.decay=linear"),
        ("rigl", "method.gradient-average=0.5"),
        ("rigl", "method.noise-pull=0.5"),
        ("rigl", "method.start.values=trained"),
        ("rigl", "method.narrow-to=bytes"),
        ("set", "method.after-step=noise"),
    ];
    for (method, setting) in idle {
        let name = format!("method.name={method}");
        let (message, _) = refusal(command_line(Base::Default, &[&name, setting]));
        assert!(message.contains(" does nothing "), "{method} {setting}: {message}");
    }
}

#[test]
fn a_later_source_may_leave_what_an_earlier_one_says_without_use() {
    let base = Base::File { name: "my.toml", text: "[method.updates]\ninterval = 50\nend = 1000" };
    let config = command_line(base, &["method.name=static"]).unwrap();
    assert_eq!(config, command_line(Base::Default, &["method.name=static"]).unwrap());
    let config = command_line(base, &["method.name=pruning"]).unwrap();
    assert_eq!(config.method.updates.interval, 50);
    let set = |key, value| Override { shared: true, ..Override::new("`s.toml` line 3", key, value) };
    let shared = [set("method.updates.interval", "50"), Override::new("--set", "method.name", "static")];
    let config = Config::resolve(&Sources { base: Base::Default, overrides: &shared }, &Known::default());
    assert_eq!(config.unwrap().method.name, "static");
}

#[test]
fn a_table_may_be_a_word_a_table_in_a_line_or_lines_of_its_own() {
    let threshold = file("[method]\ndrop = { kind = 'threshold', threshold = 0.5 }").unwrap();
    assert_eq!(threshold.method.drop.threshold, 0.5);
    for same in [
        "[method.drop]\nthreshold = 0.5\nkind = 'threshold'",
        "method.drop.kind = 'threshold'\nmethod.drop.threshold = 0.5",
        "method = { threshold = 0.5, drop = 'threshold' }",
    ] {
        assert_eq!(file(same).unwrap(), threshold, "{same}");
    }
    for same in [
        &["method.drop={kind='threshold', threshold=0.5}"][..],
        &["method.drop=threshold", "method.drop.threshold=.5"],
        &["method.drop.threshold=.5", "method.drop.kind=threshold"],
    ] {
        assert_eq!(command_line(Base::Default, same).unwrap(), threshold, "{same:?}");
    }
    let kinds = "expected one of `none`, `magnitude`, `importance`, `threshold`, `sign-change`, \
         `own`";
    check_set(
        "method.drop=magnitud",
        &format!("`--set`: `method.drop` is `magnitud`, {kinds}"),
        "\"magnitude\"",
    );
    check_file("method.drop.kind = 3", &format!("`my.toml` line 1: `method.drop.kind` is `3`, {kinds}"), "");
    check_set("method.drop={knid='none'}", "`--set`: unknown key `method.drop.knid`", "method.drop.kind");
    check_file(
        "[method.drop.frobnicate]\nx = 1",
        "`my.toml` line 1: unknown key `method.drop.frobnicate`",
        ALL,
    );
}

#[test]
fn a_run_to_start_from_and_what_shares_growth_out_say_of_what_kind_their_tables_are() {
    let kinds = |settings: &[&str]| {
        let method = command_line(Base::Default, settings).unwrap().method;
        (method.start.kind.name(), method.count.kind.name())
    };
    assert_eq!(kinds(&["method.start.run=r"]), ("from", "constant"));
    assert_eq!(kinds(&["method.start-from=r", "method.initial=saliency"]), ("from", "constant"));
    assert_eq!(kinds(&["method.start-from=r", "method.name=dense"]), ("full", "constant"));
    assert_eq!(kinds(&["method.start.run=r", "method.name=pruning"]), ("from", "cubic"));
    assert_eq!(kinds(&["method.count.by=survivors"]), ("random", "redistributed"));
    assert_eq!(kinds(&["method.redistribution=survivors"]), ("random", "redistributed"));
    assert_eq!(kinds(&["method.redistribution=none", "method.name=dsr"]), ("random", "constant"));
    assert_eq!(kinds(&["method.density-decay=none", "method.name=dsr"]), ("random", "redistributed"));
    for (settings, part) in [
        (&["method.start.run=r", "method.start.kind=random"][..], "`method.start.run` does nothing"),
        (&["method.start.run=r", "method.name=small-dense"], "`method.start.run` does nothing"),
        (&["method.start.kind=from"], "`method.start.run` must name"),
        (&["method.redistribution=survivors", "method.name=pruning"], "expected `redistributed`"),
        (&["method.state=kept"], "`method.state` is `kept`, with which `method.grow.kind` is `magnitude`"),
        (&["method.state=reset", "method.name=dnw"], "with which `method.grow.kind` is not `magnitude`"),
    ] {
        let (message, _) = refusal(command_line(Base::Default, settings));
        assert!(message.contains(part), "{settings:?}: {message}");
    }
}

#[test]
fn one_thing_said_by_two_names_is_refused_with_both() {
    let hint = "`method.updates.interval` is what it is called";
    check_file(
        "[method]\nupdate-interval = 50\n[method.updates]\ninterval = 60",
        "`my.toml` line 4: `method.updates.interval` is set already, as `method.update-interval` at `my.toml` line 2",
        hint,
    );
    let two = ["method.updates.interval=50", "method.update-interval=60"];
    let message = "`--set`: `method.update-interval` is set already, as `method.updates.interval` at `--set`";
    assert_eq!(refusal(command_line(Base::Default, &two)), (message.into(), hint.into()));
    let twice = ["method.update-interval=50", "method.update-interval=60"];
    assert_eq!(command_line(Base::Default, &twice).unwrap().method.updates.interval, 60);
}

#[test]
fn words_of_older_keys_are_theirs() {
    check_set(
        "method.update-timing=every",
        "`--set`: `method.update-timing` is `every`, expected one of `scheduled`, `every-step`",
        "\"every-step\"",
    );
    check_set(
        "method.initial=denze",
        "`--set`: `method.initial` is `denze`, expected one of `dense`, `full`, `narrow`, `random`, `saliency`, \
         `magnitude`",
        "\"dense\"",
    );
}

#[test]
fn updates_end_at_a_step_or_after_a_share_of_the_run() {
    let end = |text: &str| {
        command_line(Base::Default, &[&format!("method.updates.end={text}")]).map(|c| c.method.updates.end)
    };
    assert_eq!(end("1").unwrap(), UpdateEnd::Step(1));
    assert_eq!(end("1.0").unwrap(), UpdateEnd::Share(1.0));
    assert_eq!(end(".5").unwrap(), UpdateEnd::Share(0.5));
    let expected = "expected `auto`, a step, a whole number from 1 to 1000000000000, or a share of the run, above 0.0 and \
                    up to 1.0";
    for (text, hint) in [("0", ""), ("0.0", ""), ("1.5", ""), ("500.0", "500"), ("-1", "")] {
        let message = format!("`--set`: `method.updates.end` is `{text}`, {expected}");
        check_set(&format!("method.updates.end={text}"), &message, hint);
    }
}

#[test]
fn a_setting_without_a_value_is_refused() {
    let error = Override::parse("--set", "method.sparsity").unwrap_err();
    assert_eq!(error.to_string(), "`--set` is followed by `method.sparsity`, expected `key=value`");
}

/// Lines of a file that are right, wrong or nearly right.
const HEADERS: &[&str] = &[
    "",
    "",
    "",
    "[method]",
    "[method.drop]",
    "[method.updates]",
    "[data]",
    "[seeds]",
    "[method.layers]",
    "[data.batch]",
    "[[log]]",
    "[x]",
];

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
    "kind",
    "threshold",
    "drop",
    "initial",
    "redistribution",
];

const VALUES: &[&str] = &[
    "0",
    "-1",
    "0.5",
    "1e400",
    "nan",
    "99999999999999999999",
    "'rigl'",
    "'none'",
    "'threshold'",
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
        setting in "(method|data|seeds|method.layers|method.drop)?.?[a-z-]{0,10}=.{0,10}",
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
