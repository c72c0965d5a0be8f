use std::ops::RangeInclusive;
use std::time::Duration;

use rheostat_policy::Schedule;
use rheostat_reading::{Ratio, Timestamp};
use rheostat_sizing::{
    Amount, Budget, Change, Intent, Limits, Objective, Part, Period, RateLimit, ReplicaShape, Role, Slo,
    WhenReached,
};

use crate::quantity::{count, duration, invalid, name, number, parameters, percent, power, quoted};
use crate::spec::{
    BudgetPeriod, BudgetSpec, LimitsSpec, PoolSpec, RateSpec, RolePart, RoleSpec, ScalingPolicySpec, SloSpec,
    WhenBudgetReached,
};
use crate::{PolicyError, ReplicasSpec};

/// What a `ScalingPolicy` means: checked, with its defaults filled in as far as they do not hang on the
/// workload that uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    objective: Objective,
    min_replicas: Option<u32>,
    max_replicas: Option<u32>,
    headroom: u32,
    scale_to_zero_after: Option<Duration>,
    cold_start: Duration,
    schedule: Schedule,
    limits: Limits,
    gpus_per_replica: Option<f64>,
    price_per_gpu_hour: Option<f64>,
    parameters: Option<f64>,
    pool: Option<Pool>,
    role: Option<Role>,
    partner: Option<String>,
}

/// GPUs that workloads of one namespace share.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name, within the namespace.
    pub name: String,
    /// How many GPUs this policy says it has.
    pub gpus: f64,
    /// Higher goes first.
    pub priority: i32,
    /// Part within a priority, relative to the others'.
    pub weight: f64,
}

/// What a policy takes from the workload that uses it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surroundings {
    /// `minReplicaCount` of the ScaledObject; 0 where its `idleReplicaCount` is, since KEDA then takes what is idle
    /// to zero.
    pub min_replicas: u32,
    /// `maxReplicaCount` of the ScaledObject.
    pub max_replicas: u32,
    /// `cooldownPeriod` of the ScaledObject: KEDA waits so long after the last *active* before it scales to
    /// zero.
    pub cooldown_period: Duration,
    /// GPUs that a pod of the workload asks for, where that is known.
    pub gpus_per_pod: Option<f64>,
}

/// The longest list that is read of rates and of budgets. More are a mistake, and each costs every decision.
pub(crate) const MOST_ENTRIES: usize = 8;
/// The most windows of a schedule.
pub(crate) const MOST_WINDOWS: usize = 32;
/// The longest text of a window, bytes.
pub(crate) const LONGEST_WINDOW: usize = 256;
/// The most replicas of a workload.
pub(crate) const MOST_REPLICAS: u32 = 100_000;
/// The most GPUs of a pool.
pub(crate) const MOST_GPUS: f64 = 100_000.0;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const LATENCY: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
const COLD_START: RangeInclusive<Duration> = SECOND..=Duration::from_secs(2 * 3600);
/// Counts are remembered for an hour: a rate over more would be let through, and nobody told.
const WITHIN: RangeInclusive<Duration> = SECOND..=HOUR;
const IDLE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 24 * 3600);

/// The classes of cold starts: what the first start is expected to take until some have been seen. Too short
/// a guess lets the first rise of the load find too few replicas, too long a one keeps some too many; both
/// pass after a few starts. 1, 3 and 10 minutes: an image and weights that are on the node already, those
/// that come from a registry nearby, and a node that has to be made first.
const COLD_STARTS: [(&str, Duration); 3] = [
    ("fast", Duration::from_secs(60)),
    ("medium", Duration::from_secs(180)),
    ("slow", Duration::from_secs(600)),
];

/// Of an SLO that names no part of the requests.
const DEFAULT_ATTAINMENT: Ratio = Ratio(0.99);

impl Policy {
    /// What `spec`, as the API server hands it over, means.
    ///
    /// # Errors
    ///
    /// Where a key is not known, missing or contradictory, or a value not allowed; the message names key,
    /// value and what is allowed.
    pub fn read(spec: &serde_json::Value) -> Result<Self, PolicyError> {
        use serde::Deserialize as _;
        let spec =
            ScalingPolicySpec::deserialize(spec).map_err(|error| PolicyError::Shape(error.to_string()))?;
        Self::try_from(&spec)
    }

    /// What is to be kept in a workload with these `surroundings`. The bounds of the ScaledObject hold
    /// against those of the policy, since KEDA and the HPA let nothing else through.
    #[must_use]
    pub fn intent(&self, surroundings: &Surroundings) -> Intent {
        let Surroundings {
            min_replicas,
            max_replicas,
            cooldown_period,
            gpus_per_pod,
        } = *surroundings;
        let max = self.max_replicas.unwrap_or(max_replicas).min(max_replicas);
        let min = self
            .min_replicas
            .unwrap_or(min_replicas)
            .max(min_replicas)
            .min(max);
        // KEDA's cooldown begins when the policy says *inactive*.
        let to_zero = self
            .scale_to_zero_after
            .map(|after| after.saturating_sub(cooldown_period));
        Intent {
            objective: self.objective,
            min_replicas: min,
            max_replicas: max,
            cold_start: self.cold_start,
            scale_to_zero_after: (min == 0).then(|| to_zero.unwrap_or(Duration::ZERO)),
            headroom: self.headroom,
            limits: self.limits.clone(),
            replica: ReplicaShape {
                gpus: self.gpus_per_replica.or(gpus_per_pod).unwrap_or(1.0),
                price_per_gpu_hour: self.price_per_gpu_hour,
                parameters: self.parameters,
            },
            role: self.role,
        }
    }

    /// What the schedule asks for at `now`.
    #[must_use]
    pub fn schedule_at(&self, now: Timestamp) -> rheostat_sizing::Schedule {
        let bounds = self.schedule.at(now);
        rheostat_sizing::Schedule {
            floor: bounds.floor,
            ceiling: bounds.ceiling,
            frozen: self.schedule.is_blackout(now),
        }
    }

    /// The pool that it shares.
    #[must_use]
    pub const fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }

    /// GPUs of each replica, where the policy says it.
    #[must_use]
    pub const fn gpus_per_replica(&self) -> Option<f64> {
        self.gpus_per_replica
    }

    /// The ScaledObject with the other part of a pair of prefill and decode workloads.
    #[must_use]
    pub fn partner(&self) -> Option<&str> {
        self.partner.as_deref()
    }
}

impl TryFrom<&ScalingPolicySpec> for Policy {
    type Error = PolicyError;

    fn try_from(spec: &ScalingPolicySpec) -> Result<Self, PolicyError> {
        let replicas = spec.replicas.clone().unwrap_or_default();
        check_replicas(&replicas)?;
        let gpu = spec.gpu.clone().unwrap_or_default();
        let price = gpu
            .price_per_hour
            .map(|price| number("gpu.pricePerHour", price, &(0.0..=1e6)));
        let price_per_gpu_hour = price.transpose()?;
        let (role, partner) = role(spec.role.as_ref())?;
        Ok(Self {
            objective: objective(spec)?,
            min_replicas: replicas.min,
            max_replicas: replicas.max,
            headroom: replicas.headroom.unwrap_or(0),
            scale_to_zero_after: match &replicas.scale_to_zero_after {
                Some(text) => Some(duration("replicas.scaleToZeroAfter", text, &IDLE)?),
                None => None,
            },
            cold_start: cold_start(spec.cold_start.as_deref())?,
            schedule: schedule(spec)?,
            limits: limits(spec.limits.as_ref(), price_per_gpu_hour)?,
            gpus_per_replica: match gpu.per_replica {
                Some(gpus) => Some(number("gpu.perReplica", gpus, &(0.01..=1024.0))?),
                None => None,
            },
            price_per_gpu_hour,
            parameters: parameters_of(spec)?,
            pool: spec.pool.as_ref().map(pool).transpose()?,
            role,
            partner,
        })
    }
}

fn objective(spec: &ScalingPolicySpec) -> Result<Objective, PolicyError> {
    let given = [
        ("slo", spec.slo.is_some()),
        ("concurrency", spec.concurrency.is_some()),
        ("utilization", spec.utilization.is_some()),
    ];
    let mut given = given.iter().filter(|(_, given)| *given);
    if let (Some((one, _)), Some((other, _))) = (given.next(), given.next()) {
        return Err(PolicyError::Conflict {
            one: (*one).into(),
            other: (*other).into(),
            hint: "a policy keeps one of them",
        });
    }
    match (&spec.slo, spec.concurrency, &spec.utilization) {
        (Some(spec), _, _) => slo(spec).map(Objective::Slo),
        (_, Some(requests), _) => number("concurrency", requests, &(0.01..=1e6)).map(Objective::Concurrency),
        (_, _, Some(text)) => percent("utilization", text, &(1.0..=100.0)).map(Objective::Utilization),
        (None, None, None) => Err(PolicyError::Missing {
            key: "slo, concurrency or utilization".into(),
            allowed: "slo: {ttft: 2s, itl: 100ms}, or concurrency: 32, or utilization: 70%".into(),
        }),
    }
}

fn slo(spec: &SloSpec) -> Result<Slo, PolicyError> {
    let latency = |key: &str, text: &Option<String>| {
        let text = text.as_ref();
        text.map(|text| duration(key, text, &LATENCY)).transpose()
    };
    let slo = Slo {
        ttft: latency("slo.ttft", &spec.ttft)?,
        itl: latency("slo.itl", &spec.itl)?,
        e2e: latency("slo.e2e", &spec.e2e)?,
        attainment: match &spec.attainment {
            Some(text) => percent("slo.attainment", text, &(50.0..=99.99))?,
            None => DEFAULT_ATTAINMENT,
        },
    };
    if slo.ttft.is_none() && slo.itl.is_none() && slo.e2e.is_none() {
        return Err(PolicyError::Missing {
            key: "slo.ttft, slo.itl or slo.e2e".into(),
            allowed: "durations such as ttft: 2s, itl: 100ms, e2e: 30s".into(),
        });
    }
    Ok(slo)
}

fn check_replicas(replicas: &ReplicasSpec) -> Result<(), PolicyError> {
    for (key, value, least) in [
        ("replicas.min", replicas.min, 0),
        ("replicas.max", replicas.max, 1),
        ("replicas.headroom", replicas.headroom, 0),
    ] {
        if let Some(value) = value {
            count(key, value, &(least..=MOST_REPLICAS))?;
        }
    }
    let conflict = |one: &str, other: &str, hint| {
        Err(PolicyError::Conflict {
            one: one.into(),
            other: other.into(),
            hint,
        })
    };
    match replicas {
        ReplicasSpec {
            min: Some(min),
            max: Some(max),
            ..
        } if min > max => conflict("replicas.min", "replicas.max", "min is at most max"),
        ReplicasSpec {
            min: Some(min),
            scale_to_zero_after: Some(_),
            ..
        } if *min > 0 => conflict(
            "replicas.min",
            "replicas.scaleToZeroAfter",
            "with a min above 0 there is no way to zero",
        ),
        _ => Ok(()),
    }
}

fn cold_start(text: Option<&str>) -> Result<Duration, PolicyError> {
    let text = text.unwrap_or("medium");
    if let Some((_, span)) = COLD_STARTS.iter().find(|(class, _)| *class == text) {
        return Ok(*span);
    }
    duration("coldStart", text, &COLD_START).map_err(|_| {
        let allowed = "fast (1 min), medium (3 min), slow (10 min), or a duration from 1s to 2h";
        invalid("coldStart", &quoted(text), allowed.into())
    })
}

fn schedule(spec: &ScalingPolicySpec) -> Result<Schedule, PolicyError> {
    let windows = &spec.schedule;
    if windows.is_empty() {
        return match &spec.time_zone {
            Some(_) => Err(PolicyError::Missing {
                key: "schedule".into(),
                allowed: "windows, where there is a timeZone".into(),
            }),
            None => Ok(Schedule::default()),
        };
    }
    at_most("schedule", windows.len(), MOST_WINDOWS)?;
    for (place, window) in windows.iter().enumerate() {
        if window.len() > LONGEST_WINDOW || window.contains(['\n', ';']) {
            let allowed = format!("one window of at most {LONGEST_WINDOW} bytes");
            return Err(invalid(&format!("schedule[{place}]"), &quoted(window), allowed));
        }
    }
    Schedule::parse(&windows.join("\n"), spec.time_zone.as_deref())
        .map_err(|error| invalid("schedule", &quoted(&windows.join("; ")), error.to_string()))
}

fn limits(spec: Option<&LimitsSpec>, price: Option<f64>) -> Result<Limits, PolicyError> {
    let Some(spec) = spec else {
        return Ok(Limits::default());
    };
    at_most("limits.budgets", spec.budgets.len(), MOST_ENTRIES)?;
    let budget = |(place, spec)| budget(&format!("limits.budgets[{place}]"), spec, price);
    Ok(Limits {
        up: rates("limits.up", &spec.up)?,
        down: rates("limits.down", &spec.down)?,
        max_unready: match spec.max_unready {
            Some(most) => Some(count("limits.maxUnready", most, &(1..=MOST_REPLICAS))?),
            None => None,
        },
        budgets: spec
            .budgets
            .iter()
            .enumerate()
            .map(budget)
            .collect::<Result<_, _>>()?,
        power: match &spec.power {
            Some(text) => Some(power("limits.power", text)?),
            None => None,
        },
    })
}

fn rates(key: &str, specs: &[RateSpec]) -> Result<Vec<RateLimit>, PolicyError> {
    at_most(key, specs.len(), MOST_ENTRIES)?;
    let rate = |(place, spec): (usize, &RateSpec)| {
        let key = format!("{key}[{place}]");
        let change = match (spec.replicas, &spec.percent) {
            (Some(replicas), None) => {
                Change::Replicas(count(&format!("{key}.replicas"), replicas, &(1..=MOST_REPLICAS))?)
            }
            (None, Some(part)) => Change::Part(percent(&format!("{key}.percent"), part, &(1.0..=1000.0))?),
            (Some(_), Some(_)) => {
                return Err(PolicyError::Conflict {
                    one: format!("{key}.replicas"),
                    other: format!("{key}.percent"),
                    hint: "two entries, if both are to hold",
                });
            }
            (None, None) => {
                return Err(PolicyError::Missing {
                    key: format!("{key}.replicas"),
                    allowed: "replicas: 2 or percent: 50%".into(),
                });
            }
        };
        let within = duration(&format!("{key}.within"), &spec.within, &WITHIN)?;
        Ok(RateLimit { change, within })
    };
    specs.iter().enumerate().map(rate).collect()
}

fn budget(key: &str, spec: &BudgetSpec, price: Option<f64>) -> Result<Budget, PolicyError> {
    let missing = |field: &str, allowed: &str| PolicyError::Missing {
        key: format!("{key}.{field}"),
        allowed: allowed.into(),
    };
    let conflict = |one: &str, other: &str, hint| PolicyError::Conflict {
        one: format!("{key}.{one}"),
        other: format!("{key}.{other}"),
        hint,
    };
    let positive = |field: &str, amount| number(&format!("{key}.{field}"), amount, &(0.001..=1e9));
    let amount = match (spec.gpu_hours, spec.money) {
        (Some(hours), None) => Amount::GpuHours(positive("gpuHours", hours)?),
        (None, Some(money)) if price.is_some_and(|price| price > 0.0) => {
            Amount::Money(positive("money", money)?)
        }
        (None, Some(_)) => {
            return Err(PolicyError::Missing {
                key: "gpu.pricePerHour".into(),
                allowed: format!("what a GPU costs for an hour, above 0, since {key} is in money"),
            });
        }
        (Some(_), Some(_)) => return Err(conflict("gpuHours", "money", "two budgets, if both are to hold")),
        (None, None) => return Err(missing("gpuHours", "gpuHours: 100 or money: 500")),
    };
    let when_reached = match (spec.when_reached, spec.fall_to) {
        (Some(WhenBudgetReached::Fall), Some(replicas)) => {
            WhenReached::Fall(count(&format!("{key}.fallTo"), replicas, &(0..=MOST_REPLICAS))?)
        }
        (Some(WhenBudgetReached::Fall), None) => {
            return Err(missing(
                "fallTo",
                "the replicas that remain, with whenReached: fall",
            ));
        }
        (_, Some(_)) => {
            return Err(conflict(
                "whenReached",
                "fallTo",
                "fallTo goes with whenReached: fall",
            ));
        }
        (None | Some(WhenBudgetReached::Freeze), None) => WhenReached::Freeze,
        (Some(WhenBudgetReached::Warn), None) => WhenReached::Warn,
    };
    let per = match spec.per {
        BudgetPeriod::Hour => Period::Hour,
        BudgetPeriod::Day => Period::Day,
        BudgetPeriod::Month => Period::Month,
    };
    Ok(Budget {
        amount,
        per,
        when_reached,
    })
}

fn parameters_of(spec: &ScalingPolicySpec) -> Result<Option<f64>, PolicyError> {
    let text = spec.model.as_ref().and_then(|model| model.parameters.as_ref());
    text.map(|text| parameters("model.parameters", text)).transpose()
}

fn pool(spec: &PoolSpec) -> Result<Pool, PolicyError> {
    let priority = spec.priority.unwrap_or(0);
    if !(-1000..=1000).contains(&priority) {
        let allowed = "a whole number from -1000 to 1000";
        return Err(invalid("pool.priority", &priority.to_string(), allowed.into()));
    }
    Ok(Pool {
        name: name("pool.name", &spec.name)?,
        gpus: number("pool.gpus", spec.gpus, &(0.0..=MOST_GPUS))?,
        priority,
        weight: number("pool.weight", spec.weight.unwrap_or(1.0), &(0.01..=1000.0))?,
    })
}

fn role(spec: Option<&RoleSpec>) -> Result<(Option<Role>, Option<String>), PolicyError> {
    let Some(spec) = spec else { return Ok((None, None)) };
    if spec.prefill_per_decode.is_some() && spec.partner.is_none() {
        return Err(PolicyError::Missing {
            key: "role.partner".into(),
            allowed: "the name of the other ScaledObject, which prefillPerDecode relates to".into(),
        });
    }
    let partner = spec.partner.as_ref();
    let partner = partner.map(|partner| name("role.partner", partner)).transpose()?;
    let ratio = spec.prefill_per_decode;
    let ratio = ratio.map(|ratio| number("role.prefillPerDecode", ratio, &(0.01..=100.0)));
    let role = Role {
        part: match spec.part {
            RolePart::Prefill => Part::Prefill,
            RolePart::Decode => Part::Decode,
        },
        prefill_per_decode: ratio.transpose()?,
    };
    Ok((Some(role), partner))
}

fn at_most(key: &str, count: usize, most: usize) -> Result<(), PolicyError> {
    match count > most {
        true => Err(PolicyError::TooMany {
            key: key.to_owned(),
            count,
            most,
        }),
        false => Ok(()),
    }
}
