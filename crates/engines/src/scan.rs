use std::borrow::Cow;

use rheostat_promtext::{Item, Limits, LineError, Parser, Problem};

use crate::catalogue::{Combine, Take};
use crate::combine;
use crate::error::PageError;
use crate::fact::PerFact;
use crate::hash::{hash, mix};
use crate::index::{Index, LabelSet, Part, Role, Use};
use crate::reader::Pages;
use crate::sample::{Point, Sample};
use crate::{Sleep, View};

/// What a page has of each source that is looked for. Keeps its memory from page to page.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) presence: Vec<PerFact<Presence>>,
    /// Whether each source has had requests, as far as it tells.
    pub(crate) arrivals: Vec<bool>,
    /// Models that are on the page and were not wanted, a few of them.
    pub(crate) models: Vec<String>,
}

/// How well a page tells a fact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    /// The best name that has a series, whichever model it is of.
    pub(crate) series: Option<Best>,
    /// The best name that is only declared: nothing was counted yet.
    pub(crate) declared: Option<Best>,
    /// Whether a series was left out since it has no label for the model or adapter that is wanted.
    pub(crate) unlabelled: bool,
    /// A line of it that could not be read.
    pub(crate) broken: Option<String>,
}

/// The best name of a fact, and how it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best {
    pub(crate) place: usize,
    pub(crate) take: Take,
    pub(crate) combine: Combine,
}

/// The labels of a series, as far as they mean something.
struct Identity {
    key: u64,
    rank: u64,
    /// Names the model.
    model: u64,
    bound: Option<f64>,
    /// Whether it is of what is wanted; `None` where it does not say of what it is.
    wanted: Option<bool>,
}

/// How many models are remembered.
const MODELS: usize = 8;

impl Scan {
    pub(crate) fn new(index: &Index) -> Self {
        Self {
            presence: index.sources().iter().map(|_| PerFact::default()).collect(),
            arrivals: vec![false; index.sources().len()],
            models: Vec::new(),
        }
    }

    /// Goes over the page and puts the points of all sources into `sample`, with whatever belongs to
    /// the process as a whole.
    pub(crate) fn page(
        &mut self,
        index: &Index,
        limits: &Limits,
        pages: &Pages<'_>,
        view: &View,
        sample: &mut Sample,
    ) -> Result<(), PageError> {
        self.presence.fill_with(PerFact::default);
        self.arrivals.fill(false);
        self.models.clear();
        let mut starts = 0;
        let mut awake = None;
        let mut parser = Parser::with(pages.main, limits, Some(index.families()));
        if pages.complete {
            parser = parser.complete();
        }
        for item in parser {
            match item {
                Ok(Item::Sample(series)) => {
                    for role in index.roles(&series.name) {
                        match role {
                            Role::Fact(role) => sample.points.extend(self.point(index, role, &series, view)),
                            Role::Arrivals(source) => {
                                if let Some(arrivals) = self.arrivals.get_mut(*source) {
                                    *arrivals = true;
                                }
                            }
                            Role::Sleep => {
                                if series.labels.get("sleep_state").as_deref() == Some("awake") {
                                    // Ranks sleep together; a process with one that is awake serves.
                                    awake = Some(awake.unwrap_or(false) || series.value > 0.0);
                                }
                            }
                            Role::Start => {
                                starts += 1;
                                sample.started = (starts == 1).then_some(series.value);
                            }
                        }
                    }
                }
                Ok(Item::Type { family, .. }) => self.declare(index, &family),
                Ok(Item::Help { .. } | Item::Unit { .. } | Item::End) => {}
                Err(error) if error.is_final() => return Err(PageError::Unreadable(error)),
                Err(error) => self.spoil(index, pages.main, &error, sample),
            }
        }
        sample.sleep = match awake {
            None => Sleep::Unknown,
            Some(true) => Sleep::Awake,
            Some(false) => Sleep::Asleep,
        };
        Ok(())
    }

    fn of(&mut self, role: &Use) -> Option<&mut Presence> {
        self.presence
            .get_mut(role.source)
            .map(|facts| facts.get_mut(role.fact))
    }

    /// A family is on the page, perhaps without series: nothing was counted yet.
    fn declare(&mut self, index: &Index, family: &str) {
        for role in index.roles(family) {
            if let Role::Fact(role) = role
                && role.filter.is_empty()
                && role.part != Part::Count
                && let Some(presence) = self.of(role)
            {
                role.improve(&mut presence.declared);
            }
        }
    }

    /// A line that could not be read spoils the facts that it belongs to, and no others.
    fn spoil(&mut self, index: &Index, page: &[u8], error: &LineError, sample: &mut Sample) {
        const MOST: usize = 3;
        if matches!(
            error.problem,
            Problem::Type | Problem::Unit | Problem::FamilyName | Problem::Comment
        ) {
            return;
        }
        let line = page.split(|&byte| byte == b'\n').nth(error.line - 1);
        let line = line.unwrap_or_default().trim_ascii_start();
        let end = line
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')));
        let name = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
        for role in index.roles(std::str::from_utf8(name).unwrap_or_default()) {
            if let Role::Fact(role) = role
                && let Some(presence) = self.of(role)
            {
                presence.broken.get_or_insert_with(|| error.to_string());
            }
        }
        if sample.notes.len() < MOST {
            sample.notes.push(error.to_string());
        }
    }

    /// What `series` tells in `role`, where it is wanted.
    fn point(
        &mut self,
        index: &Index,
        role: &Use,
        series: &rheostat_promtext::Sample<'_>,
        view: &View,
    ) -> Option<Point> {
        let source = index.sources().get(role.source)?;
        if role.take == Take::Histogram && (role.part == Part::Bucket) != series.name.ends_with("_bucket") {
            return None;
        }
        let passes = |(label, wanted): &(Cow<'static, str>, Cow<'static, str>)| {
            series.labels.get(label).unwrap_or_default() == *wanted
        };
        if !role.filter.iter().all(passes) {
            return None;
        }
        let identity = identity(&source.labels, series, view, &mut self.models);
        let presence = self.of(role)?;
        role.improve(&mut presence.series);
        match identity.wanted {
            Some(false) => return None,
            None if !role.fact.of_process() => {
                presence.unlabelled = true;
                return None;
            }
            Some(true) | None => {}
        }
        let mut point = Point {
            fact: role.fact,
            part: role.part,
            bound: 0.0,
            key: identity.key.wrapping_add(role.addend),
            rank: identity.rank,
            value: series.value,
            source: role.source,
            place: role.place,
        };
        match role.part {
            Part::Bucket => point.bound = identity.bound? * role.scale,
            Part::Value | Part::Sum => point.value *= role.scale,
            Part::Count => {}
        }
        match role.take {
            Take::Labels(labels) => {
                point.value = role.scale;
                for &label in labels {
                    // NaN makes the fact absent, and says which metric it is.
                    let number = series.labels.get(label).and_then(|text| text.trim().parse().ok());
                    point.value *= number.unwrap_or(f64::NAN);
                }
            }
            Take::AdapterLists(labels) => {
                point.bound = series.value;
                point.value = adapters(labels, series, view.adapter.as_deref());
            }
            Take::Models => {
                point.key = identity.model;
                point.value = 1.0;
            }
            Take::Gauge | Take::Counter | Take::Histogram | Take::SumWithCount(_) => {}
        }
        Some(point)
    }
}

impl Use {
    /// Puts this name into `best` where it is better.
    fn improve(&self, best: &mut Option<Best>) {
        if self.addend == 0 && best.is_none_or(|best| self.place < best.place) {
            *best = Some(Best {
                place: self.place,
                take: self.take,
                combine: self.combine,
            });
        }
    }
}

/// How many different adapters are named in these labels; of `wanted` only, where one is.
fn adapters(labels: &[&str], series: &rheostat_promtext::Sample<'_>, wanted: Option<&str>) -> f64 {
    let lists: Vec<Cow<'_, str>> = labels
        .iter()
        .filter_map(|label| series.labels.get(label))
        .collect();
    let mut names: Vec<&str> = lists
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && wanted.is_none_or(|wanted| wanted == *name))
        .collect();
    names.sort_unstable();
    names.dedup();
    combine::count(names.len())
}

/// What the labels of `series` say, whatever their order.
fn identity(
    labels: &LabelSet,
    series: &rheostat_promtext::Sample<'_>,
    view: &View,
    models: &mut Vec<String>,
) -> Identity {
    let mut found = Identity {
        key: 0,
        rank: 0,
        model: 0,
        bound: None,
        wanted: Some(true),
    };
    let (mut model, mut adapter) = (None, None);
    let is = |set: &[Cow<'static, str>], name: &str| set.iter().any(|label| label == name);
    for (name, value) in &series.labels {
        if name == "le" {
            found.bound = value.parse().ok().filter(|bound: &f64| !bound.is_nan());
            continue;
        }
        if is(&labels.copies, &name) {
            continue;
        }
        let hashed = mix(hash(&name), hash(&value));
        found.key = found.key.wrapping_add(hashed);
        if is(&labels.rank, &name) {
            found.rank = found.rank.wrapping_add(hashed);
        }
        if is(&labels.model, &name) {
            found.model = hash(&value);
            if view.model.is_some() || view.adapter.is_some() {
                model.get_or_insert(value);
            }
        } else if is(&labels.adapter, &name) && view.adapter.is_some() && !value.is_empty() {
            adapter.get_or_insert(value);
        }
    }
    if let Some(wanted) = &view.adapter {
        // Some servers write the adapter in the place of the model.
        found.wanted = match (&adapter, &model) {
            (Some(adapter), model) => {
                let of_model = view
                    .model
                    .as_ref()
                    .is_none_or(|wanted| model.as_ref().is_none_or(|model| model == wanted));
                Some(adapter == wanted && of_model)
            }
            (None, Some(model)) if model == wanted => Some(true),
            (None, _) => None,
        };
        return found;
    }
    if let Some(wanted) = &view.model {
        found.wanted = model.as_ref().map(|model| *model == wanted.as_str());
        if found.wanted == Some(false)
            && let Some(model) = model
            && models.len() < MODELS
            && !models.iter().any(|known| *known == model)
        {
            models.push(model.into_owned());
        }
    }
    found
}
