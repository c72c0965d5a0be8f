//! Each format is told from its content and read as it is, and what is wrong with one is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Write as _;
use std::time::Duration;

use proptest::prelude::*;
use rheostat_trace::{Format, Lengths, Options, Request, Tokens, Trace};

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";
const BURSTGPT: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n";
const SERVEGEN: &str = "client,window_start_s,rate_rps,cv,family,param1,param2\n";

fn read(text: &str) -> Result<Trace, String> {
    Trace::read(text.as_bytes(), &Options::default()).map_err(|error| {
        // The cause tells what a parser said.
        let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        format!("{error} {cause}")
    })
}

fn request(seconds: f64, prompt_tokens: u32, output_tokens: u32) -> Request {
    Request {
        at: Duration::from_secs_f64(seconds),
        prompt_tokens,
        output_tokens,
    }
}

fn requests(text: &str) -> Vec<Request> {
    read(text).unwrap().requests().collect()
}

#[test]
fn azure_requests_are_timed_from_the_first_one() {
    let text = format!(
        "{AZURE}2023-11-16 18:15:50.9951690,396,109\r\n2023-11-16 18:15:46.6805900,374,44\r\n\r\n2023-11-17 00:00:00,1,0"
    );
    let expected = [
        request(0.0, 374, 44),
        request(4.314_579, 396, 109),
        request(20_653.319_41, 1, 1),
    ];
    assert_eq!(requests(&text), expected);
    let trace = read(&text).unwrap();
    assert_eq!(trace.duration(), Duration::from_secs_f64(20_653.319_41));
    assert!((trace.expected_requests() - 3.0).abs() < 1e-9);
}

#[test]
fn azure_times_may_have_an_offset() {
    let text =
        format!("{AZURE}2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 02:00:00.509930+02:00,2399,6\n");
    assert_eq!(requests(&text), [request(0.0, 2162, 5), request(0.5, 2399, 6)]);
}

#[test]
fn burstgpt_columns_are_found_by_name() {
    let text = format!(
        "{BURSTGPT}5,ChatGPT,472,18,490,Conversation log\n45.25,GPT-4,1087,0,1087,Conversation log\n"
    );
    assert_eq!(requests(&text), [request(0.0, 472, 18), request(40.25, 1087, 1)]);
    let text = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                1,7,0.5,GPT-4,10,20,30,API log\n";
    assert_eq!(requests(text), [request(0.0, 10, 20)]);
}

#[test]
fn mooncake_times_are_milliseconds() {
    let text = "{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, 47]}\n\
                {\"timestamp\": 30535, \"input_length\": 6472, \"output_length\": 26, \"hash_ids\": [46]}\n";
    assert_eq!(requests(text), [request(0.0, 6955, 52), request(3.053, 6472, 26)]);
}

#[test]
fn counts_come_within_their_seconds() {
    let trace = read("2\n0\n30\n").unwrap();
    let seconds: Vec<u64> = trace.requests().map(|request| request.at.as_secs()).collect();
    assert_eq!(seconds.len(), 32);
    assert_eq!(seconds.iter().filter(|second| **second == 0).count(), 2);
    assert_eq!(seconds.iter().filter(|second| **second == 2).count(), 30);
    assert_eq!(trace.duration(), Duration::from_secs(3));
}

#[test]
fn a_prometheus_answer_is_the_sum_of_its_series() {
    let text = r#"{
  "status": "success",
  "data": {"resultType": "matrix", "result": [
    {"metric": {"pod": "a"}, "values": [[1700000000, "40"], [1700000060.000, "10"], [1700000120, "0"]]},
    {"metric": {"pod": "b"}, "values": [[1700000000, "20"]]}
  ]}}"#;
    let trace = read(text).unwrap();
    assert_eq!(trace.duration(), Duration::from_secs(180));
    assert!((trace.expected_requests() - 4200.0).abs() < 1e-6);
    let count = |minute| {
        trace
            .requests()
            .filter(|one| one.at.as_secs() / 60 == minute)
            .count() as f64
    };
    // Six standard deviations of a Poisson distribution.
    assert!((count(0) - 3600.0).abs() < 360.0, "{}", count(0));
    assert!((count(1) - 600.0).abs() < 147.0, "{}", count(1));
    assert!(count(2) == 0.0);
}

#[test]
fn servegen_windows_have_the_measured_rates() {
    let text = format!(
        "{SERVEGEN}0,1200,2.5,1.156,Gamma,0.748,0.04435\n7,1800,0.05,7.396,Weibull,0.4252,0.009046\n0,3000,1,0.5,Gamma,4,0.25\n"
    );
    let trace = read(&text).unwrap();
    // From the first window on, and the window that nobody has stays empty.
    assert_eq!(trace.duration(), Duration::from_secs(2400));
    let mut windows = [0; 4];
    for request in trace.requests() {
        windows[(request.at.as_secs() / 600) as usize] += 1;
    }
    assert_eq!(windows, [1500, 30, 0, 600]);
}

#[test]
fn lengths_are_those_that_were_asked_for() {
    let options = Options {
        lengths: Lengths {
            prompt: Tokens::Fixed(512),
            output: Tokens::Lognormal {
                median: 100.0,
                sigma: 0.5,
                most: 300,
            },
        },
        ..Options::default()
    };
    let trace = Trace::read("100000\n".as_bytes(), &options).unwrap();
    let mut outputs: Vec<u32> = trace
        .requests()
        .map(|request| {
            assert_eq!(request.prompt_tokens, 512);
            request.output_tokens
        })
        .collect();
    outputs.sort_unstable();
    assert!(outputs[50_000].abs_diff(100) <= 1, "{}", outputs[50_000]);
    // One standard deviation above the median.
    assert!(
        (f64::from(outputs[84_134]) - 100.0 * f64::exp(0.5)).abs() < 3.0,
        "{}",
        outputs[84_134]
    );
    assert_eq!(outputs[99_999], 300);
}

#[test]
fn the_usual_lengths_have_the_means_of_the_chat_trace() {
    let trace = read("200000\n").unwrap();
    let (mut prompt, mut output) = (0.0, 0.0);
    for request in trace.requests() {
        prompt += f64::from(request.prompt_tokens) / 200_000.0;
        output += f64::from(request.output_tokens) / 200_000.0;
    }
    assert!(
        (prompt - 1154.7).abs() < 8.0 && (output - 211.1).abs() < 4.0,
        "{prompt} {output}"
    );
}

#[test]
fn a_compressed_file_is_read_as_the_plain_one() {
    let text = format!("{AZURE}2023-11-16 18:15:46,374,44\n");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let trace = Trace::read(&packed[..], &Options::default()).unwrap();
    assert_eq!(trace.requests().collect::<Vec<_>>(), requests(&text));
    let error = Trace::read(&packed[..packed.len() - 12], &Options::default()).unwrap_err();
    assert!(error.to_string().contains("to its end"), "{error}");
}

#[test]
fn a_bomb_is_refused() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(b"1\n").unwrap();
    packed.write_all(&vec![b'1'; 3 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    let error = Trace::read(&packed[..], &Options::default()).unwrap_err();
    assert!(error.to_string().contains("bytes in a line"), "{error}");
}

#[test]
fn an_error_names_line_column_value_and_what_is_allowed() {
    let azure = format!("{AZURE}2023-11-16 18:15:46.6805900,374,44\r\n");
    let burst = format!("{BURSTGPT}5,ChatGPT,472,18,490,Conversation log\n");
    let servegen = format!("{SERVEGEN}0,600,1,1,Gamma,1,1\n");
    let matrix = |values: &str| {
        format!(r#"{{"data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{values}]}}]}}}}"#)
    };
    for (text, said) in [
        (
            format!("{azure}yesterday,374,44"),
            ["line 3", "TIMESTAMP", "yesterday"],
        ),
        (
            format!("{azure}2023-11-16 18:15:46,-3,44"),
            ["line 3", "ContextTokens", "-3"],
        ),
        (
            format!("{azure}2023-11-16 18:15:46,3"),
            ["line 3", "GeneratedTokens", "\"\""],
        ),
        (
            format!("{azure}2023-11-16 18:15:46,3,4,5"),
            ["line 3", "column 4", "5"],
        ),
        (
            format!("{azure}1923-11-16 18:15:46,3,4"),
            ["line 3", "10 years", "1923"],
        ),
        (
            "TIMESTAMP,ContextTokens\n".to_owned(),
            ["line 1", "GeneratedTokens", "header"],
        ),
        (
            format!("{burst}-1,GPT,1,1,2,x"),
            ["line 3", "Timestamp", "seconds"],
        ),
        (
            format!("{burst}1,GPT,1,1e3,2,x"),
            ["line 3", "Response tokens", "1e3"],
        ),
        (
            format!("{servegen}0,600,2,1,Gamma,1,1\n"),
            ["line 3", "window_start_s", "once"],
        ),
        (
            format!("{servegen}0,1200,NaN,1,Gamma,1,1\n"),
            ["line 3", "rate_rps", "NaN"],
        ),
        (
            format!("{servegen}0,1200,1,-1,Gamma,1,1\n"),
            ["line 3", "cv", "0 to 10000"],
        ),
        (
            format!("{servegen}0,1200,1,1,Pareto,1,1\n"),
            ["line 3", "family", "Weibull"],
        ),
        ("5\n-3\n".to_owned(), ["line 2", "-3", "whole number"]),
        (
            "{\"timestamp\": 1, \"input_length\": 2}".to_owned(),
            ["line 1", "mooncake", "output_length"],
        ),
        (
            "{\"timestamp\": -1, \"input_length\": 2, \"output_length\": 2}".to_owned(),
            ["line 1", "timestamp", "milliseconds"],
        ),
        (
            "{\"status\": \"error\"}".to_owned(),
            ["line 1", "prometheus", "JSON"],
        ),
        (
            r#"{"data":{"resultType":"vector","result":[]}}"#.to_owned(),
            ["resultType", "vector", "matrix"],
        ),
        (
            matrix(r#"[60,"1"],[120,"NaN"]"#),
            ["result[0] at 120", "NaN", "per second"],
        ),
        (
            matrix(r#"[60,"1"],[120,"1"],[240,"1"]"#),
            ["between 120 and 240", "every step", "vector(0)"],
        ),
        (matrix(r#"[60,"1"]"#), ["1 moments", "at least two", "result"]),
        (
            "hello, world\n".to_owned(),
            ["hello, world", "azure", "prometheus"],
        ),
        (String::new(), ["\"\"", "no known format", "azure"]),
        (AZURE.to_owned(), ["no request", "azure", "GeneratedTokens"]),
        ("0\n0\n".to_owned(), ["no request", "counts", "each line"]),
    ] {
        let error = read(&text).expect_err(&text);
        for part in said {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
    let error = "azur".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("azur") && error.contains("mooncake"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        format in proptest::option::of(proptest::sample::select(Format::ALL.to_vec())),
        head in proptest::sample::select(vec!["", AZURE, BURSTGPT, SERVEGEN, "{\"data\":", "1\n"]),
    ) {
        let mut text = head.as_bytes().to_vec();
        text.extend(&bytes);
        let options = Options { format, ..Options::default() };
        if let Ok(trace) = Trace::read(&text[..], &options) {
            let times: Vec<_> = trace.requests().take(10_000).map(|request| request.at).collect();
            prop_assert!(times.is_sorted());
        }
    }

    #[test]
    fn fields_of_any_text_are_read_or_refused(
        lines in proptest::collection::vec("[0-9a-zA-Z:. +-]{0,12}(,[0-9a-zA-Z.-]{0,9}){0,7}", 0..8),
        head in proptest::sample::select(vec![AZURE, BURSTGPT, SERVEGEN, "1\n"]),
    ) {
        let _ = read(&format!("{head}{}", lines.join("\n")));
    }
}
