//! How a server begins, tells about itself, and ends.

use std::time::Duration;

use escapement_proto::v1;

use super::{
    Server,
    services::{id, submit, with_id},
};
use crate::{
    api::ApiLimits,
    edge::grpc::{BindErrorKind, Drained, Listener},
    error::ApiError,
};

#[tokio::test]
async fn health_and_reflection_answer() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = Server::start(ApiLimits::default()).await;
    for service in ["", "escapement.v1.TaskService", "escapement.v1.WorkerService"] {
        let request = HealthCheckRequest { service: service.into() };
        let health = HealthClient::new(server.channel()).check(request).await.unwrap().into_inner();
        assert_eq!(health.status, 1, "{service} serves");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::once(request);
    let answer = ServerReflectionClient::new(server.channel()).server_reflection_info(requests).await.unwrap();
    let answer = answer.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    names.sort();
    insta::assert_debug_snapshot!(names, @r#"
    [
        "escapement.v1.AdminService",
        "escapement.v1.ScheduleService",
        "escapement.v1.TaskService",
        "escapement.v1.WorkerService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ]
    "#);
}

#[tokio::test]
async fn a_port_in_use_is_told_with_its_address() {
    let server = Server::start(ApiLimits::default()).await;
    let error = Listener::bind(server.address).await.unwrap_err();
    assert_eq!((error.kind, error.address), (BindErrorKind::InUse, server.address));
    let port = server.address.port().to_string();
    let report = ApiError::from(error).report().to_string();
    insta::assert_snapshot!(report.replace(&port, "PORT"), @r"
    error[ADDRESS_IN_USE]: cannot listen on 127.0.0.1:PORT: another process is listening there
    what to do: Stop the process that listens there, or choose another address; port 0 takes any free port.
    ");
    let nowhere = Listener::bind("192.0.2.1:0".parse().unwrap()).await.unwrap_err();
    assert_eq!(nowhere.kind, BindErrorKind::NotOurs);
}

#[tokio::test]
async fn a_server_told_to_stop_finishes_open_calls_first() {
    let mut server = Server::start(ApiLimits::default()).await;
    let mut tasks = server.tasks();
    tasks.submit(submit(with_id(1, "mail"))).await.unwrap();
    let watch = v1::WatchTaskRequest { namespace: String::new(), id: id(1) };
    let mut events = tasks.watch(watch).await.unwrap().into_inner();
    server.signal_stop();
    let mut count = 0;
    while events.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 4);
    drop((events, tasks));
    assert_eq!(server.ended().await, Drained::Complete);
}

#[tokio::test]
async fn a_server_told_to_stop_does_not_wait_for_ever() {
    use escapement_proto::v1::worker_service_client::WorkerServiceClient;
    let mut server = Server::start_with_drain(ApiLimits::default(), Duration::ZERO).await;
    let mut worker = WorkerServiceClient::new(server.channel());
    let session = worker.session(tokio_stream::pending()).await.unwrap();
    server.signal_stop();
    assert_eq!(server.ended().await, Drained::LeftOpen);
    drop(session);
}
