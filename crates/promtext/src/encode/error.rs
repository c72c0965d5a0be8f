use crate::{BoundsError, Kind};

/// A family or a sample that the formats do not allow, or that would mislead those who read it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// Not a metric name.
    #[error("\"{family}\" is not a metric name: letters, digits, _ and :, not beginning with a digit")]
    FamilyName {
        /// The family.
        family: String,
    },
    /// The name lacks the ending of its kind or has that of another.
    #[error("{kind:?} \"{family}\" {rule}")]
    Suffix {
        /// The family.
        family: String,
        /// Its kind.
        kind: Kind,
        /// What its name must be like.
        rule: &'static str,
    },
    /// The name does not end with the unit.
    #[error("\"{family}\" does not end with its unit, _{unit} (before _total)")]
    Unit {
        /// The family.
        family: String,
        /// The unit.
        unit: String,
    },
    /// The help is empty.
    #[error("\"{family}\" has no help text")]
    NoHelp {
        /// The family.
        family: String,
    },
    /// Another family has the name, or samples of that name.
    #[error("\"{family}\" is on the page already: \"{taken}\" is taken")]
    DuplicateFamily {
        /// The family.
        family: String,
        /// The name that both have.
        taken: String,
    },
    /// Not a label name.
    #[error(
        "\"{label}\" of \"{family}\" is not a label name: letters, digits and _, not beginning with a digit or __"
    )]
    LabelName {
        /// The family.
        family: String,
        /// The label.
        label: String,
    },
    /// A label that the format itself writes.
    #[error("\"{label}\" of \"{family}\" is reserved for the buckets of histograms")]
    ReservedLabel {
        /// The family.
        family: String,
        /// The label.
        label: String,
    },
    /// A label is given twice.
    #[error("\"{label}\" is given twice for a sample of \"{family}\"")]
    DuplicateLabel {
        /// The family.
        family: String,
        /// The label.
        label: String,
    },
    /// The family has a sample with these labels.
    #[error("\"{family}\" has a sample with the labels {{{labels}}} already")]
    DuplicateSample {
        /// The family.
        family: String,
        /// The labels.
        labels: String,
    },
    /// A value that the kind cannot have.
    #[error("{kind:?} \"{family}\" cannot have the value {value}")]
    Value {
        /// The family.
        family: String,
        /// Its kind.
        kind: Kind,
        /// The value.
        value: f64,
    },
    /// A sample of another kind than the family's.
    #[error("{kind:?} \"{family}\" cannot have {sample}")]
    WrongKind {
        /// The family.
        family: String,
        /// Its kind.
        kind: Kind,
        /// What was to be written.
        sample: &'static str,
    },
    /// A histogram whose buckets are no buckets.
    #[error("histogram \"{family}\": {source}")]
    Bounds {
        /// The family.
        family: String,
        /// What is wrong.
        source: BoundsError,
    },
}
