//! What the processes of a run log, with the true time and the node.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use madsim::time::TimeHandle;
use tracing_subscriber::fmt::{MakeWriter, format::Writer, time::FormatTime};

/// What was logged. Clones gather into the same text.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

/// From now on, and for the life of this process, logs are captured. The nodes are those of
/// the plan that is run, in its order.
///
/// # Panics
/// When something else captures them already.
pub fn capture_logs(nodes: Vec<String>) -> Logs {
    let logs = Logs::default();
    tracing_subscriber::fmt()
        .with_env_filter("info,madsim=off")
        .with_ansi(false)
        .with_timer(Where(nodes))
        .with_writer(logs.clone())
        .init();
    logs
}

impl Logs {
    /// All of it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Together with the trace, in the order of true time.
    pub fn merged(&self, trace: &str) -> String {
        let text = self.text();
        let time = |line: &str| line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
        let mut lines: Vec<(f64, &str)> = trace.lines().chain(text.lines()).map(|line| (time(line), line)).collect();
        lines.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        lines.into_iter().map(|(_, line)| format!("{line}\n")).collect()
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// True time and node.
struct Where(Vec<String>);

impl FormatTime for Where {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let Some(time) = TimeHandle::try_current() else { return write!(out, "{:>12.6} -", 0.0) };
        // Nodes are numbered as they are made; 0 is outside of all.
        let id: String = madsim::plugin::node().to_string().chars().filter(char::is_ascii_digit).collect();
        let name = id.parse::<usize>().ok().and_then(|id| self.0.get(id.checked_sub(1)?));
        let name = name.map_or("", String::as_str);
        write!(out, "{:>12.6} {:<9}", time.elapsed().as_secs_f64(), name)
    }
}
