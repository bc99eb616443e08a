//! The services of the fake server.

use escapement::{client::proto as v1, error::Reason};
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tonic::{Request, Response, Status};

use super::{Fake, at, refusal, seconds};

type Answer<T> = Result<Response<T>, Status>;

impl Fake {
    fn task(&self, id: &str) -> Result<v1::Task, Status> {
        let script = self.script.lock().unwrap();
        let found = script.tasks.iter().find(|task| task.id == id).cloned();
        found.ok_or_else(|| refusal(Reason::TaskNotFound, &format!("task {id} does not exist")))
    }

    fn schedule(&self, id: &str) -> Result<v1::Schedule, Status> {
        let script = self.script.lock().unwrap();
        let found = script.schedules.iter().find(|schedule| schedule.spec.as_ref().is_some_and(|spec| spec.id == id));
        found.cloned().ok_or_else(|| refusal(Reason::ScheduleNotFound, &format!("schedule `{id}` does not exist")))
    }

    fn accept(&self, spec: v1::TaskSpec) -> v1::SubmitResponse {
        let mut script = self.script.lock().unwrap();
        let created = !script.submitted.iter().any(|known| known.id == spec.id);
        let task_id = spec.id.clone();
        script.submitted.push(spec);
        v1::SubmitResponse { task_id, due_at: at("2026-11-24T12:00:02Z"), created }
    }
}

#[tonic::async_trait]
impl v1::task_service_server::TaskService for Fake {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        let spec = request.into_inner().task.unwrap();
        if let Err(fault) = self.take("submit") {
            // Applied, but the answer is lost.
            self.accept(spec);
            return Err(fault);
        }
        Ok(Response::new(self.accept(spec)))
    }

    async fn submit_batch(&self, request: Request<v1::SubmitBatchRequest>) -> Answer<v1::SubmitBatchResponse> {
        self.take("submit_batch")?;
        let outcome = |spec: v1::TaskSpec| match spec.queue.as_str() {
            "full" => v1::submit_result::Outcome::Error(v1::SubmitError {
                reason: Reason::Overloaded.code().into(),
                message: "too many tasks wait".into(),
            }),
            _ => v1::submit_result::Outcome::Accepted(self.accept(spec)),
        };
        let results = request.into_inner().tasks.into_iter().map(outcome);
        let results = results.map(|outcome| v1::SubmitResult { outcome: Some(outcome) }).collect();
        Ok(Response::new(v1::SubmitBatchResponse { results }))
    }

    async fn get(&self, request: Request<v1::GetTaskRequest>) -> Answer<v1::GetTaskResponse> {
        self.take("get")?;
        Ok(Response::new(v1::GetTaskResponse { task: Some(self.task(&request.into_inner().id)?) }))
    }

    async fn list(&self, request: Request<v1::ListTasksRequest>) -> Answer<v1::ListTasksResponse> {
        self.take("list")?;
        let request = request.into_inner();
        let from: usize = if request.page_token.is_empty() { 0 } else { request.page_token.parse().unwrap() };
        let size = if request.page_size == 0 { 100 } else { usize::try_from(request.page_size).unwrap() };
        let script = self.script.lock().unwrap();
        let matches = |task: &&v1::Task| request.queue.is_empty() || task.queue == request.queue;
        let all: Vec<_> = script.tasks.iter().filter(matches).collect();
        let until = (from + size).min(all.len());
        let tasks = all[from..until].iter().map(|task| v1::Task {
            payload: None,
            result: None,
            attempts: vec![],
            ..(*task).clone()
        });
        // As the real one, it does not look beyond a full page.
        let full = until - from == size;
        let next_page_token = if full || until < all.len() { until.to_string() } else { String::new() };
        Ok(Response::new(v1::ListTasksResponse { tasks: tasks.collect(), next_page_token }))
    }

    async fn cancel(&self, request: Request<v1::CancelTaskRequest>) -> Answer<v1::CancelTaskResponse> {
        self.take("cancel")?;
        let request = request.into_inner();
        let mut task = self.task(&request.id)?;
        if task.state() == v1::TaskState::Succeeded {
            return Err(refusal(Reason::TaskAlreadyEnded, &format!("task {} has succeeded", task.id)));
        }
        task.set_state(v1::TaskState::Cancelled);
        task.finished_at = at("2026-11-24T12:00:01Z");
        task.cancel_reason = request.reason;
        Ok(Response::new(v1::CancelTaskResponse { task: Some(task) }))
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchTaskResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchTaskRequest>) -> Answer<Self::WatchStream> {
        self.take("watch")?;
        let mut script = self.script.lock().unwrap();
        let Some(events) = script.watches.pop_front() else {
            let id = request.into_inner().id;
            return Err(refusal(Reason::TaskNotFound, &format!("task {id} does not exist")));
        };
        // Then it breaks, as when the server is killed.
        let broken = stream::once(async { Err(Status::unavailable("the server is gone")) });
        Ok(Response::new(stream::iter(events.into_iter().map(Ok)).chain(broken).boxed()))
    }
}

#[tonic::async_trait]
impl v1::schedule_service_server::ScheduleService for Fake {
    async fn create(&self, request: Request<v1::CreateScheduleRequest>) -> Answer<v1::CreateScheduleResponse> {
        self.take("create")?;
        let spec = request.into_inner().schedule.unwrap();
        let mut script = self.script.lock().unwrap();
        let created = !script.created.contains(&spec);
        script.created.push(spec.clone());
        let schedule = v1::Schedule {
            spec: Some(spec),
            uid: "01939f00-0000-7000-a000-000000000001".into(),
            state: v1::ScheduleState::Active.into(),
            created_at: at("2026-11-24T12:00:00Z"),
            next_at: at("2026-11-25T01:30:00Z"),
            ..Default::default()
        };
        Ok(Response::new(v1::CreateScheduleResponse { schedule: Some(schedule), created }))
    }

    async fn get(&self, request: Request<v1::GetScheduleRequest>) -> Answer<v1::GetScheduleResponse> {
        self.take("get_schedule")?;
        Ok(Response::new(v1::GetScheduleResponse { schedule: Some(self.schedule(&request.into_inner().id)?) }))
    }

    async fn list(&self, _: Request<v1::ListSchedulesRequest>) -> Answer<v1::ListSchedulesResponse> {
        self.take("list_schedules")?;
        let schedules = self.script.lock().unwrap().schedules.clone();
        Ok(Response::new(v1::ListSchedulesResponse { schedules, next_page_token: String::new() }))
    }

    async fn pause(&self, request: Request<v1::PauseScheduleRequest>) -> Answer<v1::PauseScheduleResponse> {
        self.take("pause")?;
        let mut schedule = self.schedule(&request.into_inner().id)?;
        schedule.set_state(v1::ScheduleState::Paused);
        schedule.next_at = None;
        Ok(Response::new(v1::PauseScheduleResponse { schedule: Some(schedule) }))
    }

    async fn resume(&self, request: Request<v1::ResumeScheduleRequest>) -> Answer<v1::ResumeScheduleResponse> {
        self.take("resume")?;
        Ok(Response::new(v1::ResumeScheduleResponse { schedule: Some(self.schedule(&request.into_inner().id)?) }))
    }

    async fn delete(&self, request: Request<v1::DeleteScheduleRequest>) -> Answer<v1::DeleteScheduleResponse> {
        let id = request.into_inner().id;
        self.schedule(&id)?;
        // Applied, even when the answer is lost.
        let is_this = |schedule: &v1::Schedule| schedule.spec.as_ref().is_some_and(|spec| spec.id == id);
        self.script.lock().unwrap().schedules.retain(|schedule| !is_this(schedule));
        self.take("delete")?;
        Ok(Response::new(v1::DeleteScheduleResponse {}))
    }

    async fn trigger(&self, request: Request<v1::TriggerScheduleRequest>) -> Answer<v1::TriggerScheduleResponse> {
        self.take("trigger")?;
        let request = request.into_inner();
        self.schedule(&request.id)?;
        Ok(Response::new(v1::TriggerScheduleResponse { task_id: request.task_id }))
    }

    async fn preview(&self, request: Request<v1::PreviewScheduleRequest>) -> Answer<v1::PreviewScheduleResponse> {
        self.take("preview")?;
        let request = request.into_inner();
        let time_zone = match request.subject.unwrap() {
            v1::preview_schedule_request::Subject::Id(id) => self.schedule(&id)?.spec.unwrap().time_zone,
            v1::preview_schedule_request::Subject::Schedule(spec) => spec.time_zone,
        };
        // Around the end of daylight saving time of Berlin.
        let days = ["24T00:30:00Z", "25T00:30:00Z", "26T01:30:00Z"];
        let days = days.iter().take(usize::try_from(request.count).unwrap());
        let instants = days.filter_map(|day| at(&format!("2026-10-{day}"))).collect();
        Ok(Response::new(v1::PreviewScheduleResponse { instants, time_zone }))
    }
}

#[tonic::async_trait]
impl v1::admin_service_server::AdminService for Fake {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        self.take("status")?;
        let queue = |queue: &str, ready, ready_beyond| v1::QueueStatus {
            namespace: "default".into(),
            queue: queue.into(),
            ready,
            ready_beyond,
            running: 2,
            workers: 1,
        };
        Ok(Response::new(v1::StatusResponse {
            version: "0.1.0".into(),
            started_at: at("2026-11-24T11:00:00Z"),
            now: at("2026-11-24T12:00:00.125Z"),
            store: "embedded".into(),
            format_version: 1,
            scheduler_session: "01939f00-0000-7000-b000-000000000001".into(),
            shards_owned: 32,
            shards_total: 32,
            queues: vec![
                queue("exec", 0, false),
                queue("mail", 4096, true),
                v1::QueueStatus { running: 0, workers: 0, ..queue("reports", 1, false) },
            ],
            workers: vec![v1::WorkerStatus {
                session_id: "01939f00-0000-7000-9000-000000000001".into(),
                worker_name: "worker-1".into(),
                namespace: "default".into(),
                queues: vec!["exec".into(), "http".into()],
                running: 2,
                credits_free: 14,
                connected_at: at("2026-11-24T11:00:01Z"),
            }],
            wheel_entries: 120,
            schedules_active: 3,
            tasks_submitted: 1000,
            attempts_started: 900,
            completions_accepted: 890,
            completions_refused: 1,
            attempts_expired: 2,
            store_transactions: 5000,
            store_conflicts: 7,
            clock: Some(v1::ClockStatus {
                health: v1::ClockHealth::Alert.into(),
                sync: v1::ClockSync::Synchronised.into(),
                error_us: 2_250,
                skew_us: -1_500_125,
                majority: true,
                peers: 2,
                leap_mode: v1::LeapMode::Pause.into(),
                leap_next_at: at("2027-01-01T00:00:00Z"),
                leap_next_deletes: false,
                leap_table_expires_at: at("2027-06-28T00:00:00Z"),
                wait_us: 45_000,
            }),
            ..v1::StatusResponse::default()
        }))
    }
}

/// A schedule at half past two in Berlin.
pub(crate) fn schedule(id: &str) -> v1::Schedule {
    let argv = r#"{"argv":["backup"]}"#;
    v1::Schedule {
        spec: Some(v1::ScheduleSpec {
            id: id.into(),
            namespace: "default".into(),
            time_zone: "Europe/Berlin".into(),
            rule: Some(v1::schedule_spec::Rule::Cron(v1::CronRule { expression: "30 2 * * *".into() })),
            task: Some(v1::TaskTemplate {
                queue: "exec".into(),
                payload: Some(super::payload(argv, "application/json")),
                attempt_timeout: seconds(60),
                labels: [("team".to_owned(), "ops".to_owned())].into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        uid: "01939f00-0000-7000-a000-000000000001".into(),
        state: v1::ScheduleState::Active.into(),
        created_at: at("2026-11-24T12:00:00Z"),
        next_at: at("2026-11-25T01:30:00Z"),
        last_at: at("2026-11-24T01:30:00Z"),
        occurrence_count: 17,
    }
}
