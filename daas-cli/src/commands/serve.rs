//! `daas serve` and `daas doctor`.

use std::path::{Path, PathBuf};

use daas_compose::{Deployment, Settings};
use daas_core::provisioner::{Finding, FindingState};
use tokio_util::sync::CancellationToken;

use crate::args::ServeArgs;
use crate::exit::{Code, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::{Output, tell};

const DEFAULT_FILE: &str = "/etc/daas/daas.toml";

/// The settings that the arguments name.
pub(crate) fn settings(args: &ServeArgs) -> Outcome<Settings> {
    let default = Path::new(DEFAULT_FILE);
    let file: Option<PathBuf> =
        args.config.clone().or_else(|| default.exists().then(|| default.to_owned()));
    let mut variables = std::env::vars_os().map(|(name, _)| name);
    if file.is_none() && !variables.any(|name| name.to_string_lossy().starts_with("DAAS__")) {
        let why = format!("there is no configuration: {DEFAULT_FILE} does not exist");
        return Err(Failure::new(Code::Usage, why)
            .hint("name a file with --config; `daas demo` needs none"));
    }
    Settings::read(file.as_deref()).map_err(|e| Failure::new(Code::Usage, e.chain()))
}

pub(crate) async fn serve(args: &ServeArgs) -> Outcome {
    let settings = settings(args)?;
    daas_compose::log_to_stderr(&settings.log);
    let mut interrupt = Interrupt::listen()?;
    let deployment = Deployment::open(settings).await.map_err(compose)?;
    for line in deployment.greeting() {
        tell(&line);
    }
    let stop = CancellationToken::new();
    let signal = stop.clone();
    tokio::spawn(async move {
        interrupt.pressed().await;
        signal.cancel();
    });
    deployment.run(stop).await.map_err(compose)
}

pub(crate) async fn doctor(output: Output, args: &ServeArgs) -> Outcome {
    let settings = settings(args)?;
    let findings = daas_compose::examine(settings).await;
    let rows = findings.iter().map(|f| {
        let state = match f.state {
            FindingState::Good => "good",
            FindingState::Warning => "look at it",
            FindingState::Bad => "BAD",
        };
        vec![state.to_owned(), f.what.clone(), f.detail.clone()]
    });
    output.rows(&findings, &["state", "what", "detail"], rows)?;
    let bad = |f: &&Finding| f.state == FindingState::Bad;
    match findings.iter().filter(bad).count() {
        0 => Ok(()),
        count => Err(Failure::new(Code::Failed, format!("{count} things will not work"))),
    }
}

pub(crate) fn compose(error: daas_compose::ComposeError) -> Failure {
    Failure::new(Code::Failed, error.chain())
}
