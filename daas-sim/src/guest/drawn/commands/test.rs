//! `test` and `[`.

use super::super::disk::Kind;
use super::Call;

pub(super) fn bracket(call: &mut Call<'_>) -> i32 {
    if call.arguments.pop() != Some("]") {
        return call.fail(2, "missing ]");
    }
    test(call)
}

pub(super) fn test(call: &mut Call<'_>) -> i32 {
    let words = call.arguments.clone();
    match any(call, &words) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(reason) => call.fail(2, reason),
    }
}

/// `-o` binds less than `-a`, which binds less than `!`.
fn any(call: &Call<'_>, words: &[&str]) -> Result<bool, String> {
    if words.len() <= 4 {
        return primary(call, words);
    }
    let mut result = false;
    for part in words.split(|word| *word == "-o") {
        let mut all = true;
        for part in part.split(|word| *word == "-a") {
            all &= primary(call, part)?;
        }
        result |= all;
    }
    Ok(result)
}

fn primary(call: &Call<'_>, words: &[&str]) -> Result<bool, String> {
    match *words {
        [] => Ok(false),
        [word] => Ok(!word.is_empty()),
        ["!", ref rest @ ..] if rest.len() != 2 || rest[0] != "=" => Ok(!primary(call, rest)?),
        [operator, word] => unary(call, operator, word),
        [left, operator, right] => binary(left, operator, right),
        ["(", ref inner @ .., ")"] => any(call, inner),
        _ => Err(format!("{}: unexpected operator", words.get(1).unwrap_or(&""))),
    }
}

fn unary(call: &Call<'_>, operator: &str, word: &str) -> Result<bool, String> {
    let path = call.path(word);
    let node = call.disk.stat(&path);
    let who = call.caller.who;
    Ok(match operator {
        "-z" => word.is_empty(),
        "-n" => !word.is_empty(),
        "-e" => node.is_ok() || word == "/dev/null",
        "-f" => node.is_ok_and(|node| matches!(node.kind, Kind::File(_))),
        "-d" => node.is_ok_and(|node| node.kind == Kind::Directory),
        "-x" => {
            node.is_ok_and(|node| node.mode & 0o111 != 0) || super::find(call.disk, word).is_some()
        }
        "-s" => call.disk.read(&super::Who::root(), &path).is_ok_and(|bytes| !bytes.is_empty()),
        "-r" => call.disk.read(who, &path).is_ok(),
        "-w" => {
            node.is_ok_and(|node| who.uid == 0 || node.owner == who.uid && node.mode & 0o200 != 0)
        }
        "-L" | "-h" => call.disk.lstat(&path).is_ok_and(|node| matches!(node.kind, Kind::Link(_))),
        _ => return Err(format!("{operator}: unexpected operator")),
    })
}

fn binary(left: &str, operator: &str, right: &str) -> Result<bool, String> {
    let number =
        |text: &str| text.trim().parse::<i64>().map_err(|_| format!("Illegal number: {text}"));
    Ok(match operator {
        "=" | "==" => left == right,
        "!=" => left != right,
        "-eq" => number(left)? == number(right)?,
        "-ne" => number(left)? != number(right)?,
        "-lt" => number(left)? < number(right)?,
        "-le" => number(left)? <= number(right)?,
        "-gt" => number(left)? > number(right)?,
        "-ge" => number(left)? >= number(right)?,
        _ => return Err(format!("{operator}: unexpected operator")),
    })
}
