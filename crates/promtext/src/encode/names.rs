use crate::{EncodeError, Kind};

/// Endings by which readers tell kinds apart; a gauge or a histogram must have none of them.
const RESERVED_SUFFIXES: [&str; 6] = ["_total", "_info", "_bucket", "_sum", "_count", "_created"];

/// Whether `name` can be a family of `kind` in both formats.
pub(super) fn check_family(name: &str, kind: Kind, unit: &str) -> Result<(), EncodeError> {
    if !is_metric_name(name) {
        return Err(EncodeError::FamilyName { family: name.into() });
    }
    let suffix = |rule| {
        Err(EncodeError::Suffix {
            family: name.into(),
            kind,
            rule,
        })
    };
    let base = match kind {
        Kind::Counter => name.strip_suffix("_total"),
        Kind::Info => name.strip_suffix("_info"),
        Kind::Gauge | Kind::Histogram => Some(name),
    };
    let Some(base) = base.filter(|base| !base.is_empty()) else {
        return suffix(if kind == Kind::Counter {
            "must end in _total"
        } else {
            "must end in _info"
        });
    };
    if RESERVED_SUFFIXES.iter().any(|reserved| base.ends_with(reserved)) {
        return suffix("must not end in _total, _info, _bucket, _sum, _count or _created");
    }
    let has_unit = match kind {
        Kind::Info => unit.is_empty(),
        _ => unit.is_empty() || base.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')),
    };
    if has_unit {
        Ok(())
    } else {
        Err(EncodeError::Unit {
            family: name.into(),
            unit: unit.into(),
        })
    }
}

/// Whether samples of the family can have `labels`, which are sorted.
pub(super) fn check_labels(family: &str, kind: Kind, labels: &[(&str, &str)]) -> Result<(), EncodeError> {
    for (label, _) in labels {
        if !is_label_name(label) {
            return Err(EncodeError::LabelName {
                family: family.into(),
                label: (*label).into(),
            });
        }
        if kind == Kind::Histogram && *label == "le" {
            return Err(EncodeError::ReservedLabel {
                family: family.into(),
                label: (*label).into(),
            });
        }
    }
    match labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(EncodeError::DuplicateLabel {
            family: family.into(),
            label: pair[0].0.into(),
        }),
        None => Ok(()),
    }
}

/// The name of the family in the lines that describe it in OpenMetrics.
pub(super) fn open_metrics_name(name: &str, kind: Kind) -> &str {
    match kind {
        Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
        Kind::Info => name.strip_suffix("_info").unwrap_or(name),
        Kind::Gauge | Kind::Histogram => name,
    }
}

/// Every name that the family or its samples have in either format.
pub(super) fn taken_by(name: &str, kind: Kind) -> Vec<String> {
    match kind {
        Kind::Gauge => vec![name.into()],
        Kind::Counter | Kind::Info => vec![name.into(), open_metrics_name(name, kind).into()],
        Kind::Histogram => ["", "_bucket", "_sum", "_count"]
            .iter()
            .map(|suffix| format!("{name}{suffix}"))
            .collect(),
    }
}

fn is_metric_name(name: &str) -> bool {
    begins_and_goes_on(name, |byte| {
        byte.is_ascii_alphabetic() || byte == b'_' || byte == b':'
    })
}

fn is_label_name(name: &str) -> bool {
    // Two underscores mark labels that Prometheus itself makes and drops.
    !name.starts_with("__") && begins_and_goes_on(name, |byte| byte.is_ascii_alphabetic() || byte == b'_')
}

fn begins_and_goes_on(name: &str, may_begin: impl Fn(u8) -> bool) -> bool {
    match name.as_bytes() {
        [] => false,
        [first, rest @ ..] => {
            may_begin(*first) && rest.iter().all(|byte| may_begin(*byte) || byte.is_ascii_digit())
        }
    }
}
