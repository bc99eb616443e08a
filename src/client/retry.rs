//! How a call is tried, and tried again.

use std::{error::Error as _, future::Future, time::Duration};

use escapement_engine::Monotonic;
use tonic::{Code, Response, Status, transport::Channel};

use super::{Client, ClientError};
use crate::{
    edge::net,
    error::{ApiError, Reason},
};

/// Wait after the first failure, before chance takes its part.
const BACKOFF_INITIAL: Duration = Duration::from_millis(100);
/// The longest wait of the client's own.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// An answer, with what had to be done for it.
pub(super) struct Answer<T> {
    pub(super) value: T,
}

/// One try that failed.
struct Failed {
    error: ApiError,
    /// What the status said; `None` when there was no connection.
    code: Option<Code>,
}

impl Client {
    /// Makes a call until it is answered, refused, or the deadline passes. The call must say
    /// the same thing however often it is said.
    pub(super) async fn call<T, F, Fut>(&self, attempt: F) -> Result<Answer<T>, ClientError>
    where
        F: FnMut(Channel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_or(|_, _| None, attempt).await
    }

    /// Like [`Client::call`], but asks `settle` whether an error is in truth the answer to an
    /// earlier try. `settle` is told whether an earlier try may have reached the server.
    pub(super) async fn call_or<T, F, Fut>(
        &self,
        settle: impl Fn(&ApiError, bool) -> Option<T>,
        mut attempt: F,
    ) -> Result<Answer<T>, ClientError>
    where
        F: FnMut(Channel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let give_up_at = self.shared.clock.monotonic().saturating_add(self.shared.deadline);
        let mut tries = 0;
        let mut may_have_arrived = false;
        loop {
            let failed = match self.try_once(give_up_at, &mut attempt).await {
                Ok(value) => return Ok(Answer { value }),
                Err(failed) => failed,
            };
            tries += 1;
            if let Some(value) = settle(&failed.error, may_have_arrived) {
                return Ok(Answer { value });
            }
            may_have_arrived |= failed.code.is_some();
            let left = give_up_at.since(self.shared.clock.monotonic());
            match self.wait_after(&failed, tries) {
                Some(wait) if wait < left => {
                    tracing::info!(error = %failed.error, ?wait, "trying again");
                    self.shared.clock.sleep(wait).await;
                }
                _ => return Err(ClientError::api(failed.error).after(tries, may_have_arrived)),
            }
        }
    }

    async fn try_once<T, F, Fut>(&self, give_up_at: Monotonic, attempt: &mut F) -> Result<T, Failed>
    where
        F: FnMut(Channel) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let left = give_up_at.since(self.shared.clock.monotonic());
        let once = async {
            let channel = self.channel().await?;
            match attempt(channel).await {
                Ok(response) => Ok(response.into_inner()),
                Err(status) => {
                    let failed = Failed::of(&status, &self.shared.endpoint);
                    if failed.error.reason == Reason::ServerUnreachable {
                        // The next try starts from a new connection.
                        *self.shared.channel.lock().await = None;
                    }
                    Err(failed)
                }
            }
        };
        tokio::select! {
            biased;
            answer = once => answer,
            () = self.shared.clock.sleep(left) => Err(self.out_of_time()),
        }
    }

    fn out_of_time(&self) -> Failed {
        let message = format!("no answer from `{}` within {:?}", self.shared.endpoint, self.shared.deadline);
        Failed { error: ApiError::new(Reason::DeadlineExceeded, message), code: Some(Code::DeadlineExceeded) }
    }

    /// The connection, made when there is none.
    async fn channel(&self) -> Result<Channel, Failed> {
        let mut channel = self.shared.channel.lock().await;
        if let Some(channel) = &*channel {
            return Ok(channel.clone());
        }
        let connected = net::connect(&self.shared.endpoint).await.map_err(|error| Failed {
            error: ApiError::new(Reason::ServerUnreachable, error.to_string()),
            code: None,
        })?;
        Ok(channel.insert(connected).clone())
    }

    /// How long to wait before the next try; `None` when no try could help.
    fn wait_after(&self, failed: &Failed, tries: u32) -> Option<Duration> {
        if !failed.is_passing() {
            return None;
        }
        let wait = backoff(tries, self.shared.rng.u32());
        Some(wait.max(failed.error.retry_after.unwrap_or_default()))
    }
}

impl Failed {
    fn of(status: &Status, endpoint: &str) -> Self {
        let mut error = ApiError::from_status(status);
        // A status with a source was made on this side: the transport broke, whatever code it chose.
        if status.source().is_some() && status.details().is_empty() {
            let mut text = status.message().to_owned();
            let mut source = status.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            error = ApiError::new(Reason::ServerUnreachable, format!("the connection to `{endpoint}` broke: {text}"));
        }
        Self { error, code: Some(status.code()) }
    }

    fn is_passing(&self) -> bool {
        match self.error.reason {
            // A full disk stays full.
            Reason::StorageFull => false,
            Reason::ServerUnreachable | Reason::OutcomeUnknown => true,
            _ => matches!(self.code, None | Some(Code::Unavailable | Code::ResourceExhausted | Code::Aborted)),
        }
    }
}

/// 100 ms, doubled up to 5 s; chance takes off up to half, so that clients that failed
/// together do not come back together.
fn backoff(tries: u32, random: u32) -> Duration {
    let doubled = BACKOFF_INITIAL.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    doubled - doubled.mul_f64(0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap_and_chance_takes_off_at_most_half() {
        let check = |tries, random, ms: u128| assert_eq!(backoff(tries, random).as_millis(), ms, "{tries} {random}");
        check(1, 0, 100);
        check(1, u32::MAX, 50);
        check(2, 0, 200);
        check(6, 0, 3200);
        check(7, 0, 5000);
        check(u32::MAX, u32::MAX, 2500);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let check = |status: Status, expect| {
            assert_eq!(Failed::of(&status, "http://h:1").is_passing(), expect, "{status:?}");
        };
        let api = |reason| Status::from(ApiError::new(reason, "text"));
        check(Status::unavailable("x"), true);
        check(Status::resource_exhausted("x"), true);
        check(Status::aborted("x"), true);
        check(api(Reason::Overloaded), true);
        check(api(Reason::NotOwner), true);
        check(api(Reason::OutcomeUnknown), true);
        check(api(Reason::StorageFull), false);
        check(api(Reason::InvalidArgument), false);
        check(api(Reason::TaskNotFound), false);
        check(Status::internal("x"), false);
        check(Status::deadline_exceeded("x"), false);
        check(Status::unimplemented("x"), false);
    }

    #[test]
    fn a_broken_connection_is_told_as_one_whatever_code_it_carries() {
        let status = Status::from_error(Box::new(std::io::Error::other("reset")));
        let failed = Failed::of(&status, "http://h:1");
        assert_eq!(failed.error.reason, Reason::ServerUnreachable);
        assert!(failed.error.message.contains("http://h:1") && failed.error.message.contains("reset"));
    }
}
