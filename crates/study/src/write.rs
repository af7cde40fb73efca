//! A table as Markdown for people, as CSV and JSON for programs.

use serde_json::{Value, json};

use crate::table::{Group, Repeated, Spread, Table};

/// What stands where there is no number.
const NONE: &str = "–";

impl Table {
    /// Markdown, aligned so that it reads well as it is: [`Table::cells`].
    pub fn markdown(&self) -> String {
        let rows: Vec<Vec<String>> =
            self.cells().iter().map(|row| row.iter().map(|cell| escaped(cell)).collect()).collect();
        aligned(&rows, self.columns.len())
    }

    /// Headings, then the cells of each row: the values of its keys, and what its runs came to. Accuracies are in percent, mean ± standard deviation over the
    /// n runs of a row; FLOPs are multiples of the dense network's.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let accuracies = self.groups.iter().any(|group| group.accuracy().is_some());
        let quality = if accuracies { "accuracy, %" } else { "loss" };
        let on_training = self.has_train_loss();
        let training: &[&str] = if on_training { &["training loss"] } else { &[] };
        let costs = ["FLOPs", "training FLOPs", "weights", "size, kB", "R_s", "time, s"];
        let headings = [&["n", quality], training, &costs].concat();
        let headings = headings.into_iter().map(String::from);
        let mut rows: Vec<Vec<String>> = vec![self.columns.iter().cloned().chain(headings).collect()];
        for group in &self.groups {
            let number = |x: Option<f64>, decimals| x.map_or(NONE.into(), |x| format!("{x:.decimals$}"));
            let (found, planned) = (group.runs.len(), group.planned);
            let quality = match accuracies {
                true => shown(group.accuracy(), 100.0, 2),
                false => shown(group.loss(), 1.0, 4),
            };
            let runs = if found == planned { found.to_string() } else { format!("{found} of {planned}") };
            let training = on_training.then(|| shown(group.train_loss(), 1.0, 4));
            let numbers = [
                number(group.mean(|s| s.inference.fraction), 4),
                number(group.mean(|s| s.training.fraction), 4),
                number(group.mean(|s| s.active as f64), 0),
                number(group.mean(|s| s.bytes as f64 / 1000.0), 1),
                number(group.mean(|s| s.explored), 3),
                number(group.mean(|s| s.seconds), 1),
            ];
            let values = self.columns.iter().zip(&group.values);
            let values = values.map(|(column, value)| group.seen(column, value));
            rows.push(values.chain([runs, quality]).chain(training).chain(numbers).collect());
        }
        rows
    }

    /// Whether any of its runs was asked for the loss over all training samples.
    fn has_train_loss(&self) -> bool {
        self.groups.iter().any(|group| group.train_loss().is_some())
    }

    /// CSV: a line of names, then a line for each row. Accuracies and shares are from 0 to 1.
    pub fn csv(&self) -> String {
        let numbers = [
            "runs",
            "n",
            "accuracy_mean",
            "accuracy_sd",
            "loss_mean",
            "loss_sd",
            "inference_flops_fraction",
            "training_flops_fraction",
            "active",
            "weights",
            "sparsity",
            "bytes",
            "explored",
            "seconds",
        ];
        let line =
            |cells: Vec<String>| cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n";
        // Behind all others, so that where there is none the file is what it always was.
        let on_training = self.has_train_loss();
        let training: &[&str] = if on_training { &["train_loss_mean", "train_loss_sd"] } else { &[] };
        let numbers = numbers.iter().chain(training).map(ToString::to_string);
        let mut text = line(self.columns.iter().cloned().chain(numbers).collect());
        for group in &self.groups {
            let number = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
            let mean = |spread: Option<Spread>| number(spread.map(|s| s.mean));
            let deviation = |spread: Option<Spread>| number(spread.and_then(|s| s.deviation));
            let mut cells = group.values.clone();
            cells.extend([
                group.planned.to_string(),
                group.runs.len().to_string(),
                mean(group.accuracy()),
                deviation(group.accuracy()),
                mean(group.loss()),
                deviation(group.loss()),
                number(group.mean(|s| s.inference.fraction)),
                number(group.mean(|s| s.training.fraction)),
                number(group.mean(|s| s.active as f64)),
                number(group.mean(|s| s.weights as f64)),
                number(group.mean(|s| s.sparsity)),
                number(group.mean(|s| s.bytes as f64)),
                number(group.mean(|s| s.explored)),
                number(group.mean(|s| s.seconds)),
            ]);
            if on_training {
                cells.extend([mean(group.train_loss()), deviation(group.train_loss())]);
            }
            text.push_str(&line(cells));
        }
        text
    }

    /// JSON: the same, and the runs of each row.
    pub fn json(&self) -> Value {
        let spread = |spread: Option<Spread>| spread.map(|s| json!({ "mean": s.mean, "sd": s.deviation }));
        let row = |group: &Group| {
            let values: serde_json::Map<String, Value> = self
                .columns
                .iter()
                .cloned()
                .zip(group.values.iter().map(|value| number_or_text(value)))
                .collect();
            let run = |run: &crate::FinishedRun| {
                json!({
                    "run": run.path, "seed": run.summary.seed, "accuracy": run.summary.accuracy,
                    "loss": run.summary.loss, "train_loss": run.summary.train_loss, "seconds": run.summary.seconds,
                    "data": run.summary.data.as_ref().map(|data| &data.fingerprint),
                })
            };
            json!({
                "values": values,
                "runs": group.planned,
                "n": group.runs.len(),
                "accuracy": spread(group.accuracy()),
                "loss": spread(group.loss()),
                "train_loss": spread(group.train_loss()),
                "inference_flops_fraction": group.mean(|s| s.inference.fraction),
                "training_flops_fraction": group.mean(|s| s.training.fraction),
                "active": group.mean(|s| s.active as f64),
                "weights": group.mean(|s| s.weights as f64),
                "sparsity": group.mean(|s| s.sparsity),
                "bytes": group.mean(|s| s.bytes as f64),
                "explored": group.mean(|s| s.explored),
                "seconds": group.mean(|s| s.seconds),
                "finished": group.runs.iter().map(run).collect::<Vec<_>>(),
            })
        };
        let repeated = |one: &Repeated| json!({ "run": one.run, "same_as": one.of });
        json!({
            "columns": self.columns,
            "rows": self.groups.iter().map(row).collect::<Vec<_>>(),
            "counted_once": self.repeated.iter().map(repeated).collect::<Vec<_>>(),
        })
    }
}

fn number_or_text(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => number.into(),
        _ => text.into(),
    }
}

/// `93.51 ± 0.12`.
fn shown(spread: Option<Spread>, scale: f64, decimals: usize) -> String {
    match spread {
        None => NONE.into(),
        Some(Spread { mean, deviation: None }) => format!("{:.decimals$}", scale * mean),
        Some(Spread { mean, deviation: Some(deviation) }) => {
            format!("{:.decimals$} ± {:.decimals$}", scale * mean, scale * deviation)
        }
    }
}

/// Rows as a Markdown table, the first one its heading; all columns but the first `left` are aligned to the right.
fn aligned(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let row = |row: &Vec<String>| {
        let cell = |(column, text): (usize, &String)| {
            let space = " ".repeat(widths[column] - text.chars().count());
            if column < left { format!("{text}{space}") } else { format!("{space}{text}") }
        };
        line(row.iter().enumerate().map(cell).collect())
    };
    let rule = |column: usize| match column < left {
        true => "-".repeat(widths[column]),
        false => "-".repeat(widths[column] - 1) + ":",
    };
    let mut text: String = rows.iter().take(1).map(row).collect();
    text.push_str(&line((0..columns).map(rule).collect()));
    text.extend(rows.iter().skip(1).map(row));
    text
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(char::is_control, " ")
}

/// A cell of CSV, in quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use rigl_train::config::Known;

    use super::*;
    use crate::table::tests::finished;

    fn table() -> Table {
        let runs = vec![
            finished("rigl", 0.9, 0, Some(0.875)),
            finished("rigl", 0.9, 1, Some(0.625)),
            finished("set", 0.9, 0, None),
        ];
        let mut table = Table::compare(runs, &Known::default()).unwrap();
        table.groups[1].planned = 3;
        table.groups[1].values = vec!["a|b,c".into()];
        table
    }

    #[test]
    fn markdown_has_mean_and_deviation_and_says_what_is_missing() {
        // The deviation of 87.5 and 62.5 is √(2 · 12.5²) = 17.68.
        let expected = "\
| method.name |      n |   accuracy, % |  FLOPs | training FLOPs | weights | size, kB |   R_s | time, s |
| ----------- | -----: | ------------: | -----: | -------------: | ------: | -------: | ----: | ------: |
| rigl        |      2 | 75.00 ± 17.68 | 0.2500 |         0.2500 |     100 |      1.5 | 0.250 |     2.5 |
| a\\|b,c      | 1 of 3 |             – | 0.2500 |         0.2500 |     100 |      1.5 | 0.250 |     2.0 |
";
        assert_eq!(table().markdown(), expected);
    }

    #[test]
    fn without_any_accuracy_the_loss_is_shown() {
        let text =
            Table::compare(vec![finished("rigl", 0.9, 0, None)], &Known::default()).unwrap().markdown();
        assert!(text.contains("|   loss |") && text.contains("| 0.5000 |"), "{text}");
    }

    #[test]
    fn csv_has_exact_numbers_and_quotes_what_needs_it() {
        let text = table().csv();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("method.name,runs,n,accuracy_mean,accuracy_sd,loss_mean"), "{text}");
        assert!(
            lines[1].starts_with("rigl,2,2,0.75,0.1767766952966369,1,0.7071067811865476,0.25,"),
            "{text}"
        );
        assert!(lines[2].starts_with("\"a|b,c\",3,1,,,0.5,,0.25,0.25,100,1000,0.9,1500,0.25,2"), "{text}");
    }

    #[test]
    fn the_loss_over_training_samples_has_a_column_where_any_run_has_it() {
        let mut table = table();
        for (run, loss) in [(0, 0.25), (1, 0.75)] {
            table.groups[0].runs[run].summary.train_loss = Some(loss);
        }
        let text = table.markdown();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
        assert_eq!(lines[0][3..6], ["accuracy, %", "training loss", "FLOPs"]);
        // The deviation of 0.25 and 0.75 is √(2 · 0.25²).
        assert_eq!((lines[2][4], lines[3][5]), ("0.5000 ± 0.3536", "–"));
        let text = table.csv();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(",seconds,train_loss_mean,train_loss_sd"), "{text}");
        assert!(lines[1].contains(",2.5,0.5,0.35355") && lines[2].ends_with(",2,,"), "{text}");
        assert_eq!(table.json()["rows"][0]["train_loss"]["mean"], 0.5);
        assert_eq!(table.json()["rows"][1]["train_loss"], Value::Null);
    }

    #[test]
    fn json_has_the_runs_of_each_row() {
        let value = table().json();
        assert_eq!(value["columns"], json!(["method.name"]));
        assert_eq!(value["rows"][0]["values"]["method.name"], "rigl");
        assert_eq!(value["rows"][0]["accuracy"]["mean"], 0.75);
        assert_eq!(value["rows"][1]["accuracy"], Value::Null);
        assert_eq!(["0.9", "3", "inf"].map(number_or_text), [json!(0.9), json!(3), json!("inf")]);
        assert_eq!(value["rows"][0]["finished"][1]["run"], "runs/rigl-1");
        assert_eq!(value["rows"][0]["finished"][1]["seed"], 1);
    }
}
