//! The event log as TensorBoard reads it: `events.out.tfevents.<time>.<host>.<process>.<n>` in the run's folder, a
//! function of the log's records, written beside it.
//!
//! A run that goes on begins a new file, whose first record makes TensorBoard forget everything from the step of
//! the checkpoint on. It forgets that step too, so what the log holds of it is written again.

mod record;

use std::path::Path;
use std::time::SystemTime;

use rigl_base::{Error, Result, files};

use crate::event::{self, Event, Record};
use crate::folder::{EVENTS, RunFolder};
use crate::jsonl::EventReader;
use crate::machine::{self, Machine};
use record::Value;

/// The file that TensorBoard reads of a running run.
#[derive(Debug)]
pub struct TensorBoard {
    log: files::Log,
    /// The wall clock, in seconds since 1970, at which a run without a break would have begun.
    epoch_s: f64,
}

impl TensorBoard {
    /// Begins a file for a run that is at `step` after `time_s` seconds of training, 0 and 0 at its beginning. Its
    /// log must have been cut to where the run goes on.
    ///
    /// # Errors
    /// `Kind::Environment` if folder or log cannot be read or the file not be written; `Kind::Data` if the log is
    /// damaged.
    pub fn begin(run: &RunFolder, step: u64, time_s: f64) -> Result<TensorBoard> {
        let earlier = earlier(run.path())?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // TensorBoard reads files in the order of their names.
        let time =
            earlier.iter().max().map_or(now.as_secs(), |&last| now.as_secs().max(last.saturating_add(1)));
        let name = format!("{EVENTS}{time:010}.{}.{}.{}", host(), std::process::id(), earlier.len());
        let log = files::Log::open(&run.path().join(name), 0)?;
        let mut board = TensorBoard { log, epoch_s: now.as_secs_f64() - time_s };
        // A run that has no file yet gets all of its log.
        let step = if earlier.is_empty() { 0 } else { step };
        let wall_time = board.wall_time(time_s);
        let head = [record::Event::version(wall_time), record::Event::start(wall_time, step)];
        board.log.append(&head.iter().flat_map(record::Event::to_record).collect::<Vec<u8>>())?;
        if run.log().is_file() {
            for record in EventReader::open(&run.log())? {
                let record = record?;
                if record.step >= step {
                    board.write(&record)?;
                }
            }
        }
        Ok(board)
    }

    /// Writes what TensorBoard shows of an event of the log, if it shows anything of it.
    ///
    /// # Errors
    /// `Kind::Environment` if it cannot be written.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let values = values(&record.event);
        if values.is_empty() {
            return Ok(());
        }
        let event = record::Event::summary(self.wall_time(record.time_s), record.step, values);
        self.log.append(&event.to_record())
    }

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// `Kind::Environment`, naming the file.
    pub fn sync(&mut self) -> Result<()> {
        self.log.sync()
    }

    fn wall_time(&self, time_s: f64) -> f64 {
        self.epoch_s + time_s
    }
}

/// The times in the names of a run's event files.
fn earlier(folder: &Path) -> Result<Vec<u64>> {
    let cannot = |e| Error::io("cannot read folder", folder, e);
    let mut times = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(EVENTS)) else { continue };
        times.push(rest.split('.').next().and_then(|time| time.parse().ok()).unwrap_or(0));
    }
    Ok(times)
}

/// This machine's name, of characters that can stand in a file's.
fn host() -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    machine::host().map_or_else(|| "unknown".into(), |host| host.chars().map(plain).collect())
}

/// What TensorBoard shows of an event: the part of a tag before the slash is the group of charts it stands in.
fn values(event: &Event) -> Vec<Value> {
    let scalar = |quantity: &str, of: &str, x: f64| Value::scalar(format!("{quantity}/{of}"), x);
    match event {
        Event::Run(run) => vec![
            Value::text("run", about(run)),
            Value::text("configuration", format!("```toml\n{}\n```\n", run.configuration.trim())),
        ],
        Event::Network(network) => vec![Value::text("network", table(network))],
        Event::Train(train) => {
            let mut values = vec![scalar("loss", "train", train.loss)];
            values.extend(train.accuracy.map(|accuracy| scalar("accuracy", "train", accuracy)));
            values.push(Value::scalar("learning-rate", train.learning_rate));
            values.push(Value::scalar("samples-per-s", train.samples_per_s));
            values.push(Value::scalar("training-flops", train.training_flops));
            values
        }
        Event::Evaluation(evaluation) => {
            let samples = evaluation.samples_name();
            let mut values = vec![scalar("loss", samples, evaluation.loss)];
            values.extend(evaluation.accuracy.map(|accuracy| scalar("accuracy", samples, accuracy)));
            values
        }
        Event::Update(update) => {
            let mut values = vec![Value::scalar("drop-fraction", update.drop_fraction)];
            for p in &update.parameters {
                values.push(scalar("active", &p.name, p.active as f64));
                values.push(scalar("dropped", &p.name, p.dropped as f64));
                values.push(scalar("grown", &p.name, p.grown as f64));
                values.push(scalar("regrown", &p.name, p.regrown as f64));
                values.push(scalar("explored", &p.name, p.explored));
            }
            values
        }
        Event::Checkpoint(_) | Event::Resume(_) | Event::End(_) => Vec::new(),
    }
}

/// Who trains, and where.
fn about(run: &event::Run) -> String {
    let Machine { processor, threads, instruction_set, os, .. } = &run.machine;
    let processor = processor.as_deref().unwrap_or("unknown");
    format!(
        "| | |\n|---|---|\n| program | {} |\n| arithmetic version | {} |\n| processor | {processor} |\n\
         | threads | {threads} |\n| instruction set | {instruction_set} |\n| system | {os} |\n",
        run.program, run.arithmetic_version
    )
}

/// The parameters of a network.
fn table(network: &event::Network) -> String {
    let mut text = "| parameter | shape | weights | active | density | storage | FLOPs |\n\
        |---|---|--:|--:|--:|---|--:|\n"
        .to_string();
    for p in &network.parameters {
        let shape = p.shape.iter().map(u64::to_string).collect::<Vec<_>>().join("×");
        let density = 100.0 * p.active as f64 / p.weights.max(1) as f64;
        text += &format!(
            "| {} | {shape} | {} | {} | {density:.2} % | {} | {} |\n",
            p.name, p.weights, p.active, p.storage, p.flops
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::record::{Event as Shown, What};
    use super::*;
    use crate::EventLog;
    use crate::event::tests::samples;

    /// Made by `reference/tensorboard_check.py golden` with TensorBoard's own protocol buffers and record writer.
    const GOLDEN: &str = "\
        1800000000000000a37f4b22090000108074d2da411a0d627261696e2e4576656e743a32178f9baf1000000000000000\
        95fbfe18090000108074d2da4110ac023a020801952586906400000000000000435f1cdf090000608074d2da4110ad02\
        2a560a110a0a6c6f73732f747261696e159a99993e0a150a0e61636375726163792f747261696e156666663f0a140a0d\
        6c6561726e696e672d7261746515cdcc4c3e0a140a0d73616d706c65732d7065722d73150050c347cbec24e537000000\
        00000000e7e8ca59090000808074d2da41108080808080202a250a230a076e6574776f726b420c0807120042066120c3\
        9720624a0a0a060a04746578742002dc120b8a";

    #[test]
    fn the_bytes_are_those_that_tensorboard_writes() {
        // Of the tags only those that the golden bytes were made with.
        let train = values(&samples()[2].event).into_iter().take(4).collect();
        let text = vec![Value::text("network", "a × b")];
        let events = [
            Shown::version(1.8e9 + 0.25),
            Shown::start(1.8e9 + 0.25, 300),
            Shown::summary(1.8e9 + 1.5, 301, train),
            Shown::summary(1.8e9 + 2.0, 1 << 40, text),
        ];
        let bytes: Vec<u8> = events.iter().flat_map(Shown::to_record).collect();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, GOLDEN);
    }

    /// A run with a log of one event of each kind, at steps 0 to 7, at a third of a second each.
    fn run() -> (tempfile::TempDir, RunFolder) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create_at(folder.path()).unwrap();
        let mut log = EventLog::open(&run.log(), 0).unwrap();
        samples().iter().for_each(|record| log.write(record).unwrap());
        (folder, (*run).clone())
    }

    /// The event files of a run in the order in which TensorBoard reads them.
    fn files(run: &RunFolder) -> Vec<(String, Vec<Shown>)> {
        let entries = std::fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(EVENTS))
            .map(|path| {
                let events = record::read(&std::fs::read(&path).unwrap()).unwrap();
                (path.file_name().unwrap().to_str().unwrap().to_owned(), events)
            })
            .collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        files
    }

    fn purges(events: &[Shown]) -> i64 {
        assert!(matches!(&events[0].what, Some(What::FileVersion(version)) if version == "brain.Event:2"));
        assert!(matches!(&events[1].what, Some(What::SessionLog(_))));
        events[1].step
    }

    #[test]
    fn every_number_of_the_log_has_its_tag_and_step() {
        let (_folder, run) = run();
        TensorBoard::begin(&run, 0, 0.0).unwrap();
        let (name, events) = files(&run).pop().unwrap();
        assert!(name.ends_with(&format!(".{}.{}.0", host(), std::process::id())), "{name}");
        assert_eq!(purges(&events), 0);
        let texts: Vec<_> = events.iter().flat_map(Shown::texts).collect();
        assert_eq!(texts.iter().map(|t| t.0).collect::<Vec<_>>(), ["run", "configuration", "network"]);
        assert!(texts[0].1.contains("| program | rigl 0.1.0 |\n"), "{}", texts[0].1);
        assert_eq!(texts[1].1, "```toml\n[model]\nname = \"lenet\"\n```\n");
        assert!(texts[2].1.contains("\n| fc1.weight | 300×784 | 235200 | 2352 | 1.00 % | sparse | 4704 |\n"));
        let scalars: Vec<_> =
            events.iter().flat_map(|e| e.scalars().into_iter().map(|(tag, x)| (e.step, tag, x))).collect();
        let expected = [
            (2, "loss/train", 0.3),
            (2, "accuracy/train", 0.9),
            (2, "learning-rate", 0.2),
            (2, "samples-per-s", 1e5),
            (2, "training-flops", 3e12),
            (3, "loss/test", 0.25),
            (4, "drop-fraction", 0.3),
            (4, "active/fc1.weight", 2352.0),
            (4, "dropped/fc1.weight", 705.0),
            (4, "grown/fc1.weight", 705.0),
            (4, "regrown/fc1.weight", 3.0),
            (4, "explored/fc1.weight", 0.02),
        ];
        assert_eq!(scalars, expected);
        let times: Vec<f64> = events[2..].iter().map(|e| e.wall_time - events[1].wall_time).collect();
        for (time, step) in times.iter().zip([0.0, 1.0, 2.0, 3.0, 4.0]) {
            // Seconds since 1970 have 22 bits after the point.
            assert!((time - step / 3.0).abs() < 1e-6, "{times:?}");
        }
    }

    #[test]
    fn a_run_that_goes_on_purges_from_its_step_and_tells_that_step_again() {
        let (_folder, run) = run();
        TensorBoard::begin(&run, 0, 0.0).unwrap();
        for number in 1..4 {
            let mut board = TensorBoard::begin(&run, 3, 1.0).unwrap();
            board.write(&Record { step: 4, ..samples()[2].clone() }).unwrap();
            board.sync().unwrap();
            let files = files(&run);
            assert_eq!(files.len(), number + 1);
            // However soon it went on, the new file comes last.
            let (name, events) = files.last().unwrap();
            assert!(name.ends_with(&format!(".{number}")), "{name}");
            assert_eq!(purges(events), 3);
            let steps: Vec<_> = events[2..].iter().map(|e| (e.step, e.scalars().len())).collect();
            assert_eq!(steps, [(3, 1), (4, 6), (4, 5)]);
        }
    }

    #[test]
    fn a_run_that_has_no_file_yet_gets_all_of_its_log() {
        let (_folder, run) = run();
        TensorBoard::begin(&run, 7, 2.0).unwrap();
        let (_, events) = files(&run).pop().unwrap();
        assert_eq!(purges(&events), 0);
        assert_eq!(events[2..].iter().map(|e| e.step).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_loss_over_the_training_set_is_apart_from_that_of_intervals() {
        let of = |split: &str| {
            let (split, accuracy) = (split.into(), Some(0.5));
            let event = event::Evaluation { split, loss: 0.25, accuracy, samples: 1, best: None };
            let shown = Shown::summary(0.0, 1, values(&event.into()));
            let events = record::read(&shown.to_record()).unwrap();
            events[0].scalars().into_iter().map(|(tag, _)| tag.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("validation"), ["loss/validation", "accuracy/validation"]);
        assert_eq!(of("train"), ["loss/training-set", "accuracy/training-set"]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_shown_as_they_are() {
        let event = event::Evaluation {
            split: "test".into(),
            loss: f64::NAN,
            accuracy: None,
            samples: 1,
            best: None,
        };
        let shown = Shown::summary(0.0, u64::MAX, values(&event.into()));
        let events = record::read(&shown.to_record()).unwrap();
        assert!(events[0].scalars()[0].1.is_nan());
        assert_eq!(events[0].step, i64::MAX);
    }
}
