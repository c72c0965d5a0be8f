use std::borrow::Cow;

use rheostat_promtext::{Item, Limits, LineError, Parser, Problem};

use crate::catalogue::{Combine, Take};
use crate::combine;
use crate::error::PageError;
use crate::fact::PerFact;
use crate::hash::{hash, mix};
use crate::index::{Index, LabelSet, Part, Role, Use};
use crate::reader::Pages;
use crate::sample::{MOST_POINTS, Point, Sample};
use crate::{Sleep, View};

/// What a page has of each source that is looked for. Keeps its memory from page to page.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) presence: Vec<PerFact<Presence>>,
    /// Whether each source has had requests, as far as it tells.
    pub(crate) arrivals: Vec<bool>,
    /// Whether each source has the back end that it may run without.
    pub(crate) optional: Vec<bool>,
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
    /// How many points the page has of it. Those beyond [`MOST_POINTS`] were left out.
    pub(crate) points: usize,
    /// Where its last point stands among all.
    last: Option<usize>,
}

/// The lines of a page, found one after the other: once over the page, however many are asked for.
struct Lines<'page> {
    /// From the next line on.
    rest: &'page [u8],
    /// The number of the line before, from 1.
    passed: usize,
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
            optional: vec![false; index.sources().len()],
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
        self.optional.fill(false);
        self.models.clear();
        let mut starts = 0;
        let mut awake = None;
        let mut lines = Lines::of(pages.main);
        let mut parser = Parser::with(pages.main, limits, Some(index.families()));
        if pages.complete {
            parser = parser.complete();
        }
        for item in parser {
            match item {
                Ok(Item::Sample(series)) => {
                    for role in index.roles(&series.name) {
                        match role {
                            Role::Fact(role) => {
                                if let Some(point) = self.point(index, role, &series, view) {
                                    self.put(role, point, &mut sample.points);
                                }
                            }
                            Role::Arrivals(source) => {
                                if let Some(arrivals) = self.arrivals.get_mut(*source) {
                                    *arrivals = true;
                                }
                            }
                            Role::Optional(source) => self.has_optional(*source),
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
                Err(error) => self.spoil(index, &mut lines, &error, sample),
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
            match role {
                Role::Fact(role) if role.filter.is_empty() && role.part != Part::Count => {
                    if let Some(presence) = self.of(role) {
                        role.improve(&mut presence.declared);
                    }
                }
                Role::Optional(source) => self.has_optional(*source),
                _ => {}
            }
        }
    }

    fn has_optional(&mut self, source: usize) {
        if let Some(optional) = self.optional.get_mut(source) {
            *optional = true;
        }
    }

    /// A line that could not be read spoils the facts that it belongs to, and no others.
    fn spoil(&mut self, index: &Index, lines: &mut Lines<'_>, error: &LineError, sample: &mut Sample) {
        const MOST: usize = 3;
        if matches!(
            error.problem,
            Problem::Type | Problem::Unit | Problem::FamilyName | Problem::Comment
        ) {
            return;
        }
        let line = lines.find(error.line).trim_ascii_start();
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

    /// Puts `point` to the others, where there are not too many of its fact.
    fn put(&mut self, role: &Use, point: Point, points: &mut Vec<Point>) {
        let Some(presence) = self.of(role) else {
            return;
        };
        // vLLM shows every combination of adapters that there ever was; only the newest counts.
        if matches!(role.take, Take::AdapterLists(_)) {
            let kept = presence.last.and_then(|place| points.get_mut(place));
            if let Some(kept) = kept.filter(|kept| kept.place == point.place) {
                if point.order(kept).is_gt() {
                    *kept = point;
                }
                return;
            }
        }
        presence.points += 1;
        if presence.points <= MOST_POINTS {
            presence.last = Some(points.len());
            points.push(point);
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
        // A count tells nothing of what was counted, and often is another metric's: it would hide a
        // worse name that has both.
        if role.part != Part::Count {
            role.improve(&mut presence.series);
        }
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

impl<'page> Lines<'page> {
    fn of(page: &'page [u8]) -> Self {
        Self {
            rest: page,
            passed: 0,
        }
    }

    /// The line of this number, which is larger than any before.
    fn find(&mut self, number: usize) -> &'page [u8] {
        let mut line: &[u8] = &[];
        while self.passed < number && !self.rest.is_empty() {
            let newline = self.rest.iter().position(|&byte| byte == b'\n');
            let (found, rest) = self.rest.split_at(newline.unwrap_or(self.rest.len()));
            line = found;
            self.rest = rest.get(1..).unwrap_or_default();
            self.passed += 1;
        }
        if self.passed == number { line } else { &[] }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    #[test]
    fn a_page_is_gone_over_once_however_many_of_its_lines_are_broken() {
        let page = "a\n\nbc\n".repeat(1000) + "end";
        let mut lines = Lines::of(page.as_bytes());
        let mut left = page.len();
        for number in [1, 2, 3, 6, 1500, 2999, 3001] {
            let line = lines.find(number);
            let wanted = page.split('\n').nth(number - 1).unwrap();
            assert_eq!(line, wanted.as_bytes(), "{number}");
            // All bytes up to here have been looked at once, and will not be again.
            let before = page
                .split_inclusive('\n')
                .take(number)
                .map(str::len)
                .sum::<usize>();
            assert_eq!(lines.rest.len(), page.len() - before);
            assert!(lines.rest.len() < left);
            left = lines.rest.len();
        }
        assert!(lines.find(3001).is_empty());
        assert!(lines.find(9999).is_empty());
    }

    #[test]
    fn no_more_points_of_a_fact_are_taken_than_may_be() {
        let index = Index::of(catalogue::ALL);
        let mut scan = Scan::new(&index);
        for (series, adapters, taken) in [(100, 3, 101), (3 * MOST_POINTS, MOST_POINTS, MOST_POINTS + 1)] {
            let mut page = String::new();
            for place in 0..series {
                page += &format!("vllm:kv_cache_usage_perc{{engine=\"{place}\"}} 0.5\n");
            }
            for place in 0..adapters {
                let list = format!("running_lora_adapters=\"a{place}\",waiting_lora_adapters=\"\"");
                page += &format!("vllm:lora_requests_info{{{list}}} {place}\n");
            }
            let pages = Pages {
                main: page.as_bytes(),
                ..Pages::default()
            };
            let mut sample = Sample::default();
            scan.page(
                &index,
                &Limits::default(),
                &pages,
                &View::everything(),
                &mut sample,
            )
            .unwrap();
            // More than one engine may have these names.
            for source in 0..index.sources().len() {
                let of_source = sample
                    .points
                    .iter()
                    .filter(|point| point.source == source)
                    .count();
                assert!([0, taken].contains(&of_source), "{of_source}");
            }
            assert!(!sample.points.is_empty());
        }
    }
}
