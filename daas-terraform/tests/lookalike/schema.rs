//! The schemas that the look-alikes show, read from tables of what the real providers document.

use serde_json::Value;

use crate::value::unknown;
use crate::wire::Message;

/// What one provider shows.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) provider: Block,
    /// The name of its resource.
    pub(crate) name: String,
    pub(crate) resource: Block,
}

/// The inside of a block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    attributes: Vec<Attribute>,
    blocks: Vec<(String, u64, Block)>,
}

#[derive(Debug)]
struct Attribute {
    name: String,
    /// As Terraform writes types: `"string"`, `["list","string"]`.
    kind: String,
    role: String,
    default: Value,
}

impl Schema {
    /// Reads a table; see `bpg.schema` for its lines.
    pub(crate) fn read(table: &str) -> Self {
        let lines = table.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let mut lines = lines.peekable();
        assert_eq!(lines.next(), Some("provider"));
        let provider = Block::read(&mut lines, 1);
        let name = lines.next().unwrap().strip_prefix("resource ").unwrap().to_owned();
        let resource = Block::read(&mut lines, 1);
        assert_eq!(lines.next(), None, "a line is indented wrongly");
        Self { provider, name, resource }
    }

    /// As the answer to `GetSchema`.
    pub(crate) fn message(&self) -> Vec<u8> {
        let of = |block: &Block| Message::default().bytes(2, &block.message()).done();
        let entry = Message::default().bytes(1, self.name.as_bytes()).bytes(2, &of(&self.resource));
        Message::default().bytes(1, &of(&self.provider)).bytes(2, &entry.done()).done()
    }
}

impl Block {
    fn read<'a>(
        lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
        depth: usize,
    ) -> Self {
        let mut block = Self::default();
        while let Some(line) =
            lines.next_if(|line| line.len() - line.trim_start().len() == 2 * depth)
        {
            let (declared, default) = line.split_once(" = ").unwrap_or((line, "null"));
            let words: Vec<&str> = declared.split_whitespace().collect();
            let [name, kind, role] = words[..] else { panic!("not of three words: {line}") };
            if kind == "block" {
                let inside = Self::read(lines, depth + 1);
                block.blocks.push((name.to_owned(), role.parse().unwrap(), inside));
                continue;
            }
            assert!(["required", "optional", "computed", "both"].contains(&role), "{line}");
            let default = serde_json::from_str(default).unwrap();
            let (name, kind, role) = (name.to_owned(), type_of(kind), role.to_owned());
            block.attributes.push(Attribute { name, kind, role, default });
        }
        block
    }

    fn message(&self) -> Vec<u8> {
        let mut block = Message::default();
        for attribute in &self.attributes {
            let is = |roles: &[&str]| u64::from(roles.contains(&attribute.role.as_str()));
            let message = Message::default()
                .bytes(1, attribute.name.as_bytes())
                .bytes(2, attribute.kind.as_bytes())
                .number(4, is(&["required"]))
                .number(5, is(&["optional", "both"]))
                .number(6, is(&["computed", "both"]));
            block = block.bytes(2, &message.done());
        }
        for (name, most, inside) in &self.blocks {
            const LIST: u64 = 2;
            let message = Message::default()
                .bytes(1, name.as_bytes())
                .bytes(2, &inside.message())
                .number(3, LIST)
                .number(5, *most);
            block = block.bytes(3, &message.done());
        }
        block.done()
    }

    /// What will be, of what was asked for: defaults, and what only an apply can tell.
    pub(crate) fn plan(&self, asked: &mut Value) {
        for attribute in &self.attributes {
            let value = &mut asked[attribute.name.as_str()];
            if value.is_null() && ["computed", "both"].contains(&attribute.role.as_str()) {
                *value = unknown();
            } else if value.is_null() {
                *value = attribute.default.clone();
            }
        }
        for (name, _, inside) in &self.blocks {
            for item in asked[name.as_str()].as_array_mut().into_iter().flatten() {
                inside.plan(item);
            }
        }
    }

    /// What was made, of what was planned: the rest of what nobody could tell before is nothing.
    pub(crate) fn settle(&self, planned: &mut Value) {
        for attribute in &self.attributes {
            let value = &mut planned[attribute.name.as_str()];
            if *value == unknown() {
                *value = Value::Null;
            }
        }
        for (name, _, inside) in &self.blocks {
            for item in planned[name.as_str()].as_array_mut().into_iter().flatten() {
                inside.settle(item);
            }
        }
    }
}

/// `list(string)` as Terraform writes it.
fn type_of(kind: &str) -> String {
    match kind.strip_prefix("list(").and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => format!("[\"list\",{}]", type_of(inner)),
        None => format!("\"{kind}\""),
    }
}
