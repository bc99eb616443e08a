//! A disk that is full: a small tmpfs. Needs the right to mount; without it the test says so
//! loudly and checks nothing.

use std::{collections::BTreeSet, fs::OpenOptions, io::Write as _, path::Path, process::Command, time::Duration};

use escapement::{
    client::{BatchOutcome, Client, NewTask, TaskFilter},
    error::Reason,
};
use escapement_engine::TaskId;

use super::process::{Process, free_port, ready};

/// A tmpfs, unmounted when dropped.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(path: &'a Path, size: &str) -> Option<Self> {
        let path_text = path.to_str().unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs", path_text]).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options, self.0.to_str().unwrap()]).status().unwrap().success());
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", self.0.to_str().unwrap()]).status();
    }
}

/// Says what was left out: here, where a passing test is silent, and in the file in which
/// `.ci/test` gathers what its last lines tell.
fn not_checked(what: &str) {
    println!("NOT CHECKED: {what}");
    if let Some(path) = std::env::var_os("ESCAPEMENT_TEST_NOT_CHECKED") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "NOT CHECKED: {what}").unwrap();
    }
}

fn batch(client: &Client) -> (Vec<TaskId>, Vec<NewTask>) {
    let ids: Vec<TaskId> = (0..20).map(|_| client.new_task_id()).collect();
    let task =
        |id: &TaskId| NewTask::new("later").id(*id).payload(vec![7; 20_000], "").delay(Duration::from_secs(3600));
    let tasks = ids.iter().map(task).collect();
    (ids, tasks)
}

async fn listed(client: &Client) -> BTreeSet<TaskId> {
    let tasks = client.list(TaskFilter::new()).collect().await.unwrap();
    tasks.iter().map(|task| task.id.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_by_name_loses_nothing_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Tmpfs::mount(dir.path(), "80m") else {
        not_checked("a full disk: this user may not mount a tmpfs");
        return;
    };
    let port = free_port();
    let server = Process::server(dir.path(), port, &[]);
    let client = Client::connect(format!("http://127.0.0.1:{port}")).unwrap();
    ready(&client).await;

    let mut acknowledged = BTreeSet::new();
    let refused = loop {
        let (ids, tasks) = batch(&client);
        match client.submit_batch(tasks).await {
            Ok(outcomes) if outcomes.iter().all(|outcome| matches!(outcome, BatchOutcome::Accepted(_))) => {
                acknowledged.extend(ids);
            }
            Ok(outcomes) => {
                let refusal = outcomes.into_iter().find_map(|outcome| match outcome {
                    BatchOutcome::Accepted(_) => None,
                    BatchOutcome::Refused(error) => Some(error),
                });
                break refusal.unwrap().reason;
            }
            Err(error) => break error.reason(),
        }
        assert!(acknowledged.len() < 100_000, "a disk of 80 MiB does not hold 2 GB");
    };
    assert_eq!(refused, Reason::StorageFull);
    assert!(acknowledged.is_subset(&listed(&client).await), "what was acknowledged is there");

    disk.resize("400m");
    let (ids, tasks) = batch(&client);
    let outcomes = client.submit_batch(tasks).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, BatchOutcome::Accepted(_))), "with room it goes on");
    acknowledged.extend(ids);

    server.kill();
    let _server = Process::server(dir.path(), port, &[]);
    ready(&client).await;
    assert!(acknowledged.is_subset(&listed(&client).await), "after a crash, too");
    println!("{} tasks acknowledged around a full disk, none missing", acknowledged.len());
}
