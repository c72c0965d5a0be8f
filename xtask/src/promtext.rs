//! Compares what `promtext` reads with what Prometheus' own parser reads.
//!
//! Whole pages are compared entry by entry. Then many single lines are, most of them made from known
//! ones by small changes; there each difference must be one that `crates/promtext/EDGE.md` decides.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::root;

/// `cargo xtask promtext-oracle`.
#[derive(Args)]
pub(crate) struct OracleArguments {
    /// How many changed lines are compared in each format.
    #[arg(long, default_value_t = 100_000)]
    lines: usize,
    /// Where the changes begin; other seeds make other lines.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A page or a line, alone on its page.
struct Case {
    open_metrics: bool,
    text: Vec<u8>,
}

/// Builds both programs and compares what they say. Needs Go, and the Go module proxy on the first run.
pub(crate) fn run(arguments: &OracleArguments) -> Result<()> {
    let work = root().join("target/promtext");
    let oracle = build_oracle(&work)?;
    let ours = build_ours()?;
    lint(&oracle, &ours, &work)?;
    let pages = pages()?;
    compare(&oracle, &ours, &work, &pages, |_, _, _| None)?;
    println!("{} pages read the same", pages.len());
    let lines = changed_lines(arguments)?;
    let decided = compare(&oracle, &ours, &work, &lines, decided)?;
    println!(
        "{} lines read the same, but for what EDGE.md decides:",
        lines.len()
    );
    for (reason, count) in decided {
        println!("{count:>9} {reason}");
    }
    Ok(())
}

/// Builds the Go program in `work` and says where it is.
pub(crate) fn build_oracle(work: &Path) -> Result<PathBuf> {
    fs::create_dir_all(work).with_context(|| format!("{} cannot be made", work.display()))?;
    let program = work.join("oracle");
    let status = Command::new("go")
        .current_dir(root().join("crates/promtext/go"))
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .status()
        .context("go cannot be started: the comparison needs Go")?;
    ensure!(status.success(), "crates/promtext/go does not build");
    Ok(program)
}

fn build_ours() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args([
            "build",
            "--locked",
            "--package",
            "rheostat-promtext",
            "--example",
            "dump",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    ensure!(output.status.success(), "the example dump does not build");
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built no example")
}

/// What our encoder writes passes `promtool check metrics`: the same check in the Go program, and the
/// program itself where it is installed.
fn lint(oracle: &Path, ours: &Path, work: &Path) -> Result<()> {
    let page = work.join("encoded.txt");
    let status = Command::new(ours)
        .args(["encode", "prometheus"])
        .stdout(File::create(&page)?)
        .status()?;
    ensure!(status.success(), "the encoder failed");
    let status = Command::new(oracle)
        .arg("lint")
        .stdin(File::open(&page)?)
        .status()?;
    ensure!(
        status.success(),
        "what the encoder writes breaks customs (see above)"
    );
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(File::open(&page)?)
        .status();
    match promtool {
        Ok(status) => ensure!(
            status.success(),
            "promtool does not accept what the encoder writes"
        ),
        Err(_) => println!("promtool is not installed: only its check was run, from its library"),
    }
    Ok(())
}

/// The pages of engines and exporters, and one from our own encoder in each format.
fn pages() -> Result<Vec<Case>> {
    let folder = root().join("crates/promtext/tests/pages");
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            cases.push(Case {
                open_metrics: path.file_stem().is_some_and(|name| name == "openmetrics"),
                text: fs::read(&path)?,
            });
        }
    }
    ensure!(!cases.is_empty(), "{} has no pages", folder.display());
    Ok(cases)
}

/// Lines of the pages and of `tests/corpus` as they are, and others that are made from them.
fn changed_lines(arguments: &OracleArguments) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let pages = pages()?;
    for open_metrics in [false, true] {
        let name = if open_metrics {
            "openmetrics.txt"
        } else {
            "prometheus.txt"
        };
        let corpus = fs::read(root().join("crates/promtext/tests/corpus").join(name))?;
        let mut lines: Vec<Vec<u8>> = corpus.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let same_format = pages.iter().filter(|page| page.open_metrics == open_metrics);
        let of_pages = same_format.flat_map(|page| page.text.split(|byte| *byte == b'\n'));
        // Every eighth is enough: the lines of a page are much alike.
        lines.extend(of_pages.step_by(8).map(<[u8]>::to_vec));
        let mut random = Random(arguments.seed);
        for count in 0..lines.len() + arguments.lines {
            let line = match lines.get(count) {
                Some(line) => line.clone(),
                None => random.changed(&lines),
            };
            let end: &[u8] = if open_metrics { b"\n# EOF\n" } else { b"\n" };
            cases.push(Case {
                open_metrics,
                text: [&line, end].concat(),
            });
        }
    }
    Ok(cases)
}

/// Compares the answers to `cases`; `explain` gives the reason of a difference that is decided. The
/// result counts these.
fn compare(
    oracle: &Path,
    ours: &Path,
    work: &Path,
    cases: &[Case],
    explain: impl Fn(&Case, &str, &str) -> Option<&'static str>,
) -> Result<BTreeMap<&'static str, usize>> {
    const SHOWN: usize = 10;
    let stream = work.join("pages");
    let bytes: Vec<u8> = cases
        .iter()
        .flat_map(|case| {
            let format = if case.open_metrics {
                "openmetrics"
            } else {
                "prometheus"
            };
            let head = format!("{format} {}\n", case.text.len());
            [head.as_bytes(), &case.text].concat()
        })
        .collect();
    fs::write(&stream, bytes)?;
    let theirs = answers(Command::new(oracle).arg("dump"), &stream, cases.len())?;
    let ours = answers(&mut Command::new(ours), &stream, cases.len())?;
    let mut decided = BTreeMap::new();
    let mut unexplained = 0;
    for (case, (theirs, ours)) in cases.iter().zip(theirs.iter().zip(&ours)) {
        // What an error says need not be the same, nor whether what is before it on the line is a sample.
        let stopped = theirs
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("error "));
        let same = theirs == ours || (stopped && ours.starts_with("error "));
        if same {
            continue;
        }
        match explain(case, theirs, ours) {
            Some(reason) => *decided.entry(reason).or_insert(0) += 1,
            None => {
                unexplained += 1;
                if unexplained <= SHOWN {
                    let text = String::from_utf8_lossy(&case.text);
                    let text: String = text.chars().take(200).collect();
                    eprintln!(
                        "{text:?}\n  textparse: {}\n  ours:      {}",
                        head(theirs),
                        head(ours)
                    );
                }
            }
        }
    }
    if unexplained > 0 {
        bail!("{unexplained} differences that nothing decides");
    }
    Ok(decided)
}

fn head(answer: &str) -> String {
    answer.chars().take(300).collect()
}

fn answers(program: &mut Command, stream: &Path, count: usize) -> Result<Vec<String>> {
    let output = program
        .stdin(File::open(stream)?)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} cannot be started", program.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{} failed",
        program.get_program().display()
    );
    let text = String::from_utf8(output.stdout).context("an answer is not UTF-8")?;
    let answers: Vec<String> = text.split_terminator("---\n").map(String::from).collect();
    ensure!(
        answers.len() == count,
        "{} answers to {count} pages",
        answers.len()
    );
    Ok(answers)
}

/// Why we differ from textparse on a single line, if that is decided in `EDGE.md`.
fn decided(case: &Case, theirs: &str, ours: &str) -> Option<&'static str> {
    let line = case.text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if line.contains(&0) {
        return Some("a NUL byte ends textparse's page");
    }
    if let Some(problem) = ours.strip_prefix("error ") {
        return match problem.trim_end() {
            "NotUtf8" => Some("not UTF-8, where textparse does not look"),
            "DuplicateLabel" => Some("a label twice"),
            "ReservedLabel" => Some("the label __name__"),
            "Comma" if !case.open_metrics => Some("no comma between labels"),
            "Space" if !case.open_metrics => Some("no blank after a name"),
            "LabelName" | "FamilyName" if line.windows(2).any(|pair| pair == b"\"\"") => {
                Some("an empty name in quotes")
            }
            "Html" => Some("HTML"),
            "Timestamp" if case.open_metrics => Some("a timestamp out of range"),
            "Comment" if theirs.is_empty() => Some("a blank line in OpenMetrics"),
            _ => None,
        };
    }
    if case.open_metrics {
        return None;
    }
    if line.first().is_some_and(blank) {
        return Some("blanks before the name, which textparse takes for a part of it");
    }
    let words: Vec<&[u8]> = line.split(blank).filter(|word| !word.is_empty()).collect();
    let signed = |word: &&[u8]| word.starts_with(b"-") || word.starts_with(b"+");
    if theirs.starts_with("error ") && ours.starts_with("type ") {
        return Some("more than one blank around a type");
    }
    if theirs.starts_with("error ") && words.last().is_some_and(signed) {
        return Some("a timestamp with a sign");
    }
    None
}

/// SplitMix64: the same lines from the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end.max(1) as u64) as usize
    }

    /// One of `lines` after one to four changes.
    fn changed(&mut self, lines: &[Vec<u8>]) -> Vec<u8> {
        const PIECES: [&[u8]; 40] = [
            b"\"",
            b"\\",
            b"{",
            b"}",
            b",",
            b"=",
            b" ",
            b"\t",
            b"#",
            b"\r",
            b"\\n",
            b"\\\"",
            b"\\\\",
            b"\\x",
            b"=\"\"",
            b",a=\"b\"",
            b"{}",
            b" # {a=\"b\"} 1",
            b"NaN",
            b"+Inf",
            b"-",
            b"+",
            b".",
            b"e",
            b"E-3",
            b"0x1",
            b"_",
            b":",
            b"1",
            b"0",
            b"9999999999999999",
            b"00000000",
            b"le=\"1\"",
            b"# TYPE ",
            b"# HELP ",
            b"# EOF",
            b"\xc3\xa4",
            b"\xff",
            b"\0",
            b"counter",
        ];
        let pick = |random: &mut Self| lines.get(random.below(lines.len())).cloned().unwrap_or_default();
        let mut line = pick(self);
        for _ in 0..=self.below(4) {
            let at = self.below(line.len() + 1);
            match self.below(6) {
                0 => drop(line.splice(at..(at + 1).min(line.len()), [])),
                1 => line.truncate(at),
                2 => {
                    let other = pick(self);
                    let from = self.below(other.len() + 1);
                    line.truncate(at);
                    line.extend_from_slice(other.get(from..).unwrap_or_default());
                }
                3 => {
                    let end = (at + self.below(12)).min(line.len());
                    let again = line.get(at..end).unwrap_or_default().to_vec();
                    drop(line.splice(at..at, again));
                }
                _ => {
                    let piece = PIECES.get(self.below(PIECES.len())).copied().unwrap_or_default();
                    let end = (at + self.below(2)).min(line.len());
                    drop(line.splice(at..end, piece.iter().copied()));
                }
            }
        }
        line
    }
}
