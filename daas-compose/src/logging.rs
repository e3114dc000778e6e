//! Where logs go: standard error, as JSON or for people.

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Writes logs to standard error from now on. A second call changes nothing.
pub fn log_to_stderr(settings: &LogSettings) {
    let filter = EnvFilter::try_from_env("DAAS_LOG")
        .or_else(|_| EnvFilter::try_new(&settings.level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An embedding program may have set up its own logging: that one stays.
    let _ = match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
