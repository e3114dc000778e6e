//! The configurator: a playbook for each stage, and the computer account of a guest that joins.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use daas_core::configurator::{
    Account, Applied, Configurator, ConfiguratorExtras, EffectInventory, GuestContext, Stage,
};
use daas_core::directory::{AccountEffects, COMPUTER_ACCOUNT, ComputerAccounts};
use daas_core::ids::BackendName;
use daas_core::ledger::Effect;
use daas_core::progress::Progress;
use daas_core::{Error, Kind, Operation, Result};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::command::{self, Ended, Playbook};
use crate::config::{AnsibleConfig, AnsibleProfile, Join, Play};
use crate::error::AnsibleError;
use crate::events::{PLUGIN, PLUGIN_NAME, Recap, Secrets, Told};
use crate::run_dir::RunDir;
use crate::shipped::{self, Written};
use crate::yaml::{Texts, document};
use crate::{host_keys, inventory};

/// The file that holds the password for one join while it is needed.
const JOIN_FILE: &str = "join.yml";

/// Configures guests by `ansible-playbook`.
#[derive(Debug)]
pub struct AnsibleConfigurator {
    config: AnsibleConfig,
    directory: Option<Arc<dyn ComputerAccounts>>,
    /// Set once the program has been found to be new enough.
    checked: OnceCell<()>,
}

/// What a run needs beside its directory.
struct Work<'a> {
    guest: &'a GuestContext,
    stage: &'a Stage,
    at: SocketAddr,
    profile: &'a AnsibleProfile,
    play: &'a Play,
    progress: &'a Progress,
}

/// The files of a run.
struct Files {
    shipped: Written,
    inventory: PathBuf,
    variables: Vec<PathBuf>,
    playbook: PathBuf,
}

impl AnsibleConfigurator {
    /// A configurator with these settings; `directory` is where profiles that join a domain have
    /// their computer accounts.
    ///
    /// # Errors
    /// `Invalid`: a setting cannot be meant, a playbook is not there, or a profile joins a domain
    /// without a directory. Whether Ansible is there is found out when it is first needed.
    pub fn new(
        config: AnsibleConfig,
        directory: Option<Arc<dyn ComputerAccounts>>,
    ) -> Result<Self> {
        let checked = config.check(directory.is_some());
        checked.map_err(|e| e.while_doing(Operation::Start, &config.name))?;
        Ok(Self { config, directory, checked: OnceCell::new() })
    }

    fn profile(&self, guest: &GuestContext) -> Result<AnsibleProfile, AnsibleError> {
        let name = guest.template.profile.as_deref().unwrap_or(shipped::DEFAULT);
        let own = self.config.profiles.get(name).cloned();
        let built_in = || (name == shipped::DEFAULT).then(shipped::profile);
        own.or_else(built_in).ok_or_else(|| {
            let mut known: Vec<&str> = self.config.profiles.keys().map(String::as_str).collect();
            if !known.contains(&shipped::DEFAULT) {
                known.push(shipped::DEFAULT);
            }
            AnsibleError::NoProfile { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// The directory of a profile that joins; `new` and `effects` have refused one without.
    /// Whether the program can be run and is new enough. Changes nothing.
    ///
    /// # Errors
    /// What is amiss, with the way out.
    pub async fn check(&self) -> Result<()> {
        let checked = command::check_version(&self.config).await;
        checked.map_err(|e| e.while_doing(Operation::Check, &self.config.name))
    }

    fn directory(&self) -> Result<&Arc<dyn ComputerAccounts>, AnsibleError> {
        self.directory.as_ref().ok_or_else(|| AnsibleError::Setting {
            what: "profiles".to_owned(),
            why: "one joins a domain, but no directory is configured".to_owned(),
        })
    }

    fn try_effects(&self, guest: &GuestContext) -> Result<Vec<Effect>, AnsibleError> {
        if self.profile(guest)?.join.is_none() {
            return Ok(Vec::new());
        }
        let key = self.directory()?.account(&guest.session);
        let (configurator, kind) = (self.config.name.clone(), COMPUTER_ACCOUNT.to_owned());
        Ok(vec![Effect { configurator, kind, key }])
    }

    async fn try_apply(
        &self,
        guest: &GuestContext,
        stage: &Stage,
        progress: &Progress,
    ) -> Result<Applied, AnsibleError> {
        let profile = self.profile(guest)?;
        if let Stage::Assign { account: Some(Account { user, .. }), .. } = stage
            && *user == guest.template.admin_user
        {
            return Err(AnsibleError::Administrator { user: user.clone() });
        }
        let address = guest.address.ok_or(AnsibleError::NoAddress)?;
        self.checked.get_or_try_init(|| command::check_version(&self.config)).await?;
        let at = SocketAddr::new(address, guest.template.ports.ssh);
        progress.tell("waiting for the guest", None);
        let pinned = guest.host_key.as_deref();
        let host_key = host_keys::learn(at, pinned, self.config.connect_deadline).await?;
        let play = match stage {
            Stage::Prepare => &profile.prepare,
            Stage::Assign { .. } => &profile.assign,
        };
        let mut applied = match play {
            Some(play) => {
                play.check()?;
                let work = Work { guest, stage, at, profile: &profile, play, progress };
                let mut run = RunDir::open(&self.config.run_directory, &guest.session).await?;
                let ran = self.run(&mut run, &work, &host_key.known_hosts(at)).await;
                // Ended also after a failure, and a failure to end it must not hide the other.
                match (ran, run.end().await) {
                    (Ok(applied), Ok(())) => applied,
                    (Err(error), _) | (Ok(_), Err(error)) => return Err(error),
                }
            }
            None => Applied::default(),
        };
        applied.facts.host_key = Some(host_key.fingerprint);
        Ok(applied)
    }

    /// Runs the stage's playbook, and once more its part that joins, when it asks for that.
    async fn run(
        &self,
        run: &mut RunDir,
        work: &Work<'_>,
        known_hosts: &str,
    ) -> Result<Applied, AnsibleError> {
        let files = self.files(run, work, known_hosts)?;
        let secrets = inventory::secrets(work.guest, work.stage);
        let first = self.play(run, work, &files, work.play, secrets.clone()).await?;
        let mut applied =
            Applied { changed: first.0.changed, warnings: first.1, ..Applied::default() };
        let mut said = first.0.said;
        if let (Stage::Prepare, Some(join)) = (work.stage, &work.profile.join) {
            let playbook = files.playbook.display().to_string();
            match said.get("daas_joined") {
                Some(Value::Bool(true)) => {}
                Some(Value::Bool(false)) => {
                    let (recap, warnings) = self.join(run, work, files, join, secrets).await?;
                    if recap.said.get("daas_joined") != Some(&Value::Bool(true)) {
                        return Err(AnsibleError::NotJoined { playbook });
                    }
                    applied.changed += recap.changed;
                    applied.warnings.extend(warnings);
                    said.extend(recap.said);
                }
                _ => return Err(AnsibleError::JoinUnsaid { playbook }),
            }
        }
        let certificate = said.get("daas_rdp_certificate").and_then(Value::as_str);
        let is_sum = |text: &&str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        applied.facts.rdp_certificate = certificate.filter(is_sum).map(str::to_lowercase);
        Ok(applied)
    }

    /// Makes the computer account, and hands its password to the tasks that join. Only now: an
    /// account that gets a new password puts a guest out of the domain that has joined already.
    async fn join(
        &self,
        run: &mut RunDir,
        work: &Work<'_>,
        mut files: Files,
        join: &Join,
        mut secrets: Secrets,
    ) -> Result<(Recap, Vec<String>), AnsibleError> {
        work.progress.tell("making the computer account", None);
        let password = self.directory()?.stage(&work.guest.session).await?;
        secrets.add(password.expose());
        let password = password.expose();
        let variables = json!({ "daas_join_password": password, "daas_join_ready": true });
        files.variables.push(run.write(JOIN_FILE, &document(&variables, Texts::Plain))?);
        let play = Play { tags: join.tags.clone(), ..work.play.clone() };
        let ran = self.play(run, work, &files, &play, secrets).await;
        run.remove(JOIN_FILE)?;
        ran
    }

    /// Runs a playbook; how it ended, with its warnings.
    async fn play(
        &self,
        run: &mut RunDir,
        work: &Work<'_>,
        files: &Files,
        play: &Play,
        secrets: Secrets,
    ) -> Result<(Recap, Vec<String>), AnsibleError> {
        let playbook = Playbook {
            playbook: &files.playbook,
            tags: &play.tags,
            skip_tags: &play.skip_tags,
            inventory: &files.inventory,
            variables: &files.variables,
            roles: &files.shipped.roles,
        };
        let mut told = Told::new(secrets.clone());
        let ended = command::play(&self.config, run, &playbook, &mut told, work.progress).await?;
        if !ended.stderr.is_empty() {
            let stderr = secrets.scrub(&ended.stderr);
            tracing::debug!(session = %work.guest.session, stderr, "ansible-playbook complained");
        }
        judge(told, &ended, &secrets, work, &files.playbook.display().to_string())
    }

    fn files(
        &self,
        run: &RunDir,
        work: &Work<'_>,
        known_hosts: &str,
    ) -> Result<Files, AnsibleError> {
        let shipped = shipped::write(run)?;
        run.write(&format!("plugins/{PLUGIN_NAME}.py"), PLUGIN)?;
        run.write("ansible.cfg", "")?;
        let known_hosts = run.write("known_hosts", known_hosts)?;
        let hosts = inventory::inventory(&self.config, work.guest, work.at, &known_hosts);
        let (script, unit) = &shipped.reporter;
        let join = work.profile.join.as_ref();
        let session = inventory::variables(work.guest, work.stage, join, (script, unit));
        let operator = Value::Object(work.profile.variables.clone());
        let playbook = work.play.playbook.clone().unwrap_or_else(|| shipped.playbook.clone());
        Ok(Files {
            inventory: run.write("inventory.yml", &document(&hosts, Texts::Plain))?,
            variables: vec![
                run.write("operator.yml", &document(&operator, Texts::Templates))?,
                run.write("session.yml", &document(&session, Texts::Plain))?,
            ],
            shipped,
            playbook,
        })
    }
}

/// Tells a success from the failures.
fn judge(
    told: Told,
    ended: &Ended,
    secrets: &Secrets,
    work: &Work<'_>,
    playbook: &str,
) -> Result<(Recap, Vec<String>), AnsibleError> {
    let at = work.at.to_string();
    let passing = match told.recap {
        Some(recap) if ended.status.success() && !recap.failed => {
            return Ok((recap, told.warnings));
        }
        Some(recap) => recap.said.get("daas_try_again") == Some(&Value::Bool(true)),
        None => false,
    };
    if let Some(why) = told.unreachable {
        let user = work.guest.template.admin_user.clone();
        return Err(if why.contains("Permission denied") {
            AnsibleError::Refused { at, user, why }
        } else {
            AnsibleError::Unreachable { at, why }
        });
    }
    if let Some((task, why)) = told.failed {
        if let Some(closed) = AnsibleError::of_vault(&why) {
            return Err(closed);
        }
        return Err(AnsibleError::Task { task, why, passing });
    }
    let stderr = secrets.scrub(&ended.stderr);
    if let Some(closed) = AnsibleError::of_vault(&stderr) {
        return Err(closed);
    }
    let (playbook, exit) = (playbook.to_owned(), ended.status.to_string());
    let killed = ended.status.code().is_none();
    Err(AnsibleError::NotRun { playbook, exit, stderr, killed })
}

#[async_trait]
impl Configurator for AnsibleConfigurator {
    fn name(&self) -> &BackendName {
        &self.config.name
    }

    fn effects(&self, guest: &GuestContext) -> Result<Vec<Effect>> {
        let told = self.try_effects(guest);
        told.map_err(|e| e.while_doing(Operation::Configure, &guest.session))
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
        let Effect { kind, key, .. } = effect;
        let failed = |kind, why| Err(Error::new(kind, Operation::Retract, &guest.session, why));
        match &self.directory {
            _ if kind != COMPUTER_ACCOUNT => {
                failed(Kind::Internal, format!("{kind} {key} was not caused by this configurator"))
            }
            Some(directory) => directory.remove(key).await,
            None => failed(
                Kind::Unavailable,
                format!("{key} is in a directory, but none is configured; configure it again"),
            ),
        }
    }

    fn extras(&self) -> ConfiguratorExtras {
        let accounts = self.directory.as_ref().map(|directory| {
            let (name, directory) = (self.config.name.clone(), Arc::clone(directory));
            Arc::new(AccountEffects::new(name, directory)) as Arc<dyn EffectInventory>
        });
        ConfiguratorExtras { effects: accounts }
    }
}
