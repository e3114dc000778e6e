//! What can keep a deployment from starting.

use std::path::PathBuf;

/// Why a deployment does not start.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
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
