//! Work outside of tokio on paused time: the clock is held while it is under way, for it would
//! otherwise leap to the next timer whenever everybody waits for a thread.

use std::future::Future;
use std::sync::{Arc, mpsc};

use async_trait::async_trait;

use crate::layer::{Answer, Call, Layer, Layered, StoreLayer, Work};
use crate::store::SessionStore;

/// Does `work` while tokio's paused clock stands still.
pub async fn in_real_time<T>(work: impl Future<Output = T>) -> T {
    // tokio never advances a paused clock while a blocking task runs.
    let (done, wait) = mpsc::channel::<()>();
    let held = tokio::task::spawn_blocking(move || {
        // The sender says nothing; its end, also by being dropped, is the signal.
        let _ = wait.recv();
    });
    let answer = work.await;
    drop(done);
    drop(held);
    answer
}

/// A store that waits for threads or disks, with the clock held during each of its calls.
#[derive(Debug)]
pub struct InRealTime(Arc<dyn SessionStore>);

impl InRealTime {
    /// `store`, with the clock held.
    pub fn around(store: Arc<dyn SessionStore>) -> Arc<dyn SessionStore> {
        Arc::new(Layered(Self(store)))
    }
}

#[async_trait]
impl Layer for InRealTime {
    async fn around<'a, T: Answer>(&self, _: Call, work: &Work<'a, T>) -> T {
        in_real_time(work()).await
    }
}

impl StoreLayer for InRealTime {
    fn below(&self) -> &dyn SessionStore {
        self.0.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_a_thread_works() {
        let before = tokio::time::Instant::now();
        let (done, wait) = tokio::sync::oneshot::channel();
        let (go, went) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            went.recv().expect("told to go");
            done.send(()).expect("somebody waits");
        });
        let work = tokio::time::timeout(Duration::from_secs(1), async {
            go.send(()).expect("the thread waits");
            wait.await
        });
        in_real_time(work).await.expect("in time").expect("answered");
        assert_eq!(before.elapsed(), Duration::ZERO);
        thread.join().expect("it ended well");
    }
}
