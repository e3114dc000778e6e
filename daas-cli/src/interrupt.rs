//! Ctrl-C, and the ends that a service manager or a closing terminal ask for.
//!
//! Whoever has something to clean up listens before making it, and asks [`Interrupt::pressed`]
//! beside its work.

use crate::exit::{Code, Failure, Outcome};

/// The wish of this program's user that it ends.
pub(crate) struct Interrupt {
    #[cfg(unix)]
    signals: Vec<tokio::signal::unix::Signal>,
}

impl Interrupt {
    /// Listens from now on: a wish that comes before anybody asks is kept.
    #[cfg(unix)]
    pub(crate) fn listen() -> Outcome<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        // `nohup` means that the terminal's end is none of ours.
        if !ignores(SignalKind::hangup().as_raw_value()) {
            kinds.push(SignalKind::hangup());
        }
        let signals = kinds.into_iter().map(signal).collect::<Result<_, _>>();
        let failed = |e| Failure::new(Code::Failed, format!("cannot listen for signals: {e}"));
        Ok(Self { signals: signals.map_err(failed)? })
    }

    /// Listens from now on: a wish that comes before anybody asks is kept.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> Outcome<Self> {
        Ok(Self {})
    }

    /// Waits for the next wish to end.
    #[cfg(unix)]
    pub(crate) async fn pressed(&mut self) {
        let waits = self.signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(waits).await;
    }

    /// Waits for the next wish to end.
    #[cfg(not(unix))]
    pub(crate) async fn pressed(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Whether this process was started with a signal ignored; where nobody tells, it was not.
#[cfg(unix)]
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
