//! Whether passwords arrive unharmed and are seen nowhere: a table of odd ones, logins with them, a
//! watch over what every process of the machine shows, those in guests among them, and a search of
//! what a guest keeps.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::LabError;
use crate::guest::{NspawnGuest, Output};
use crate::lab::Lab;
use crate::rdp::{RdpClient, RdpTarget};

/// In every odd password, and nowhere else: where it is found, a password is.
pub const MARK: &str = "Zq7Wk";

/// A text that is there to be seen.
const CANARY: &str = "canary-5Hq2x";

/// Bytes of the longest password.
const BYTES_MAX: usize = 104;

/// The pause between two looks at all processes.
const PAUSE: Duration = Duration::from_millis(5);

/// How many colours only a desktop shows, and how long it may take to.
const COLOURS: u64 = 1000;
const DESKTOP_DEADLINE: Duration = Duration::from_secs(60);

/// Prints the files that hold one of the texts on standard input, then such lines of the journal. The
/// first argument is one of the texts, which it leaves in both. What the lab's stand-in for the
/// kernel's cifs keeps, the kernel would.
const SEARCH: &str = r#"
set -e
texts=$(mktemp); trap 'rm -f "$texts" /var/tmp/canary' EXIT
cat >"$texts"
printf %s "$1" >/var/tmp/canary
grep -rlaFs --file="$texts" --exclude="${texts##*/}" --exclude-dir='mount-cifs.*' \
    /etc /home /root /run /tmp /var || true
# Only now: the journal is files as well.
printf '%s\n' "$1" | systemd-cat
journalctl --sync
journalctl --no-pager --all | grep -aF --file="$texts" || true
"#;

/// Passwords as odd as any can be that is allowed, up to 104 bytes.
pub fn odd_passwords() -> Vec<String> {
    let mut odd = vec![
        format!(" {MARK} blanks around "),
        format!("{MARK} it's \"quoted\" 'twice'"),
        format!("{MARK} $HOME $(id) `id` ${{x}}"),
        format!("\\{MARK}\\n back \\\\ slash\\"),
        format!("{MARK}:co:lon::"),
        format!("-{MARK} --leading"),
        format!("{MARK} pässwörd 日本"),
        format!("{MARK} {{{{ 7 * 7 }}}} {{% if %}} {{# x #}}"),
        format!("{MARK} %(USER) <a>&amp; ; | # !vault \t tab"),
    ];
    odd.push(format!("{MARK}{}", "x".repeat(BYTES_MAX - MARK.len())));
    odd.push(format!("{MARK}x{}", "é".repeat((BYTES_MAX - MARK.len() - 1) / 2)));
    odd
}

/// Looks at the command line of every process of the machine, over and over, and keeps what this
/// process logs, at every level.
#[derive(Debug)]
pub struct Watch {
    needles: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    looking: JoinHandle<BTreeSet<String>>,
}

impl Watch {
    /// Begins to look for [`MARK`].
    pub fn begin() -> Watch {
        WATCHED.store(true, Ordering::SeqCst);
        start_log();
        let needles = Arc::new(Mutex::new(vec![MARK.to_owned()]));
        let over = Arc::new(AtomicBool::new(false));
        let (wanted, end) = (Arc::clone(&needles), Arc::clone(&over));
        let looking = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !end.load(Ordering::SeqCst) {
                let wanted = all(&wanted);
                let found = |line: &String| {
                    line.contains(CANARY) || wanted.iter().any(|needle| line.contains(needle))
                };
                seen.extend(shown().filter(found));
                std::thread::sleep(PAUSE);
            }
            seen
        });
        Watch { needles, over, looking }
    }

    /// From now on also looks for this text: a hash, say.
    pub fn add(&self, needle: &str) {
        self.needles.lock().unwrap_or_else(PoisonError::into_inner).push(needle.to_owned());
    }

    /// Ends, and gives the command lines and the lines of our own log that held one of the texts.
    ///
    /// # Errors
    /// The watch did not even see what is there to be seen.
    pub fn end(self) -> Result<BTreeSet<String>, LabError> {
        let blind = |what: &str| LabError::Failed {
            doing: "watch all processes".to_owned(),
            status: what.to_owned(),
            stderr: String::new(),
        };
        tracing::info!(CANARY);
        let mut canary = Command::new("sh");
        let ran = canary.args(["-c", "sleep 1; true", CANARY]).status();
        ran.map_err(LabError::io("run a program that is to be seen"))?;
        self.over.store(true, Ordering::SeqCst);
        let mut seen = self.looking.join().map_err(|_| blind("it panicked"))?;
        let is_canary = |line: &String| line.contains(CANARY);
        if !seen.iter().any(is_canary) {
            return Err(blind("it saw no process"));
        }
        seen.retain(|line| !is_canary(line));
        let log = OWN_LOG.lock().unwrap_or_else(PoisonError::into_inner);
        let log = String::from_utf8_lossy(&log);
        if !log.contains(CANARY) {
            return Err(blind("it kept no log"));
        }
        let needles = all(&self.needles);
        let holds = |line: &&str| needles.iter().any(|needle| line.contains(needle.as_str()));
        seen.extend(log.lines().filter(holds).map(str::to_owned));
        Ok(seen)
    }
}

/// Logs in with this password by PAM and by RDP, and not by PAM with its last letter missing: a
/// refusal takes seconds, so there is but one.
///
/// # Errors
/// One of the three came out otherwise, or could not be tried; with what was said.
pub async fn lets_in(
    lab: &Arc<Lab>,
    guest: &NspawnGuest,
    target: &RdpTarget,
) -> Result<(), LabError> {
    let RdpTarget { user, password, .. } = target;
    let odd = |said: &Output| LabError::Failed {
        doing: format!("log {user} in with {password:?}"),
        status: format!("exit code {:?}", said.code),
        stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
    };
    let failed = |e| LabError::io(format!("log {user} in"))(std::io::Error::other(e));
    let entered = guest.log_in(user, password, &["true"]).await.map_err(failed)?;
    if entered.code != Some(0) {
        return Err(odd(&entered));
    }
    let mut other = password.clone();
    other.pop();
    let entered = guest.log_in(user, &other, &["true"]).await.map_err(failed)?;
    if entered.code == Some(0) {
        return Err(odd(&entered));
    }
    let mut client = RdpClient::connect(lab, target).await?;
    client.wait_colours(COLOURS, DESKTOP_DEADLINE).await?;
    client.close().await
}

/// Where a guest keeps [`MARK`] or one of `needles`: files other than those of its shadow passwords,
/// and lines of its journal.
///
/// # Errors
/// It did not even find what is there to be found.
pub async fn kept_in(guest: &NspawnGuest, needles: &[String]) -> Result<Vec<String>, LabError> {
    let texts = [needles, &[MARK.to_owned(), CANARY.to_owned()]].concat().join("\n");
    // Not as arguments: another trial may be watching, which is used to canaries alone.
    let search = ["sh", "-c", SEARCH, "search", CANARY];
    let searched = guest.exec_with(&search, format!("{texts}\n").as_bytes()).await;
    let searched =
        searched.map_err(|e| LabError::io("search a guest")(std::io::Error::other(e)))?;
    let found = String::from_utf8_lossy(&searched.stdout).into_owned();
    let (canary, kept): (Vec<&str>, Vec<&str>) =
        found.lines().partition(|line| line.contains(CANARY) || *line == "/var/tmp/canary");
    if searched.code != Some(0) || canary.len() < 2 || searched.truncated {
        let stderr = String::from_utf8_lossy(&searched.stderr).into_owned();
        let status = format!("found {canary:?} of what is there, exit code {:?}", searched.code);
        return Err(LabError::Failed { doing: "search a guest".to_owned(), status, stderr });
    }
    let is_shadow = |line: &&&str| ["/etc/shadow", "/etc/shadow-"].contains(*line);
    Ok(kept.iter().filter(|line| !is_shadow(line)).map(|&line| line.to_owned()).collect())
}

fn all(needles: &Mutex<Vec<String>>) -> Vec<String> {
    needles.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The command line of every process.
fn shown() -> impl Iterator<Item = String> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let lines = numbers.filter_map(|path| fs::read(path.join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
}

/// Shows people what goes wrong beside a trial's own path (a boot that hangs, a guest out of order),
/// and keeps all that is logged while there is a watch.
pub(crate) fn start_log() {
    let people = layer().with_writer(std::io::stderr).with_filter(LevelFilter::WARN);
    let is_watched = dynamic_filter_fn(|_, _| WATCHED.load(Ordering::SeqCst));
    let own = layer().with_ansi(false).with_writer(|| OwnLog).with_filter(is_watched);
    // Refused where there is one already.
    let _ = tracing_subscriber::registry().with(people).with(own).try_init();
}

/// Whether a watch has begun in this process.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// What this process logged since then.
static OWN_LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct OwnLog;

impl std::io::Write for OwnLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        OWN_LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_watch_sees_processes_and_our_log_and_nothing_else() {
        for password in odd_passwords() {
            assert!(password.len() <= BYTES_MAX && password.contains(MARK), "{password}");
            assert!(!password.contains(['\0', '\r', '\n']), "{password}");
        }
        let watch = Watch::begin();
        watch.add("needle-8jw");
        Command::new("sh").args(["-c", "sleep 1; true", "needle-8jw"]).status().unwrap();
        tracing::trace!("needle-8jw");
        let seen = watch.end().unwrap();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(Watch::begin().end().unwrap(), BTreeSet::new());
    }
}
