//! `escapement.v1.AdminService`.

use escapement_proto::v1::{self, admin_service_server::AdminService};
use tonic::{Request, Response, Status};

use super::{Api, Backend, convert};

/// Tells how the server does.
#[derive(Debug)]
pub struct AdminServiceImpl<B>(Api<B>);

impl<B: Backend> AdminServiceImpl<B> {
    pub(super) fn new(api: Api<B>) -> Self {
        Self(api)
    }
}

#[tonic::async_trait]
impl<B: Backend> AdminService for AdminServiceImpl<B> {
    async fn status(&self, _request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let view = self.0.backend.status().await?;
        Ok(Response::new(convert::status(view, self.0.clock.now())))
    }
}
