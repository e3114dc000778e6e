//! What can keep a deployment from starting.

use std::path::PathBuf;

/// Why a deployment does not start.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("configuration{}: {why}", file.as_ref().map(|f| format!(" {}", f.display())).unwrap_or_default())]
    Settings {
        /// The file it was read from.
        file: Option<PathBuf>,
        /// What is wrong.
        why: String,
    },
    /// A variable of the environment is wrong.
    #[error("environment variable {name} {why}")]
    Variable {
        /// Which.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A part of the system refused.
    #[error(transparent)]
    Core(#[from] daas_core::Error),
    /// The HTTP server could not be set up.
    #[error("{0}")]
    Http(String),
}

impl ComposeError {
    /// The error and its causes, for people.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and its causes, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let source = std::io::Error::other("the disk is full");
        let error = ComposeError::File { path: "/data".into(), source };
        assert_eq!(error.chain(), "cannot use /data: the disk is full");
    }
}
