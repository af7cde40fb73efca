//! A checkpoint whose checksums are right, but which no run of its configuration ever wrote, is refused before memory is
//! asked for: one line that names the first difference.

mod support;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rigl_base::{Kind, files};
use rigl_formats::{Checkpoint, Store, checkpoint};
use rigl_graph::state::{Role, Tensor, Values};
use rigl_metrics::{Record, RunFolder};
use rigl_train::{Observer, train};

use support::{config, machine, prepared, registry};

/// Stops a run after some checkpoints.
struct Stop<'a>(usize, &'a AtomicBool);

impl Observer for Stop<'_> {
    fn event(&mut self, record: &Record) {
        if let rigl_metrics::event::Event::Checkpoint(_) = record.event {
            self.0 = self.0.saturating_sub(1);
            self.1.store(self.0 == 0, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// The newest checkpoint of a run that was stopped when it had written so many.
fn stopped(folder: &Path, method: &str, checkpoints: usize) -> Checkpoint {
    let config = config(method, "auto");
    let run = RunFolder::create_at(folder).unwrap();
    files::write_atomic(&run.config(), config.to_toml().as_bytes()).unwrap();
    let stop = AtomicBool::new(false);
    train(prepared(config, 1), &run, &mut Stop(checkpoints, &stop), &stop).unwrap();
    let (_, path) = Store::new(run.checkpoints()).list().unwrap().pop().unwrap();
    checkpoint::read(&path).unwrap()
}

/// What going on from this checkpoint is refused with, signed like any other.
fn refusal(forged: &Checkpoint, method: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path());
    store.save(&forged.state, &forged.metadata).unwrap();
    let latest = store.latest().unwrap();
    let error =
        rigl_train::Prepared::resume(config(method, "auto"), &registry(), &machine(1), latest).err()?;
    let text = error.to_string();
    assert!(matches!(error.kind(), Kind::Data | Kind::Usage), "{text}");
    assert!(text.chars().count() < 400 && !text.contains(char::is_control), "{text}");
    Some(text)
}

type Forge = fn(&mut Checkpoint);

fn tensor(role: Role, name: &str) -> Tensor<'static> {
    let values = Values::F32(vec![1.0].into());
    Tensor { name: name.to_string().into(), role, shape: vec![1], values, indices: None }
}

fn found<'a>(checkpoint: &'a mut Checkpoint, key: &str) -> &'a mut Tensor<'static> {
    checkpoint.state.iter_mut().find(|tensor| tensor.key() == key).unwrap()
}

/// Leaves the active weights out that are beyond so many.
fn keep(checkpoint: &mut Checkpoint, name: &str, count: usize) {
    for tensor in checkpoint.state.iter_mut().filter(|tensor| tensor.name == name && tensor.indices.is_some())
    {
        let values = tensor.values.as_f32().unwrap()[..count].to_vec();
        tensor.values = Values::F32(values.into());
        tensor.indices = tensor.indices.as_ref().map(|indices| indices[..count].to_vec().into());
    }
}

#[test]
fn what_no_run_has_written_is_not_gone_on_with() {
    let cases: &[(&str, Forge)] = &[
        ("`step` is `15`, expected at most 14", |c| c.metadata.step = 15),
        ("`step` is `18446744073709551615`", |c| c.metadata.step = u64::MAX),
        ("`draw` is `18446744073709551615`", |c| c.metadata.draw = u64::MAX),
        ("`draw` is `", |c| c.metadata.draw += 1),
        ("`updated` is `true`", |c| c.metadata.updated = true),
        ("`log-length` is `0`", |c| c.metadata.log_length = 0),
        ("`class-names` is ``", |c| c.metadata.classes.clear()),
        ("`class-names` is `", |c| c.metadata.classes[0] = "dog".into()),
        ("`input-preprocessing` is `x`", |c| c.metadata.preprocessing = "x".into()),
        ("`updates` is `", |c| _ = c.metadata.extra.insert("updates".into(), "9".into())),
        ("`updates` is `", |c| _ = c.metadata.extra.insert("updates".into(), u64::MAX.to_string())),
        ("`threshold` is `1", |c| _ = c.metadata.extra.insert("threshold".into(), "1e300".into())),
        ("`began-with`", |c| _ = c.metadata.extra.insert("began-with".into(), "7".into())),
        ("`training-flops` is `", |c| {
            _ = c.metadata.extra.insert("training-flops".into(), u128::MAX.to_string())
        }),
        ("`parameter/evil`", |c| c.state.push(tensor(Role::Parameter, "evil"))),
        ("`method/evil`", |c| c.state.push(tensor(Role::Method, "evil"))),
        ("`method/average/fc1.weight`", |c| c.state.push(tensor(Role::Method, "average/fc1.weight"))),
        ("`slot/momentum/fc1.weight` is missing", |c| {
            c.state.retain(|tensor| tensor.key() != "slot/momentum/fc1.weight");
        }),
        ("explored", |c| c.state.retain(|tensor| !tensor.name.starts_with("explored"))),
        (" active weights in sparse layers, where the configuration leaves ", |c| keep(c, "fc1.weight", 3)),
        (" active weights in sparse layers, where the configuration leaves ", |c| {
            let weight = found(c, "parameter/fc1.weight");
            let len: usize = weight.shape.iter().product();
            (weight.values, weight.indices) = (Values::F32(vec![0.5; len].into()), None);
        }),
        ("lacks weights that are active", |c| {
            for tensor in c.state.iter_mut().filter(|tensor| tensor.name.starts_with("explored-")) {
                match &mut tensor.values {
                    Values::U8(bits) => bits.to_mut().fill(0),
                    Values::U32(indices) => {
                        indices.to_mut().truncate(1);
                        tensor.shape = vec![1];
                    }
                    _ => {}
                }
            }
        }),
    ];
    let folder = tempfile::tempdir().unwrap();
    for method in ["name = 'rigl'", "name = 'set'"] {
        let place = folder.path().join(method.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        let good = stopped(&place, method, 7);
        assert_eq!(refusal(&good, method), None, "{method}");
        for (expected, forge) in cases {
            let mut forged = good.clone();
            forge(&mut forged);
            let text = refusal(&forged, method).unwrap_or_else(|| panic!("{method}: {expected}"));
            assert!(text.contains(expected), "{method}: {expected}: {text}");
        }
    }
}

#[test]
fn what_a_method_keeps_is_there_as_it_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    for (method, slot) in [("snfs", "average"), ("dnw", "kept"), ("deepr", "sign"), ("dnw", "kept-momentum")]
    {
        let (place, line) = (folder.path().join(format!("{method}-{slot}")), format!("name = '{method}'"));
        let good = stopped(&place, &line, 4);
        assert_eq!(refusal(&good, &line), None, "{method}");
        let key = format!("method/{slot}/fc1.weight");
        let mut forged = good.clone();
        forged.state.retain(|tensor| tensor.key() != key);
        assert_eq!(forged.state.len() + 1, good.state.len(), "{key}");
        let text = refusal(&forged, &line).unwrap();
        assert!(text.contains(&format!("`{key}` is missing")), "{text}");
        let mut forged = good.clone();
        let tensor = found(&mut forged, &key);
        (tensor.values, tensor.shape, tensor.indices) = (Values::F32(vec![1.0].into()), vec![1], None);
        let text = refusal(&forged, &line).unwrap();
        assert!(text.contains(&key) || text.contains("fc1.weight"), "{text}");
    }
}

#[test]
fn counts_on_the_way_are_those_of_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let method = "name = 'pruning'";
    let good = stopped(&folder.path().join("run"), method, 9);
    assert_eq!(refusal(&good, method), None);
    let mut forged = good.clone();
    let active = found(&mut forged, "parameter/fc1.weight").values.len();
    keep(&mut forged, "fc1.weight", active - 1);
    let text = refusal(&forged, method).unwrap();
    let expected = format!("active weights of `fc1.weight` are {}, expected {active}", active - 1);
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn hostile_numbers_are_refused_or_gone_on_with_and_never_panic() {
    const HOSTILE: [&str; 12] = [
        "0",
        "-1",
        "1",
        "13",
        "14",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        "1e300",
        "-1e-300",
        "NaN",
        "",
    ];
    let folder = tempfile::tempdir().unwrap();
    let method = "name = 'dsr'";
    let good = stopped(&folder.path().join("run"), method, 6);
    assert_eq!(refusal(&good, method), None);
    let refused = |forged: &Checkpoint| refusal(forged, method).is_some();
    let mut count = 0;
    for text in HOSTILE {
        for key in good.metadata.extra.keys() {
            let mut forged = good.clone();
            forged.metadata.extra.insert(key.clone(), text.into());
            count += usize::from(refused(&forged));
        }
        let Ok(number) = text.parse::<u64>() else { continue };
        let changes: [fn(&mut Checkpoint, u64); 3] = [
            |c, n| c.metadata.step = n,
            |c, n| c.metadata.draw = n,
            |c, n| (c.metadata.step, c.metadata.draw, c.metadata.updated) = (n, n, true),
        ];
        for change in changes {
            let mut forged = good.clone();
            change(&mut forged, number);
            assert!(refused(&forged), "{number}");
        }
    }
    assert!(count > 40, "{count}");
}
