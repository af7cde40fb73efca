//! The runs of a sweep, each a child process, as many at once as cores and memory allow. All state is in their folders:
//! however this process ends, the next one finds what is finished, what has begun, and what another process holds.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rigl_base::{Error, Kind, Result, files};
use rigl_metrics::{RunFolder, Summary};
use rigl_train::Config;
use rigl_train::config::Known;

use crate::children::{Child, Ended};
use crate::folder::{FailedRun, State, fraction};
use crate::plan::{Plan, PlannedRun};

/// How often it is looked whether a child has ended, how far children have come, and whether folders in use are free.
const LOOK: Duration = Duration::from_millis(20);
const REPORT: Duration = Duration::from_millis(500);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How often a run is tried again that another process was quicker to take.
const TRIES: u32 = 3;

/// How runs are started.
pub struct Options<'a> {
    /// The file of this very program, which trains each run as a child.
    pub program: PathBuf,
    /// Flags for `train` that concern the machine.
    pub arguments: Vec<OsString>,
    /// Runs at once, at least 1.
    pub jobs: usize,
    /// Bytes of memory for all runs at once; `None` if that is not known.
    pub memory: Option<u64>,
    /// The text of a new run's `config.toml`.
    pub text: &'a dyn Fn(&Config) -> String,
}

/// What happens to a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is started, or gone on with.
    Started,
    /// All its steps are done; what it came to.
    Finished(&'a Summary),
    /// It has saved and stopped.
    Stopped,
    /// A signal ended it while all were to stop, and nothing is saved since its last checkpoint; which.
    Killed(&'a str),
    /// It failed, and the others go on; why.
    Failed(&'a str),
    /// Another process trains it: which. It is waited for, after all others.
    InUse(&'a str),
}

/// Where a sweep stands.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// How many there are in all.
    pub runs: usize,
    /// Those that are finished.
    pub finished: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those under way, and how much of each is done, 0 to 1.
    pub running: Vec<(&'a str, f64)>,
    /// How much of the whole is done, 0 to 1.
    pub done: f64,
    /// Seconds left; NaN as long as nothing can be said.
    pub left_s: f64,
}

/// Told of what happens in a sweep; does nothing by default.
pub trait Observer {
    /// Something happened to a run.
    fn event(&mut self, run: &PlannedRun, event: Event<'_>) {
        let _ = (run, event);
    }

    /// Some time has passed; called about twice a second.
    fn progress(&mut self, progress: &Progress<'_>) {
        let _ = progress;
    }
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The runs that failed, in the order in which they did.
    pub bad: Vec<FailedRun>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
}

/// Does all runs that are not finished yet, until `stop` is set: then those under way save and stop.
///
/// # Errors
/// Before anything is started, if the folder of a run holds another one than the plan says. What happens to a run
/// otherwise, or later, is in the outcome.
pub fn run(
    plan: &Plan,
    known: &Known,
    options: &Options<'_>,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let states = plan.states(known)?;
    let done: Vec<f64> = plan.runs.iter().zip(&states).map(|(run, state)| state.fraction(run)).collect();
    let waiting = (0..states.len()).filter(|&number| states[number].is_open()).collect();
    let mut scheduler = Scheduler {
        plan,
        known,
        options,
        observer,
        finished: states.iter().filter(|state| state.is_finished()).count(),
        waiting,
        in_use: Vec::new(),
        told: HashSet::new(),
        lost: HashMap::new(),
        running: Vec::new(),
        failed: Vec::new(),
        before: work(plan, &done),
        done,
        began: Instant::now(),
    };
    for (number, state) in states.iter().enumerate() {
        if let State::Unreadable(reason) = state {
            scheduler.fail(number, reason, None);
        }
    }
    scheduler.work(stop);
    let Scheduler { failed, finished, .. } = scheduler;
    let interrupted = finished + failed.len() < plan.runs.len();
    Ok(Outcome { bad: failed.into_iter().map(|(_, bad)| bad).collect(), interrupted })
}

struct Scheduler<'a> {
    plan: &'a Plan,
    known: &'a Known,
    options: &'a Options<'a>,
    observer: &'a mut dyn Observer,
    /// Runs to start, by number.
    waiting: Vec<usize>,
    /// Runs that other processes train, and those of which the observer knows that.
    in_use: Vec<usize>,
    told: HashSet<usize>,
    /// How often another process took a run just before this one's child could.
    lost: HashMap<usize, u32>,
    running: Vec<(usize, Child)>,
    finished: usize,
    /// Runs that failed.
    failed: Vec<(usize, FailedRun)>,
    /// Of each run how much is done, 0 to 1.
    done: Vec<f64>,
    /// The work that was done before.
    before: f64,
    began: Instant,
}

impl Scheduler<'_> {
    fn work(&mut self, stop: &AtomicBool) {
        let (mut reported, mut tried) = (Instant::now(), Instant::now());
        loop {
            let stopping = stop.load(Ordering::SeqCst);
            if stopping {
                self.running.iter_mut().for_each(|(_, child)| child.stop());
            }
            self.reap(stop);
            if !stopping {
                if tried.elapsed() >= TRY_AGAIN {
                    self.waiting.append(&mut self.in_use);
                    tried = Instant::now();
                }
                self.start_what_fits();
            }
            let nothing_left = self.waiting.is_empty() && self.in_use.is_empty();
            if self.running.is_empty() && (stopping || nothing_left) {
                return;
            }
            if reported.elapsed() >= REPORT {
                self.report();
                reported = Instant::now();
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Takes leave of the children that have ended.
    fn reap(&mut self, stop: &AtomicBool) {
        let plan = self.plan;
        let mut still = Vec::new();
        for (number, mut child) in std::mem::take(&mut self.running) {
            let run = &plan.runs[number];
            match child.ended(run) {
                Ok(None) => still.push((number, child)),
                Ok(Some(Ended::Finished(summary))) => self.finish(number, &summary),
                Ok(Some(Ended::Stopped(_))) if stop.load(Ordering::SeqCst) => {
                    self.observer.event(run, Event::Stopped);
                }
                Ok(Some(Ended::Killed(how))) if stop.load(Ordering::SeqCst) => {
                    self.observer.event(run, Event::Killed(&how));
                }
                // Somebody stopped this one alone.
                Ok(Some(Ended::Stopped(how) | Ended::Killed(how))) => self.fail(number, &how, child.log()),
                Ok(Some(Ended::Failed(reason))) => self.fail(number, &reason, child.log()),
                Ok(Some(Ended::Busy(reason))) => self.wait_or_fail(number, &reason, child.log()),
                Err(error) => self.fail(number, &error.to_string(), child.log()),
            }
        }
        self.running = still;
    }

    /// Starts runs, in their order, as long as there are cores and memory for them.
    fn start_what_fits(&mut self) {
        let mut at = 0;
        while at < self.waiting.len() && self.running.len() < self.options.jobs.max(1) {
            let number = self.waiting[at];
            let used: u64 = self.running.iter().map(|(number, _)| self.plan.runs[*number].bytes).sum();
            let fits = |memory| used.saturating_add(self.plan.runs[number].bytes) <= memory;
            if self.running.is_empty() || self.options.memory.is_none_or(fits) {
                self.waiting.remove(at);
                match self.start(number) {
                    Ok(()) => {}
                    Err(error) if error.kind() == Kind::Busy => {
                        self.wait_or_fail(number, &error.to_string(), None);
                    }
                    Err(error) => self.fail(number, &error.to_string(), None),
                }
            } else {
                at += 1;
            }
        }
    }

    fn start(&mut self, number: usize) -> Result<()> {
        let plan = self.plan;
        let run = &plan.runs[number];
        match run.state(self.known)? {
            State::New => {
                let folder = RunFolder::create_at(&run.path).map_err(|error| {
                    // Another process may have made a run here just now.
                    let made = RunFolder::open(&run.path).is_ok();
                    if made { Error::busy(error.to_string()) } else { error }
                })?;
                files::write_atomic(&folder.config(), (self.options.text)(&run.config).as_bytes())?;
            }
            State::Begun => {
                if let Some(holder) = RunFolder::open(&run.path)?.in_use()? {
                    if self.told.insert(number) {
                        self.observer.event(run, Event::InUse(&holder));
                    }
                    self.in_use.push(number);
                    return Ok(());
                }
            }
            State::Finished(summary) => {
                self.finish(number, &summary);
                return Ok(());
            }
            State::Unreadable(reason) => {
                self.fail(number, &reason, None);
                return Ok(());
            }
        }
        self.running.push((number, Child::start(run, &self.options.program, &self.options.arguments)?));
        self.observer.event(run, Event::Started);
        Ok(())
    }

    fn finish(&mut self, number: usize, summary: &Summary) {
        self.finished += 1;
        self.done[number] = 1.0;
        self.observer.event(&self.plan.runs[number], Event::Finished(summary));
    }

    /// A run whose folder another process was quicker to take waits for that one, be it still there or gone already.
    fn wait_or_fail(&mut self, number: usize, reason: &str, log: Option<PathBuf>) {
        let lost = self.lost.entry(number).or_default();
        if *lost < TRIES {
            *lost += 1;
            self.in_use.push(number);
        } else {
            self.fail(number, reason, log);
        }
    }

    fn fail(&mut self, number: usize, reason: &str, log: Option<PathBuf>) {
        let run = &self.plan.runs[number];
        self.observer.event(run, Event::Failed(reason));
        self.failed.push((number, FailedRun { run: run.name.clone(), reason: reason.into(), log }));
    }

    fn report(&mut self) {
        let plan = self.plan;
        for (number, _) in &self.running {
            self.done[*number] = fraction(&plan.runs[*number]);
        }
        let all: f64 = plan.runs.iter().map(|run| run.work).sum();
        let done = work(plan, &self.done);
        // What a failed run did not do is no longer to be done.
        let lost = |number: usize| plan.runs[number].work * (1.0 - self.done[number]);
        let lost: f64 = self.failed.iter().map(|(number, _)| lost(*number)).sum();
        let rate = (done - self.before) / self.began.elapsed().as_secs_f64();
        let left_s = if rate > 0.0 { (all - done - lost) / rate } else { f64::NAN };
        let running =
            self.running.iter().map(|(n, _)| (plan.runs[*n].name.as_str(), self.done[*n])).collect();
        self.observer.progress(&Progress {
            runs: plan.runs.len(),
            finished: self.finished,
            failed: self.failed.len(),
            running,
            done: (done + lost) / all,
            left_s,
        });
    }
}

/// The work that is done, where of each run so much is.
fn work(plan: &Plan, done: &[f64]) -> f64 {
    plan.runs.iter().zip(done).map(|(run, done)| run.work * done).sum()
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::*;

    /// Runs that need ten bytes each.
    fn plan(folder: &Path, runs: usize) -> Plan {
        let run = |number: usize| PlannedRun {
            name: format!("run-{number}"),
            path: folder.join(format!("run-{number}")),
            config: Config::default(),
            values: Vec::new(),
            steps: 10,
            flops: 1.0,
            bytes: 10,
            seen: true,
            remarks: Vec::new(),
            sparsity: None,
            guessed: false,
            work: 1.0,
        };
        Plan { folder: folder.into(), columns: Vec::new(), runs: (0..runs).map(run).collect() }
    }

    /// The first letters of events.
    #[derive(Default)]
    struct Letters(String);

    /// What happens to one run whose program behaves like that, and what was said of it; it is told to stop once it has
    /// started, if `stop` says so.
    fn behaving(how: &str, stop: bool) -> (String, Outcome) {
        struct Told<'a> {
            letters: String,
            stop: Option<&'a AtomicBool>,
        }
        impl Observer for Told<'_> {
            fn event(&mut self, _run: &PlannedRun, event: Event<'_>) {
                match event {
                    Event::Started => {
                        self.letters.push('s');
                        self.stop.iter().for_each(|stop| stop.store(true, Ordering::SeqCst));
                    }
                    Event::Failed(reason) => self.letters += &format!(" failed: {reason}"),
                    Event::Killed(how) => self.letters += &format!(" killed: {how}"),
                    Event::Stopped => self.letters += " stopped",
                    other => panic!("{other:?}"),
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            program: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train.sh"),
            arguments: vec![how.into()],
            jobs: 1,
            memory: None,
            text: &|config: &Config| config.to_toml(),
        };
        let flag = AtomicBool::new(false);
        let mut told = Told { letters: String::new(), stop: stop.then_some(&flag) };
        let plan = plan(folder.path(), 1);
        let outcome = run(&plan, &Known::default(), &options, &mut told, &flag).unwrap();
        (told.letters, outcome)
    }

    #[test]
    fn a_run_that_another_process_took_first_is_tried_again_but_not_for_ever() {
        let (letters, outcome) = behaving("in-use-once", false);
        assert_eq!((letters.as_str(), outcome.bad.len()), ("ss failed: the disk is full", 1));
        let (letters, outcome) = behaving("in-use", false);
        assert_eq!(letters, "ssss failed: `run-0` is in use by process 1 on host a");
        // Known by its exit code, whatever it says.
        assert_eq!(behaving("words", false).0, "s failed: the words `is in use by` say nothing");
        assert!(outcome.bad[0].log.as_ref().unwrap().ends_with("run-0.log"));
    }

    #[test]
    fn that_a_run_has_saved_is_said_only_of_one_that_has() {
        assert_eq!(behaving("save", true).0, "s stopped");
        let (letters, outcome) = behaving("be-killed", true);
        assert_eq!(letters, "s killed: ended with signal: 9 (SIGKILL)");
        assert!(outcome.bad.is_empty() && outcome.interrupted);
    }

    #[test]
    fn a_run_that_cannot_be_read_is_bad_and_the_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path(), 3);
        let broken = RunFolder::create_at(&plan.runs[1].path).unwrap();
        files::write_atomic(&broken.config(), plan.runs[1].config.to_toml().as_bytes()).unwrap();
        files::write_atomic(&broken.summary(), b"{").unwrap();
        drop(broken);
        let states = plan.states(&Known::default()).unwrap();
        let words: Vec<&str> = states.iter().map(State::word).collect();
        assert_eq!(words, ["new", "unreadable", "new"]);
        assert_eq!(plan.table(&states).groups[0].planned, 3);
        let options = Options {
            program: "false".into(),
            arguments: Vec::new(),
            jobs: 1,
            memory: None,
            text: &|config: &Config| config.to_toml(),
        };
        struct Quiet;
        impl Observer for Quiet {}
        let outcome = run(&plan, &Known::default(), &options, &mut Quiet, &AtomicBool::new(false)).unwrap();
        let names: Vec<&str> = outcome.bad.iter().map(|bad| bad.run.as_str()).collect();
        assert_eq!(names, ["run-1", "run-0", "run-2"]);
        let bad = &outcome.bad[0];
        assert!(bad.reason.contains("summary.json` is not a summary") && bad.log.is_none(), "{bad:?}");
    }

    impl Observer for Letters {
        fn event(&mut self, _run: &PlannedRun, event: Event<'_>) {
            self.0.push(match event {
                Event::Started => 's',
                Event::Failed(reason) => {
                    assert_eq!(reason, "ended with exit status: 1");
                    'f'
                }
                other => panic!("{other:?}"),
            });
        }
    }

    /// What happens to three runs whose program ends at once with a failure.
    fn failing(jobs: usize, memory: Option<u64>, stop: bool) -> (String, Outcome) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            program: "false".into(),
            arguments: Vec::new(),
            jobs,
            memory,
            text: &|config: &Config| config.to_toml(),
        };
        let mut letters = Letters::default();
        let plan = plan(folder.path(), 3);
        let outcome = run(&plan, &Known::default(), &options, &mut letters, &AtomicBool::new(stop)).unwrap();
        (letters.0, outcome)
    }

    #[test]
    fn as_many_runs_are_started_as_jobs_and_memory_allow() {
        assert_eq!(failing(3, None, false).0, "sssfff");
        assert_eq!(failing(3, Some(25), false).0[..2], *"ss");
        assert_eq!(failing(3, Some(25), false).0[..3].matches('f').count(), 1);
        assert_eq!(failing(1, None, false).0, "sfsfsf");
        assert_eq!(failing(3, Some(15), false).0, "sfsfsf");
        // One alone is started whatever it needs: that it fits has been checked before.
        assert_eq!(failing(3, Some(5), false).0, "sfsfsf");
    }

    #[test]
    fn every_failure_is_named() {
        let (_, outcome) = failing(2, None, false);
        let mut names: Vec<&str> = outcome.bad.iter().map(|bad| bad.run.as_str()).collect();
        names.sort_unstable();
        assert_eq!((names, outcome.interrupted), (vec!["run-0", "run-1", "run-2"], false));
    }

    #[test]
    fn nothing_is_started_once_it_is_stopped() {
        let (letters, outcome) = failing(2, None, true);
        assert_eq!((letters.as_str(), outcome.bad.len(), outcome.interrupted), ("", 0, true));
    }
}
