//! The CustomResourceDefinition, written by hand: what its users see of types, bounds and rules.

use serde_json::{Map, Value, json};

use crate::policy::{LONGEST_WINDOW, MOST_ENTRIES, MOST_GPUS, MOST_REPLICAS, MOST_WINDOWS};
use crate::{GROUP, KIND, PLURAL, VERSION};

/// As [`rheostat_policy::parse_duration`] reads it.
const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";
const PERCENT: &str = r"^[0-9]+(\.[0-9]+)?%$";
const POWER: &str = r"^[0-9]+(\.[0-9]+)?k?W$";
const NAME: &str = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";

/// The CustomResourceDefinition of `ScalingPolicy`, as `kubectl apply` takes it.
#[must_use]
pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{PLURAL}.{GROUP}"),
            "labels": {"app.kubernetes.io/name": "rheostat"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": "scalingpolicy",
                "shortNames": ["scpol"],
                "categories": ["all"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": root()},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("Desired", "integer", ".status.desired", "Replicas that its workloads are to have"),
                    column("Attainment", "string", ".status.attainment", "Requests that kept the objective"),
                    column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", "Whether it means something"),
                    column("Why", "string", ".status.why", "Why so many"),
                    column("Age", "date", ".metadata.creationTimestamp", "Age"),
                ],
            }],
        },
    })
}

fn column(name: &str, kind: &str, path: &str, description: &str) -> Value {
    json!({"name": name, "type": kind, "jsonPath": path, "description": description})
}

fn root() -> Value {
    let root = object(
        "What a workload's replicas are to achieve, and what binds. A ScaledObject of the same namespace uses it \
         by the trigger metadata `policy: NAME`.",
        vec![
            ("apiVersion", json!({"type": "string"})),
            ("kind", json!({"type": "string"})),
            ("metadata", json!({"type": "object"})),
            ("spec", spec()),
            ("status", status()),
        ],
    );
    require(root, &["spec"])
}

fn spec() -> Value {
    let spec = object(
        "Intent only: exactly one of slo, concurrency and utilization, and what binds.",
        vec![
            ("slo", slo()),
            (
                "concurrency",
                amount("At most so many requests in flight for each replica.", 0.01, 1e6),
            ),
            (
                "utilization",
                text(
                    "GPUs are busy for at most this part of the time, such as 70%.",
                    PERCENT,
                ),
            ),
            ("replicas", replicas()),
            (
                "coldStart",
                text(
                    "How long a start takes as far as is known before one was seen: fast (1 min), medium (3 min, the \
                     default), slow (10 min), or a duration.",
                    &format!("^(fast|medium|slow)$|{DURATION}"),
                ),
            ),
            (
                "schedule",
                list(
                    "Windows of time and what they ask for, such as: floor 2 from 0 8 * * mon-fri to 0 20 * * mon-fri \
                     in Europe/Zurich; ceiling, count and blackout (no change) likewise.",
                    &json!({"type": "string", "description": "One window.", "minLength": 1, "maxLength": LONGEST_WINDOW}),
                    MOST_WINDOWS,
                ),
            ),
            (
                "timeZone",
                json!({"type": "string", "description": "The zone of windows that name none; UTC where it is left out.",
                    "minLength": 1, "maxLength": 64}),
            ),
            ("limits", limits()),
            ("gpu", gpu()),
            ("model", model()),
            ("pool", pool()),
            ("role", role()),
        ],
    );
    rules(
        spec,
        &[
            (
                "[has(self.slo), has(self.concurrency), has(self.utilization)].filter(given, given).size() == 1",
                "exactly one of slo, concurrency and utilization is given",
            ),
            (
                "!has(self.limits) || !has(self.limits.budgets) || self.limits.budgets.all(one, !has(one.money)) || \
                 (has(self.gpu) && has(self.gpu.pricePerHour) && self.gpu.pricePerHour > 0.0)",
                "a budget in money needs gpu.pricePerHour, above 0",
            ),
            (
                "!has(self.timeZone) || has(self.schedule)",
                "timeZone is that of a schedule, and there is none",
            ),
        ],
    )
}

fn slo() -> Value {
    let slo = object(
        "Latencies to keep, for a part of the requests; at least one of them.",
        vec![
            ("ttft", span("Time to the first token, at most.")),
            ("itl", span("Mean time between two tokens of a request, at most.")),
            ("e2e", span("Time of a whole request, at most.")),
            (
                "attainment",
                text(
                    "Part of the requests that must keep all of them; 99% where it is left out.",
                    PERCENT,
                ),
            ),
        ],
    );
    rules(
        slo,
        &[(
            "has(self.ttft) || has(self.itl) || has(self.e2e)",
            "at least one of ttft, itl and e2e is given",
        )],
    )
}

fn replicas() -> Value {
    let replicas = object(
        "How many replicas there may be. The ScaledObject's own bounds hold too.",
        vec![
            (
                "min",
                whole(
                    "At least so many; the ScaledObject's minReplicaCount where it is left out.",
                    0,
                    MOST_REPLICAS,
                ),
            ),
            (
                "max",
                whole(
                    "At most so many; the ScaledObject's maxReplicaCount where it is left out.",
                    1,
                    MOST_REPLICAS,
                ),
            ),
            (
                "headroom",
                whole(
                    "Replicas that are kept beyond what the load needs.",
                    0,
                    MOST_REPLICAS,
                ),
            ),
            (
                "scaleToZeroAfter",
                span("Idle for so long, KEDA's cooldownPeriod included, before the last replica goes."),
            ),
        ],
    );
    rules(
        replicas,
        &[
            (
                "!has(self.min) || !has(self.max) || self.min <= self.max",
                "min is above max; allowed: a min of at most max",
            ),
            (
                "!has(self.scaleToZeroAfter) || !has(self.min) || self.min == 0",
                "with a min above 0 there is no way to zero: leave scaleToZeroAfter out",
            ),
        ],
    )
}

fn limits() -> Value {
    object(
        "What binds whatever the signals say.",
        vec![
            (
                "up",
                list(
                    "How fast replicas may be added; all of them hold.",
                    &rate(),
                    MOST_ENTRIES,
                ),
            ),
            (
                "down",
                list(
                    "How fast replicas may be taken away; all of them hold.",
                    &rate(),
                    MOST_ENTRIES,
                ),
            ),
            (
                "maxUnready",
                whole(
                    "While so many replicas are not ready, none is added.",
                    1,
                    MOST_REPLICAS,
                ),
            ),
            ("budgets", list("What may be spent.", &budget(), MOST_ENTRIES)),
            (
                "power",
                text(
                    "At most so much power for all replicas together, such as 3kW or 2500W.",
                    POWER,
                ),
            ),
        ],
    )
}

fn rate() -> Value {
    let rate = object(
        "A change of the replica count over a time: either replicas or percent.",
        vec![
            ("replicas", whole("By so many.", 1, MOST_REPLICAS)),
            (
                "percent",
                text("By this part of what there was, rounded up.", PERCENT),
            ),
            (
                "within",
                text(
                    "Within this time, 1s to 1h. A duration such as 30s or 1m30s.",
                    DURATION,
                ),
            ),
        ],
    );
    rules(
        require(rate, &["within"]),
        &[(
            "has(self.replicas) != has(self.percent)",
            "either replicas or percent is given",
        )],
    )
}

fn budget() -> Value {
    let budget = object(
        "What may be spent in a period: either gpuHours or money.",
        vec![
            ("gpuHours", amount("GPU-hours.", 0.001, 1e9)),
            (
                "money",
                amount("Money, in the currency of gpu.pricePerHour.", 0.001, 1e9),
            ),
            (
                "per",
                one_of(
                    "In which time (an hour, 24 hours, 30 days); it slides.",
                    &["hour", "day", "month"],
                ),
            ),
            (
                "whenReached",
                one_of(
                    "What happens when it is used up: nothing is added any more (freeze, the default), down to fallTo \
                     replicas (fall), or it is only said (warn).",
                    &["freeze", "fall", "warn"],
                ),
            ),
            (
                "fallTo",
                whole(
                    "With whenReached: fall, down to so many replicas.",
                    0,
                    MOST_REPLICAS,
                ),
            ),
        ],
    );
    rules(
        require(budget, &["per"]),
        &[
            (
                "has(self.gpuHours) != has(self.money)",
                "either gpuHours or money is given",
            ),
            (
                "has(self.fallTo) == (has(self.whenReached) && self.whenReached == 'fall')",
                "fallTo goes with whenReached: fall",
            ),
        ],
    )
}

fn gpu() -> Value {
    object(
        "What a replica holds and what that costs.",
        vec![
            (
                "perReplica",
                amount(
                    "GPUs of each replica; what its pods ask for where it is left out.",
                    0.01,
                    1024.0,
                ),
            ),
            (
                "pricePerHour",
                amount(
                    "What a GPU costs for an hour, in the currency of the budgets.",
                    0.0,
                    1e6,
                ),
            ),
        ],
    )
}

fn model() -> Value {
    object(
        "The model that is served.",
        vec![(
            "parameters",
            text(
                "How many parameters it has, such as 8B or 500M: the first minutes' sizes are guessed from it.",
                r"^[0-9]+(\.[0-9]+)?[MBT]$",
            ),
        )],
    )
}

fn pool() -> Value {
    let pool = object(
        "GPUs that are shared with the other workloads of the namespace that name the same pool.",
        vec![
            ("name", name("Its name, within the namespace.")),
            (
                "gpus",
                amount(
                    "How many GPUs it has. Where policies differ, the least counts.",
                    0.0,
                    MOST_GPUS,
                ),
            ),
            (
                "priority",
                json!({"type": "integer", "format": "int32", "minimum": -1000, "maximum": 1000,
                    "description": "Higher goes first; 0 where it is left out."}),
            ),
            (
                "weight",
                amount(
                    "Part within a priority, relative to the others'; 1 where it is left out.",
                    0.01,
                    1000.0,
                ),
            ),
        ],
    );
    require(pool, &["name", "gpus"])
}

fn role() -> Value {
    let role = object(
        "The part in a pair of prefill and decode workloads that serve the same requests.",
        vec![
            ("part", one_of("Which part.", &["prefill", "decode"])),
            (
                "partner",
                name("The ScaledObject of the other part, in the same namespace."),
            ),
            (
                "prefillPerDecode",
                amount(
                    "Prefill replicas for each decode replica; each by its own work where it is left out.",
                    0.01,
                    100.0,
                ),
            ),
        ],
    );
    rules(
        require(role, &["part"]),
        &[(
            "!has(self.prefillPerDecode) || has(self.partner)",
            "prefillPerDecode needs the partner that it relates to",
        )],
    )
}

fn status() -> Value {
    let plain = |description: &str| json!({"type": "string", "description": description});
    let count = |description: &str| json!({"type": "integer", "format": "int64", "description": description});
    let workload = object(
        "One workload that uses it.",
        vec![
            ("name", plain("Name of the ScaledObject.")),
            ("desired", count("Replicas that it is to have.")),
            (
                "active",
                json!({"type": "boolean", "description": "Whether there is demand, or has been not long enough ago."}),
            ),
            (
                "unknown",
                plain("What is not known of it, so that nothing is taken away."),
            ),
            ("why", plain("Why, in a line.")),
            (
                "capacity",
                plain(
                    "Requests per second that a replica serves within the objective, as far as is learned.",
                ),
            ),
            ("confidence", plain("How sure that is.")),
            (
                "coldStart",
                plain("Time from asking for a replica to its serving, 90th percentile."),
            ),
            (
                "gpus",
                json!({"type": "number", "description": "GPUs that its pods were last seen to hold each."}),
            ),
            (
                "attainment",
                plain("Part of the requests that kept the objective of late."),
            ),
            ("budgetLeft", plain("What is left of its tightest budget.")),
            ("learned", plain("What was learned, for the scaler itself.")),
        ],
    );
    let condition = object(
        "A condition.",
        vec![
            (
                "type",
                plain("Which one: Ready, Learned, BudgetExceeded, Limited."),
            ),
            ("status", plain("True, False or Unknown.")),
            ("reason", plain("Why, in one word.")),
            ("message", plain("Why, for a person.")),
            (
                "lastTransitionTime",
                json!({"type": "string", "format": "date-time", "description": "Since when."}),
            ),
            (
                "observedGeneration",
                count("metadata.generation of the spec that it is about."),
            ),
        ],
    );
    let keyed = |description: &str, item: Value, key: &str| {
        json!({"type": "array", "description": description, "items": require(item, &[key]),
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})
    };
    object(
        "What the scaler says of it.",
        vec![
            (
                "observedGeneration",
                count("metadata.generation of the spec that this is about."),
            ),
            ("leader", plain("Which replica of the scaler wrote it.")),
            (
                "desired",
                count("Replicas that its workloads are to have together."),
            ),
            ("why", plain("Why, in a line.")),
            (
                "attainment",
                plain("The least part of the requests that kept the objective of late."),
            ),
            (
                "workloads",
                keyed("Each workload that uses it.", workload, "name"),
            ),
            ("conditions", keyed("How it fares.", condition, "type")),
        ],
    )
}

fn object(description: &str, properties: Vec<(&str, Value)>) -> Value {
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    json!({"type": "object", "description": description, "properties": properties})
}

fn require(mut schema: Value, names: &[&str]) -> Value {
    schema["required"] = json!(names);
    schema
}

/// Rules beside types and bounds. Their messages name keys and what is allowed; the API server puts the field's
/// path before. They cannot name values: it refuses a definition whose messages are made of numbers, since it takes
/// the text of a number for unbounded.
fn rules(mut schema: Value, rules: &[(&str, &str)]) -> Value {
    let rules: Vec<_> = rules
        .iter()
        .map(|(rule, message)| json!({"rule": rule, "message": message}))
        .collect();
    schema["x-kubernetes-validations"] = json!(rules);
    schema
}

fn list(description: &str, item: &Value, most: usize) -> Value {
    json!({"type": "array", "description": description, "items": item, "maxItems": most})
}

fn whole(description: &str, least: u32, most: u32) -> Value {
    json!({"type": "integer", "format": "int32", "description": description, "minimum": least, "maximum": most})
}

fn amount(description: &str, least: f64, most: f64) -> Value {
    let amount = json!({"type": "number", "description": description, "minimum": least, "maximum": most});
    // The API server cuts a minimum off to a whole number where the value is one, and would take 0 for at least
    // 0.01.
    match least > 0.0 && least < 1.0 {
        true => rules(
            amount,
            &[(&format!("self >= {least}"), &format!("allowed: at least {least}"))],
        ),
        false => amount,
    }
}

fn text(description: &str, pattern: &str) -> Value {
    json!({"type": "string", "description": description, "pattern": pattern, "maxLength": 32})
}

fn span(description: &str) -> Value {
    text(
        &format!("{description} A duration such as 500ms, 2s or 1m30s."),
        DURATION,
    )
}

fn name(description: &str) -> Value {
    json!({"type": "string", "description": description, "pattern": NAME, "minLength": 1, "maxLength": 253})
}

fn one_of(description: &str, values: &[&str]) -> Value {
    json!({"type": "string", "description": description, "enum": values})
}
