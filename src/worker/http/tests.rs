//! The handler against a server of a few lines, which answers each connection as told.

use std::{net::SocketAddr, sync::Arc};

use escapement_engine::{TaskId, Timestamp, Token, name::QueueName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    edge::SystemClock,
    worker::{CancelCause, Payload, TaskInfo, TestAttempt},
};

fn context(payload: Payload) -> (Context, TestAttempt) {
    let info = TaskInfo {
        task_id: TaskId::from_bytes([7; 16]),
        token: Token(42),
        queue: QueueName::new("http").unwrap(),
        payload,
        attempt: 3,
        max_attempts: 5,
        due: Timestamp::from_unix_ms(0),
        attempt_timeout: None,
        deadline: None,
        occurrence: None,
    };
    Context::for_test(info, Arc::new(SystemClock::new()))
}

/// Answers one request with these bytes, and gives what it was asked.
async fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, JoinHandle<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = request(&mut stream).await;
        // The client may have read enough before the end.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        String::from_utf8(asked).unwrap()
    });
    (address, asked)
}

async fn request(stream: &mut TcpStream) -> Vec<u8> {
    let mut asked = Vec::new();
    while !is_whole(&asked) {
        assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0, "the request broke off");
    }
    asked
}

fn is_whole(asked: &[u8]) -> bool {
    let text = String::from_utf8_lossy(asked);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |digits| digits.parse().unwrap())
}

/// Fails the test instead of letting it hang.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("did not happen within 20 s")
}

async fn post(address: SocketAddr) -> Result<Output, TaskFailure> {
    let (ctx, _attempt) = context(Payload::text("hello"));
    HttpHandler::fixed(&format!("http://{address}/hook")).unwrap().run(ctx).await
}

async fn answered(answer: &str) -> Result<Output, TaskFailure> {
    let (address, asked) = server(answer).await;
    let outcome = post(address).await;
    asked.await.unwrap();
    outcome
}

#[tokio::test]
async fn the_receiver_can_tell_attempts_apart_and_tasks_together() {
    let (address, asked) =
        server("HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}").await;
    let output = post(address).await.unwrap();
    assert_eq!(output, Output::json("{}"));
    let asked = asked.await.unwrap();
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "hello");
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("host")).skip(1).collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r"
    accept: */*
    content-length: 5
    content-type: text/plain; charset=utf-8
    escapement-attempt: 3
    escapement-task-id: 07070707-0707-0707-0707-070707070707
    escapement-token: 42
    idempotency-key: 07070707-0707-0707-0707-070707070707
    user-agent: escapement/0.1.0
    ");
}

#[tokio::test]
async fn a_task_can_name_url_headers_and_a_binary_body() {
    let (address, asked) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    let request = HttpRequest {
        headers: [("X-Colour".to_owned(), "green".to_owned())].into(),
        body_base64: Some("AGJpbmFyeQ==".to_owned()),
        ..HttpRequest::new(format!("http://{address}/a?b=c"))
    };
    let (ctx, _attempt) = context(request.to_payload());
    let handler = HttpHandler::per_task().unwrap().allow_hosts([address.to_string()]);
    assert_eq!(handler.run(ctx).await, Ok(Output::empty()));
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /a?b=c HTTP/1.1\r\n") && asked.contains("x-colour: green\r\n"), "{asked}");
    assert!(asked.ends_with("\0binary") && asked.contains("content-type: application/octet-stream"), "{asked}");
}

#[tokio::test]
async fn a_host_that_is_not_allowed_is_not_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ctx, _attempt) = context(HttpRequest::new(format!("http://{address}/")).to_payload());
    let handler = HttpHandler::per_task().unwrap().allow_hosts(["hooks.example.org"]);
    let failure = soon(handler.run(ctx)).await.unwrap_err();
    assert!(failure.non_retryable);
    assert_eq!(
        failure.to_string(),
        format!("host-refused: url: host `{address}` is not one of those that this worker may post to")
    );
    assert!(listener.accept().now_or_never().is_none());
}

#[tokio::test]
async fn the_status_decides_over_another_attempt() {
    let check = async |status: &str, kind: &str, non_retryable: bool, retry_after: Option<u64>| {
        let answer = format!(
            "HTTP/1.1 {status}\r\nretry-after: 7\r\nlocation: http://127.0.0.1:1/\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nwhy"
        );
        let failure = answered(&answer).await.unwrap_err();
        assert_eq!((failure.kind.as_ref(), failure.non_retryable), (kind, non_retryable));
        assert_eq!(failure.retry_after, retry_after.map(Duration::from_secs), "{status}");
        assert_eq!(failure.message.as_ref(), format!("the server answered {status}"));
        assert_eq!(failure.details, Some(Box::new(Payload::new("why", "text/plain"))), "{status}");
    };
    check("429 Too Many Requests", "http-429", false, Some(7)).await;
    check("503 Service Unavailable", "http-503", false, Some(7)).await;
    check("500 Internal Server Error", "http-500", false, None).await;
    check("408 Request Timeout", "http-408", false, None).await;
    check("425 Too Early", "http-425", false, None).await;
    check("404 Not Found", "http-404", true, None).await;
    check("302 Found", "http-302", true, None).await;
}

#[tokio::test]
async fn of_an_endless_answer_the_beginning_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endless = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // Until the reader hangs up.
        while stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
    });
    let output = soon(post(address)).await.unwrap();
    assert_eq!((output.0.data.len(), output.0.truncated), (RESPONSE_BYTES_MAX, true));
    soon(endless).await.unwrap();

    // One that just fits is whole.
    let fits = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {0}\r\n\r\n{1}",
        RESPONSE_BYTES_MAX,
        "x".repeat(RESPONSE_BYTES_MAX)
    );
    let output = answered(&fits).await.unwrap();
    assert_eq!((output.0.data.len(), output.0.truncated), (RESPONSE_BYTES_MAX, false));
}

#[tokio::test]
async fn no_whole_answer_is_worth_another_attempt() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = post(closed).await.unwrap_err();
    assert_eq!((failure.kind.as_ref(), failure.non_retryable), ("http-transport", false));
    assert!(!failure.message.contains("/hook"), "a URL may hold a secret: {failure}");
    let failure = answered("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap_err();
    assert_eq!((failure.kind.as_ref(), failure.non_retryable), ("http-transport", false));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let request = HttpRequest { timeout_ms: Some(20), ..HttpRequest::new(&url) };
    let (ctx, _attempt) = context(request.to_payload());
    let failure = soon(HttpHandler::per_task().unwrap().run(ctx)).await.unwrap_err();
    assert_eq!(failure.to_string(), "http-timeout: no whole answer within timeout_ms = 20");
    assert!(!failure.non_retryable);

    let (ctx, attempt) = context(HttpRequest::new(&url).to_payload());
    attempt.cancel(CancelCause::Cancelled);
    let failure = soon(HttpHandler::per_task().unwrap().run(ctx)).await.unwrap_err();
    assert_eq!(failure.to_string(), "stopped: the request was given up, since the task was cancelled");
}

#[test]
fn a_fixed_url_is_checked_when_the_handler_is_made() {
    let error = HttpHandler::fixed("ftp://example.org/").unwrap_err();
    assert_eq!(error.to_string(), "url: `ftp://example.org/` is refused: the scheme is `ftp`; it is http or https");
}
