/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The Prometheus text format 0.0.4, which every scraper reads.
    Prometheus,
    /// OpenMetrics 1.0.0, which also carries units and says where the page ends.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of a page.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The format for a client that sends the `Accept` header `accept` (empty where it sends none).
///
/// OpenMetrics only for those who name it, version 1.0.0 or none, and do not prefer plain text;
/// everybody else, also who accepts neither, gets plain text, as Prometheus' own clients do it.
#[must_use]
pub fn negotiate(accept: &str) -> Format {
    let mut open_metrics = 0.0f64;
    let mut plain = 0.0f64;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let (mut weight, mut version) = (1.0, None);
        for parameter in parts {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            if key.trim().eq_ignore_ascii_case("q") {
                weight = value
                    .parse()
                    .ok()
                    .filter(|weight| (0.0..=1.0).contains(weight))
                    .unwrap_or(0.0);
            } else if key.trim().eq_ignore_ascii_case("version") {
                version = Some(value);
            }
        }
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            if matches!(version, None | Some("1.0.0")) {
                open_metrics = open_metrics.max(weight);
            }
        } else if media_type.eq_ignore_ascii_case("text/plain") && matches!(version, None | Some("0.0.4")) {
            plain = plain.max(weight);
        }
    }
    if open_metrics > 0.0 && open_metrics >= plain {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_gets_what_it_asks_for() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(negotiate(prometheus_2), Format::OpenMetrics);
        assert_eq!(negotiate(prometheus_3), Format::OpenMetrics);
    }

    #[test]
    fn plain_text_for_everybody_else() {
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.4,text/plain;q=0.5",
            "application/openmetrics-text;q=nonsense",
            "application/json",
            ";;,,=;q",
        ] {
            assert_eq!(negotiate(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn spelling_does_not_matter() {
        assert_eq!(
            negotiate("Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.9"),
            Format::OpenMetrics
        );
        assert_eq!(negotiate("application/openmetrics-text"), Format::OpenMetrics);
    }
}
