//! The wish of the operator that this process end.

/// Resolves at the first SIGTERM or SIGINT (in the simulator: at the node's ctrl-c). When
/// the signals cannot be listened for, it never resolves and says so once in the log.
///
/// From the first call on, these signals no longer end the process by themselves.
pub async fn shutdown_signal() {
    if let Err(error) = wait().await {
        tracing::error!(%error, "cannot listen for SIGTERM and SIGINT");
        std::future::pending::<()>().await;
    }
}

#[cfg(not(madsim))]
async fn wait() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(madsim)]
async fn wait() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
