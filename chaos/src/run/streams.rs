//! Between a worker and one server: the session's stream passes through, message by message, and
//! breaks at one that is lost, or hears a message twice that its rules let be repeated. The simulated
//! network does none of that by itself. It stands on the worker's node, so partitions strike behind
//! it, and it dies with the worker.
//!
//! A stream that breaks is one that both ends see broken. What was lost with it is known to one end
//! only: a worker has said what its server never heard, or a server has said (and committed, before
//! it said so) what the worker never heard. Nothing is lost from the middle of a stream that goes on.

use std::{net::SocketAddr, sync::Arc};

use escapement::edge::net;
use escapement_proto::v1::{
    ServerMessage, WorkerMessage, server_message, worker_message,
    worker_service_client::WorkerServiceClient,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::relay::Meddling;

/// Messages on their way, each way.
const UNDER_WAY: usize = 16;

type Down = mpsc::Sender<Result<ServerMessage, Status>>;

/// One worker's way to one server.
#[derive(Clone)]
pub(super) struct StreamRelay {
    endpoint: String,
    meddling: Arc<Meddling>,
}

impl StreamRelay {
    pub(super) fn new(endpoint: String, meddling: Arc<Meddling>) -> Self {
        Self { endpoint, meddling }
    }

    pub(super) async fn serve(self, listen: SocketAddr) {
        let server = tonic::transport::Server::builder().add_service(WorkerServiceServer::new(self));
        server.serve(listen).await.expect("the simulated network serves");
    }
}

#[tonic::async_trait]
impl WorkerService for StreamRelay {
    type SessionStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let channel = net::connect(&self.endpoint).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (up, reports) = mpsc::channel(UNDER_WAY);
        let (down, orders) = mpsc::channel(UNDER_WAY);
        let answer = WorkerServiceClient::new(channel).session(ReceiverStream::new(reports)).await?;
        let pass = pass(Arc::clone(&self.meddling), request.into_inner(), up, answer.into_inner(), down);
        tokio::spawn(pass);
        Ok(Response::new(ReceiverStream::new(orders)))
    }
}

/// Passes messages both ways until the stream ends or breaks. Whatever ends it drops both halves.
async fn pass(
    meddling: Arc<Meddling>,
    mut reports: Streaming<WorkerMessage>,
    up: mpsc::Sender<WorkerMessage>,
    mut orders: Streaming<ServerMessage>,
    down: Down,
) {
    let mut up = Some(up);
    loop {
        tokio::select! {
            biased;
            // The worker has let go of the stream.
            () = down.closed() => return,
            report = reports.message(), if up.is_some() => match report {
                Ok(Some(report)) => {
                    let sender = up.as_ref().expect("only asked while there is one");
                    if !pass_report(&meddling, report, sender).await {
                        return broken(&down).await;
                    }
                }
                // The worker has ended its half, and waits for the server's.
                Ok(None) => up = None,
                Err(_) => return,
            },
            order = orders.message() => match order {
                Ok(Some(order)) if meddling.loses_order(kind_of(&order)) => return broken(&down).await,
                Ok(Some(order)) => {
                    if down.send(Ok(order)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => return drop(down.send(Err(status)).await),
            },
        }
    }
}

async fn broken(down: &Down) {
    // The worker may have gone, too.
    let _ = down.send(Err(Status::unavailable("the stream broke"))).await;
}

/// Whether the stream still stands. The first message is never lost: a stream that does not open is
/// nothing new.
async fn pass_report(meddling: &Meddling, report: WorkerMessage, up: &mpsc::Sender<WorkerMessage>) -> bool {
    use worker_message::Message::{Completions, Grant, Hello, Progress};
    let opens = matches!(report.message, Some(Hello(_)));
    if !opens && meddling.loses_report() {
        return false;
    }
    let may_repeat = matches!(report.message, Some(Completions(_) | Grant(_) | Progress(_)));
    if may_repeat && meddling.repeats_report() && up.send(report.clone()).await.is_err() {
        return false;
    }
    up.send(report).await.is_ok()
}

/// The name under which the loss of a message is counted.
fn kind_of(order: &ServerMessage) -> &'static str {
    match &order.message {
        Some(server_message::Message::Assignments(_)) => "lost-assignment",
        Some(server_message::Message::Verdicts(_)) => "lost-verdict",
        _ => "lost-order",
    }
}
