//! What holds for every request and every answer. What goes over the wire is tested at the edge.

mod limits;
mod properties;
mod requests;

use escapement_engine::Timestamp;

use crate::model::{NewTask, TaskState, TaskView};

/// The instant at which all tests stand.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

/// A task as it stands right after its submission.
pub(crate) fn view_of(task: NewTask) -> TaskView {
    TaskView {
        id: task.id,
        namespace: task.namespace,
        template: task.template,
        due: task.due,
        first_due: task.due,
        deadline: task.deadline,
        idempotency_key: task.idempotency.map(|i| i.key).unwrap_or_default(),
        submitted: task.submitted,
        occurrence: task.occurrence,
        state: TaskState::Scheduled,
        attempts_started: 0,
        finished: None,
        result: None,
        error: None,
        attempts_left_out: 0,
        attempts: Vec::new(),
        cancel_reason: String::new(),
    }
}
