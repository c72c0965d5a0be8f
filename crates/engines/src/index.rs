use std::borrow::Cow;
use std::collections::HashMap;

use rheostat_promtext::Families;

use crate::catalogue::{Combine, Definition, LabelNames, Take};
use crate::fact::PerFact;
use crate::{Engine, Fact};

/// What the names on a page mean to the engines that are looked for; prepared once, for many pages.
#[derive(Debug)]
pub(crate) struct Index {
    sources: Vec<Source>,
    names: HashMap<Box<str>, Vec<Role>>,
    families: Families,
}

/// An engine that is looked for.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) engine: Engine,
    pub(crate) labels: LabelSet,
    /// Whether it has [`Role::Arrivals`].
    pub(crate) has_arrivals: bool,
    /// The names with [`Role::Optional`].
    pub(crate) optional: Vec<Box<str>>,
    /// The names that are looked for, best first.
    pub(crate) names: PerFact<Vec<Box<str>>>,
    /// The same with the usual prefix only, for messages.
    pub(crate) usual_names: PerFact<Vec<Box<str>>>,
}

/// [`LabelNames`], owned.
#[derive(Debug, Default)]
pub(crate) struct LabelSet {
    pub(crate) model: Vec<Cow<'static, str>>,
    pub(crate) adapter: Vec<Cow<'static, str>>,
    pub(crate) rank: Vec<Cow<'static, str>>,
    pub(crate) copies: Vec<Cow<'static, str>>,
}

/// What a sample of some name is for.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// It tells a part of a fact.
    Fact(Use),
    /// It counts the requests that came to this source, before all else of them.
    Arrivals(usize),
    /// It is of a back end that this source may run without.
    Optional(usize),
    /// It tells whether the engine sleeps, in the manner of vLLM.
    Sleep,
    /// It tells when the process was started.
    Start,
}

/// How a sample tells a part of a fact.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// Which of the index's sources it belongs to.
    pub(crate) source: usize,
    pub(crate) fact: Fact,
    /// Place among the fact's names, best first.
    pub(crate) place: usize,
    pub(crate) part: Part,
    /// Which of several families that are added, so that their series are not taken for copies of
    /// each other; 0 for the one that the fact is named by.
    pub(crate) addend: u64,
    pub(crate) filter: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) scale: f64,
    pub(crate) combine: Combine,
    pub(crate) take: Take,
}

/// Which part of a fact a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// All of it.
    Value,
    /// Sum of the observations.
    Sum,
    /// Number of the observations.
    Count,
    /// Number of those up to a bound.
    Bucket,
}

/// One name of a fact, from the catalogue or from a custom engine's description.
pub(crate) struct Name<'a> {
    pub(crate) metric: &'a str,
    /// Whether it has the prefix that it usually has.
    pub(crate) usual: bool,
    /// Families that are added to it.
    pub(crate) plus: &'a [String],
    pub(crate) take: Take,
    /// The family with the count, where `take` is a sum.
    pub(crate) count: Option<&'a str>,
    pub(crate) filter: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) scale: f64,
    pub(crate) combine: Combine,
}

/// Of a process that `prometheus_client` or a Prometheus library of Go or Rust instruments.
const START: &str = "process_start_time_seconds";

impl Index {
    /// Knows the pages of these engines.
    pub(crate) fn of(definitions: &[&'static Definition]) -> Self {
        let mut index = Self::empty();
        for definition in definitions {
            index.add_definition(definition);
        }
        index.prepared()
    }

    pub(crate) fn empty() -> Self {
        Self {
            sources: Vec::new(),
            names: HashMap::from([(START.into(), vec![Role::Start])]),
            families: Families::default(),
        }
    }

    /// To be called when everything was added.
    pub(crate) fn prepared(mut self) -> Self {
        self.families = Families::new(self.names.keys());
        self
    }

    pub(crate) fn families(&self) -> &Families {
        &self.families
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(crate) fn roles(&self, name: &str) -> &[Role] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    /// A new source; its place.
    pub(crate) fn add_source(&mut self, engine: Engine, labels: LabelSet) -> usize {
        self.sources.push(Source {
            engine,
            labels,
            has_arrivals: false,
            optional: Vec::new(),
            names: PerFact::default(),
            usual_names: PerFact::default(),
        });
        self.sources.len() - 1
    }

    fn add_definition(&mut self, definition: &'static Definition) {
        let source = self.add_source(definition.engine, definition.labels.into());
        for row in definition.rows {
            for candidate in row.candidates {
                for (place, prefix) in definition.prefixes.iter().enumerate() {
                    let plus: Vec<String> = candidate
                        .plus
                        .iter()
                        .map(|name| format!("{prefix}{name}"))
                        .collect();
                    let count = match candidate.take {
                        Take::SumWithCount(count) => Some(format!("{prefix}{count}")),
                        _ => None,
                    };
                    self.add(
                        source,
                        row.fact,
                        &Name {
                            metric: &format!("{prefix}{}", candidate.name),
                            usual: place == 0,
                            plus: &plus,
                            take: candidate.take,
                            count: count.as_deref(),
                            filter: candidate
                                .filter
                                .iter()
                                .map(|&(label, value)| (label.into(), value.into()))
                                .collect(),
                            scale: candidate.scale,
                            combine: candidate.combine,
                        },
                    );
                }
            }
        }
        if let Some(arrivals) = definition.arrivals {
            for prefix in definition.prefixes {
                self.insert(&format!("{prefix}{arrivals}"), Role::Arrivals(source));
            }
            if let Some(known) = self.sources.get_mut(source) {
                known.has_arrivals = true;
            }
        }
        for optional in definition.optional {
            for prefix in definition.prefixes {
                let name = format!("{prefix}{optional}");
                self.insert(&name, Role::Optional(source));
                if let Some(known) = self.sources.get_mut(source) {
                    known.optional.push(name.into());
                }
            }
        }
        if let Some(sleep) = definition.sleep {
            for prefix in definition.prefixes {
                self.insert(&format!("{prefix}{sleep}"), Role::Sleep);
            }
        }
    }

    /// One more name for `fact`, worse than those before it.
    pub(crate) fn add(&mut self, source: usize, fact: Fact, name: &Name<'_>) {
        let Some(known) = self.sources.get_mut(source) else {
            return;
        };
        if name.usual {
            known.usual_names.get_mut(fact).push(name.metric.into());
        }
        let known = known.names.get_mut(fact);
        let place = known.len();
        known.push(name.metric.into());
        let role = |part, addend| {
            Role::Fact(Use {
                source,
                fact,
                place,
                part,
                addend,
                filter: name.filter.clone(),
                scale: name.scale,
                combine: name.combine,
                take: name.take,
            })
        };
        match name.take {
            Take::Histogram => {
                for (suffix, part) in [
                    ("_bucket", Part::Bucket),
                    ("_sum", Part::Sum),
                    ("_count", Part::Count),
                ] {
                    self.insert(&format!("{}{suffix}", name.metric), role(part, 0));
                }
                // For `# TYPE`.
                self.insert(name.metric, role(Part::Bucket, 0));
            }
            Take::SumWithCount(_) => {
                self.insert_counter(name.metric, &role(Part::Sum, 0));
                self.insert_counter(name.count.unwrap_or_default(), &role(Part::Count, 0));
            }
            Take::Counter => self.insert_counter(name.metric, &role(Part::Value, 0)),
            Take::Gauge | Take::Labels(_) | Take::AdapterLists(_) | Take::Models => {
                self.insert(name.metric, role(Part::Value, 0));
            }
        }
        for (more, addend) in name.plus.iter().zip(1..) {
            self.insert(more, role(Part::Value, addend));
        }
    }

    /// With and without `_total`: in OpenMetrics the family has none and the sample has one, in the
    /// older format both are as the engine writes them.
    fn insert_counter(&mut self, name: &str, role: &Role) {
        let base = name.strip_suffix("_total").unwrap_or(name);
        self.insert(base, role.clone());
        self.insert(&format!("{base}_total"), role.clone());
    }

    fn insert(&mut self, name: &str, role: Role) {
        let roles = self.names.entry(name.into()).or_default();
        // Most names have one role, and a role is large.
        roles.reserve_exact(1);
        roles.push(role);
    }
}

impl From<LabelNames> for LabelSet {
    fn from(names: LabelNames) -> Self {
        let owned = |names: &'static [&'static str]| names.iter().map(|&name| name.into()).collect();
        Self {
            model: owned(names.model),
            adapter: owned(names.adapter),
            rank: owned(names.rank),
            copies: owned(names.copies),
        }
    }
}
