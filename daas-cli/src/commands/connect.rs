//! `daas connect`: ask, wait, open, and leave nothing behind, however it ends.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::password;
use super::session::idempotency_key;
use crate::args::ConnectArgs;
use crate::client::Client;
use crate::exit::{Code, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::tell;
use crate::rdp::{RdpClient, Target};
use crate::wire::{Ask, Session};

/// How long the proof of destruction is waited for.
const DESTRUCTION: Duration = Duration::from_secs(120);
/// How long the answer to a request already sent is waited for after an interruption.
const ANSWER: Duration = Duration::from_secs(20);

/// How far the destruction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cleaned {
    /// Nothing is left, proved.
    Proved,
    /// The server goes on with it.
    Ordered,
}

/// How a connection ended.
enum End {
    /// The user closed the client.
    Closed,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Something failed.
    Failed(Failure),
}

pub(crate) async fn run(client: &Client, args: ConnectArgs) -> Outcome {
    let rdp = RdpClient::find(args.rdp_client.as_deref())?;
    let ask = Ask {
        template: template(client, args.template.as_deref()).await?,
        session_user: args.session_user.clone(),
        session_password: password(args.session_password_file.as_deref())?,
        ..Ask::default()
    };
    let mut interrupted = Interrupt::listen()?;
    let session = ask_for(client, &ask, &mut interrupted).await?;
    let id = session.id.clone();
    let end = tokio::select! {
        end = use_it(client, &args, &rdp, &id) => end,
        () = interrupted.pressed() => End::Interrupted,
    };
    if matches!(end, End::Closed) {
        count_down(args.countdown, &mut interrupted).await;
    }
    let cleaned = clean_up(client, &id, &mut interrupted).await;
    match (end, cleaned?) {
        (End::Failed(failure), _) => Err(failure),
        (_, Cleaned::Ordered) => Err(still_going(&id)),
        (End::Interrupted, Cleaned::Proved) => Err(interrupted_clean()),
        (End::Closed, Cleaned::Proved) => {
            tell("the desktop is gone");
            Ok(())
        }
    }
}

fn interrupted_clean() -> Failure {
    Failure::new(Code::Interrupted, "interrupted; nothing was left behind")
}

fn still_going(id: &str) -> Failure {
    Failure::new(Code::Interrupted, format!("interrupted; the server goes on removing {id}"))
        .hint(format!("`daas session show {id}` tells how far it is"))
}

/// The template named, or the only one there is.
async fn template(client: &Client, wished: Option<&str>) -> Outcome<String> {
    if let Some(name) = wished {
        return Ok(name.to_owned());
    }
    let templates = client.templates().await?;
    match templates.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => Err(Failure::new(Code::NotFound, "there is no template that you may use")
            .hint("ask whoever runs the server to allow you one")),
        many => {
            let names: Vec<_> = many.iter().map(|t| t.name.as_str()).collect();
            Err(Failure::new(Code::Usage, "name the template to use")
                .hint(format!("there are: {}", names.join(", "))))
        }
    }
}

/// Sends the wish. Once sent, its answer is waited for even when interrupted: a session of which we
/// do not know the id could not be cleaned up.
async fn ask_for(client: &Client, ask: &Ask, interrupted: &mut Interrupt) -> Outcome<Session> {
    let key = idempotency_key();
    let asked = client.ask(ask, &key);
    tokio::pin!(asked);
    tokio::select! {
        session = &mut asked => session,
        () = interrupted.pressed() => {
            let answer = tokio::time::timeout(ANSWER, asked).await;
            match answer {
                Ok(Ok(session)) => match clean_up(client, &session.id, interrupted).await? {
                    Cleaned::Proved => Err(interrupted_clean()),
                    Cleaned::Ordered => Err(still_going(&session.id)),
                },
                Ok(Err(failure)) => Err(failure),
                Err(_) => Err(Failure::new(
                    Code::LeftBehind,
                    "interrupted while the server had not answered: it may have made a session",
                )
                .hint("look with `daas session list`, remove with `daas session destroy ID`")),
            }
        }
    }
}

async fn use_it(client: &Client, args: &ConnectArgs, rdp: &RdpClient, id: &str) -> End {
    match wait_and_open(client, args, rdp, id).await {
        Ok(()) => End::Closed,
        Err(failure) => End::Failed(failure),
    }
}

async fn wait_and_open(client: &Client, args: &ConnectArgs, rdp: &RdpClient, id: &str) -> Outcome {
    let bar = Bar::new(id);
    let seen = |session: &Session| bar.show(session);
    let done = |session: &Session| session.is_ready() || session.is_over();
    let session = client.until(id, args.deadline, seen, done).await?;
    bar.end();
    if !session.is_ready() {
        let why = session.failure().unwrap_or(session.doing()).to_owned();
        return Err(Failure::new(Code::Failed, format!("the desktop did not become ready: {why}"))
            .hint(format!("tell whoever runs the server the session id {id}")));
    }
    let Some(address) = session.rdp_address() else {
        return Err(Failure::new(Code::Failed, "the desktop has a console only, no RDP")
            .hint("open its console in the hypervisor"));
    };
    let file = rdp_file(client, id).await?;
    let user = args.session_user.as_deref().or(session.session_user.as_deref());
    tell(&format!("{id} is ready at {address}; starting {}", rdp.name()));
    let by_hand = format!("connect by hand to {address} before the desktop ends");
    let mut child = rdp
        .start(&Target { file: file.path(), address: &address, user })
        .map_err(|failure| failure.hint(by_hand.clone()))?;
    let status = child
        .wait()
        .await
        .map_err(|e| Failure::new(Code::Failed, format!("{}: {e}", rdp.name())))?;
    if !status.success() {
        // Clients end with a code of their own also when their user signs out.
        tell(&format!("{} ended with {status}; the address was {address}", rdp.name()));
    }
    Ok(())
}

async fn rdp_file(client: &Client, id: &str) -> Outcome<tempfile::NamedTempFile> {
    use std::io::Write;
    let bytes = client.rdp_file(id).await?;
    let fail = |e: std::io::Error| Failure::new(Code::Failed, format!("temporary file: {e}"));
    let mut file =
        tempfile::Builder::new().prefix("daas-").suffix(".rdp").tempfile().map_err(fail)?;
    file.write_all(&bytes).map_err(fail)?;
    file.flush().map_err(fail)?;
    Ok(file)
}

async fn count_down(seconds: u64, interrupted: &mut Interrupt) {
    for left in (1..=seconds).rev() {
        tell(&format!("the desktop is destroyed in {left} s (Ctrl-C: now)"));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = interrupted.pressed() => return,
        }
    }
}

/// Destroys the session and waits for the proof, also through a restart of the server. A second
/// Ctrl-C stops the waiting, not the work.
async fn clean_up(client: &Client, id: &str, interrupted: &mut Interrupt) -> Outcome<Cleaned> {
    let left = |why: &dyn std::fmt::Display| {
        Failure::new(Code::LeftBehind, format!("{id} could not be destroyed: {why}"))
            .hint(format!("`daas session destroy {id}`, or tell whoever runs the server this id"))
    };
    let ordered = Cell::new(false);
    let destruction = async {
        client.patiently(async || client.destroy(id).await).await?;
        ordered.set(true);
        client.until(id, DESTRUCTION, |_| {}, Session::has_ended).await
    };
    tokio::select! {
        ended = tokio::time::timeout(DESTRUCTION, destruction) => match ended {
            Ok(Ok(_)) => Ok(Cleaned::Proved),
            Ok(Err(failure)) => Err(left(&failure)),
            Err(_) => {
                let within = humantime::format_duration(DESTRUCTION);
                Err(left(&format!("it was not proved gone within {within}")))
            }
        },
        () = interrupted.pressed() => match ordered.get() {
            true => Ok(Cleaned::Ordered),
            false => Err(left(&"interrupted before the server had answered")),
        },
    }
}

/// A progress bar with what is being done and an honest estimate: none while nothing is known.
struct Bar {
    bar: ProgressBar,
    begun: Instant,
}

impl Bar {
    fn new(id: &str) -> Self {
        let bar = ProgressBar::new(1000);
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(id.to_owned());
        Self { bar, begun: Instant::now() }
    }

    fn show(&self, session: &Session) {
        let left = session.estimate.as_ref().and_then(|e| e.ready_in_seconds);
        let elapsed = self.begun.elapsed().as_secs_f64();
        let estimate = match left {
            Some(left) => {
                let share = elapsed / (elapsed + left.max(0.5));
                self.bar.set_position((share * 1000.0) as u64);
                format!(", about {left:.0} s left")
            }
            None => String::new(),
        };
        self.bar.set_message(format!("{}: {}{estimate}", session.phase, session.doing()));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
