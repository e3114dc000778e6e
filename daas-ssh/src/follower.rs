//! Follows a running script by its marks: which step is at hand, what it changed, why it failed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daas_core::configurator::Applied;
use daas_core::progress::Progress;
use daas_core::secret::sha256_hex;

use crate::connection::{Follow, Output};
use crate::error::SshError;
use crate::profile::Step;
use crate::script::MARK;

/// How much of a step's complaints is kept, in bytes.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// The longest line a script may print: a certificate.
const LINE_BYTES_MAX: usize = 32 * 1024;

/// What is known of a running script.
pub(crate) struct Follower<'a> {
    steps: &'a [Step],
    /// Never to be seen in an error, whatever the guest prints.
    secrets: Vec<String>,
    progress: &'a Progress,
    deadline: Duration,
    out: Vec<u8>,
    err: Vec<u8>,
    /// The step that has begun last.
    at: Option<usize>,
    applied: Applied,
    failed: Option<u32>,
    ended: bool,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(
        steps: &'a [Step],
        secrets: Vec<String>,
        progress: &'a Progress,
        deadline: Duration,
    ) -> Self {
        Self {
            steps,
            secrets,
            progress,
            deadline,
            out: Vec::new(),
            err: Vec::new(),
            at: None,
            applied: Applied::default(),
            failed: None,
            ended: false,
        }
    }

    /// What the script did, once its output is over.
    pub(crate) fn end(self, exit: Option<u32>) -> Result<Applied, SshError> {
        match self.failed {
            Some(exit) => Err(SshError::Step { step: self.step(), exit, stderr: self.stderr() }),
            None if self.ended => Ok(self.applied),
            None => Err(SshError::NotRun { exit, stderr: self.stderr() }),
        }
    }

    /// Takes a line; answers how long the step that it begins may take.
    fn mark(&mut self, line: &str) -> Option<Duration> {
        let mut words = line.strip_prefix(MARK)?.split_whitespace();
        let word = words.next()?;
        if word == "certificate" {
            self.certificate(line);
            return None;
        }
        let number = words.next().and_then(|n| n.parse::<usize>().ok());
        match (word, number) {
            // Only forwards: a guest must not be able to begin a step over and over.
            ("begin", Some(at)) if self.at.is_none_or(|before| at > before) => {
                let step = self.steps.get(at)?;
                self.at = Some(at);
                let share = at as f32 / self.steps.len().max(1) as f32;
                self.progress.tell(&step.name, Some(share));
                return Some(step.deadline.unwrap_or(self.deadline));
            }
            ("done", Some(at)) if self.at == Some(at) => {
                tracing::debug!(step = self.step(), "changed");
                self.applied.changed += 1;
            }
            ("fail", Some(_)) => {
                self.failed = Some(words.next().and_then(|e| e.parse().ok()).unwrap_or(255));
            }
            ("end", None) => self.ended = true,
            _ => {}
        }
        None
    }

    /// Notes the fingerprint of the first certificate in `line`, whose line ends are blanks.
    fn certificate(&mut self, line: &str) {
        let body = line
            .split_once("-----BEGIN CERTIFICATE-----")
            .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
            .map(|(body, _)| body.split_whitespace().collect::<String>());
        match body.and_then(|body| STANDARD.decode(body).ok()) {
            Some(der) => self.applied.facts.rdp_certificate = Some(sha256_hex(der)),
            None => self.applied.warnings.push("the RDP certificate is not in PEM".to_owned()),
        }
    }

    fn step(&self) -> String {
        let step = self.at.and_then(|at| self.steps.get(at));
        step.map_or_else(|| "(none has begun)".to_owned(), |step| step.name.clone())
    }

    /// What the step at hand complained of.
    fn stderr(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.err).into_owned();
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "[redacted]");
        }
        let mark = self.at.map(|at| format!("{MARK} begin {at}\n"));
        let own = mark.and_then(|mark| text.rsplit_once(&mark).map(|(_, own)| own));
        let own = own.unwrap_or(&text).trim();
        let start = own.len().saturating_sub(STDERR_BYTES_MAX);
        let start = (start..own.len()).find(|i| own.is_char_boundary(*i)).unwrap_or(own.len());
        own[start..].to_owned()
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
            Output::Out(bytes) => {
                self.out.extend_from_slice(&bytes);
                let mut patience = None;
                while let Some(end) = self.out.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = self.out.drain(..=end).collect();
                    patience = self.mark(String::from_utf8_lossy(&line).trim()).or(patience);
                }
                if self.out.len() > LINE_BYTES_MAX {
                    let stderr = "it answers without end".to_owned();
                    return Err(SshError::NotRun { exit: None, stderr });
                }
                Ok(patience)
            }
        }
    }

    fn slow(&self) -> SshError {
        let deadline = self.at.and_then(|at| self.steps.get(at)).and_then(|step| step.deadline);
        SshError::Slow { step: self.step(), within: deadline.unwrap_or(self.deadline) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;

    fn hear(follower: &mut Follower<'_>, out: &str, err: &str) -> Option<Duration> {
        follower.hear(Output::Err(err.into())).unwrap();
        follower.hear(Output::Out(out.into())).unwrap()
    }

    #[test]
    fn a_failing_step_is_told_with_its_own_complaints_and_no_secret() {
        let steps = crate::builtin::linux_desktop().steps;
        let silent = Progress::silent();
        let second = Duration::from_secs(1);
        let mut follower = Follower::new(&steps, vec!["tok-1".into()], &silent, second);
        hear(&mut follower, "@daas begin 0\n@daas done 0\n", "@daas begin 0\nold news\n");
        hear(&mut follower, "@daas begin 1\n", "@daas begin 1\nno tok-1 here\n");
        // A guest cannot win time by going back.
        assert_eq!(hear(&mut follower, "@daas begin 0\n", ""), None);
        hear(&mut follower, "@daas fail 1 7\n", "");
        let error = follower.end(Some(1)).unwrap_err().to_string();
        assert_eq!(error, format!("step {} failed (exit 7): no [redacted] here", steps[1].name));
    }

    #[test]
    fn a_shell_that_ends_early_has_not_applied() {
        let silent = Progress::silent();
        let mut follower = Follower::new(&[], Vec::new(), &silent, Duration::from_secs(1));
        hear(&mut follower, "", "sudo: a password is required\n");
        let error = follower.end(Some(1)).unwrap_err().to_string();
        assert!(error.contains("(exit 1): sudo: a password is required"), "{error}");
        let mut endless = Follower::new(&[], Vec::new(), &silent, Duration::from_secs(1));
        assert!(endless.hear(Output::Out(vec![b'x'; LINE_BYTES_MAX + 1])).is_err());
    }

    #[test]
    fn the_first_certificate_is_the_fact() {
        let silent = Progress::silent();
        let mut follower = Follower::new(&[], Vec::new(), &silent, Duration::from_secs(1));
        let pem = "-----BEGIN CERTIFICATE----- aGVs bG8= -----END CERTIFICATE----- -----BEGIN";
        hear(&mut follower, &format!("@daas certificate {pem}\n@daas end\n"), "");
        let facts = follower.end(Some(0)).unwrap().facts;
        // sha256 of "hello"
        let sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(facts.rdp_certificate.as_deref(), Some(sum));
    }
}
