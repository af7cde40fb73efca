//! One process that runs a target on input after input, watched by a thread that notices when one hangs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rigl_base::{Error, Result, files};
use rigl_fuzz::{Fuzzer, Target, run, seeds};

use super::{Arguments, FOUND, say};

/// Inputs between two looks at the clock.
const ROUND: u64 = 256;

/// The input that is running, and its number.
type Running = Arc<Mutex<Option<(u64, Arc<Vec<u8>>)>>>;

pub(super) fn work(target: &'static Target, arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { runs, seed, findings, trace, .. } = arguments;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut fuzzer = Fuzzer::new(target, *seed, seeds(&folder, target)?);
    let place = |name: String| findings.join(format!("{}-seed{seed}-{name}", target.name));
    let running = Running::default();
    watch(target, running.clone(), Duration::from_secs(arguments.hang_seconds), place("hang".into()));

    let begin = Instant::now();
    let (mut told, mut count) = (begin, Count::default());
    while count.done < *runs {
        if count.done % ROUND == 0 {
            if arguments.seconds.is_some_and(|seconds| begin.elapsed().as_secs() >= seconds) {
                break;
            }
            if told.elapsed().as_secs() >= 30 {
                told = Instant::now();
                say(&report(target, *seed, &count, begin, &fuzzer));
            }
        }
        let input = Arc::new(fuzzer.next_input());
        if *trace {
            tell(&input)?;
        }
        set(&running, Some((count.done, input.clone())));
        let result = run(target, &input);
        set(&running, None);
        count.done += 1;
        count.bytes += input.len() as u64;
        match result {
            Ok(signal) => {
                count.accepted += u64::from(signal.accepted);
                fuzzer.learn(Arc::unwrap_or_clone(input), signal);
            }
            Err(what) => {
                let path = place(format!("run{}", count.done));
                keep(&path, &input)?;
                say(&format!("{}: FOUND in `{}`: {what}", target.name, path.display()));
                return Ok(ExitCode::from(FOUND));
            }
        }
    }
    say(&report(target, *seed, &count, begin, &fuzzer));
    Ok(ExitCode::SUCCESS)
}

/// Inputs so far.
#[derive(Default)]
struct Count {
    done: u64,
    bytes: u64,
    accepted: u64,
}

fn report(target: &Target, seed: u64, count: &Count, begin: Instant, fuzzer: &Fuzzer) -> String {
    let Count { done, bytes, accepted } = *count;
    format!(
        "{}: seed {seed}, {done} inputs of {} bytes on average, {:.1} % accepted, {} kinds of outcome, {:.0} a second",
        target.name,
        bytes / done.max(1),
        100.0 * accepted as f64 / done.max(1) as f64,
        fuzzer.kinds(),
        done as f64 / begin.elapsed().as_secs_f64(),
    )
}

/// Writes an input to standard output, after its length.
fn tell(input: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(&(input.len() as u32).to_le_bytes())
        .and_then(|()| out.write_all(input))
        .and_then(|()| out.flush())
        .map_err(|e| Error::environment("cannot write to standard output").caused_by(e))
}

/// The next input that [`tell`] wrote, if it is whole.
pub(super) fn heard(pipe: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    pipe.read_exact(&mut length).ok()?;
    let mut input = vec![0; u32::from_le_bytes(length) as usize];
    pipe.read_exact(&mut input).ok()?;
    Some(input)
}

/// Writes an input to a file.
pub(super) fn keep(path: &Path, input: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        files::create_folder(folder)?;
    }
    files::write_atomic(path, input)
}

fn set(running: &Running, value: Option<(u64, Arc<Vec<u8>>)>) {
    *running.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

/// Looks at what is running, in the time that is a hang.
const LOOKS: u32 = 8;

/// Ends the process if an input takes too long: nothing else can stop it. What counts is how often it was seen
/// running, not the clock, which goes on while the whole process is stopped.
#[expect(clippy::exit, reason = "the thread that hangs cannot be stopped otherwise")]
fn watch(target: &'static Target, running: Running, limit: Duration, path: PathBuf) {
    std::thread::spawn(move || {
        let (mut seen, mut looks) = (None, 0);
        while looks < LOOKS {
            std::thread::sleep(limit / LOOKS);
            let now =
                running.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(number, _)| *number);
            looks = if now.is_some() && now == seen { looks + 1 } else { 0 };
            seen = now;
        }
        let input = running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kept = input.map_or(Ok(()), |(_, input)| keep(&path, &input));
        let limit = limit.as_secs();
        say(&format!("{}: FOUND in `{}`: not done after {limit} s", target.name, path.display()));
        if let Err(error) = kept {
            say(&format!("error: {error}"));
        }
        std::process::exit(FOUND.into());
    });
}
