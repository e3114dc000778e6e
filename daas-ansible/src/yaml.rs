//! Data as YAML that Ansible takes for data and nothing else.
//!
//! A text that holds a brace is written as `!unsafe "…"`: Ansible gives it back as it is, while it would run what looks
//! like a template (`{{ … }}`) in any other. All is ASCII, so that no reader stumbles over a letter.

use std::fmt::Write;

use serde_json::Value;

/// Whose texts they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texts {
    /// A user's, a session's: data.
    Plain,
    /// The operator's: templates, as in a playbook.
    Templates,
}

/// `value` as a YAML document in flow style.
pub(crate) fn document(value: &Value, texts: Texts) -> String {
    let mut out = String::new();
    write_value(&mut out, value, texts);
    out.push('\n');
    out
}

fn write_value(out: &mut String, value: &Value, texts: Texts) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) => {
            // Only where it matters: Ansible reads `!unsafe "yes"` as a truth, and "007" as a number.
            if texts == Texts::Plain && text.contains('{') {
                out.push_str("!unsafe ");
            }
            write_text(out, text);
        }
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { ", " });
                write_value(out, item, texts);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (number, (name, item)) in fields.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { ", " });
                write_text(out, name);
                out.push_str(": ");
                write_value(out, item, texts);
            }
            out.push('}');
        }
    }
}

/// A double-quoted text; what is not plain ASCII is escaped by its number (YAML 1.1, 5.6).
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        let _ = match letter {
            '"' | '\\' => write!(out, "\\{letter}"),
            ' '..='~' => write!(out, "{letter}"),
            '\u{0}'..='\u{ff}' => write!(out, "\\x{:02x}", u32::from(letter)),
            '\u{100}'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(letter)),
            _ => write!(out, "\\U{:08x}", u32::from(letter)),
        };
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_unsafe_quoted_and_ascii() {
        let value =
            json!({"a": ["x\"y\\z", 1, true, null], "é": {"b": "{{ 1 }}\n\u{2028}🦀\u{7f}"}});
        assert_eq!(
            document(&value, Texts::Plain),
            "{\"a\": [\"x\\\"y\\\\z\", 1, true, null], \"\\xe9\": {\"b\": \
             !unsafe \"{{ 1 }}\\x0a\\u2028\\U0001f980\\x7f\"}}\n"
        );
        assert_eq!(document(&json!("{{ a }}"), Texts::Templates), "\"{{ a }}\"\n");
    }
}
