use std::collections::BTreeMap;

use rheostat_reading::Timestamp;
use serde::Deserialize;

use crate::failure::QueryFailure;

/// What a server answered to an instant query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The result.
    pub data: Data,
    /// What the server warns of, such as a store that did not answer: the result may then be partial.
    pub warnings: Vec<String>,
    /// What the server remarks, such as a counter's function on what is no counter.
    pub infos: Vec<String>,
}

/// The result of an instant query.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A number.
    Scalar(Sample),
    /// Any number of series, none included.
    Vector(Vec<Series>),
}

/// One series of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub sample: Sample,
}

/// A value, which may be NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The value.
    pub value: f64,
    /// The time that the server evaluated the query for, on the server's clock. The samples that went
    /// into it can be older, by up to the server's look-back (5 minutes): ask for
    /// `timestamp(metric)` where that matters.
    pub at: Timestamp,
}

/// Series of a result; more is a query without an aggregation.
const MAX_SERIES: usize = 1000;

/// Remarks of a server that are kept, and their length in characters.
const MAX_REMARKS: usize = 8;
const MAX_REMARK: usize = 256;

impl Answer {
    /// Reads what the API answered.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, QueryFailure> {
        let response: Response = serde_json::from_slice(body).map_err(|error| malformed(&error, body))?;
        let data = match response.data {
            Some(data) if response.status == "success" => data,
            _ => return Err(response.failure()),
        };
        let parse = |error| malformed(&error, body);
        let data = match data.result_type.as_str() {
            "scalar" => {
                let point: Point = serde_json::from_value(data.result).map_err(parse)?;
                Data::Scalar(point.sample()?)
            }
            "vector" => {
                let points: Vec<SeriesPoint> = serde_json::from_value(data.result).map_err(parse)?;
                if points.len() > MAX_SERIES {
                    return Err(QueryFailure::TooManySeries {
                        found: points.len(),
                        most: MAX_SERIES,
                    });
                }
                Data::Vector(
                    points
                        .into_iter()
                        .map(SeriesPoint::series)
                        .collect::<Result<_, _>>()?,
                )
            }
            "matrix" => {
                return Err(QueryFailure::Kind {
                    found: "a range vector",
                });
            }
            "string" => return Err(QueryFailure::Kind { found: "a text" }),
            other => {
                return Err(QueryFailure::Malformed(format!(
                    "the result is of type {:?}",
                    short(other)
                )));
            }
        };
        let mut warnings = remarks(&response.warnings);
        if response.is_partial {
            warnings.push("the server says that the result is partial".to_owned());
        }
        Ok(Self {
            data,
            warnings,
            infos: remarks(&response.infos),
        })
    }
}

impl Answer {
    /// What the server warns of that can mean that series are missing, such as a store that did not
    /// answer; `None` where it warns of nothing but the query itself (Prometheus begins those with
    /// `PromQL`).
    #[must_use]
    pub fn partial(&self) -> Option<&str> {
        let mut warnings = self.warnings.iter();
        warnings
            .find(|warning| !warning.starts_with("PromQL"))
            .map(String::as_str)
    }
}

impl Data {
    /// The values, in the server's order.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        match self {
            Self::Scalar(sample) => vec![sample.value],
            Self::Vector(series) => series.iter().map(|series| series.sample.value).collect(),
        }
    }
}

/// What a refusal with a status says: the API's own error where the body is one.
pub(crate) fn api_error(body: &str) -> Option<QueryFailure> {
    let response: Response = serde_json::from_str(body).ok()?;
    (response.status == "error").then(|| response.failure())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status: String,
    data: Option<ResponseData>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
    /// VictoriaMetrics says so of a cluster of which a part is away.
    #[serde(default)]
    is_partial: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseData {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Point(f64, String);

#[derive(Deserialize)]
struct SeriesPoint {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<Point>,
}

impl Response {
    fn failure(self) -> QueryFailure {
        QueryFailure::Api {
            kind: self
                .error_type
                .as_deref()
                .map_or_else(|| short(&self.status), short),
            message: self
                .error
                .as_deref()
                .map_or_else(|| "nothing more".to_owned(), short),
        }
    }
}

impl SeriesPoint {
    fn series(self) -> Result<Series, QueryFailure> {
        let point = self.value.ok_or(QueryFailure::Kind {
            found: "a native histogram",
        })?;
        Ok(Series {
            labels: self.metric,
            sample: point.sample()?,
        })
    }
}

impl Point {
    fn sample(&self) -> Result<Sample, QueryFailure> {
        let Self(at, written) = self;
        // Rust reads NaN, +Inf and -Inf as Go writes them.
        let value = written
            .parse()
            .map_err(|_| QueryFailure::Malformed(format!("{:?} is no number", short(written))))?;
        let at = if at.is_finite() {
            (at.max(0.0) * 1e9) as u64
        } else {
            0
        };
        Ok(Sample {
            value,
            at: Timestamp::from_unix_nanos(at),
        })
    }
}

fn malformed(error: &serde_json::Error, body: &[u8]) -> QueryFailure {
    let start = short(&String::from_utf8_lossy(&body[..body.len().min(80)]));
    QueryFailure::Malformed(format!("{error}, in {start:?}"))
}

fn remarks(texts: &[String]) -> Vec<String> {
    texts.iter().take(MAX_REMARKS).map(|text| short(text)).collect()
}

/// Text from outside as one short line.
fn short(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_REMARK).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(json: &str) -> Result<Data, String> {
        Answer::parse(json.as_bytes())
            .map(|answer| answer.data)
            .map_err(|error| error.to_string())
    }

    fn result(kind: &str, result: &str) -> Result<Data, String> {
        data(&format!(
            r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#
        ))
    }

    #[test]
    fn scalars_and_vectors_are_read() {
        let scalar = result("scalar", r#"[1700000000.5,"3.25"]"#).unwrap();
        let Data::Scalar(sample) = scalar else {
            panic!("{scalar:?}")
        };
        assert_eq!(
            (sample.value, sample.at.unix_nanos()),
            (3.25, 1_700_000_000_500_000_000)
        );
        let vector = result(
            "vector",
            r#"[{"metric":{"pod":"a"},"value":[1,"NaN"]},{"metric":{},"value":[1,"+Inf"]},{"value":[1,"-Inf"]},{"metric":{"x":"é"},"value":[1,"1e-3"]}]"#,
        )
        .unwrap();
        let values = vector.values();
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [f64::INFINITY, f64::NEG_INFINITY, 0.001]);
        let Data::Vector(series) = vector else { panic!() };
        assert_eq!(series[0].labels["pod"], "a");
        assert_eq!(
            result("vector", "[]"),
            Ok(Data::Vector(vec![])),
            "no series is an answer"
        );
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for (kind, body, expected) in [
            (
                "matrix",
                "[]",
                "the result is a range vector; a scalar or an instant vector is needed",
            ),
            (
                "string",
                r#"[1,"x"]"#,
                "the result is a text; a scalar or an instant vector is needed",
            ),
            (
                "vector",
                r#"[{"metric":{},"histogram":[1,{"count":"3","sum":"1"}]}]"#,
                "the result is a native histogram; a scalar or an instant vector is needed",
            ),
            (
                "streams",
                "[]",
                "the answer is not that of Prometheus' API: the result is of type \"streams\"",
            ),
            (
                "scalar",
                r#"[1,"three"]"#,
                "the answer is not that of Prometheus' API: \"three\" is no number",
            ),
        ] {
            assert_eq!(result(kind, body), Err(expected.to_owned()));
        }
        let many = format!("[{}]", vec![r#"{"metric":{},"value":[1,"1"]}"#; 1001].join(","));
        assert!(
            result("vector", &many)
                .unwrap_err()
                .contains("has 1001 series; at most 1000")
        );
    }

    #[test]
    fn errors_and_other_pages_are_told() {
        assert_eq!(
            data(r#"{"status":"error","errorType":"bad_data","error":"invalid\nparameter"}"#),
            Err("the server says bad_data: invalid parameter".into())
        );
        assert_eq!(
            data(r#"{"status":"success"}"#),
            Err("the server says success: nothing more".into())
        );
        for page in [
            "",
            "<html>login</html>",
            "null",
            "[]",
            r#"{"status":"success","data":{"resultType":"vector","result":[{"value":[1"#,
        ] {
            assert!(
                data(page)
                    .unwrap_err()
                    .starts_with("the answer is not that of Prometheus' API: "),
                "{page}"
            );
        }
    }

    #[test]
    fn warnings_are_kept_within_bounds() {
        let warnings = format!("[{}]", vec![format!("\"{}\"", "w".repeat(999)); 20].join(","));
        let body = format!(
            r#"{{"status":"success","isPartial":true,"data":{{"resultType":"vector","result":[]}},"warnings":{warnings},"infos":["i"]}}"#
        );
        let answer = Answer::parse(body.as_bytes()).unwrap();
        assert_eq!(answer.warnings.len(), MAX_REMARKS + 1);
        assert_eq!(answer.warnings[0].len(), MAX_REMARK);
        assert!(answer.warnings[MAX_REMARKS].contains("partial"));
        assert_eq!(answer.partial(), answer.warnings.first().map(String::as_str));
        let annotated = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["PromQL warning: x"]}"#;
        assert_eq!(Answer::parse(annotated.as_bytes()).unwrap().partial(), None);
        assert_eq!(answer.infos, ["i"]);
    }
}
