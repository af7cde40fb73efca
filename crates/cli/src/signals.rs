//! Interrupts: the first asks training to stop after its step, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rigl_base::{Error, Result};

/// What signals tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
}

impl Signals {
    /// Listens to interrupt, termination and (where there is one) hang-up.
    pub(crate) fn listen() -> Result<Signals> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        use signal_hook::flag;
        let signals = Signals::default();
        let mut list = vec![SIGINT, SIGTERM];
        #[cfg(unix)]
        list.push(signal_hook::consts::SIGHUP);
        // What whoever started the program had it ignore (`nohup`, a shell's background jobs) stays ignored.
        for signal in list.into_iter().filter(|&signal| !is_ignored(signal)) {
            let register = || {
                // In this order: a second signal finds the flag set.
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&signals.stop))?;
                flag::register_usize(signal, Arc::clone(&signals.which), signal as usize)?;
                flag::register(signal, Arc::clone(&signals.stop))
            };
            register().map_err(|e| Error::environment("cannot listen to signals").caused_by(e))?;
        }
        Ok(signals)
    }

    /// Takes the end of standard input for a termination too. What is read until then is passed over.
    pub(crate) fn listen_to_input(&self) -> Result<()> {
        let signals = self.clone();
        let until_the_end = move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            signals.which.store(signal_hook::consts::SIGTERM as usize, Ordering::SeqCst);
            signals.stop.store(true, Ordering::SeqCst);
        };
        let thread = std::thread::Builder::new().name("input".into()).spawn(until_the_end);
        thread.map(drop).map_err(|e| Error::environment("cannot listen to standard input").caused_by(e))
    }

    /// Set once training should stop.
    pub(crate) fn stop(&self) -> &AtomicBool {
        &self.stop
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
