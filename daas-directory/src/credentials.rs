//! Keeps a wrong password from locking our own account: many sessions may want to bind at once, and
//! Active Directory locks an account after a handful of wrong tries.

use std::time::Duration;

use daas_core::secret::Secret;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::{DirectoryError, Settings};

/// For how long a refused password is not presented again.
const REFUSAL_PAUSE: Duration = Duration::from_secs(300);

/// What is known of the password.
#[derive(Debug, Default)]
enum Known {
    /// Nothing yet: one at a time finds out.
    #[default]
    Nothing,
    /// It was taken.
    Good(Secret<String>),
    /// It was refused, and when.
    Bad(Secret<String>, Instant),
}

/// The gate every bind goes through.
#[derive(Debug, Default)]
pub(crate) struct Credentials(Mutex<Known>);

impl Credentials {
    /// Binds by `bind`, unless this password was refused lately. A password that was never taken
    /// is presented by one caller at a time; the others wait and learn from it.
    pub(crate) async fn present(
        &self,
        of: &'static Settings,
        user: &str,
        password: &Secret<String>,
        bind: impl AsyncFnOnce() -> Result<(), DirectoryError>,
    ) -> Result<(), DirectoryError> {
        let mut known = self.0.lock().await;
        match &*known {
            Known::Good(good) if good == password => {
                drop(known);
                let bound = bind().await;
                if matches!(bound, Err(DirectoryError::Refused { .. })) {
                    *self.0.lock().await = Known::Bad(password.clone(), Instant::now());
                }
                return bound;
            }
            Known::Bad(bad, at) if bad == password && at.elapsed() < REFUSAL_PAUSE => {
                let ago = Duration::from_secs(at.elapsed().as_secs());
                return Err(DirectoryError::Held {
                    of,
                    user: user.to_owned(),
                    ago,
                    pause: REFUSAL_PAUSE - ago,
                });
            }
            _ => {}
        }
        let bound = bind().await;
        match &bound {
            Ok(()) => *known = Known::Good(password.clone()),
            Err(DirectoryError::Refused { .. }) => {
                *known = Known::Bad(password.clone(), Instant::now());
            }
            Err(_) => {}
        }
        bound
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::error::COMPUTERS;

    fn refused() -> DirectoryError {
        DirectoryError::refused(&COMPUTERS, "ldaps://dc1", "svc", "")
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_present_a_wrong_password_once() {
        let (gate, tries) = (Credentials::default(), AtomicU32::new(0));
        let password = Secret::from("wrong");
        let bind = async || {
            tries.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err(refused())
        };
        let all = (0..20).map(|_| gate.present(&COMPUTERS, "svc", &password, bind));
        let all = futures::future::join_all(all).await;
        assert_eq!(tries.load(Ordering::SeqCst), 1);
        assert!(all.iter().all(Result::is_err));
        let held = |error: &Result<(), _>| matches!(error, Err(DirectoryError::Held { .. }));
        assert_eq!(all.iter().filter(|error| held(error)).count(), 19);

        // Another password is another matter; the same one waits.
        let other = gate.present(&COMPUTERS, "svc", &Secret::from("right"), async || Ok(())).await;
        assert!(other.is_ok());
        assert!(gate.present(&COMPUTERS, "svc", &password, bind).await.is_err());
        assert_eq!(tries.load(Ordering::SeqCst), 2);
        tokio::time::advance(REFUSAL_PAUSE + Duration::from_secs(1)).await;
        assert!(gate.present(&COMPUTERS, "svc", &password, bind).await.is_err());
        assert_eq!(tries.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_good_password_is_presented_by_many_at_once() {
        let gate = Credentials::default();
        let password = Secret::from("right");
        assert!(gate.present(&COMPUTERS, "svc", &password, async || Ok(())).await.is_ok());
        let both = tokio::sync::Barrier::new(2);
        let bind = async || {
            both.wait().await;
            Ok(())
        };
        let (a, b) = tokio::join!(
            gate.present(&COMPUTERS, "svc", &password, bind),
            gate.present(&COMPUTERS, "svc", &password, bind)
        );
        assert!(a.is_ok() && b.is_ok());
    }
}
