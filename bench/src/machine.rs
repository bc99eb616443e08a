//! What the figures were measured on.

use std::fs;

use serde::Serialize;

/// The machine, as printed with every result.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    build: &'static str,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory_mib: kib(&memory) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "machine: {}, {} cores, {} MiB, Linux {}, {} build",
            self.cpu, self.cores, self.memory_mib, self.kernel, self.build
        );
    }
}

/// Memory and CPU of a process, from /proc.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ProcessUse {
    pub(crate) rss_mib: u64,
    pub(crate) peak_rss_mib: u64,
    /// User and system time so far.
    pub(crate) cpu_us: u64,
    /// Bytes sent to the disk so far.
    pub(crate) written_bytes: u64,
}

impl ProcessUse {
    pub(crate) fn of(pid: u32) -> Self {
        let path = format!("/proc/{pid}/status");
        let read = |name| kib(&field(&path, name).unwrap_or_default()) / 1024;
        let written = field(&format!("/proc/{pid}/io"), "write_bytes").and_then(|number| number.parse().ok());
        Self {
            rss_mib: read("VmRSS"),
            peak_rss_mib: read("VmHWM"),
            cpu_us: cpu_us(pid).unwrap_or(0),
            written_bytes: written.unwrap_or(0),
        }
    }
}

/// A tick of the kernel's accounting: 100 a second on Linux, whatever its clock's rate.
const TICK_US: u64 = 10_000;

fn cpu_us(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; state is the first field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * TICK_US)
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Bytes of all files below a directory.
pub(crate) fn disk_bytes(dir: &std::path::Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
