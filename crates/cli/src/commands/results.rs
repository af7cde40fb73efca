//! What a run came to, as a newcomer reads it.

use std::cmp::Ordering;
use std::path::Path;

use rigl_base::counts::counted;
use rigl_base::{Error, Result, shown};
use rigl_metrics::Summary;
use serde_json::{Value, json};

use crate::output::{Align, Printer, Table, bytes, count, duration, percent, ratio, si};

/// The results of one run.
pub(crate) fn single(summary: &Summary, path: &Path, printer: &Printer) -> Result<()> {
    if printer.json() {
        return printer.json_result(&with_run(summary, path)?);
    }
    let mut table =
        Table::new(&[("", Align::Left), (&summary.method, Align::Right), ("of dense", Align::Right)]);
    let mut row = |name: &str, value: String, share: f64| {
        table.row(vec![name.into(), value, if share.is_nan() { String::new() } else { percent(share) }]);
    };
    row("test accuracy", percent(summary.accuracy.unwrap_or(f64::NAN)), f64::NAN);
    row("test loss", format!("{:.4}", summary.loss), f64::NAN);
    if let Some(loss) = summary.train_loss {
        row("loss over all training samples", format!("{loss:.4}"), f64::NAN);
    }
    row("active weights", count(summary.active), summary.active as f64 / summary.weights as f64);
    row("weights ever active", String::new(), summary.explored);
    row("topology updates", count(summary.updates), f64::NAN);
    row("size", bytes(summary.bytes), f64::NAN);
    row("FLOPs of a prediction", si(summary.inference.flops), summary.inference.fraction);
    row("FLOPs of training, per sample", si(summary.training.flops), summary.training.fraction);
    row("time of training", duration(summary.seconds), f64::NAN);
    row("training samples per second", si(summary.samples_per_s), f64::NAN);
    printer.result(&table.to_string())?;
    printer.note(&format!("everything is in {}", shown::path(path)));
    Ok(())
}

/// A sparse run beside the dense one.
pub(crate) fn comparison(sparse: &Summary, dense: &Summary, path: &Path, printer: &Printer) -> Result<()> {
    if printer.json() {
        return printer.json_result(&json!({
            "run": path.display().to_string(),
            "sparse": with_run(sparse, &path.join(super::execute::SPARSE))?,
            "dense": with_run(dense, &path.join(super::execute::DENSE))?,
        }));
    }
    let heading = match sparse.sparsity > 0.0 {
        true => format!("{}, {} sparse", sparse.method, percent(sparse.sparsity)),
        false => sparse.method.clone(),
    };
    let mut table = Table::new(&[
        ("", Align::Left),
        (&heading, Align::Right),
        ("dense", Align::Right),
        ("sparse against dense", Align::Right),
    ]);
    let accuracy = |s: &Summary| s.accuracy.unwrap_or(f64::NAN);
    let points = 100.0 * (accuracy(sparse) - accuracy(dense));
    table.row(vec![
        "test accuracy".into(),
        percent(accuracy(sparse)),
        percent(accuracy(dense)),
        format!("{points:+.2} points"),
    ]);
    let mut row =
        |name: &str, of: &dyn Fn(&Summary) -> f64, show: &dyn Fn(f64) -> String, words: [&str; 2]| {
            let (a, b) = (of(sparse), of(dense));
            table.row(vec![name.into(), show(a), show(b), against(a, b, words)]);
        };
    let fewer = ["fewer", "more"];
    row("weights", &|s| s.active as f64, &|x| count(x as u64), fewer);
    row("size of the model", &|s| s.bytes as f64, &|x| bytes(x as u64), ["smaller", "larger"]);
    row("FLOPs of a prediction", &|s| s.inference.flops, &si, fewer);
    row("FLOPs of training, per sample", &|s| s.training.flops, &si, fewer);
    row("time of training", &|s| s.seconds, &duration, ["faster", "slower"]);
    printer.result(&table.to_string())?;
    printer.done(&format!("{}\nEverything is in {}", observed(sparse), shown::path(path)));
    Ok(())
}

/// How many times less or more the first of two numbers is than the second, in the word for which it is.
fn against(a: f64, b: f64, [less, more]: [&str; 2]) -> String {
    match a.partial_cmp(&b) {
        Some(Ordering::Less) => format!("{} {less}", ratio(b / a)),
        Some(Ordering::Greater) => format!("{} {more}", ratio(a / b)),
        Some(Ordering::Equal) => "the same".into(),
        None => String::new(),
    }
}

/// What was seen of a run's weights, in sentences.
fn observed(summary: &Summary) -> String {
    let Summary { method, active, weights, updates, .. } = summary;
    if active == weights {
        return format!("all {} weights of the network of `{method}` were there.", count(*weights));
    }
    let [active, all] = [*active, *weights].map(count);
    let most = match summary.most_active {
        Some(most) if most > summary.active => {
            format!(
                "the network of `{method}` had up to {} of its {all} weights, and ended with {active}.",
                count(most)
            )
        }
        Some(_) => {
            format!(
                "the network of `{method}` never had more than {active} of its {all} weights, from the first step to the last."
            )
        }
        None => format!("the network of `{method}` ended with {active} of its {all} weights."),
    };
    let chosen = summary.most_active.is_some_and(|most| most > summary.active);
    let tried = match *updates {
        0 if chosen => {
            "They were chosen once, before the first step: no topology update fell into the run.".to_string()
        }
        0 => "They are those that it began with: no topology update fell into the run.".to_string(),
        n => format!(
            "Over {} it tried {} of the connections of its sparse layers.",
            counted(n, "topology update"),
            percent(summary.explored)
        ),
    };
    format!("{most}\n{tried}")
}

fn with_run(summary: &Summary, path: &Path) -> Result<Value> {
    let mut value =
        serde_json::to_value(summary).map_err(|e| Error::internal("cannot print a summary").caused_by(e))?;
    if let Value::Object(fields) = &mut value {
        fields.insert("run".into(), path.display().to_string().into());
    }
    Ok(value)
}
