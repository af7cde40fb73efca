//! The checkpoints of one run: a folder that holds the last few. The newest that verifies is the one to go on
//! from; a damaged one falls back to the one before.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rigl_base::{Error, Kind, Result, files};
use rigl_graph::state::Tensor;

use crate::checkpoint::{self, Checkpoint};
use crate::metadata::Metadata;

/// Checkpoints that are kept if nobody says how many.
const KEPT: usize = 2;

/// Where a run stood when a checkpoint was written; later ones are greater. Printed, the file's name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// Optimiser steps taken.
    pub step: u64,
    /// Batches consumed.
    pub draw: u64,
}

impl Position {
    fn of(metadata: &Metadata) -> Position {
        Position { step: metadata.step, draw: metadata.draw }
    }

    /// The position that a file's name tells, if it is the name of a checkpoint.
    fn from_name(name: &str) -> Option<Position> {
        let (step, draw) = name.strip_prefix("step-")?.strip_suffix(".safetensors")?.split_once("-draw-")?;
        let position = Position { step: step.parse().ok()?, draw: draw.parse().ok()? };
        (position.to_string() == name).then_some(position)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step-{:09}-draw-{:09}.safetensors", self.step, self.draw)
    }
}

/// The newest good checkpoint of a folder. What was not as it should be goes to whoever takes it.
#[derive(Clone, Debug)]
pub struct Latest {
    checkpoint: Checkpoint,
    path: PathBuf,
    warnings: Vec<String>,
    damaged: BTreeSet<Position>,
}

impl Latest {
    /// What it holds.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One line for each newer checkpoint that could not be read, and why.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What it holds, and its file; each warning is handed on.
    pub fn warned(self, warn: impl FnMut(String)) -> (Checkpoint, PathBuf) {
        self.warnings.into_iter().for_each(warn);
        (self.checkpoint, self.path)
    }
}

/// A folder of checkpoints. Its files have names like `step-000000300-draw-000000303.safetensors`; others are
/// left alone.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    /// Files that [`Store::latest`] found damaged: they do not count among those kept.
    damaged: BTreeSet<Position>,
    kept: usize,
}

impl Store {
    /// The checkpoints in `folder`, which must exist by the first use.
    pub fn new(folder: impl Into<PathBuf>) -> Store {
        Store { folder: folder.into(), damaged: BTreeSet::new(), kept: KEPT }
    }

    /// The same, keeping the last `count` checkpoints instead of two; at least one is kept.
    #[must_use]
    pub fn keeping(self, count: usize) -> Store {
        Store { kept: count.max(1), ..self }
    }

    /// The same for a run that goes on from this one: what was found damaged then does not count among those kept.
    #[must_use]
    pub fn knowing(self, latest: &Latest) -> Store {
        Store { damaged: latest.damaged.clone(), ..self }
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every checkpoint that is there, oldest first, none of them opened.
    ///
    /// # Errors
    /// `Kind::Environment` if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<(Position, PathBuf)>> {
        let cannot = |e| Error::io("cannot read folder", &self.folder, e);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            if let Some(position) = entry.file_name().to_str().and_then(Position::from_name) {
                found.push((position, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Writes a checkpoint and gives its file and bytes. Once it is safe on the disk, others are removed: those
    /// that claim a later position (the run went back behind them), those found damaged, and all but the last
    /// few of the rest.
    ///
    /// # Errors
    /// Those of [`checkpoint::write`]; `Kind::Environment` if an old one cannot be removed.
    pub fn save(&mut self, state: &[Tensor<'_>], metadata: &Metadata) -> Result<(PathBuf, u64)> {
        let saved = Position::of(metadata);
        let path = self.folder.join(saved.to_string());
        let bytes = checkpoint::write(&path, state, metadata)?;
        self.damaged.remove(&saved);
        let (good, stale): (Vec<_>, Vec<_>) =
            self.list()?.into_iter().partition(|(at, _)| *at <= saved && !self.damaged.contains(at));
        let surplus = good.len().saturating_sub(self.kept);
        for (_, old) in good.iter().take(surplus).chain(&stale) {
            files::remove(old)?;
        }
        self.damaged.clear();
        Ok((path, bytes))
    }

    /// Reads the newest checkpoint that verifies.
    ///
    /// # Errors
    /// `Kind::Environment` if there is none at all. If there are some and none is good, an error that names each
    /// with its reason: `Kind::Data` if any of them is damaged, else `Kind::Environment`.
    pub fn latest(&mut self) -> Result<Latest> {
        let mut warnings = Vec::new();
        let mut kind = Kind::Environment;
        for (position, path) in self.list()?.into_iter().rev() {
            match read_at(position, &path) {
                Ok(checkpoint) => {
                    let damaged = self.damaged.clone();
                    return Ok(Latest { checkpoint, path, warnings, damaged });
                }
                Err(error) => {
                    if error.kind() == Kind::Data {
                        self.damaged.insert(position);
                        kind = Kind::Data;
                    }
                    warnings.push(error.to_string());
                }
            }
        }
        let folder = self.folder.display();
        if warnings.is_empty() {
            return Err(Error::environment(format!("no checkpoint in `{folder}`")));
        }
        Err(Error::new(kind, format!("no good checkpoint in `{folder}`: {}", warnings.join("; "))))
    }
}

/// Reads a checkpoint whose name claims a position.
fn read_at(position: Position, path: &Path) -> Result<Checkpoint> {
    let checkpoint = checkpoint::read(path)?;
    let found = Position::of(&checkpoint.metadata);
    if found == position {
        return Ok(checkpoint);
    }
    let (step, draw) = (found.step, found.draw);
    Err(Error::data(format!("checkpoint `{}`: holds step {step}, draw {draw}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rigl_graph::state::{Role, Values};

    fn state(value: f32) -> Vec<Tensor<'static>> {
        let values = Values::F32(vec![value].into());
        vec![Tensor { name: "w".into(), role: Role::Parameter, shape: vec![1], values, indices: None }]
    }

    fn metadata(step: u64) -> Metadata {
        Metadata { step, draw: step + 1, ..Metadata::default() }
    }

    fn store(steps: &[u64]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::new(folder.path());
        for &step in steps {
            store.save(&state(step as f32), &metadata(step)).unwrap();
        }
        (folder, store)
    }

    fn steps(store: &Store) -> Vec<u64> {
        store.list().unwrap().iter().map(|(at, _)| at.step).collect()
    }

    #[allow(clippy::disallowed_methods)]
    fn damage(store: &Store, step: u64) {
        let path = store.folder().join(Position { step, draw: step + 1 }.to_string());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_last_two_are_kept_and_the_newest_is_read() {
        let (_folder, mut store) = store(&[0, 100, 200, 2_000_000_000]);
        assert_eq!(steps(&store), [200, 2_000_000_000]);
        let latest = store.latest().unwrap();
        assert_eq!(latest.checkpoint.state, state(2e9));
        assert_eq!(latest.path.file_name().unwrap(), "step-2000000000-draw-2000000001.safetensors");
        assert!(latest.warnings.is_empty());
    }

    #[test]
    fn a_damaged_one_falls_back_to_the_one_before_with_a_warning() {
        let (_folder, mut store) = store(&[100, 200]);
        damage(&store, 200);
        let latest = store.latest().unwrap();
        assert_eq!(latest.checkpoint.metadata.step, 100);
        assert_eq!(latest.warnings.len(), 1);
        assert!(latest.warnings[0].contains("step-000000200-draw-000000201"), "{:?}", latest.warnings);
    }

    #[test]
    fn a_damaged_one_never_pushes_out_a_good_one() {
        for next in [150, 250] {
            for anew in [false, true] {
                let (folder, mut store) = store(&[100, 200]);
                damage(&store, 200);
                let latest = store.latest().unwrap();
                if anew {
                    store = Store::new(folder.path()).knowing(&latest);
                }
                store.save(&state(1.0), &metadata(next)).unwrap();
                assert_eq!(steps(&store), [100, next]);
                assert!(store.latest().unwrap().warnings.is_empty());
            }
        }
    }

    #[test]
    fn a_checkpoint_written_again_in_place_of_a_damaged_one_counts() {
        let (_folder, mut store) = store(&[100, 200]);
        damage(&store, 200);
        store.latest().unwrap();
        store.save(&state(200.0), &metadata(200)).unwrap();
        assert_eq!(steps(&store), [100, 200]);
        assert_eq!(store.latest().unwrap().checkpoint.metadata.step, 200);
    }

    #[test]
    fn if_none_is_good_each_is_named_with_its_reason() {
        let (_folder, mut store) = store(&[100, 200]);
        damage(&store, 100);
        damage(&store, 200);
        let error = store.latest().unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        for text in ["step-000000100", "step-000000200", "checksum of the data"] {
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn an_empty_folder_and_an_absent_one_have_no_checkpoint() {
        let (folder, mut store) = store(&[]);
        assert_eq!(store.latest().unwrap_err().kind(), Kind::Environment);
        let absent = Store::new(folder.path().join("absent")).latest().unwrap_err();
        assert!(absent.to_string().contains("absent"), "{absent}");
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn other_files_are_left_alone_and_a_renamed_checkpoint_is_not_believed() {
        let (folder, mut store) = store(&[100, 200]);
        for name in ["step-1-draw-1.safetensors", "step-+00000001-draw-000000001.safetensors", "notes"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let renamed = Position { step: 300, draw: 301 };
        fs::copy(&store.list().unwrap()[0].1, folder.path().join(renamed.to_string())).unwrap();
        let latest = store.latest().unwrap();
        assert_eq!(latest.checkpoint.metadata.step, 200);
        assert!(latest.warnings[0].contains("holds step 100, draw 101"), "{:?}", latest.warnings);
        store.save(&state(1.0), &metadata(400)).unwrap();
        assert_eq!(steps(&store), [200, 400]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    }

    #[test]
    fn a_diverged_state_is_not_written_and_the_old_ones_stay() {
        let (_folder, mut store) = store(&[100, 200]);
        assert_eq!(store.save(&state(f32::NAN), &metadata(300)).unwrap_err().kind(), Kind::Diverged);
        assert_eq!(steps(&store), [100, 200]);
    }
}
