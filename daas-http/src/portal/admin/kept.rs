//! What was seen last, shown at once with its age; a look that is due goes on behind the page.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// What is older is looked at anew when somebody asks.
const FRESH: Duration = Duration::from_secs(10);

/// A value that takes long to get.
#[derive(Debug)]
pub(crate) struct Kept<T>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    last: Option<(Instant, T)>,
    looking: bool,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { last: None, looking: false })))
    }
}

impl<T: Clone + Send + 'static> Kept<T> {
    fn state(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen last and how long ago; has `look` done, by somebody else, if that is old.
    pub(crate) fn get(
        &self,
        tasks: &TaskTracker,
        look: impl Future<Output = T> + Send + 'static,
    ) -> Option<(Duration, T)> {
        let mut state = Self::state(&self.0);
        let last = state.last.clone().map(|(at, value)| (at.elapsed(), value));
        if !state.looking && last.as_ref().is_none_or(|(age, _)| *age >= FRESH) {
            state.looking = true;
            let looking = Looking(Arc::clone(&self.0));
            tasks.spawn(async move {
                let value = look.await;
                Self::state(&looking.0).last = Some((Instant::now(), value));
            });
        }
        last
    }
}

/// Ends the look, however it ends.
struct Looking<T>(Arc<Mutex<State<T>>>);

impl<T> Drop for Looking<T> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).looking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_and_one_looks_at_a_time() {
        let (kept, tasks) = (Kept::<u32>::default(), TaskTracker::new());
        let look = |value: u32| async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            value
        };
        assert_eq!(kept.get(&tasks, look(1)), None);
        assert_eq!(kept.get(&tasks, look(2)), None, "the first still looks");
        tasks.close();
        tasks.wait().await;
        assert_eq!(kept.get(&tasks, look(3)).map(|(_, value)| value), Some(1));
        tokio::time::advance(FRESH).await;
        let (age, value) = kept.get(&tasks, look(4)).expect("it is shown though it is old");
        assert_eq!((age >= FRESH, value), (true, 1));
        tasks.wait().await;
        assert_eq!(kept.get(&tasks, look(5)).map(|(_, value)| value), Some(4));
    }
}
