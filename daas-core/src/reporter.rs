//! The guest's half of [`crate::activity`]: a shell script under systemd that every configurator for
//! Linux installs. It stands here, beside the form of the reports it sends, so that there is one.

/// The script, for `/bin/sh`. It reads `DAAS_ACTIVITY_URL`, `DAAS_ACTIVITY_TOKEN_FILE`,
/// `DAAS_ACTIVITY_PERIOD_SECONDS` and, where it is set, `DAAS_ACTIVITY_CA_FILE`.
pub const SCRIPT: &str = include_str!("reporter.sh");

/// The systemd unit that runs it from `/usr/local/lib/daas/activity`, with the environment in
/// `/etc/daas/activity.env`.
pub const UNIT: &str = include_str!("reporter.service");
