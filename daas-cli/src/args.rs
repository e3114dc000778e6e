//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Desktops on demand: ask for one, use it, and it is gone.
///
/// Settings of the client come from flags, then the environment (DAAS_SERVER, DAAS_KEY_FILE,
/// DAAS_CA_FILE), then ~/.config/daas/client.toml.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 denied, 5 unavailable, 6 over quota,
/// 7 not possible now, 8 a session was left behind, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "daas", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How the server is reached.
#[derive(Debug, Clone, Default, Args)]
#[command(
    next_help_heading = "The server that connect, session, template, quarantine and inventory ask"
)]
pub(crate) struct ClientArgs {
    /// The server's address [default: http://127.0.0.1:5000]
    #[arg(long, global = true, env = "DAAS_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// A file with the API key. (A key on the command line would be seen by everybody.)
    #[arg(long, global = true, env = "DAAS_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The certificate (authority) to trust, in PEM [default: the system's]
    #[arg(long, global = true, env = "DAAS_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for a desktop, open it, and destroy it when it is closed
    Connect(ConnectArgs),
    /// Work with sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Work with templates
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Show and end machines that have our mark and no record
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Print the desktops there are as an inventory for Ansible
    Inventory(InventoryArgs),
    /// Work with API keys of the deployment on this machine
    #[command(subcommand)]
    Key(KeyCommand),
    /// Export and verify the log of who did what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Work with people whom the server knows by itself
    #[command(subcommand)]
    User(UserCommand),
    /// Run the server
    Serve(ServeArgs),
    /// Run everything on this machine: a simulated cluster, the server, and one desktop
    Demo(DemoArgs),
    /// Check configuration, TLS, permissions, templates and storage, and say what to mend
    Doctor(ServeArgs),
    /// Measure
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print the completions of a shell
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the whole log, a JSON object a line, from the server or from the store
    Export {
        /// Read the store of this machine's deployment instead of asking the server.
        #[arg(long)]
        offline: bool,
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// Check that nothing was changed, added or taken away
    ///
    /// Reads the store of this machine's deployment, or a file that `audit export` wrote. Exit code 1:
    /// the log is not as it was written.
    Verify {
        /// An exported file; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The public key of the signatures; may be given more than once
        /// [default: the deployment's own, or for a file the one it names]
        #[arg(long, value_name = "KEY", value_parser = audit_key)]
        key: Vec<daas_core::audit::PublicKey>,
        /// A head that was kept elsewhere and must be in the log: writer:number:hash
        #[arg(long, value_name = "HEAD", value_parser = audit_head)]
        expect: Vec<daas_core::audit::Head>,
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// Print the log's newest entry as writer:number:hash, to be kept elsewhere
    Head {
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// Print the public key of the log's signatures
    Key {
        #[command(flatten)]
        serve: ServeArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Hash a password for [identity.users.NAME] of the configuration
    Hash {
        /// A file with the password; `-` reads a line from standard input.
        #[arg(long, value_name = "FILE", default_value = "-")]
        password_file: PathBuf,
    },
    /// Take away the second factor of somebody who has lost it, in the store on this machine
    ResetSecondFactor {
        /// Whose: `name@realm` or `REALM\name`
        owner: String,
        #[command(flatten)]
        serve: ServeArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The template [default: the only one there is]
    pub(crate) template: Option<String>,
    /// The local account to make in the desktop
    #[arg(long, value_name = "NAME")]
    pub(crate) session_user: Option<String>,
    /// A file with that account's password; `-` reads a line from standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) session_password_file: Option<PathBuf>,
    /// The RDP client to start, with `{file}` for the .rdp file, `{address}` and `{user}`
    /// [default: the first found of mstsc, xfreerdp3, xfreerdp, wlfreerdp, remmina, Windows App]
    #[arg(long, env = "DAAS_RDP_CLIENT", value_name = "COMMAND")]
    pub(crate) rdp_client: Option<String>,
    /// Seconds between the client's end and the desktop's
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) countdown: u64,
    /// Give up when the desktop is not ready by then
    #[arg(long, default_value = "15m", value_parser = duration, value_name = "DURATION")]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Ask for a session and print it
    Create {
        /// The template.
        template: String,
        /// What you call it.
        #[arg(long)]
        label: Option<String>,
        /// The local account to make in the desktop.
        #[arg(long, value_name = "NAME")]
        session_user: Option<String>,
        /// A file with that account's password; `-` reads a line from standard input
        #[arg(long, value_name = "FILE")]
        session_password_file: Option<PathBuf>,
        /// Whether it outlives its use [default: as the template says]
        #[arg(long)]
        lifetime: Option<LifetimeArg>,
        /// Wait until it is ready.
        #[arg(long)]
        wait: bool,
    },
    /// List sessions
    List {
        /// Also those that have ended.
        #[arg(long)]
        all: bool,
        /// Only those in this phase.
        #[arg(long)]
        phase: Option<String>,
        /// Only those of this template.
        #[arg(long)]
        template: Option<String>,
    },
    /// Show one session
    Show {
        /// The session's id.
        #[arg(value_parser = session_id)]
        id: String,
    },
    /// Follow a session's events until it ends
    Watch {
        /// The session's id.
        #[arg(value_parser = session_id)]
        id: String,
    },
    /// Grant more time
    Extend {
        /// The session's id.
        #[arg(value_parser = session_id)]
        id: String,
        /// How much more.
        #[arg(default_value = "30m", value_parser = duration)]
        by: Duration,
    },
    /// Take a personal session's power
    Stop {
        /// The session's id.
        #[arg(value_parser = session_id)]
        id: String,
    },
    /// Give a session power
    Start {
        /// The session's id.
        #[arg(value_parser = session_id)]
        id: String,
    },
    /// Restart a session
    Restart {
        /// The session's id.
        #[arg(value_parser = session_id)]
        id: String,
    },
    /// Destroy a session
    Destroy {
        /// The session's id.
        #[arg(value_parser = session_id)]
        id: String,
        /// Wait for the proof that nothing is left.
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LifetimeArg {
    /// Gone when its user has left.
    Ephemeral,
    /// Kept until deleted.
    Personal,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// List the templates you may use
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List what the last comparison with the hypervisors found
    List,
    /// End the machine in quarantine whose mark names this session
    Destroy {
        /// The session's id.
        #[arg(value_parser = session_id)]
        id: String,
        /// Wait for the proof that nothing is left.
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct InventoryArgs {
    /// All hosts, by group
    #[arg(long, group = "what")]
    pub(crate) list: bool,
    /// The variables of one host
    #[arg(long, group = "what", value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Also the machine of the Terraform state in this directory, by its outputs vm_name and vm_ip
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) terraform_dir: Vec<PathBuf>,
    /// The program that reads it
    #[arg(long, default_value = "terraform", value_name = "PROGRAM")]
    pub(crate) terraform: PathBuf,
    /// Not the server's sessions
    #[arg(long)]
    pub(crate) no_sessions: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it, once
    Add {
        /// The key's name.
        name: String,
        /// For whom it speaks: `name@realm`, `REALM\name`, or a name in the deployment's own realm
        #[arg(long)]
        owner: String,
        /// What it may do.
        #[arg(long, default_value = "user")]
        role: RoleArg,
        /// In which organisation.
        #[arg(long, default_value = "default")]
        organisation: String,
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// List the keys
    List {
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// Revoke a key
    Revoke {
        /// The key's name.
        name: String,
        #[command(flatten)]
        serve: ServeArgs,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleArg {
    /// Their own sessions.
    User,
    /// Everybody's sessions.
    Operator,
    /// Everything.
    Admin,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file [default: /etc/daas/daas.toml if it is there]
    #[arg(long, short, env = "DAAS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The port of the server on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 5000)]
    pub(crate) port: u16,
    /// How quick the simulated hypervisor is: 1 as a small real cluster, 0 takes no time
    #[arg(long, default_value_t = 0.25, value_parser = factor, allow_negative_numbers = true)]
    pub(crate) scale: f64,
    /// End after the desktop was ready, instead of at Ctrl-C
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Many desktops asked for at once, through HTTP, on a simulated cluster of its own
    Herd(HerdArgs),
}

#[derive(Debug, Args)]
pub(crate) struct HerdArgs {
    /// How many desktops.
    #[arg(long, short = 'n', default_value_t = 100, value_parser = some)]
    pub(crate) sessions: usize,
    /// How many desktops are made and destroyed before, all at once, for the estimate to learn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) warm_up: usize,
    /// How many are asked for at once; the next is asked for when one is ready [default: all]
    #[arg(long, value_name = "N", value_parser = some)]
    pub(crate) at_once: Option<usize>,
    /// Hypervisor durations: 1 as a small real cluster, 0 takes no time
    #[arg(long, default_value_t = 1.0, value_parser = factor, allow_negative_numbers = true)]
    pub(crate) scale: f64,
    /// What configures the guests
    #[arg(long, default_value = "fake")]
    pub(crate) configurator: BenchConfigurator,
    /// Nodes of the simulated cluster.
    #[arg(long, default_value_t = 4, value_parser = some)]
    pub(crate) nodes: usize,
    /// Seed of the simulator's durations.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchConfigurator {
    /// In memory; guests without a network.
    Fake,
    /// Real SSH to drawn guests.
    Ssh,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e}; write it as 90s, 30m or 2h"))
}

/// An id that could be a session's: nothing else may become part of a path.
fn session_id(text: &str) -> Result<String, String> {
    let id = text.parse::<daas_core::ids::SessionId>();
    id.map(String::from).map_err(|_| "session ids look like desktop-7f3k2mq".to_owned())
}

fn audit_key(text: &str) -> Result<daas_core::audit::PublicKey, String> {
    text.parse().map_err(|_| "it is 64 hexadecimal digits; `daas audit key` prints it".to_owned())
}

fn audit_head(text: &str) -> Result<daas_core::audit::Head, String> {
    text.parse().map_err(|_| "write it as `daas audit head` does".to_owned())
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|f: &f64| f.is_finite() && *f >= 0.0);
    factor.ok_or_else(|| "it is a number from 0 up".to_owned())
}

fn some(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "it is a number from 1 up".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
