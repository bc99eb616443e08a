//! The parent's side of the process that is killed.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use super::{Setup, plan::LANES, writer};

/// What the process has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) opening: bool,
    pub(crate) open: bool,
    /// Acknowledged commits of each lane in order: number and version.
    pub(crate) acks: [Vec<(u64, u64)>; LANES],
    pub(crate) acks_total: usize,
    pub(crate) flushes: u64,
    pub(crate) errors: Vec<String>,
    /// It says no more.
    pub(crate) is_over: bool,
}

#[derive(Debug, Default)]
struct Heard {
    said: Mutex<Said>,
    more: Condvar,
}

/// The process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    child: Child,
    heard: Arc<Heard>,
    listener: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(dir: &Path, setup: Setup, seed: u64) -> Self {
        let setup = Setup::ALL.iter().position(|known| *known == setup).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", writer::TEST, "--ignored", "--nocapture"])
            .env(writer::ORDER, format!("{setup} {seed} {}", dir.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let heard = Arc::new(Heard::default());
        let output = BufReader::new(child.stdout.take().unwrap());
        let listener = {
            let heard = Arc::clone(&heard);
            std::thread::spawn(move || {
                for line in output.lines() {
                    // A line may be cut off by the kill.
                    let Ok(line) = line else { break };
                    if let Some(line) = line.strip_prefix('@') {
                        heard.said.lock().unwrap().note(line);
                        heard.more.notify_all();
                    }
                }
                heard.said.lock().unwrap().is_over = true;
                heard.more.notify_all();
            })
        };
        Self { child, heard, listener: Some(listener) }
    }

    /// Waits until `holds`, or the process has ended by itself.
    pub(crate) fn wait(&self, mut holds: impl FnMut(&Said) -> bool) {
        let mut said = self.heard.said.lock().unwrap();
        while !holds(&said) && !said.is_over {
            let (next, timeout) = self.heard.more.wait_timeout(said, Duration::from_secs(120)).unwrap();
            said = next;
            assert!(!timeout.timed_out(), "the writer has said nothing for two minutes: {:?} acks", said.acks_total);
        }
    }

    /// Kill -9; everything that it said before.
    pub(crate) fn kill(mut self) -> Said {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.listener.take().unwrap().join().unwrap();
        self.heard.said.lock().unwrap().clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["opening"] => self.opening = true,
            ["open"] => self.open = true,
            ["flushes", count] => self.flushes = count.parse().unwrap(),
            // Written in one piece, so it is here as a whole or not at all.
            ["ack", lane, number, version] => {
                self.acks[lane.parse::<usize>().unwrap()].push((number.parse().unwrap(), version.parse().unwrap()));
                self.acks_total += 1;
            }
            _ => self.errors.push(line.to_owned()),
        }
    }
}
