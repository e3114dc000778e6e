//! `daas session` and `daas template`.

use std::time::Duration;

use super::password;
use super::watch::watch;
use crate::args::{LifetimeArg, SessionCommand, TemplateCommand};
use crate::client::Client;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{Output, tell};
use crate::wire::{Ask, Session};

/// How long `--wait` waits.
pub(super) const WAIT: Duration = Duration::from_secs(30 * 60);

pub(crate) async fn run(client: &Client, output: Output, command: SessionCommand) -> Outcome {
    match command {
        SessionCommand::Create {
            template,
            label,
            session_user,
            session_password_file,
            lifetime,
            wait,
        } => {
            let ask = Ask {
                template,
                label,
                session_user,
                session_password: password(session_password_file.as_deref())?,
                lifetime: lifetime.map(|lifetime| {
                    match lifetime {
                        LifetimeArg::Ephemeral => "ephemeral",
                        LifetimeArg::Personal => "personal",
                    }
                    .to_owned()
                }),
            };
            create(client, output, &ask, wait).await
        }
        SessionCommand::List { all, phase, template } => {
            let mut query = vec![("limit", "200".to_owned())];
            if !all {
                query.push(("live", "true".to_owned()));
            }
            query.extend(phase.map(|phase| ("phase", phase)));
            query.extend(template.map(|template| ("template", template)));
            output.sessions(&client.sessions(&query).await?)
        }
        SessionCommand::Show { id } => output.session(&client.session(&id).await?),
        SessionCommand::Watch { id } => watch(client, output, &id).await,
        SessionCommand::Extend { id, by } => output.session(&client.extend(&id, by).await?),
        SessionCommand::Stop { id } => output.session(&client.act(&id, "stop").await?),
        SessionCommand::Start { id } => output.session(&client.act(&id, "start").await?),
        SessionCommand::Restart { id } => output.session(&client.act(&id, "restart").await?),
        SessionCommand::Destroy { id, wait } => {
            let mut session = client.destroy(&id).await?;
            if wait {
                session = client.until(&id, WAIT, |_| {}, Session::has_ended).await?;
            } else if !session.has_ended() {
                tell("it is going to be destroyed; --wait waits for the proof");
            }
            output.session(&session)
        }
    }
}

pub(crate) async fn templates(
    client: &Client,
    output: Output,
    command: &TemplateCommand,
) -> Outcome {
    match command {
        TemplateCommand::List => output.templates(&client.templates().await?),
    }
}

async fn create(client: &Client, output: Output, ask: &Ask, wait: bool) -> Outcome {
    let mut session = client.ask(ask, &idempotency_key()).await?;
    if wait {
        let id = session.id.clone();
        let mut last = String::new();
        let seen = |session: &Session| {
            let line = format!("{}: {}", session.phase, session.doing());
            if line != last {
                tell(&line);
                last = line;
            }
        };
        session = client.until(&id, WAIT, seen, |s| s.is_ready() || s.is_over()).await?;
        if !session.is_ready() {
            let why = session.failure().unwrap_or(&session.reason).to_owned();
            return Err(Failure::new(Code::Failed, format!("{id} did not become ready: {why}")));
        }
    }
    output.session(&session)
}

/// A key that makes the same wish, sent twice, one wish.
pub(crate) fn idempotency_key() -> String {
    daas_core::secret::random_token().expose().clone()
}
