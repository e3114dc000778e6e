//! Redirections: where a command's streams lead.

use bytes::Bytes;

use super::super::disk::Who;
use super::interpret::{Leave, Process, Shell, Streams};
use super::stream::{Input, Output};
use super::syntax::{Redirect, Target};

impl Shell {
    /// The streams after the redirections; the inner error is the complaint.
    pub(super) async fn redirected(
        &self,
        process: &mut Process,
        redirects: &[Redirect],
        streams: &Streams,
    ) -> Result<Result<Streams, String>, Leave> {
        let mut new = streams.clone();
        for Redirect { fd, target } in redirects {
            let output = match target {
                Target::Read(word) => {
                    let name = self.single(process, word, streams).await?;
                    let path = process.path(&name);
                    let read = match path.as_str() {
                        "/dev/null" => Ok(Bytes::new()),
                        _ => self.guest.with_disk(|disk| disk.read(&process.who, &path)),
                    };
                    match read {
                        Ok(bytes) => new.input = Input::bytes(bytes),
                        Err(error) => return Ok(Err(format!("1: cannot open {path}: {error}"))),
                    }
                    continue;
                }
                Target::Here(document) => {
                    let word = document.get().cloned().unwrap_or_default();
                    let text = self.single(process, &word, streams).await?;
                    new.input = Input::bytes(text.into());
                    continue;
                }
                Target::Write(word) | Target::Append(word) => {
                    let name = self.single(process, word, streams).await?;
                    let path = process.path(&name);
                    match self.opened(process, path, matches!(target, Target::Append(_))) {
                        Ok(output) => output,
                        Err(reason) => return Ok(Err(reason)),
                    }
                }
                Target::Same(1) => new.output.clone(),
                Target::Same(2) => new.error.clone(),
                Target::Same(_) => continue,
                Target::Closed => Output::Null,
            };
            match fd {
                1 => new.output = output,
                2 => new.error = output,
                _ => new.input = Input::empty(),
            }
        }
        Ok(Ok(new))
    }

    fn opened(&self, process: &Process, path: String, append: bool) -> Result<Output, String> {
        if path == "/dev/null" {
            return Ok(Output::Null);
        }
        let mode = 0o666 & !process.umask;
        let opened = self.guest.with_disk(|disk| match disk.read(&Who::root(), &path) {
            Ok(old) if append => disk.write(&process.who, &path, old, mode),
            _ => disk.write(&process.who, &path, Bytes::new(), mode),
        });
        match opened {
            Ok(()) => Ok(Output::File(path)),
            Err(error) => Err(format!("1: cannot create {path}: {error}")),
        }
    }
}
