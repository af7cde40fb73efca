//! What a run can tell about the machine it runs on. Where the system does not say, the answer is `None`: read
//! from `/proc` (and `/sys` for control groups) on Linux, unknown elsewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: Option<String>,
    /// Its physical cores.
    pub cores: Option<u32>,
    /// All that is built in, in bytes, whatever this process may use of it.
    pub memory_bytes: Option<u64>,
    /// Threads that the run computes with.
    pub threads: u32,
    /// The instruction set in use: `avx512`, `avx2`, `portable`, `unfused`.
    pub instruction_set: String,
    /// Operating system and architecture, `linux x86_64`.
    pub os: String,
}

impl Machine {
    /// This machine, for a run with so many threads on this instruction set.
    pub fn of(threads: u32, instruction_set: &str) -> Machine {
        Machine {
            processor: processor(),
            cores: cores(),
            memory_bytes: memory_bytes(),
            threads,
            instruction_set: instruction_set.to_owned(),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// The processor's name.
pub fn processor() -> Option<String> {
    value(&proc("cpuinfo")?, "model name").map(str::to_owned)
}

/// Physical cores. Two threads of one core count once.
pub fn cores() -> Option<u32> {
    count_cores(&proc("cpuinfo")?)
}

/// The machine's memory in bytes. A control group may allow less: see [`memory_limit_bytes`].
pub fn memory_bytes() -> Option<u64> {
    kibibytes(&proc("meminfo")?, "MemTotal")
}

/// The memory that this process may use, in bytes: the machine's, or less where a control group above this process
/// allows less, or the limit of its address space (`ulimit -v`) leaves less.
pub fn memory_limit_bytes() -> Option<u64> {
    let groups = proc("self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| {
        // A group without a limit says `max`, which is no number.
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    });
    let left = || left_of(&proc("self/limits")?, &proc("self/status")?);
    memory_bytes().into_iter().chain(limits).chain(left()).min()
}

/// What a process may hold under the limit of its address space: what it has reserved and does not use is gone.
fn left_of(limits: &str, status: &str) -> Option<u64> {
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    // Without a limit it says `unlimited`, which is no number.
    let limit: u64 = limit.split_whitespace().next()?.parse().ok()?;
    let reserved = kibibytes(status, "VmSize")?.saturating_sub(kibibytes(status, "VmRSS")?);
    Some(limit.saturating_sub(reserved))
}

/// The most memory this process has held at once so far, in bytes.
pub fn peak_memory_bytes() -> Option<u64> {
    kibibytes(&proc("self/status")?, "VmHWM")
}

/// The machine's name in its network.
pub fn host() -> Option<String> {
    let name = proc("sys/kernel/hostname")?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(target_os = "linux")]
fn proc(name: &str) -> Option<String> {
    let bytes = std::fs::read(Path::new("/proc").join(name)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(not(target_os = "linux"))]
fn proc(_name: &str) -> Option<String> {
    None
}

/// The value of the first line `key : value`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let pair = |line: &'a str| line.split_once(':').map(|(k, v)| (k.trim(), v.trim()));
    text.lines().filter_map(pair).find(|(k, v)| *k == key && !v.is_empty()).map(|(_, v)| v)
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    value(text, key)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Files that may hold a memory limit of the control groups in `/proc/self/cgroup`, in both versions of control
/// groups, from each group up to the root.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

/// Distinct pairs of package and core; `None` unless every processor tells both.
fn count_cores(cpuinfo: &str) -> Option<u32> {
    let mut cores = BTreeSet::new();
    for processor in cpuinfo.split("\n\n").filter(|block| value(block, "processor").is_some()) {
        cores.insert((value(processor, "physical id")?, value(processor, "core id")?));
    }
    u32::try_from(cores.len()).ok().filter(|&n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_THREADS_ON_A_CORE: &str = "processor\t: 0\nmodel name\t: A: Chip\nphysical id\t: 0\ncore id\t\t: 0\n\n\
        processor\t: 1\nmodel name\t: A: Chip\nphysical id\t: 0\ncore id\t\t: 0\n\n\
        processor\t: 2\nmodel name\t: A: Chip\nphysical id\t: 1\ncore id\t\t: 0\n\n";

    #[test]
    fn physical_cores_are_counted_once() {
        assert_eq!(count_cores(TWO_THREADS_ON_A_CORE), Some(2));
        assert_eq!(value(TWO_THREADS_ON_A_CORE, "model name"), Some("A: Chip"));
    }

    #[test]
    fn cores_that_are_not_told_are_not_guessed() {
        assert_eq!(count_cores("processor : 0\nBogoMIPS : 50\n\nprocessor : 1\n"), None);
        assert_eq!(count_cores(""), None);
        assert_eq!(value("model name :\n", "model name"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(kibibytes("MemTotal:       16 kB\n", "MemTotal"), Some(16_384));
        assert_eq!(kibibytes("MemTotal: x kB\n", "MemTotal"), None);
        assert_eq!(kibibytes("MemTotal: 18446744073709551615 kB\n", "MemTotal"), None);
    }

    #[test]
    fn limits_are_looked_for_from_each_group_up_to_the_root() {
        let found = limit_files("0::/user/a\n5:cpu,memory:/b\n6:pids:/c\nnonsense\n");
        let expected = [
            "/sys/fs/cgroup/user/a/memory.max",
            "/sys/fs/cgroup/user/memory.max",
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/memory/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn a_limit_of_the_address_space_counts_without_what_is_reserved() {
        let limits =
            |soft: &str| format!("Limit  Soft Limit\nMax address space         {soft}   unlimited   bytes\n");
        let status = "Name:\ta\nVmSize:\t  300 kB\nVmRSS:\t  100 kB\n";
        assert_eq!(left_of(&limits("1024000"), status), Some(1_024_000 - 200 * 1024));
        assert_eq!(left_of(&limits("1"), status), Some(0));
        assert_eq!(left_of(&limits("unlimited"), status), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_fits_into_this_machine() {
        let (peak, memory) = (peak_memory_bytes().unwrap(), memory_bytes().unwrap());
        assert!(0 < peak && peak < memory);
        assert!((1..=memory).contains(&memory_limit_bytes().unwrap()));
    }
}
