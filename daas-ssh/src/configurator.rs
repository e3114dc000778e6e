//! The configurator: the steps of a stage as one script over one connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use daas_core::configurator::{Account, Applied, Configurator, GuestContext, GuestFacts, Stage};
use daas_core::ids::BackendName;
use daas_core::ledger::Effect;
use daas_core::progress::Progress;
use daas_core::{Error, Kind, Operation, Result};
use russh::keys::PrivateKey;

use crate::builtin;
use crate::config::SshConfig;
use crate::connection::{Connection, Destination, Follow, Output};
use crate::error::SshError;
use crate::keys;
use crate::profile::{Action, Profile, Step, When};
use crate::reporter;
use crate::script::{MARK, script};

/// How much of a step's complaints is kept, in bytes.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// The account that needs no sudo.
const ROOT: &str = "root";

/// Configures guests over SSH.
pub struct SshConfigurator {
    config: SshConfig,
    key: Arc<PrivateKey>,
    public_key: String,
}

impl std::fmt::Debug for SshConfigurator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshConfigurator").field("config", &self.config).finish_non_exhaustive()
    }
}

impl SshConfigurator {
    /// A configurator with these settings; makes the key file if it is not there.
    pub fn new(config: SshConfig) -> Result<Self> {
        let failed = |e: SshError| e.while_doing(Operation::Start, &config.name);
        let key = keys::load_or_make(&config.key_file).map_err(failed)?;
        let public_key = keys::public(&key).map_err(failed)?;
        for (name, profile) in &config.profiles {
            check(name, profile).map_err(failed)?;
        }
        Ok(Self { config, key, public_key })
    }

    /// The public key that guests must know, in OpenSSH's one-line form.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    fn profile(&self, guest: &GuestContext) -> Result<Profile, SshError> {
        let name = guest.template.profile.as_deref().unwrap_or(builtin::DEFAULT);
        let own = self.config.profiles.get(name).cloned();
        own.or_else(|| builtin::profile(name)).ok_or_else(|| {
            let mut known: Vec<&str> = self.config.profiles.keys().map(String::as_str).collect();
            known.extend(["linux-desktop", "linux-base"]);
            SshError::NoProfile { name: name.to_owned(), known: known.join(", ") }
        })
    }

    async fn try_apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> Result<Applied, SshError> {
        let steps = steps(&self.profile(guest)?, guest, stage);
        let address = guest.address.ok_or(SshError::NoAddress)?;
        let user = guest.template.admin_user.clone();
        let destination = Destination {
            at: SocketAddr::new(address, guest.template.ports.ssh),
            user: user.clone(),
            pinned: guest.host_key.clone(),
            connect_deadline: self.config.connect_deadline,
            refusal_grace: self.config.refusal_grace,
        };
        progress.tell("waiting for the guest", None);
        let connection = Connection::open(&destination, Arc::clone(&self.key)).await?;
        let facts =
            GuestFacts { host_key: Some(connection.host_key.clone()), ..Default::default() };
        let changed = self.run(&connection, &steps, &user, progress).await;
        connection.close().await;
        Ok(Applied { changed: changed?, warnings: Vec::new(), facts })
    }

    /// Runs the script; answers how many steps changed something.
    async fn run(
        &self,
        connection: &Connection,
        steps: &[Step],
        user: &str,
        progress: &Progress,
    ) -> Result<u32, SshError> {
        let shell = if user == ROOT { "sh -s" } else { "sudo -n sh -s" };
        let text = script(steps);
        let deadline = self.config.step_deadline;
        let mut follower = Follower::new(steps, progress, deadline);
        connection.run(shell, &text, &mut follower, deadline).await?;
        follower.end()
    }
}

#[async_trait]
impl Configurator for SshConfigurator {
    fn name(&self) -> &BackendName {
        &self.config.name
    }

    fn effects(&self, guest: &GuestContext) -> Result<Vec<Effect>> {
        // Nothing outside the guest; but a profile that does not exist is found out here, early.
        let profile = self.profile(guest);
        profile.map(|_| Vec::new()).map_err(|e| e.while_doing(Operation::Configure, &guest.session))
    }

    async fn apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> Result<Applied> {
        let applied = self.try_apply(guest, stage, progress).await;
        applied.map_err(|e| e.while_doing(Operation::Configure, &guest.session))
    }

    async fn retract(&self, guest: &GuestContext, effect: &Effect) -> Result<()> {
        let why = format!("{} {} was not caused by this configurator", effect.kind, effect.key);
        Err(Error::new(Kind::Internal, Operation::Retract, &guest.session, why))
    }
}

/// The steps of this stage, their placeholders filled; those that need what this session has not
/// are left out.
fn steps(profile: &Profile, guest: &GuestContext, stage: &Stage) -> Vec<Step> {
    let (when, account) = match stage {
        Stage::Prepare => (When::Prepare, None),
        Stage::Assign { account, .. } => (When::Assign, account.as_ref()),
    };
    let mut values = HashMap::from([("session", guest.session.to_string())]);
    let template = &guest.template;
    values.extend(template.keyboard.clone().map(|keyboard| ("keyboard", keyboard)));
    values.extend(template.locale.clone().map(|locale| ("locale", locale)));
    if let Some(Account { user, password_hash }) = account {
        values.insert("user", user.clone());
        values.extend(password_hash.clone().map(|hash| ("password_hash", hash.0)));
    }
    let mut steps: Vec<Step> = profile
        .steps
        .iter()
        .filter(|step| step.when == when)
        .filter_map(|step| {
            let action = filled(&step.action, &values)?;
            Some(Step { action, ..step.clone() })
        })
        .collect();
    if when == When::Prepare
        && profile.reporter
        && let Some(target) = &guest.activity
    {
        steps.extend(reporter::steps(target));
    }
    steps
}

/// The action with its placeholders filled; `None` when one has no value.
fn filled(action: &Action, values: &HashMap<&str, String>) -> Option<Action> {
    let fill = |text: &str| {
        let mut text = text.to_owned();
        for name in ["session", "user", "password_hash", "keyboard", "locale"] {
            let placeholder = format!("{{{name}}}");
            if text.contains(&placeholder) {
                text = text.replace(&placeholder, values.get(name)?);
            }
        }
        Some(text)
    };
    let fill_all = |texts: &[String]| texts.iter().map(|t| fill(t)).collect::<Option<Vec<_>>>();
    Some(match action {
        Action::Packages { packages } => Action::Packages { packages: fill_all(packages)? },
        Action::File { path, content, mode, owner } => Action::File {
            path: fill(path)?,
            content: fill(content)?,
            mode: mode.clone(),
            owner: fill(owner)?,
        },
        Action::User { user, groups, password_hash } => Action::User {
            user: fill(user)?,
            groups: fill_all(groups)?,
            password_hash: match password_hash {
                Some(hash) => Some(fill(hash)?),
                None => None,
            },
        },
        Action::Command { run, check } => Action::Command { run: fill(run)?, check: fill(check)? },
        Action::Service { unit, restart_on } => {
            Action::Service { unit: fill(unit)?, restart_on: fill_all(restart_on)? }
        }
    })
}

fn check(name: &str, profile: &Profile) -> Result<(), SshError> {
    for step in &profile.steps {
        let bad = |why: &str| {
            Err(SshError::BadStep {
                profile: name.to_owned(),
                step: step.name.clone(),
                why: why.to_owned(),
            })
        };
        match &step.action {
            Action::Packages { packages } if packages.is_empty() => return bad("names no package"),
            Action::File { path, .. } if !path.starts_with('/') => {
                return bad("the path is not absolute");
            }
            Action::File { mode, .. }
                if mode.is_empty() || !mode.bytes().all(|b| (b'0'..=b'7').contains(&b)) =>
            {
                return bad("the mode is not octal");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Follows a running script by its marks.
struct Follower<'a> {
    steps: &'a [Step],
    progress: &'a Progress,
    deadline: Duration,
    out: Vec<u8>,
    err: Vec<u8>,
    at: usize,
    changed: u32,
    failed: Option<u32>,
    ended: bool,
}

impl<'a> Follower<'a> {
    fn new(steps: &'a [Step], progress: &'a Progress, deadline: Duration) -> Self {
        Self {
            steps,
            progress,
            deadline,
            out: Vec::new(),
            err: Vec::new(),
            at: 0,
            changed: 0,
            failed: None,
            ended: false,
        }
    }

    fn mark(&mut self, line: &str) -> Option<Duration> {
        let mut words = line.strip_prefix(MARK)?.split_whitespace();
        let word = words.next()?;
        let number = words.next().and_then(|n| n.parse::<usize>().ok());
        match (word, number) {
            ("begin", Some(at)) => {
                self.at = at;
                let step = self.steps.get(at)?;
                let share = at as f32 / self.steps.len().max(1) as f32;
                self.progress.tell(&step.name, Some(share));
                return Some(step.deadline.unwrap_or(self.deadline));
            }
            ("done", Some(_)) => self.changed += 1,
            ("fail", Some(_)) => {
                self.failed = Some(words.next().and_then(|e| e.parse().ok()).unwrap_or(255));
            }
            ("end", None) => self.ended = true,
            _ => {}
        }
        None
    }

    fn step(&self) -> String {
        self.steps.get(self.at).map_or_else(|| "?".to_owned(), |step| step.name.clone())
    }

    /// What the step at hand complained of.
    fn stderr(&self) -> String {
        let text = String::from_utf8_lossy(&self.err);
        let own = text.rsplit_once(&format!("{MARK} begin {}", self.at)).map_or(&*text, |(_, t)| t);
        let own = own.trim();
        let start = own.len().saturating_sub(STDERR_BYTES_MAX);
        let start = (start..own.len()).find(|i| own.is_char_boundary(*i)).unwrap_or(own.len());
        own[start..].to_owned()
    }

    fn end(self) -> Result<u32, SshError> {
        match self.failed {
            Some(exit) => Err(SshError::Step { step: self.step(), exit, stderr: self.stderr() }),
            None if self.ended => Ok(self.changed),
            None => Err(SshError::NotRun { stderr: self.stderr() }),
        }
    }
}

impl Follow for Follower<'_> {
    fn hear(&mut self, output: Output) -> Result<Option<Duration>, SshError> {
        match output {
            Output::Err(bytes) => {
                self.err.extend_from_slice(&bytes);
                let excess = self.err.len().saturating_sub(4 * STDERR_BYTES_MAX);
                self.err.drain(..excess);
                Ok(None)
            }
            Output::Exit(_) => Ok(None),
            Output::Out(bytes) => {
                self.out.extend_from_slice(&bytes);
                let mut patience = None;
                while let Some(end) = self.out.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = self.out.drain(..=end).collect();
                    patience = self.mark(String::from_utf8_lossy(&line).trim()).or(patience);
                }
                if self.out.len() > STDERR_BYTES_MAX {
                    return Err(SshError::NotRun { stderr: "it answers without end".to_owned() });
                }
                Ok(patience)
            }
        }
    }

    fn slow(&self) -> SshError {
        let deadline = self.steps.get(self.at).and_then(|step| step.deadline);
        SshError::Slow { step: self.step(), within: deadline.unwrap_or(self.deadline) }
    }
}
