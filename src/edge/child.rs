//! The end of a child process, seen before it is reaped.

use std::io;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::signal::Children;

/// Resolves once the child has ended, and leaves it a zombie: until somebody waits for it, neither
/// its id nor that of its process group can become another's.
///
/// # Errors
/// It is no child of this process, was reaped already, or signals cannot be listened for.
pub(crate) async fn ended(child: Pid) -> io::Result<()> {
    // Listens before it looks, so that no end falls between.
    let mut news = Children::listen()?;
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(child), how)?.is_none() {
        news.next().await;
    }
    Ok(())
}
