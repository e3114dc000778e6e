//! Adds up what the test runners report, the built-in one and those of `harness = false` alike.

use std::fmt;

/// The sum of all runners so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Why tests were skipped, a line each.
    pub(crate) reasons: Vec<String>,
    /// Names of tests that failed.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Takes one line of a runner's output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
            self.skipped += count(result, "ignored");
        } else if let Some((name, outcome)) = outcome(line) {
            if outcome == "FAILED" {
                self.failures.push(name.to_owned());
            } else if let Some(reason) = outcome.strip_prefix("ignored, ") {
                self.reasons.push(format!("{name}: {reason}"));
            }
        } else if let Some(reason) = line.strip_prefix("ignored ") {
            self.reasons.push(format!("trials {reason}"));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Name and outcome of `test name ... outcome`.
fn outcome(line: &str) -> Option<(&str, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.trim(), outcome.trim()))
}

/// The number before a word, as in `3 passed;`.
fn count(result: &str, word: &str) -> u64 {
    let words: Vec<&str> = result.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).find(|pair| pair[1] == word);
    pairs.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_two_runners() {
        let output = "running 3 tests\n\
            test a::b ... ok\n\
            test c ... FAILED\n\
            test d ... ignored, needs virsh: cargo xtask test --install\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; \
            finished in 0.20s\n\
            ignored 2: needs root; to run them: cargo xtask test --install\n\
            test shows_a_desktop   ... ignored\n\
            test result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n";
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        assert_eq!(tally.to_string(), "13 passed, 1 failed, 3 skipped");
        assert_eq!(tally.failures, ["c"]);
        assert_eq!(
            tally.reasons,
            [
                "d: needs virsh: cargo xtask test --install",
                "trials 2: needs root; to run them: cargo xtask test --install",
            ]
        );
    }

    #[test]
    fn other_lines_count_for_nothing() {
        let mut tally = Tally::default();
        for line in ["", "test", "testing 5 passed; 3 failed", "5 passed"] {
            tally.read(line);
        }
        assert_eq!(tally, Tally::default());
    }
}
