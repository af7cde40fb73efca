//! Interrupts: the first asks what goes on to stop when that loses nothing, the second ends the process. Both are answered
//! at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use rigl_base::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::output::{Printer, close};

/// What goes on, by which an interrupt is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// One run is trained.
    Training,
    /// Runs are trained by other processes.
    Sweep,
    /// Files are downloaded.
    Download,
}

/// How often it is looked whether a signal has come: a handler may do next to nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The longest that the words about a second interrupt may take: the terminal may be gone, or stopped.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// No checkpoint yet.
const NONE: u64 = u64::MAX;

/// What signals tell.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
    /// Whether a signal has come: the end of input is none.
    interrupted: Arc<AtomicBool>,
    saved: Saved,
}

/// The step of the last checkpoint of the run that is trained, for those who want to know what would be lost.
#[derive(Clone, Debug)]
pub(crate) struct Saved(Arc<AtomicU64>);

impl Saved {
    fn new() -> Saved {
        Saved(Arc::new(AtomicU64::new(NONE)))
    }

    /// A checkpoint of this step is safe.
    pub(crate) fn at(&self, step: u64) {
        self.0.store(step, Ordering::SeqCst);
    }

    /// Another run begins.
    pub(crate) fn forget(&self) {
        self.at(NONE);
    }

    fn step(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|&step| step != NONE)
    }
}

impl Work {
    /// The answer to the first interrupt.
    fn stopping(self, saved: &Saved) -> String {
        let (now, then) = match (self, saved.step()) {
            (Work::Training, None) => ("stops after this step", String::new()),
            (Work::Training, Some(step)) => (
                "saves after this step, and stops",
                format!(", and loses what was trained since the checkpoint of step {step}"),
            ),
            (Work::Sweep, _) => (
                "stops once the runs under way have saved",
                ", and may lose what they trained since their last checkpoints".to_string(),
            ),
            (Work::Download, _) => ("stops, and keeps what has come", String::new()),
        };
        format!("interrupt: {now}; a second one ends at once{then}")
    }

    /// The answer to the second.
    fn ended(self, saved: &Saved) -> String {
        match (self, saved.step()) {
            (Work::Training, None) => "ended at once: there was no checkpoint yet".into(),
            (Work::Training, Some(step)) => {
                format!("ended at once: what was trained since step {step} is lost, the checkpoint of that step is kept")
            }
            (Work::Sweep, _) => {
                "ended at once: the same command goes on with the runs that were under way, from their last checkpoints".into()
            }
            (Work::Download, _) => "ended at once: the same command goes on with what has come".into(),
        }
    }
}

impl Signals {
    /// Listens to interrupt, termination and (where there is one) hang-up.
    pub(crate) fn listen(printer: &Printer, work: Work) -> Result<Signals> {
        let signals = Signals {
            stop: Arc::default(),
            which: Arc::default(),
            interrupted: Arc::default(),
            saved: Saved::new(),
        };
        let mut list = vec![SIGINT, SIGTERM];
        #[cfg(unix)]
        list.push(signal_hook::consts::SIGHUP);
        // What whoever started the program had it ignore (`nohup`, a shell's background jobs) stays ignored.
        list.retain(|&signal| !is_ignored(signal));
        let cannot = |e| Error::environment("cannot listen to signals").caused_by(e);
        let arrived = Arc::new(AtomicBool::new(false));
        for signal in list {
            let register = || {
                // In this order: who sees that one has arrived finds the others set.
                flag::register_usize(signal, Arc::clone(&signals.which), signal as usize)?;
                flag::register(signal, Arc::clone(&signals.stop))?;
                flag::register(signal, Arc::clone(&arrived))
            };
            register().map_err(cannot)?;
        }
        let (heard, printer) = (signals.clone(), *printer);
        let listener = move || {
            loop {
                std::thread::sleep(LOOK_EVERY);
                if arrived.swap(false, Ordering::SeqCst) {
                    heard.answer(work, printer);
                }
            }
        };
        Builder::new().name("signals".into()).spawn(listener).map(drop).map_err(cannot)?;
        Ok(signals)
    }

    /// Says what a signal comes to; the second ends the process.
    fn answer(&self, work: Work, printer: Printer) {
        let first = !self.interrupted.swap(true, Ordering::SeqCst);
        let answer = if first { work.stopping(&self.saved) } else { work.ended(&self.saved) };
        // Apart, since nobody knows how long a terminal takes.
        let (said, heard) = mpsc::channel();
        let say = move || {
            printer.note(&answer);
            if !first {
                close();
            }
            let _ = said.send(());
        };
        let spoken = Builder::new().name("answer".into()).spawn(say);
        if !first {
            let _ = spoken.map(|_| heard.recv_timeout(LAST_WORDS));
            signal_hook::low_level::exit(i32::from(self.exit_code()));
        }
    }

    /// Takes the end of standard input for a termination too. What is read until then is passed over.
    pub(crate) fn listen_to_input(&self) -> Result<()> {
        let signals = self.clone();
        let until_the_end = move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            signals.which.store(SIGTERM as usize, Ordering::SeqCst);
            signals.stop.store(true, Ordering::SeqCst);
        };
        let thread = Builder::new().name("input".into()).spawn(until_the_end);
        thread.map(drop).map_err(|e| Error::environment("cannot listen to standard input").caused_by(e))
    }

    /// Set once training should stop.
    pub(crate) fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    /// Who trains says here what is safe.
    pub(crate) fn saved(&self) -> Saved {
        self.saved.clone()
    }

    /// The exit code of a process that stops because of the signal that came.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + self.which.load(Ordering::SeqCst) as u8
    }
}

/// Whether a signal is ignored now. Told by Linux alone; elsewhere none counts as ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
