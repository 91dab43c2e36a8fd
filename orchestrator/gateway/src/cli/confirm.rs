//! Nothing is changed that was not confirmed: by `--yes`, or at the terminal.

use std::io::{IsTerminal, Write, stderr, stdin};

use super::http::Failure;

/// Asks, unless `yes`. Without a terminal it fails and prints the line to run.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !stdin().is_terminal() || !stderr().is_terminal() {
        let line = line_with_yes(std::env::args());
        let failure = Failure::usage(format!("{question} There is no terminal to confirm it at."));
        return Err(failure.help(format!("if you mean it: {line}")));
    }
    eprint!("{question} [y/N] ");
    let _ = stderr().flush();
    let mut answer = String::new();
    let is_yes = stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if is_yes { Ok(()) } else { Err(Failure::usage("not confirmed; nothing was done")) }
}

fn line_with_yes(args: impl Iterator<Item = String>) -> String {
    let mut words: Vec<_> = args.map(|arg| quoted(&arg)).collect();
    hide_key(&mut words);
    words.push("--yes".to_owned());
    words.join(" ")
}

/// A key that was given on the line is not printed again.
fn hide_key(words: &mut [String]) {
    for i in 0..words.len() {
        if words[i].starts_with("--key=") {
            words[i] = "--key=\"$AMENDS_KEY\"".to_owned();
        } else if i > 0 && words[i - 1] == "--key" {
            words[i] = "\"$AMENDS_KEY\"".to_owned();
        }
    }
}

/// As a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_run_is_the_same_with_yes() {
        let args =
            ["amends", "retry", "-", "--key", "amk_x", "--reason", "it's back; rm -rf $HOME"];
        let line = line_with_yes(args.into_iter().map(str::to_owned));
        let expected =
            r#"amends retry - --key "$AMENDS_KEY" --reason 'it'\''s back; rm -rf $HOME' --yes"#;
        assert_eq!(line, expected);
        assert_eq!(quoted(""), "''");
    }
}
