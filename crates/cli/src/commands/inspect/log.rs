//! What an event log tells of its run, read from beginning to end.

use std::collections::BTreeMap;
use std::path::Path;

use rigl_base::Result;
use rigl_base::counts::counted;
use rigl_metrics::event::{self, Event};
use rigl_metrics::{EventReader, Machine, Status};
use serde_json::{Value, json};

use crate::output::{Align, Table, count, duration, epochs, percent};

/// What a log says in the end, from one reading of it.
#[derive(Default)]
pub(super) struct Digest {
    /// How many events there are of each name.
    events: BTreeMap<&'static str, u64>,
    pub(super) step: u64,
    pub(super) draw: u64,
    pub(super) time_s: f64,
    /// Who wrote it last, and where.
    pub(super) program: Option<String>,
    pub(super) machine: Option<Machine>,
    network: Option<event::Network>,
    train: Option<(u64, event::Train)>,
    /// The last evaluation of each split, and its step.
    evaluations: BTreeMap<String, (u64, event::Evaluation)>,
    /// How it ended, unless it went on.
    pub(super) end: Option<event::End>,
    /// Why the rest of it could not be read.
    pub(super) problem: Option<String>,
}

impl Digest {
    /// Reads a log as far as it can be read.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn read(path: &Path) -> Result<Digest> {
        let mut digest = Digest::default();
        for record in EventReader::open(path)? {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    digest.problem = Some(error.to_string());
                    break;
                }
            };
            *digest.events.entry(record.event.name()).or_default() += 1;
            (digest.step, digest.draw, digest.time_s) = (record.step, record.draw, record.time_s);
            digest.end = None;
            match record.event {
                Event::Run(event::Run { program, machine, .. })
                | Event::Resume(event::Resume { program, machine, .. }) => {
                    digest.program = Some(program);
                    digest.machine = Some(machine);
                }
                Event::Network(network) => digest.network = Some(network),
                Event::Train(train) => digest.train = Some((record.step, train)),
                Event::Evaluation(evaluation) => {
                    digest.evaluations.insert(evaluation.split.clone(), (record.step, evaluation));
                }
                Event::End(end) => digest.end = Some(end),
                _ => {}
            }
        }
        Ok(digest)
    }

    /// How many events there are of this name.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.events.get(name).copied().unwrap_or(0)
    }

    /// How the run ended; `None` if it did not, or a kill ended it.
    pub(super) fn status(&self) -> Option<Status> {
        self.end.as_ref().map(|end| end.status)
    }

    /// Where it stands, and its last numbers.
    pub(super) fn rows(&self, table: &mut Table) {
        let mut row = |name: &str, value: String| table.row(vec![name.into(), value]);
        let epoch =
            self.train.as_ref().map_or(String::new(), |(_, t)| format!(", epoch {}", epochs(t.epoch)));
        row("step", format!("{} ({}{epoch})", count(self.step), counted(self.draw, "batch")));
        row("updates", count(self.count("update")));
        let resumes = match self.count("resume") {
            0 => String::new(),
            n => format!(", resumed {} times", count(n)).replace("resumed 1 times", "resumed once"),
        };
        row("time", format!("{}{resumes}", duration(self.time_s)));
        if let Some(machine) = &self.machine {
            let processor = machine.processor.as_deref().unwrap_or("unknown processor");
            let Machine { threads, instruction_set, os, .. } = machine;
            let threads = counted((*threads).into(), "thread");
            row("machine", format!("{processor}, {threads}, {instruction_set}, {os}"));
        }
        if let Some(program) = &self.program {
            row("program", program.clone());
        }
        let numbers = |loss: f64, accuracy: Option<f64>, step: u64| {
            let accuracy = accuracy.map_or(String::new(), |a| format!("accuracy {}, ", percent(a)));
            format!("{accuracy}loss {loss:.4} (step {})", count(step))
        };
        if let Some((step, train)) = &self.train {
            row("train", numbers(train.loss, train.accuracy, *step));
        }
        for (step, evaluation) in self.evaluations.values() {
            row(evaluation.samples_name(), numbers(evaluation.loss, evaluation.accuracy, *step));
        }
    }

    pub(super) fn json(&self) -> Value {
        let with_step = |step: u64, value: Result<Value, serde_json::Error>| {
            let mut value = value.unwrap_or_default();
            if let Value::Object(fields) = &mut value {
                fields.insert("step".into(), step.into());
            }
            value
        };
        let evaluations: serde_json::Map<String, Value> = self
            .evaluations
            .iter()
            .map(|(split, (step, e))| (split.clone(), with_step(*step, serde_json::to_value(e))))
            .collect();
        json!({
            "events": self.events,
            "step": self.step,
            "draw": self.draw,
            "time_s": self.time_s,
            "program": self.program,
            "machine": self.machine,
            "network": self.network.as_ref().map(|network| &network.parameters),
            "train": self.train.as_ref().map(|(step, train)| with_step(*step, serde_json::to_value(train))),
            "evaluations": evaluations,
            "status": self.status(),
            "problem": self.problem,
        })
    }

    /// The numbers of events.
    pub(super) fn events(&self) -> Table {
        let mut table = Table::new(&[("event", Align::Left), ("records", Align::Right)]);
        for (name, n) in &self.events {
            table.row(vec![(*name).into(), count(*n)]);
        }
        table
    }
}
