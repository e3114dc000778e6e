//! What a state holds, as `show -json` tells it.

use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use crate::error::TerraformError;

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// The addresses of the managed resources; data that was read is none.
    pub(crate) resources: Vec<String>,
    /// The outputs that we know, as text.
    pub(crate) vm_id: Option<String>,
    pub(crate) vm_name: Option<String>,
    pub(crate) vm_ip: Option<IpAddr>,
}

/// What a state file is, before any program reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// Not there, or without a byte: as it is before anything was made.
    Nothing,
    /// No state: Terraform writes in place, so one that is killed then leaves half of it.
    Broken(String),
    /// A state, by its looks.
    Whole,
}

impl OnDisk {
    /// Looks at the file.
    pub(crate) fn look(path: &Path) -> Result<Self, TerraformError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(e) => return Err(TerraformError::file("read", path)(e)),
        };
        if text.is_empty() {
            return Ok(Self::Nothing);
        }
        Ok(match serde_json::from_slice::<Value>(&text) {
            Err(error) => Self::Broken(format!("is broken ({error})")),
            Ok(state) if state["version"].is_u64() => Self::Whole,
            Ok(_) => Self::Broken("tells no version".to_owned()),
        })
    }
}

impl State {
    /// Reads the line that `show -json` prints. What cannot be read is an error, never emptiness.
    pub(crate) fn read(line: &str) -> Result<Self, TerraformError> {
        let shape =
            |why: String| TerraformError::Shape { command: "terraform show -json".to_owned(), why };
        let shown: Value = serde_json::from_str(line).map_err(|e| shape(e.to_string()))?;
        if shown["format_version"].as_str().is_none_or(|version| !version.starts_with("1.")) {
            return Err(shape("is not of format version 1".to_owned()));
        }
        let mut state = Self::default();
        let values = &shown["values"];
        if values.is_null() {
            return Ok(state);
        }
        state.collect(&values["root_module"]);
        let output = |name: &str| match &values["outputs"][name]["value"] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        state.vm_id = output("vm_id");
        state.vm_name = output("vm_name");
        // Providers tell addresses with their prefix length.
        let address = output("vm_ip");
        state.vm_ip = address.and_then(|ip| ip.split('/').next().unwrap_or_default().parse().ok());
        Ok(state)
    }

    fn collect(&mut self, module: &Value) {
        for resource in module["resources"].as_array().into_iter().flatten() {
            if resource["mode"] != "data" {
                let address = resource["address"].as_str().unwrap_or("a resource");
                self.resources.push(address.to_owned());
            }
        }
        for child in module["child_modules"].as_array().into_iter().flatten() {
            self.collect(child);
        }
    }

    /// Whether Terraform manages nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_with_its_child_modules() {
        let shown = r#"{"format_version":"1.0","values":{
            "outputs":{"vm_id":{"value":9001},"vm_ip":{"value":"10.0.0.7/24"}},
            "root_module":{"resources":[{"address":"data.x","mode":"data"}],
              "child_modules":[{"resources":[{"address":"module.a.b","mode":"managed"}]}]}}}"#;
        let state = State::read(shown).expect("read");
        assert_eq!(state.resources, ["module.a.b"]);
        assert_eq!(state.vm_id.as_deref(), Some("9001"));
        assert_eq!(state.vm_ip, Some("10.0.0.7".parse().expect("an address")));
        assert!(!state.is_empty());
    }

    #[test]
    fn half_a_state_is_told_from_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("terraform.tfstate");
        assert_eq!(OnDisk::look(&path).expect("looked"), OnDisk::Nothing);
        let check = |text: &str, broken: bool| {
            std::fs::write(&path, text).expect("written");
            let looked = OnDisk::look(&path).expect("looked");
            assert_eq!(matches!(looked, OnDisk::Broken(_)), broken, "{text}");
        };
        check("", false);
        check(r#"{"version": 4, "resources": []}"#, false);
        check(r#"{"version": 4, "resour"#, true);
        check("{}", true);
        check("\0\0\0\0", true);
    }

    #[test]
    fn what_cannot_be_read_is_never_empty() {
        for text in ["", "{}", "[]", "null", r#"{"format_version":"2.0"}"#] {
            assert!(State::read(text).is_err(), "{text}");
        }
        assert!(State::read(r#"{"format_version":"1.0"}"#).expect("read").is_empty());
    }
}
