use std::path::{Path, PathBuf};

use jiff::civil::DateTime;

/// Requests of a trace in the CSV format of the Azure LLM inference traces
/// (`TIMESTAMP,ContextTokens,GeneratedTokens`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    requests: Vec<Request>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Request {
    /// Seconds since the first request.
    pub(crate) second: f64,
    /// Tokens of the prompt.
    pub(crate) context_tokens: u32,
    /// Tokens of the answer.
    pub(crate) generated_tokens: u32,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    /// The file cannot be read.
    #[error("trace {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A field is not what it should be.
    #[error("trace: line {line}, column {column} is {found:?}; {wanted} is needed")]
    Field {
        /// Line, from 1.
        line: usize,
        /// The column's name.
        column: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        wanted: &'static str,
    },
    /// There is no request.
    #[error(
        "trace: no request in it; lines of TIMESTAMP,ContextTokens,GeneratedTokens after a header are needed"
    )]
    Empty,
}

const COLUMNS: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];
const TIME: &str = "a time such as 2023-11-16 18:15:46.6805900";
const TOKENS: &str = "a whole number of tokens";

/// The largest trace that is read, in bytes: some millions of requests.
const LARGEST: u64 = 256 << 20;

/// A generated token costs about as much GPU time as this many prompt tokens: prompts are read in
/// parallel and bound by arithmetic, answers are written one token at a time and bound by memory
/// (Splitwise, ISCA 2024, section 3).
const PROMPT_TOKENS_PER_GENERATED: f64 = 8.0;

impl Trace {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// It cannot be read, or a line of it is not as it should be.
    pub(crate) fn open(path: &Path) -> Result<Self, TraceError> {
        let failed = |source| TraceError::File {
            path: path.to_owned(),
            source,
        };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > LARGEST {
            let message = format!("{size} bytes; at most {LARGEST} are read");
            return Err(failed(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                message,
            )));
        }
        Self::read(&std::fs::read(path).map_err(failed)?)
    }

    /// Reads the text of a trace. Lines end with CR LF or LF; they are put in order of time.
    ///
    /// # Errors
    ///
    /// The first field that is not as it should be, by line and column.
    pub(crate) fn read(text: &[u8]) -> Result<Self, TraceError> {
        let text = String::from_utf8_lossy(text);
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let mut timed = Vec::new();
        if let Some((line, header)) = lines.next() {
            check_header(line + 1, header)?;
        }
        for (line, text) in lines {
            timed.push(request(line + 1, text)?);
        }
        timed.sort_by_key(|(at, ..)| *at);
        let (start, ..) = *timed.first().ok_or(TraceError::Empty)?;
        let requests = timed
            .into_iter()
            .map(|(at, context_tokens, generated_tokens)| Request {
                second: at.duration_since(start).as_secs_f64(),
                context_tokens,
                generated_tokens,
            });
        Ok(Self {
            requests: requests.collect(),
        })
    }

    /// The requests in order of time.
    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Seconds from the first request to the last.
    pub(crate) fn seconds(&self) -> f64 {
        self.requests.last().map_or(0.0, |request| request.second)
    }
}

impl Request {
    /// What it costs, in prompt tokens.
    pub(crate) fn tokens_worth(&self) -> f64 {
        f64::from(self.context_tokens) + PROMPT_TOKENS_PER_GENERATED * f64::from(self.generated_tokens)
    }
}

fn check_header(line: usize, header: &str) -> Result<(), TraceError> {
    let mut found = header.trim_start_matches('\u{feff}').split(',').map(str::trim);
    for column in COLUMNS {
        let name = found.next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(column) {
            return Err(field(
                line,
                column,
                name,
                "the header TIMESTAMP,ContextTokens,GeneratedTokens",
            ));
        }
    }
    Ok(())
}

fn request(line: usize, text: &str) -> Result<(DateTime, u32, u32), TraceError> {
    let mut fields = text.split(',').map(str::trim);
    let mut next = || fields.next().unwrap_or_default();
    let [time, context, generated] = [next(), next(), next()];
    let at = time.parse().map_err(|_| field(line, COLUMNS[0], time, TIME))?;
    let context = context
        .parse()
        .map_err(|_| field(line, COLUMNS[1], context, TOKENS))?;
    let generated = generated
        .parse()
        .map_err(|_| field(line, COLUMNS[2], generated, TOKENS))?;
    if let Some(more) = fields.next() {
        return Err(field(line, "4", more, "nothing"));
    }
    Ok((at, context, generated))
}

fn field(line: usize, column: &'static str, found: &str, wanted: &'static str) -> TraceError {
    TraceError::Field {
        line,
        column,
        found: found.chars().take(60).collect(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";

    fn read(lines: &str) -> Result<Trace, String> {
        Trace::read(format!("{HEADER}{lines}").as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn requests_are_timed_from_the_first_one() {
        let trace = read(
            "2023-11-16 18:15:50.9951690,396,109\r\n2023-11-16 18:15:46.6805900,374,44\r\n\r\n2023-11-17 00:00:00,1,0",
        )
        .unwrap();
        let seconds: Vec<_> = trace.requests().iter().map(|request| request.second).collect();
        assert!(
            seconds[0] == 0.0 && (seconds[1] - 4.314_579).abs() < 1e-9,
            "{seconds:?}"
        );
        assert!((trace.seconds() - 20_653.319_41).abs() < 1e-6, "{seconds:?}");
        assert_eq!(
            (
                trace.requests()[0].context_tokens,
                trace.requests()[0].generated_tokens
            ),
            (374, 44)
        );
        assert!((trace.requests()[0].tokens_worth() - 726.0).abs() < 1e-9);
    }

    #[test]
    fn an_error_names_line_and_column() {
        let good = "2023-11-16 18:15:46.6805900,374,44\r\n";
        for (line, column, found) in [
            ("yesterday,374,44", "TIMESTAMP", "yesterday"),
            ("2023-11-16 18:15:46,-3,44", "ContextTokens", "-3"),
            ("2023-11-16 18:15:46,3", "GeneratedTokens", "\"\""),
            ("2023-11-16 18:15:46,3,4,5", "column 4", "5"),
        ] {
            let error = read(&format!("{good}{line}\r\n")).unwrap_err();
            assert!(
                error.contains("line 3") && error.contains(column) && error.contains(found),
                "{error}"
            );
        }
        assert!(read("").unwrap_err().contains("no request"));
        let error = Trace::read(b"Timestamp,Model\n").unwrap_err().to_string();
        assert!(
            error.contains("line 1") && error.contains("ContextTokens") && error.contains("Model"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Trace::read(&bytes);
            let mut with_header = HEADER.as_bytes().to_vec();
            with_header.extend(&bytes);
            let _ = Trace::read(&with_header);
        }
    }
}
