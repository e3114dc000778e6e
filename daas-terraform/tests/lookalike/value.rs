//! Values as Terraform sends them: MessagePack, with an extension for what is not known yet.

use serde_json::{Map, Number, Value};

/// Stands for a value that is only known after an apply; no text of a module holds a NUL.
const UNKNOWN: &str = "\0unknown";

/// A value that is only known after an apply.
pub(crate) fn unknown() -> Value {
    Value::from(UNKNOWN)
}

/// Reads one value.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let value = read(&mut rest)?;
    rest.is_empty().then_some(value)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

/// A big-endian number of `count` bytes.
fn number(rest: &mut &[u8], count: usize) -> Option<u64> {
    Some(take(rest, count)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn length(rest: &mut &[u8], count: usize) -> Option<usize> {
    usize::try_from(number(rest, count)?).ok()
}

fn read(rest: &mut &[u8]) -> Option<Value> {
    let kind = take(rest, 1)?[0];
    Some(match kind {
        0x00..=0x7f => Value::from(kind),
        0x80..=0x8f => map(rest, usize::from(kind & 0x0f))?,
        0x90..=0x9f => list(rest, usize::from(kind & 0x0f))?,
        0xa0..=0xbf => text(rest, usize::from(kind & 0x1f))?,
        0xc0 => Value::Null,
        0xc2 | 0xc3 => Value::Bool(kind == 0xc3),
        0xc7..=0xc9 => {
            let size = length(rest, 1 << (kind - 0xc7))?;
            take(rest, size + 1)?;
            unknown()
        }
        0xca => float(f64::from(f32::from_bits(u32::try_from(number(rest, 4)?).ok()?)))?,
        0xcb => float(f64::from_bits(number(rest, 8)?))?,
        0xcc..=0xcf => Value::from(number(rest, 1 << (kind - 0xcc))?),
        0xd0..=0xd3 => {
            let bytes = 1 << (kind - 0xd0);
            let unused = 64 - 8 * bytes;
            Value::from((number(rest, bytes)? << unused).cast_signed() >> unused)
        }
        0xd4..=0xd8 => {
            take(rest, (1 << (kind - 0xd4)) + 1)?;
            unknown()
        }
        0xd9..=0xdb => {
            let size = length(rest, 1 << (kind - 0xd9))?;
            text(rest, size)?
        }
        0xdc | 0xdd => {
            let size = length(rest, 2 << (kind - 0xdc))?;
            list(rest, size)?
        }
        0xde | 0xdf => {
            let size = length(rest, 2 << (kind - 0xde))?;
            map(rest, size)?
        }
        0xe0..=0xff => Value::from(kind.cast_signed()),
        _ => return None,
    })
}

fn float(number: f64) -> Option<Value> {
    Number::from_f64(number).map(Value::Number)
}

fn text(rest: &mut &[u8], size: usize) -> Option<Value> {
    Some(Value::from(std::str::from_utf8(take(rest, size)?).ok()?))
}

fn list(rest: &mut &[u8], size: usize) -> Option<Value> {
    (0..size).map(|_| read(rest)).collect::<Option<Vec<_>>>().map(Value::from)
}

fn map(rest: &mut &[u8], size: usize) -> Option<Value> {
    let mut entries = Map::new();
    for _ in 0..size {
        let Value::String(name) = read(rest)? else { return None };
        entries.insert(name, read(rest)?);
    }
    Some(Value::Object(entries))
}

/// Writes one value.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    let size = |kind: u8, size: usize, out: &mut Vec<u8>| {
        out.push(kind);
        out.extend(u32::try_from(size).unwrap().to_be_bytes());
    };
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(is) => out.push(0xc2 + u8::from(*is)),
        Value::String(text) if text == UNKNOWN => out.extend([0xd4, 0, 0]),
        Value::String(text) => {
            size(0xdb, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Number(number) => match number.as_i64() {
            Some(number) => {
                out.push(0xd3);
                out.extend(number.to_be_bytes());
            }
            None => {
                out.push(0xcb);
                out.extend(number.as_f64().unwrap().to_be_bytes());
            }
        },
        Value::Array(items) => {
            size(0xdd, items.len(), out);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Object(entries) => {
            size(0xdf, entries.len(), out);
            for (name, value) in entries {
                write(&Value::from(name.as_str()), out);
                write(value, out);
            }
        }
    }
}
