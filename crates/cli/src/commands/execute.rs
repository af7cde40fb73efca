//! Training as the commands do it: with a display, and a word about going on when it is interrupted.

use std::path::Path;
use std::process::ExitCode;

use rigl_base::{Result, shell};
use rigl_metrics::{RunFolder, RunWriter, Summary};
use rigl_train::{Ended, Prepared, train};

use crate::output::{Display, Printer};
use crate::signals::Signals;

/// The two runs of a comparison, in its folder.
pub(crate) const SPARSE: &str = "sparse";
pub(crate) const DENSE: &str = "dense";

/// Whether this is the folder of a comparison: no run, and one of each kind in it.
pub(crate) fn is_comparison(path: &Path) -> bool {
    let is_run = |path: &Path| RunFolder::open(path).is_ok();
    !is_run(path) && [SPARSE, DENSE].iter().all(|name| is_run(&path.join(name)))
}

/// Trains, with a display. `None`: interrupted.
pub(crate) fn execute(
    prepared: Prepared,
    writer: &RunWriter,
    label: &str,
    printer: &Printer,
    bar: bool,
    signals: &Signals,
) -> Result<Option<Summary>> {
    let mut display = Display::new(printer, label, prepared.design().recipe(), bar, signals.saved());
    let ended = train(prepared, writer, &mut display, signals.stop());
    display.finish();
    Ok(match ended? {
        Ended::Finished(summary) => Some(*summary),
        Ended::Interrupted => None,
    })
}

/// Says how to go on.
pub(crate) fn interrupted(path: &Path, printer: &Printer, signals: &Signals) -> ExitCode {
    printer.note(&format!(
        "interrupted; everything up to here is saved, go on with\n  rigl train --resume {}",
        shell::path(path)
    ));
    ExitCode::from(signals.exit_code())
}
