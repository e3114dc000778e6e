//! What can be done that the log tells: a closed list.

use std::fmt;

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What was done, or tried.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Act {
            $($(#[$doc])* $name,)*
        }

        impl Act {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in the log, which never changes its meaning.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

acts! {
    /// A desktop was asked for.
    SessionCreate = "session-create",
    /// Its end was asked for.
    SessionDestroy = "session-destroy",
    /// Its power was to be taken.
    SessionStop = "session-stop",
    /// It was to get power.
    SessionStart = "session-start",
    /// It was to be restarted.
    SessionRestart = "session-restart",
    /// It got more time.
    SessionExtend = "session-extend",
    /// Several sessions at once; each has an entry of its own beside this one.
    SessionsBulk = "sessions-bulk",
    /// Something was asked of, or answered to, an operator about a session or a template.
    Request = "request",
    /// A console or a tunnel was opened.
    ConsoleOpen = "console-open",
    /// A console or a tunnel was ended by somebody else.
    ConsoleEnd = "console-end",
    /// A machine in quarantine was to end.
    QuarantineEnd = "quarantine-end",
    /// An API key was made.
    KeyCreate = "key-create",
    /// An API key was revoked.
    KeyRevoke = "key-revoke",
    /// Somebody signed in, or tried to.
    SignIn = "sign-in",
    /// Somebody signed out.
    SignOut = "sign-out",
    /// A sign-in was ended by its owner, elsewhere, or by an operator.
    SignInEnd = "sign-in-end",
    /// Somebody changed how they sign in: a second factor, a key of their own.
    AccountChange = "account-change",
    /// The audit log was read as a whole.
    AuditExport = "audit-export",
    /// A chain began.
    LogOpened = "log-opened",
    /// A chain ended as it should.
    LogClosed = "log-closed",
    /// Old entries are going to be removed; `links` names the last of each chain.
    LogPruned = "log-pruned",
    /// Results of acts could not be written and are not kept; `subject` is their number.
    LogLost = "log-lost",
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_acts_have_one_name() {
        let mut names: Vec<_> = Act::ALL.iter().map(|act| act.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Act::ALL.len());
        assert_eq!(Act::SessionCreate.to_string(), "session-create");
    }
}
