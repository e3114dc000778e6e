//! `daas session watch`: a session's events as they come, each once, until it has ended.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::client::Client;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{Output, print};

/// How long a server may be away before following is given up.
const AWAY_MAX: Duration = Duration::from_secs(10 * 60);
/// The pause before a stream that ended is taken up again.
const PAUSE: Duration = Duration::from_millis(250);

/// Prints a session's events until it has ended. A stream ends when the server stops, and every
/// hour: it is taken up after the last event that was seen.
pub(crate) async fn watch(client: &Client, output: Output, id: &str) -> Outcome {
    let mut answer = client.events(id, None).await?;
    let mut reader = Reader::default();
    loop {
        let mut stream = answer.bytes_stream();
        while let Some(Ok(chunk)) = stream.next().await {
            for data in reader.take(&chunk) {
                print(&line(output, &data))?;
                let value: Value = serde_json::from_str(&data).unwrap_or_default();
                if value["event"] == "phase" && value["to"] == "ended" {
                    return Ok(());
                }
            }
        }
        reader.pending.clear();
        tokio::time::sleep(PAUSE).await;
        let last = reader.last.as_deref();
        let again = client.patiently(async || client.events(id, last).await);
        answer = tokio::time::timeout(AWAY_MAX, again).await.map_err(|_| {
            let away = humantime::format_duration(AWAY_MAX);
            Failure::new(Code::Unavailable, format!("the server has been away for {away}"))
        })??;
    }
}

/// Reads server-sent events from pieces of text.
#[derive(Debug, Default)]
struct Reader {
    pending: Vec<u8>,
    /// The id of the last event that had one.
    last: Option<String>,
}

impl Reader {
    /// What the events that are whole now say.
    fn take(&mut self, chunk: &[u8]) -> Vec<String> {
        self.pending.extend_from_slice(chunk);
        let mut whole = Vec::new();
        while let Some(end) = self.pending.windows(2).position(|w| w == b"\n\n") {
            let event: Vec<u8> = self.pending.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&event);
            if let Some(id) = text.lines().find_map(|line| line.strip_prefix("id:")) {
                self.last = Some(id.trim().to_owned());
            }
            let data: String = text.lines().filter_map(|l| l.strip_prefix("data:")).collect();
            if !data.trim().is_empty() {
                whole.push(data.trim().to_owned());
            }
        }
        whole
    }
}

fn line(output: Output, data: &str) -> String {
    let value: Value = serde_json::from_str(data).unwrap_or_default();
    if output.json || !value.is_object() {
        return data.to_owned();
    }
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let at = text("at");
    match value["event"].as_str() {
        Some("phase") => format!("{at}  {} -> {}: {}", text("from"), text("to"), text("reason")),
        Some("goal") => {
            format!("{at}  wished {} by {}: {}", text("goal"), text("by"), text("reason"))
        }
        Some("failed") => format!("{at}  try {} failed: {}", value["attempt"], text("reason")),
        Some("note") => format!("{at}  {}", text("text")),
        Some("requested") => format!("{at}  asked for from template {}", text("template")),
        Some("warning") => format!("{at}  will end at {}", text("ends_at")),
        _ => value["what"].as_str().map_or_else(|| data.to_owned(), |what| format!("{at}  {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_tells_when_the_session_ends_and_not_when_it_was_given() {
        let data =
            r#"{"event":"warning","at":"2026-11-21T10:00:00Z","ends_at":"2026-11-21T10:05:00Z"}"#;
        let told = line(Output { json: false }, data);
        assert_eq!(told, "2026-11-21T10:00:00Z  will end at 2026-11-21T10:05:00Z");
    }

    #[test]
    fn events_are_read_whole_however_they_are_cut() {
        let text =
            b": alive\n\nid: 7\nevent: phase\ndata: {\"a\":1}\n\nevent: progress\ndata: {}\n\n";
        for cut in 1..text.len() {
            let mut reader = Reader::default();
            let mut read = reader.take(&text[..cut]);
            read.extend(reader.take(&text[cut..]));
            assert_eq!(read, ["{\"a\":1}", "{}"], "cut at {cut}");
            assert_eq!(reader.last.as_deref(), Some("7"), "what has no id changes no place");
        }
    }
}
