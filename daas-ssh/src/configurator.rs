//! The configurator: the steps of a stage as one script over one connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use daas_core::configurator::{
    Account, Applied, Configurator, ConfiguratorExtras, GuestContext, Stage,
};
use daas_core::ids::BackendName;
use daas_core::ledger::Effect;
use daas_core::progress::Progress;
use daas_core::{Error, Kind, Operation, Result};
use russh::keys::PrivateKey;

use crate::builtin;
use crate::config::SshConfig;
use crate::connection::{Connection, Destination};
use crate::error::SshError;
use crate::follower::Follower;
use crate::keys;
use crate::profile::{Action, Profile, Step, When};
use crate::reporter;
use crate::script::{quote, script};

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
            known.extend(builtin::NAMES);
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
        if let Stage::Assign { account: Some(Account { user, .. }), .. } = stage
            && *user == guest.template.admin_user
        {
            return Err(SshError::Administrator { user: user.clone() });
        }
        let address = guest.address.ok_or(SshError::NoAddress)?;
        let destination = Destination {
            at: SocketAddr::new(address, guest.template.ports.ssh),
            user: guest.template.admin_user.clone(),
            pinned: guest.host_key.clone(),
            connect_deadline: self.config.connect_deadline,
            refusal_grace: self.config.refusal_grace,
        };
        progress.tell("waiting for the guest", None);
        let connection = Connection::open(&destination, Arc::clone(&self.key)).await?;
        let ran = self.run(&connection, guest, &steps, secrets(guest, stage), progress).await;
        let host_key = Some(connection.host_key.clone());
        connection.close().await;
        let mut applied = ran?;
        applied.facts.host_key = host_key;
        Ok(applied)
    }

    /// Runs the script; answers what it changed and found.
    async fn run(
        &self,
        connection: &Connection,
        guest: &GuestContext,
        steps: &[Step],
        secrets: Vec<String>,
        progress: &Progress,
    ) -> Result<Applied, SshError> {
        let shell = if guest.template.admin_user == ROOT { "sh -s" } else { "sudo -n sh -s" };
        let deadline = self.config.step_deadline;
        let mut follower = Follower::new(steps, secrets, progress, deadline);
        let exit = connection.run(shell, &script(steps), &mut follower, deadline).await?;
        follower.end(exit)
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

    /// Nothing: it causes no effects outside the guests, so there are none to list.
    fn extras(&self) -> ConfiguratorExtras {
        ConfiguratorExtras::default()
    }
}

/// What no error may hold.
fn secrets(guest: &GuestContext, stage: &Stage) -> Vec<String> {
    let token = guest.activity.iter().map(|target| target.token.expose().to_owned());
    let hash = match stage {
        Stage::Assign { account: Some(account), .. } => account.password_hash.clone(),
        _ => None,
    };
    token.chain(hash.map(|hash| hash.0)).collect()
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
    let fill_by = |text: &str, form: fn(&str) -> String| {
        let mut text = text.to_owned();
        for name in ["session", "user", "password_hash", "keyboard", "locale"] {
            let placeholder = format!("{{{name}}}");
            if text.contains(&placeholder) {
                text = text.replace(&placeholder, &form(values.get(name)?));
            }
        }
        Some(text)
    };
    let fill = |text: &str| fill_by(text, str::to_owned);
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
        Action::Command { run, check } => {
            Action::Command { run: fill_by(run, quote)?, check: fill_by(check, quote)? }
        }
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
            Action::Packages { packages } if !packages.iter().all(|name| is_package(name)) => {
                return bad("a package's name is not one of Debian's");
            }
            Action::Command { run, check } if (run.clone() + check).contains("{password_hash}") => {
                return bad("a command may not hold {password_hash}; use do = \"user\"");
            }
            Action::Service { unit, .. } if unit.is_empty() || unit.contains('/') => {
                return bad("the unit's name is not one of systemd's");
            }
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

/// Debian's policy for names of packages.
fn is_package(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b"+-.".contains(&b))
}
