//! Calls about schedules.

use escapement_engine::{TaskId, Timestamp};
use escapement_proto::v1::{self, preview_schedule_request::Subject, schedule_service_client::ScheduleServiceClient};
use tonic::transport::Channel;

use super::{
    Client, ClientError, DECODED_BYTES_MAX, NewSchedule, missing,
    task::{from_timestamp, to_timestamp},
};
use crate::error::Reason;

fn service(channel: Channel) -> ScheduleServiceClient<Channel> {
    ScheduleServiceClient::new(channel).max_decoding_message_size(DECODED_BYTES_MAX)
}

/// A schedule that the server has made durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// As it stands.
    pub schedule: v1::Schedule,
    /// False: it was there before, with the same content.
    pub created: bool,
}

/// Whose instants a preview shows.
#[derive(Clone, Debug, PartialEq)]
pub enum PreviewOf {
    /// Those of a stored schedule with this id.
    Stored(String),
    /// Those of a rule that need not be stored; its id and task are ignored.
    Rule(Box<NewSchedule>),
}

impl Client {
    /// Creates a schedule. Repeating it with the same id and content changes nothing.
    ///
    /// # Errors
    /// When the server refuses it (among others: another one has this id), or cannot be
    /// reached in time.
    pub async fn create_schedule(&self, schedule: NewSchedule) -> Result<Created, ClientError> {
        let spec = schedule.into_spec(&self.shared.namespace);
        let answer = self.call(|channel| {
            let request = v1::CreateScheduleRequest { schedule: Some(spec.clone()) };
            async move { service(channel).create(request).await }
        });
        let v1::CreateScheduleResponse { schedule, created } = answer.await?.value;
        Ok(Created { schedule: schedule.ok_or_else(|| missing("Create", "schedule"))?, created })
    }

    /// A schedule as it stands.
    ///
    /// # Errors
    /// When there is none, or the server cannot be reached in time.
    pub async fn get_schedule(&self, id: &str) -> Result<v1::Schedule, ClientError> {
        let answer = self.call(|channel| {
            let request = v1::GetScheduleRequest { namespace: self.shared.namespace.clone(), id: id.to_owned() };
            async move { service(channel).get(request).await }
        });
        answer.await?.value.schedule.ok_or_else(|| missing("Get", "schedule"))
    }

    /// One page of schedules in the order of their ids, with the token of the next page,
    /// unless this is the last. An empty token asks for the first; a page size of 0 means 100.
    ///
    /// # Errors
    /// When the token is refused, or the server cannot be reached in time.
    pub async fn list_schedules_page(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<v1::Schedule>, Option<String>), ClientError> {
        let answer = self.call(|channel| {
            let request = v1::ListSchedulesRequest {
                namespace: self.shared.namespace.clone(),
                page_size,
                page_token: page_token.to_owned(),
            };
            async move { service(channel).list(request).await }
        });
        let v1::ListSchedulesResponse { schedules, next_page_token } = answer.await?.value;
        Ok((schedules, Some(next_page_token).filter(|token| !token.is_empty())))
    }

    /// All schedules of the client's namespace, in memory.
    ///
    /// # Errors
    /// As [`Client::list_schedules_page`].
    pub async fn list_schedules(&self) -> Result<Vec<v1::Schedule>, ClientError> {
        let mut all = Vec::new();
        let mut token = Some(String::new());
        while let Some(page) = token {
            let (rows, next) = self.list_schedules_page(0, &page).await?;
            all.extend(rows);
            token = next;
        }
        Ok(all)
    }

    /// Pauses a schedule: once this has returned, no further occurrence becomes a task.
    ///
    /// # Errors
    /// When it is not there or has finished, or the server cannot be reached in time.
    pub async fn pause_schedule(&self, id: &str) -> Result<v1::Schedule, ClientError> {
        let answer = self.call(|channel| {
            let request = v1::PauseScheduleRequest { namespace: self.shared.namespace.clone(), id: id.to_owned() };
            async move { service(channel).pause(request).await }
        });
        answer.await?.value.schedule.ok_or_else(|| missing("Pause", "schedule"))
    }

    /// Resumes a paused schedule. Occurrences of the time between are not made up for.
    ///
    /// # Errors
    /// When it is not there or has finished, or the server cannot be reached in time.
    pub async fn resume_schedule(&self, id: &str) -> Result<v1::Schedule, ClientError> {
        let answer = self.call(|channel| {
            let request = v1::ResumeScheduleRequest { namespace: self.shared.namespace.clone(), id: id.to_owned() };
            async move { service(channel).resume(request).await }
        });
        answer.await?.value.schedule.ok_or_else(|| missing("Resume", "schedule"))
    }

    /// Deletes a schedule: once this has returned, no further occurrence becomes a task.
    ///
    /// # Errors
    /// When it is not there, or the server cannot be reached in time. A schedule that is gone
    /// after a try whose answer was lost counts as deleted by that try.
    pub async fn delete_schedule(&self, id: &str) -> Result<(), ClientError> {
        let answer = self.call_or(
            |error, may_have_arrived| {
                let gone = error.reason == Reason::ScheduleNotFound && may_have_arrived;
                gone.then_some(v1::DeleteScheduleResponse {})
            },
            |channel| {
                let namespace = self.shared.namespace.clone();
                let request = v1::DeleteScheduleRequest { namespace, id: id.to_owned() };
                async move { service(channel).delete(request).await }
            },
        );
        answer.await.map(|_| ())
    }

    /// Makes one task of a schedule now, beside its rule; works while it is paused, too.
    /// Calling it twice makes two tasks.
    ///
    /// # Errors
    /// When it is not there, or the server cannot be reached in time.
    pub async fn trigger_schedule(&self, id: &str) -> Result<TaskId, ClientError> {
        // Made before the first try, so that the server recognises the second.
        let task_id = self.new_task_id().to_string();
        let answer = self.call(|channel| {
            let request = v1::TriggerScheduleRequest {
                namespace: self.shared.namespace.clone(),
                id: id.to_owned(),
                task_id: task_id.clone(),
            };
            async move { service(channel).trigger(request).await }
        });
        answer.await?.value.task_id.parse().map_err(|_| missing("Trigger", "task id"))
    }

    /// The next instants of a rule after `after` (exclusive; unless set, now), and the zone
    /// in which it is read: 1 to 1000 instants, fewer when the rule ends; 0 means 5.
    ///
    /// # Errors
    /// When the rule is refused or the schedule is not there, or the server cannot be reached
    /// in time.
    pub async fn preview_schedule(
        &self,
        of: PreviewOf,
        after: Option<Timestamp>,
        count: u32,
    ) -> Result<(Vec<Timestamp>, String), ClientError> {
        let (subject, namespace) = match of {
            PreviewOf::Stored(id) => (Subject::Id(id), String::new()),
            PreviewOf::Rule(schedule) => {
                let spec = schedule.into_spec(&self.shared.namespace);
                let namespace = spec.namespace.clone();
                (Subject::Schedule(spec), namespace)
            }
        };
        let request = v1::PreviewScheduleRequest {
            subject: Some(subject),
            namespace: self.namespace_or_own(namespace),
            after: after.map(to_timestamp),
            count,
        };
        let answer = self.call(|channel| {
            let request = request.clone();
            async move { service(channel).preview(request).await }
        });
        let v1::PreviewScheduleResponse { instants, time_zone } = answer.await?.value;
        let instants: Option<Vec<_>> = instants.into_iter().map(from_timestamp).collect();
        Ok((instants.ok_or_else(|| missing("Preview", "instants"))?, time_zone))
    }
}
