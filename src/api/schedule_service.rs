//! `escapement.v1.ScheduleService`.

use escapement_proto::v1::{self, schedule_service_server::ScheduleService};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    Api, Backend, PAGE_BYTES_MAX, convert,
    page::PageToken,
    preview,
    validate::request::{self, PreviewSubject},
};

/// Validates, asks the backend, answers. Previews are computed here: a rule is pure.
#[derive(Debug)]
pub struct ScheduleServiceImpl<B>(Api<B>);

impl<B: Backend> ScheduleServiceImpl<B> {
    pub(super) fn new(api: Api<B>) -> Self {
        Self(api)
    }
}

#[tonic::async_trait]
impl<B: Backend> ScheduleService for ScheduleServiceImpl<B> {
    async fn create(
        &self,
        request: Request<v1::CreateScheduleRequest>,
    ) -> Result<Response<v1::CreateScheduleResponse>, Status> {
        let spec = request::create_schedule(request.into_inner(), self.0.clock.now(), &self.0.limits)?;
        let (view, created) = self.0.backend.create_schedule(spec).await?;
        Ok(Response::new(v1::CreateScheduleResponse { schedule: Some(convert::schedule(view)), created }))
    }

    async fn get(&self, request: Request<v1::GetScheduleRequest>) -> Result<Response<v1::GetScheduleResponse>, Status> {
        let request = request.into_inner();
        let (namespace, id) = request::schedule_ref(&request.namespace, &request.id)?;
        let view = self.0.backend.get_schedule(namespace, id).await?;
        Ok(Response::new(v1::GetScheduleResponse { schedule: Some(convert::schedule(view)) }))
    }

    async fn list(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let (namespace, page) = request::list_schedules(request.get_ref())?;
        let found = self.0.backend.list_schedules(namespace, page.after, page.limit).await?;
        let mut next = found.next;
        let mut schedules = Vec::with_capacity(found.schedules.len());
        let mut bytes = 0;
        let mut views = found.schedules.into_iter().peekable();
        while let Some(view) = views.next() {
            let id = view.spec.id.clone();
            let schedule = convert::schedule(view);
            bytes += schedule.encoded_len();
            schedules.push(schedule);
            if bytes > PAGE_BYTES_MAX && views.peek().is_some() {
                next = Some(id);
                break;
            }
        }
        let token = |next: escapement_engine::name::ScheduleId| {
            PageToken { after: next.as_str().as_bytes().to_vec(), filter_hash: page.filter_hash }.encode()
        };
        let next_page_token = next.map(token).unwrap_or_default();
        Ok(Response::new(v1::ListSchedulesResponse { schedules, next_page_token }))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseScheduleRequest>,
    ) -> Result<Response<v1::PauseScheduleResponse>, Status> {
        let request = request.into_inner();
        let (namespace, id) = request::schedule_ref(&request.namespace, &request.id)?;
        let view = self.0.backend.pause_schedule(namespace, id).await?;
        Ok(Response::new(v1::PauseScheduleResponse { schedule: Some(convert::schedule(view)) }))
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeScheduleRequest>,
    ) -> Result<Response<v1::ResumeScheduleResponse>, Status> {
        let request = request.into_inner();
        let (namespace, id) = request::schedule_ref(&request.namespace, &request.id)?;
        let view = self.0.backend.resume_schedule(namespace, id).await?;
        Ok(Response::new(v1::ResumeScheduleResponse { schedule: Some(convert::schedule(view)) }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteScheduleRequest>,
    ) -> Result<Response<v1::DeleteScheduleResponse>, Status> {
        let request = request.into_inner();
        let (namespace, id) = request::schedule_ref(&request.namespace, &request.id)?;
        self.0.backend.delete_schedule(namespace, id).await?;
        Ok(Response::new(v1::DeleteScheduleResponse {}))
    }

    async fn trigger(
        &self,
        request: Request<v1::TriggerScheduleRequest>,
    ) -> Result<Response<v1::TriggerScheduleResponse>, Status> {
        let (namespace, id, task) = request::trigger(request.get_ref())?;
        let task = self.0.backend.trigger_schedule(namespace, id, task).await?;
        Ok(Response::new(v1::TriggerScheduleResponse { task_id: task.to_string() }))
    }

    async fn preview(
        &self,
        request: Request<v1::PreviewScheduleRequest>,
    ) -> Result<Response<v1::PreviewScheduleResponse>, Status> {
        let asked = request::preview(request.get_ref(), self.0.clock.now())?;
        let timing = match asked.subject {
            PreviewSubject::Rule(timing) => timing,
            PreviewSubject::Stored(namespace, id) => self.0.backend.get_schedule(namespace, id).await?.into(),
        };
        let instants = preview::instants(&timing, asked.after, asked.count)?;
        let instants = instants.into_iter().map(convert::timestamp).collect();
        Ok(Response::new(v1::PreviewScheduleResponse { instants, time_zone: timing.time_zone }))
    }
}
