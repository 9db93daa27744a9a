//! Plays a document: every `console` block is run in one shell, and its output compared with the text.
//!
//! ````text
//! ```console until        `until`: run the block's command again until it fits (30 s)
//! $ kctl get nodes
//! NAME     STATUS   …     `…` stands for anything within a line, a line `...` for any lines
//! ```
//! ````
//!
//! # Invariants
//! - Runs of blanks count as one, since columns grow with what is in them; all else must be equal.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use store_env::clock::SystemClock;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// One command may take this long.
const COMMAND_MAX: Duration = Duration::from_secs(120);
const UNTIL_MAX: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const ANY_LINES: &str = "...";
const ANYTHING: char = '\u{2026}';

/// A command of the document, and what it should print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
    /// Repeat it until it fits.
    until: bool,
}

/// Plays all of a document; stops at the first difference.
pub(crate) async fn run(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let steps = parse(&text);
    let clock = SystemClock::shared();
    let mut shell = Shell::start()?;
    for step in &steps {
        println!("$ {}", step.command.replace('\n', "\n> "));
        let started = clock.monotonic_ms();
        loop {
            let printed = tokio::time::timeout(COMMAND_MAX, shell.run(&step.command))
                .await
                .with_context(|| format!("line {}: not done in {COMMAND_MAX:?}", step.line))??;
            let fits = fits(&step.expected, &printed);
            let waited = Duration::from_millis(clock.monotonic_ms() - started);
            if fits || !step.until || waited > UNTIL_MAX {
                println!("{}", printed.join("\n"));
                if !fits {
                    bail!(
                        "{}:{}: expected\n{}",
                        file.display(),
                        step.line,
                        step.expected.join("\n")
                    );
                }
                break;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
    println!("\n{} passed, 0 failed", steps.len());
    Ok(())
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    // Within a block: whether its commands are to be repeated until they fit.
    let mut block: Option<bool> = None;
    for (index, line) in text.lines().enumerate() {
        match block {
            None => {
                if let Some(info) = line.strip_prefix("```console") {
                    block = Some(info.trim() == "until");
                }
            }
            Some(_) if line == "```" => block = None,
            Some(until) => {
                let continued = steps.last().is_some_and(|step| step.command.ends_with('\\'));
                if let Some(command) = line.strip_prefix("$ ") {
                    let command = command.to_owned();
                    steps.push(Step { line: index + 1, command, until, ..Step::default() });
                } else if let Some(step) = steps.last_mut() {
                    if let Some(more) = line.strip_prefix("> ").filter(|_| step.expected.is_empty())
                    {
                        step.command = format!("{}\n{more}", step.command);
                    } else if continued {
                        step.command = format!("{}\n{line}", step.command);
                    } else {
                        step.expected.push(line.to_owned());
                    }
                }
            }
        }
    }
    steps
}

/// Whether the lines printed are those expected.
fn fits(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == ANY_LINES => {
            (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed.split_first().is_some_and(|(line, others)| {
            line_fits(&squeeze(first), &squeeze(line)) && fits(rest, others)
        }),
    }
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `…` matches any text, also none.
fn line_fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split(ANYTHING);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// One bash that runs all commands, so that variables and folders carry over. What it left running in the
/// background ends with it.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    count: usize,
}

impl Shell {
    fn start() -> anyhow::Result<Self> {
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("stdin is piped")?;
        let output = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        Ok(Self { child, input, output, count: 0 })
    }

    /// What the command printed, errors included.
    async fn run(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        self.count += 1;
        let end = format!("--end-of-step-{}--", self.count);
        // The newline before the mark separates it from output that ends without one.
        let script = format!("{{ {command}\n}} </dev/null 2>&1; printf '\\n%s\\n' '{end}'\n");
        self.input.write_all(script.as_bytes()).await?;
        let mut lines = Vec::new();
        loop {
            let line = self.output.next_line().await?.context("the shell ended")?;
            if line == end {
                while lines.last().is_some_and(String::is_empty) {
                    lines.pop();
                }
                return Ok(lines);
            }
            lines.push(line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // An error means that all of it has ended.
            let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split('/').filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    fn check(expected: &str, printed: &str, same: bool) {
        assert_eq!(fits(&lines(expected), &lines(printed)), same, "{expected} | {printed}");
    }

    #[test]
    fn output_fits_where_the_document_says_so() {
        check("a  b/c", "a b/c", true);
        check("a/c", "a", false);
        check("a", "a/c", false);
        check("NAME \u{2026} AGE", "NAME   READY   AGE", true);
        check("pod-\u{2026} 1/\u{2026}", "pod-x 1", false);
        check("pod-\u{2026} Running \u{2026}", "pod-x Running 3s", true);
        check("pod-\u{2026} Running \u{2026}", "pod-x Pending 3s", false);
        check(".../b", "a/x/b", true);
        check(".../b", "a/x/c", false);
        check("", "", true);
        check("", "x", false);
    }

    #[test]
    fn document_is_taken_apart_into_commands_and_output() {
        let text = "text\n```console until\n$ echo a \\\n  b\na b\n$ true\n```\n```sh\n$ no\n```\n";
        let steps = parse(text);
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[0].command.as_str(), steps[0].line), ("echo a \\\n  b", 3));
        assert_eq!(steps[0].expected, ["a b"]);
        assert!(steps[1].until && steps[1].expected.is_empty());
    }
}
