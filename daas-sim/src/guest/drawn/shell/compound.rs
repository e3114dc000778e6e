//! Runs conditions, loops, `case`, groups, subshells and functions.

use std::sync::Arc;

use super::interpret::{Leave, Process, Ran, Shell, Streams};
use super::pattern;
use super::syntax::{Body, Command, List, Word};

impl Shell {
    /// Everything that is not a simple command.
    pub(super) async fn compound(
        &self,
        process: &mut Process,
        body: &Body,
        streams: &Streams,
    ) -> Ran {
        match body {
            Body::Group(list) => self.list(process, list, streams).await,
            Body::Subshell(list) => {
                let mut copy = process.clone();
                match self.list(&mut copy, list, streams).await {
                    Ok(status) | Err(Leave::Exit(status) | Leave::Return(status)) => Ok(status),
                    Err(Leave::Break(_) | Leave::Continue(_)) => Ok(0),
                }
            }
            Body::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.condition(process, condition, streams).await? == 0 {
                        return self.list(process, body, streams).await;
                    }
                }
                self.list(process, otherwise, streams).await
            }
            Body::While { until, condition, body } => {
                let mut status = 0;
                while (self.condition(process, condition, streams).await? == 0) != *until {
                    match self.iteration(process, body, streams).await? {
                        Some(ran) => status = ran,
                        None => break,
                    }
                }
                Ok(status)
            }
            Body::For { name, words, body } => {
                self.for_loop(process, name, words.as_deref(), body, streams).await
            }
            Body::Case { word, arms } => self.case(process, word, arms, streams).await,
            Body::Function { name, body } => {
                process.functions.insert(name.clone(), body.clone());
                Ok(0)
            }
            // `command` has taken these already.
            Body::Simple { .. } => Ok(0),
        }
    }

    pub(super) async fn function(
        &self,
        process: &mut Process,
        words: Vec<String>,
        body: &Arc<Command>,
        streams: &Streams,
    ) -> Ran {
        let mut arguments = words;
        arguments[0] = process.arguments.first().cloned().unwrap_or_default();
        let outer = std::mem::replace(&mut process.arguments, arguments);
        self.entered(process, streams).await?;
        let ran = self.command(process, body, streams).await;
        process.calls -= 1;
        process.arguments = outer;
        match ran {
            Err(Leave::Return(status)) => Ok(status),
            other => other,
        }
    }

    async fn condition(&self, process: &mut Process, list: &List, streams: &Streams) -> Ran {
        process.lenient += 1;
        let ran = self.list(process, list, streams).await;
        process.lenient -= 1;
        ran
    }

    /// One round of a loop; `None` ends it.
    async fn iteration(
        &self,
        process: &mut Process,
        body: &List,
        streams: &Streams,
    ) -> Result<Option<i32>, Leave> {
        match self.list(process, body, streams).await {
            Ok(status) => Ok(Some(status)),
            Err(Leave::Break(1)) => Ok(None),
            Err(Leave::Continue(1)) => Ok(Some(0)),
            Err(Leave::Break(more)) => Err(Leave::Break(more - 1)),
            Err(Leave::Continue(more)) => Err(Leave::Continue(more - 1)),
            Err(leave) => Err(leave),
        }
    }

    async fn for_loop(
        &self,
        process: &mut Process,
        name: &str,
        words: Option<&[Word]>,
        body: &List,
        streams: &Streams,
    ) -> Ran {
        let values = match words {
            Some(words) => self.fields(process, words, streams).await?,
            None => process.arguments.iter().skip(1).cloned().collect(),
        };
        let mut status = 0;
        for value in values {
            process.variables.insert(name.into(), (value, false));
            match self.iteration(process, body, streams).await? {
                Some(ran) => status = ran,
                None => break,
            }
        }
        Ok(status)
    }

    async fn case(
        &self,
        process: &mut Process,
        word: &Word,
        arms: &[(Vec<Word>, List)],
        streams: &Streams,
    ) -> Ran {
        let value = self.single(process, word, streams).await?;
        for (patterns, list) in arms {
            for one in patterns {
                if pattern::matches(&self.pattern(process, one, streams).await?, &value) {
                    return self.list(process, list, streams).await;
                }
            }
        }
        Ok(0)
    }
}
