//! What the core tells about itself.

use super::{Core, Now};
use crate::{
    api::backend::{QueueStatus, WorkerStatus},
    scheduler::status::SchedulerStatus,
};

impl Core {
    pub(super) fn status(&self, now: Now) -> SchedulerStatus {
        let mut queues: Vec<QueueStatus> = self
            .dispatcher
            .lanes()
            .map(|lane| {
                let (namespace, queue) = self.dispatcher.lane_names(lane);
                let stats = self.dispatcher.lane_stats(lane, now.due);
                QueueStatus {
                    namespace: namespace.clone(),
                    queue: queue.clone(),
                    ready: stats.ready as u64,
                    ready_beyond: stats.ready_beyond,
                    running: u64::from(stats.running),
                    workers: u64::from(stats.sessions),
                }
            })
            .collect();
        queues.sort_by(|a, b| (&a.namespace, &a.queue).cmp(&(&b.namespace, &b.queue)));
        let workers = self
            .sessions
            .iter()
            .map(|(id, session)| WorkerStatus {
                session: *id,
                name: session.name.as_ref().to_owned(),
                namespace: session.namespace.clone(),
                queues: session.queues.clone(),
                running: self.dispatcher.running_of(*id).len() as u64,
                credits_free: self.dispatcher.session(*id).map_or(0, |view| view.granted - view.assigned),
                connected: session.connected,
            })
            .collect();
        let due_now = usize::from(self.dispatcher.next_due().is_some_and(|at| at <= now.due));
        SchedulerStatus {
            queues,
            workers,
            wheel_entries: self.dispatcher.stats().waiting as u64,
            memory_bytes: self.dispatcher.memory_bytes() as u64,
            schedules: self.ticks.len() as u64,
            in_flight: (due_now + self.fires_in_flight + self.loads.in_flight() + self.ticks.in_flight()) as u64,
            ticks_due: self.ticks.overdue(now.due) as u64,
            clock: self.time.status(),
        }
    }
}
