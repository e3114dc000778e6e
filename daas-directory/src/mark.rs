//! The mark: what makes an account ours, written in the account itself.
//!
//! It is the attribute `description`, for three reasons. Who creates a computer may write it by
//! Active Directory's own rules (the default security descriptor of the class grants it to the
//! creator), so that an account that may only make computers can mark them. The computer itself may
//! not write it, so that a guest cannot shed the mark. And every tool of administrators shows it.

use daas_core::ids::{DeploymentId, SessionId};

/// The attribute that holds it.
pub(crate) const ATTRIBUTE: &str = "description";
/// What the mark begins with.
const PREFIX: &str = "daas-mark:";

/// The mark of a session's account.
pub(crate) fn of(deployment: &DeploymentId, session: &SessionId) -> String {
    format!("{}{session}", of_all(deployment))
}

/// What all marks of a deployment begin with.
pub(crate) fn of_all(deployment: &DeploymentId) -> String {
    format!("{PREFIX} {deployment} ")
}

/// The session in a mark of this deployment, if it is a whole one.
pub(crate) fn session_in(description: &str, deployment: &DeploymentId) -> Option<SessionId> {
    SessionId::new(description.strip_prefix(&of_all(deployment))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_core::ids::SessionPrefix;

    #[test]
    fn only_a_whole_mark_of_ours_is_one() {
        let (ours, theirs) = (DeploymentId::mint(), DeploymentId::mint());
        let session = SessionId::mint(&SessionPrefix::default());
        let mark = of(&ours, &session);
        assert_eq!(session_in(&mark, &ours), Some(session.clone()));
        assert_eq!(session_in(&mark, &theirs), None);
        for text in [String::new(), of_all(&ours), format!("{mark} (kept)"), format!(" {mark}")] {
            assert_eq!(session_in(&text, &ours), None, "{text:?}");
        }
    }
}
