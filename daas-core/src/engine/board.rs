//! The board: what is being done for whom at this moment. In memory only; the record is the truth.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::ids::SessionId;

/// The last word on a session in hand.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Notice {
    /// What is being done, or waited for.
    pub what: String,
    /// How much of this step is done, 0 to 1, when it can be told.
    pub fraction: Option<f32>,
    /// Since when.
    pub at: Timestamp,
}

/// Notices by session.
#[derive(Debug)]
pub struct Board {
    notices: Mutex<HashMap<SessionId, Notice>>,
    changes: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { notices: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Board {
    /// The last word on `id`.
    pub fn notice(&self, id: &SessionId) -> Option<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Counts the changes, so that readers can wait for the next.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn put(&self, id: &SessionId, notice: Notice) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let news =
            notices.get(id).is_none_or(|n| n.what != notice.what || n.fraction != notice.fraction);
        if news {
            notices.insert(id.clone(), notice);
            drop(notices);
            self.changes.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn clear(&self, id: &SessionId) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}
