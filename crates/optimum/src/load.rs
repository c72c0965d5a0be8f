use std::fmt;
use std::time::Duration;

/// What is asked for, in bins of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    bin: Duration,
    bins: Vec<Bin>,
}

/// One bin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bin {
    /// Replicas that its work keeps busy from its beginning to its end.
    pub(crate) replicas: f64,
    /// Requests that make up the work.
    pub(crate) requests: f64,
}

/// How starts are billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bill {
    /// How long a replica is billed before it serves.
    pub cold_start: Duration,
    /// Replicas that serve when the load begins, and whose start nobody pays.
    pub warm: u32,
}

/// Time for which replicas are billed, all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct ReplicaSeconds(pub f64);

/// A load that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// Bins without a length.
    #[error("the bins have no length")]
    NoLength,
    /// Work or requests that are no count.
    #[error(
        "bin {bin} has {replicas} replicas' work and {requests} requests; both must be finite and at least 0, and work without requests, or more than {MOST_REPLICAS} replicas, is not possible"
    )]
    Impossible {
        /// Which bin, from 0.
        bin: usize,
        /// Its work.
        replicas: f64,
        /// Its requests.
        requests: f64,
    },
}

/// More replicas than anybody has. The bounds look at each replica by itself, so that their time grows
/// with the peak.
const MOST_REPLICAS: f64 = 1e6;

impl Load {
    /// `bins` of length `bin`, each with the replicas that its work keeps busy and its requests.
    ///
    /// Peaks shorter than a bin are lost in it: the bounds stay valid and become weaker.
    ///
    /// # Errors
    ///
    /// A bin without length, or a number that makes no sense.
    pub fn new(bin: Duration, bins: impl IntoIterator<Item = (f64, f64)>) -> Result<Self, LoadError> {
        if bin.is_zero() {
            return Err(LoadError::NoLength);
        }
        let bins = bins.into_iter().enumerate().map(|(place, (replicas, requests))| {
            let fine = (0.0..=MOST_REPLICAS).contains(&replicas)
                && requests.is_finite()
                && requests >= 0.0
                && (replicas == 0.0 || requests > 0.0);
            fine.then_some(Bin { replicas, requests })
                .ok_or(LoadError::Impossible {
                    bin: place,
                    replicas,
                    requests,
                })
        });
        Ok(Self {
            bin,
            bins: bins.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Length of a bin, seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.bin.as_secs_f64()
    }

    /// Replicas that the fullest bin needs.
    #[must_use]
    pub fn peak(&self) -> u32 {
        self.bins.iter().map(Bin::need).max().unwrap_or(0)
    }
}

impl Bin {
    /// Whole replicas that serve all of it at once.
    pub(crate) fn need(&self) -> u32 {
        // What lies within rounding of a whole number is that number.
        let whole = (self.replicas - 1e-9).ceil().max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and MOST_REPLICAS"
        )]
        let need = whole as u32;
        need
    }
}

impl fmt::Display for ReplicaSeconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.2} replica-hours", self.0 / 3600.0)
    }
}
