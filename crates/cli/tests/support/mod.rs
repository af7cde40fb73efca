//! What the tests of the command share: running it in a folder of its own, and reading what it left there.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rigl_base::files;
use rigl_base::random::{Purpose, Stream};
use rigl_data::drawn;
use rigl_formats::{Checkpoint, Metadata, Store, checkpoint};
use rigl_metrics::Summary;
use serde_json::Value;

/// A fresh folder in which the command runs. Everything in it goes with it.
pub struct Place {
    folder: tempfile::TempDir,
}

/// What a command that has ended said.
pub struct Said {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Place {
    pub fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    /// A path in this folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// The command, about to be run here, in an environment that says nothing to it.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_rigl"), arguments)
    }

    /// The same for a program that has parts of its own.
    pub fn command_of<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RIGL_") || name == "NO_COLOR" {
                command.env_remove(name);
            }
        }
        // The cache folder of whoever runs the tests may hold data sets.
        command.env("XDG_CACHE_HOME", self.path("cache")).env("HOME", self.path("home"));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).args(arguments);
        command
    }

    /// Runs a command line; arguments are what spaces separate.
    pub fn run(&self, line: &str) -> Said {
        Said::of(self.command(line.split_whitespace()))
    }

    /// Writes a file.
    pub fn write(&self, relative: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(relative);
        files::create_folder(path.parent().unwrap()).unwrap();
        files::write_atomic(&path, bytes.as_ref()).unwrap();
    }

    /// Removes a folder with everything in it.
    #[allow(clippy::disallowed_methods, reason = "nothing else does that")]
    pub fn remove_folder(&self, relative: &str) {
        std::fs::remove_dir_all(self.path(relative)).unwrap();
    }

    /// Writes a small data set called `mnist`, of drawn digits, into the folder `data`: it is read in no time,
    /// where drawing the whole embedded one takes a while.
    pub fn write_data(&self, train: usize, test: usize) {
        for (name, bytes) in MNIST.iter().zip(mnist(train, test)) {
            self.write(&format!("data/{name}"), bytes);
        }
    }

    /// Writes a small data set called `cifar10` into the folder `data`, of so many records in each file: noise that is
    /// brighter in one channel than in others, by class.
    pub fn write_cifar10(&self, records: usize) {
        for (file, name) in CIFAR10.iter().enumerate() {
            let mut draws = Stream::new(3, Purpose::Test, file as u64).draws();
            let mut bytes = Vec::new();
            for _ in 0..records {
                let class = draws.below(10) as u8;
                bytes.push(class);
                for channel in 0..3 {
                    let light = u64::from(class) * [25, 9, 3][channel] % 128;
                    bytes.extend((0..1024).map(|_| (light + draws.below(128)) as u8));
                }
            }
            self.write(&format!("data/cifar-10-batches-bin/{name}"), bytes);
        }
    }

    /// Every file and folder in here with its size, sorted: to see that nothing has changed. But for locks, whose
    /// text names the process that held them last.
    pub fn contents(&self) -> Vec<(PathBuf, u64)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, u64)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                found.push((entry.path(), if metadata.is_file() { metadata.len() } else { 0 }));
                if metadata.is_dir() {
                    walk(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found.retain(|(path, _)| !path.ends_with("run.lock"));
        found.sort();
        found
    }

    /// The one folder in `runs`.
    pub fn only_run(&self) -> PathBuf {
        let runs: Vec<_> =
            std::fs::read_dir(self.path("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.into_iter().next().unwrap()
    }
}

/// The files of CIFAR-10, unpacked.
pub const CIFAR10: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// The files of MNIST.
pub const MNIST: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The contents of these files: drawn digits.
pub fn mnist(train: usize, test: usize) -> [Vec<u8>; 4] {
    let set = |first: usize, count: usize| {
        let header = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
        let side = drawn::SIDE as u32;
        let mut images = header(&[2051, count as u32, side, side]);
        let mut labels = header(&[2049, count as u32]);
        let mut image = [0; drawn::SIDE * drawn::SIDE];
        for index in first..first + count {
            labels.push(drawn::draw(drawn::SEED, index as u64, &mut image));
            images.extend_from_slice(&image);
        }
        (images, labels)
    };
    let ((a, b), (c, d)) = (set(0, train), set(train, test));
    [a, b, c, d]
}

/// Starts a command, to be waited for or killed.
pub fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills a command. `false` if it had ended before, which must have been well.
#[track_caller]
pub fn kill(mut child: Child) -> bool {
    child.kill().unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    match said.code {
        None => true,
        Some(_) => {
            said.succeeded();
            false
        }
    }
}

/// Kills at random moments in a test: `RIGL_TEST_KILLS`, 10 if it is not set.
pub fn kills() -> usize {
    std::env::var("RIGL_TEST_KILLS").map_or(10, |text| text.parse().expect("RIGL_TEST_KILLS is a number"))
}

impl Said {
    pub fn of(mut command: Command) -> Said {
        Said::from(command.output().unwrap())
    }

    /// Panics unless the command succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Said {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("the command prints UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The summary of a run.
#[track_caller]
pub fn summary(run: &Path) -> Summary {
    Summary::read(&run.join("summary.json")).unwrap()
}

/// The events of a run's log that are called one of `names`, without what depends on the time they took.
pub fn events(run: &Path, names: &[&str]) -> Vec<Value> {
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut events = Vec::new();
    for line in log.lines() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if names.contains(&event["event"].as_str().unwrap()) {
            let fields = event.as_object_mut().unwrap();
            for timed in ["time_s", "samples_per_s"] {
                fields.remove(timed);
            }
            events.push(event);
        }
    }
    events
}

/// What a run learned, in the order it happened.
pub fn history(run: &Path) -> Vec<Value> {
    events(run, &["network", "train", "evaluation", "update", "end"])
}

/// The newest checkpoint of a run, which must be good.
#[track_caller]
pub fn newest(run: &Path) -> Checkpoint {
    checkpoint::read(&checkpoints(run).pop().expect("a checkpoint")).unwrap()
}

/// The files of a run's checkpoints, the oldest first.
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    match Store::new(run.join("checkpoints")).list() {
        Ok(list) => list.into_iter().map(|(_, path)| path).collect(),
        Err(_) => Vec::new(),
    }
}

/// Asserts that two runs came to the same, to the bit: weights, everything else in the last checkpoint, the best
/// checkpoint, kept patterns, and all that the log tells but times.
#[track_caller]
pub fn same_run(a: &Path, b: &Path) {
    assert_eq!(summary(a).weights_crc32c, summary(b).weights_crc32c);
    assert_eq!(history(a), history(b));
    let files = |run: &Path| {
        let mut files = vec![checkpoints(run).pop().unwrap()];
        let best = run.join("checkpoints/best.safetensors");
        files.extend(best.exists().then_some(best));
        let patterns = std::fs::read_dir(run.join("patterns")).unwrap();
        let mut patterns: Vec<PathBuf> = patterns.map(|entry| entry.unwrap().path()).collect();
        patterns.sort();
        files.extend(patterns);
        files
    };
    let (a, b) = (files(a), files(b));
    let names = |files: &[PathBuf]| -> Vec<_> {
        files.iter().map(|path| path.file_name().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&a), names(&b));
    for (a, b) in a.iter().zip(&b) {
        let name = a.display();
        let [a, b] = [a, b].map(|path| checkpoint::read(path).unwrap());
        let place = |m: &Metadata| (m.step, m.draw, m.updated);
        assert_eq!(place(&a.metadata), place(&b.metadata), "{name}");
        let extra = |m: &Metadata| {
            let mut extra = m.extra.clone();
            extra.remove("evaluation-seconds");
            extra
        };
        assert_eq!(extra(&a.metadata), extra(&b.metadata), "{name}");
        for (a, b) in a.state.iter().zip(&b.state) {
            assert!(a == b, "{name}: {:?} `{}`", a.role, a.name);
        }
        assert_eq!(a.state.len(), b.state.len(), "{name}");
    }
}

/// Runs a command that must be refused with exactly this message and hint (none if empty).
#[track_caller]
pub fn refused(place: &Place, line: &str, error: &str, hint: &str) {
    let before = place.contents();
    let said = place.run(line);
    let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}\n") };
    assert_eq!(said.err, format!("error: {error}\n{hint}"), "{line}");
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}");
    assert_eq!(place.contents(), before, "{line}");
}
