//! The loop: an input, what the target says to it, whether that was new.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rigl_base::random::{Draws, Purpose, Stream, name_id};
use rigl_base::{Error, Result};
use stats_alloc::INSTRUMENTED_SYSTEM;

use crate::mutate::Mutator;
use crate::signal::Signal;
use crate::target::Target;

/// Longest input, in bytes.
pub const LARGEST: usize = 64 << 10;

/// Longest input that others are made from, so that these stay quick.
const KEPT: usize = 4 << 10;

/// Most refused inputs of one kind that others are made from, and most of all kinds.
const OF_A_KIND: usize = 32;
const OF_ALL: usize = 2048;

/// Makes inputs for a target. The same seed, seeds and signals make the same inputs.
#[derive(Debug)]
pub struct Fuzzer {
    target: &'static Target,
    draws: Draws,
    /// Seeds and accepted inputs. Never empty.
    whole: Vec<Vec<u8>>,
    refused: Vec<Vec<u8>>,
    seen: HashSet<Signal>,
    /// How many inputs of each kind showed something new.
    kinds: HashMap<u64, usize>,
    seeds: usize,
    /// Seeds that were given out as they are.
    begun: usize,
}

impl Fuzzer {
    /// Begins with these seeds.
    pub fn new(target: &'static Target, seed: u64, seeds: Vec<Vec<u8>>) -> Fuzzer {
        let whole = if seeds.is_empty() { vec![Vec::new()] } else { seeds };
        Fuzzer {
            target,
            draws: Stream::new(seed, Purpose::Test, name_id(target.name)).draws(),
            seeds: whole.len(),
            whole,
            refused: Vec::new(),
            seen: HashSet::new(),
            kinds: HashMap::new(),
            begun: 0,
        }
    }

    /// The next input: each seed as it is, then mutated ones.
    pub fn next_input(&mut self) -> Vec<u8> {
        if self.begun < self.seeds {
            self.begun += 1;
            return self.whole[self.begun - 1].clone();
        }
        let among = match self.draws.below(4) {
            0 if !self.refused.is_empty() => &self.refused,
            1 => &self.whole[..self.seeds],
            _ => &self.whole,
        };
        let mut input = among[self.draws.below(among.len() as u64) as usize].clone();
        let way = self.draws.below(4);
        let mut mutator = Mutator {
            draws: &mut self.draws,
            tokens: self.target.tokens,
            others: &self.whole,
            longest: LARGEST,
        };
        let Some(envelope) = self.target.envelope else {
            mutator.mutate(&mut input);
            return input;
        };
        match (way, envelope.open(&input)) {
            (0, _) => mutator.mutate(&mut input),
            (1, _) | (_, None) => {
                mutator.mutate(&mut input);
                envelope.reseal(&mut input);
            }
            (_, Some(mut parts)) => {
                mutator.mutate(&mut parts[way as usize - 2]);
                input = envelope.close(parts);
            }
        }
        input.truncate(LARGEST);
        input
    }

    /// Keeps an input that showed something new.
    pub fn learn(&mut self, input: Vec<u8>, signal: Signal) {
        if !self.seen.insert(signal) {
            return;
        }
        let of_its_kind = self.kinds.entry(signal.kind).or_default();
        *of_its_kind += 1;
        if input.len() > KEPT || *of_its_kind > OF_A_KIND {
            return;
        }
        let place = if signal.accepted { &mut self.whole } else { &mut self.refused };
        if place.len() < OF_ALL {
            place.push(input);
        }
    }

    /// How many different kinds of outcome were seen.
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }
}

/// Runs a target on an input.
///
/// # Errors
/// What did not hold: the words of a panic, or how much memory was asked for. Memory is only known where
/// [`INSTRUMENTED_SYSTEM`] is the global allocator, and only right where no other thread allocates.
pub fn run(target: &Target, input: &[u8]) -> Result<Signal, String> {
    let before = INSTRUMENTED_SYSTEM.stats().bytes_allocated;
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let taken = INSTRUMENTED_SYSTEM.stats().bytes_allocated.saturating_sub(before);
    let allowed = Target::MEMORY + target.growth * input.len();
    match result {
        Ok(signal) if taken <= allowed => Ok(signal),
        Ok(_) => {
            Err(format!("{taken} bytes were asked for on an input of {}, allowed are {allowed}", input.len()))
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
            Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
        }
    }
}

/// The seeds of a target, in the order of their names, from the folder that holds a folder for each target.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if they cannot be read.
pub fn seeds(folder: &Path, target: &Target) -> Result<Vec<Vec<u8>>> {
    let folder = folder.join(target.name);
    let cannot = |e| Error::io("cannot read folder", &folder, e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(cannot)? {
        paths.push(entry.map_err(cannot)?.path());
    }
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).map_err(|e| Error::io("cannot read", path, e))).collect()
}
