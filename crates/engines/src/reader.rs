use std::sync::Arc;

use rheostat_promtext::{Item, Limits, Parser};
use rheostat_reading::{Absent, Quality};

use crate::catalogue::{self, Combine, Take};
use crate::custom::{CustomEngine, CustomError};
use crate::error::{PageError, excerpt, list};
use crate::fact::{PerFact, Shape};
use crate::index::{Index, Part, Source};
use crate::sample::{MOST_BUCKETS, MOST_POINTS, Point, Sample, Told};
use crate::scan::{Presence, Scan};
use crate::{Engine, EngineChoice, Fact, Sleep, View, combine, json};

/// Reads the pages of endpoints of one choice of engine. Prepared once; reads without an allocation per
/// series. Its clones share what was prepared, and keep nothing of one page for the next.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The engine that is expected; `None` for whatever the page says.
    engine: Option<Engine>,
    index: Arc<Index>,
    limits: Limits,
    scan: Scan,
}

/// The pages of one scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pages<'a> {
    /// The page with the metrics ([`crate::PageKind::Main`]).
    pub main: &'a [u8],
    /// Whether all of it arrived, so that its last line can be trusted without a newline.
    pub complete: bool,
    /// The answer to [`crate::PageKind::Sleeping`], where there was one. It counts where the metrics do not
    /// say whether the engine sleeps.
    pub sleeping: Option<&'a [u8]>,
    /// The answer to [`crate::PageKind::Slots`], where there was one.
    pub slots: Option<&'a [u8]>,
}

impl Reader {
    /// For an endpoint where `choice` is expected.
    ///
    /// # Errors
    ///
    /// The description of a custom engine that means nothing.
    pub fn new(choice: &EngineChoice) -> Result<Self, CustomError> {
        Ok(match choice {
            EngineChoice::Recognise => Self::with(None, Index::of(catalogue::ALL)),
            EngineChoice::Named(engine) => {
                let definition: Vec<_> = catalogue::definition(*engine).into_iter().collect();
                Self::with(Some(*engine), Index::of(&definition))
            }
            EngineChoice::Custom(text) => {
                Self::with(Some(Engine::Custom), CustomEngine::parse(text)?.index())
            }
        })
    }

    fn with(engine: Option<Engine>, index: Index) -> Self {
        Self {
            engine,
            scan: Scan::new(&index),
            index: Arc::new(index),
            limits: Limits::default(),
        }
    }

    /// Reads `pages` as `view` wants them into `sample`, whose old content is gone.
    ///
    /// # Errors
    ///
    /// Why nothing on the page can be used; `sample` is empty then.
    pub fn read(&mut self, pages: &Pages<'_>, view: &View, sample: &mut Sample) -> Result<(), PageError> {
        sample.clear();
        let read = self.read_into(pages, view, sample);
        if read.is_err() {
            sample.clear();
        }
        // Room that an unusually large page needed is not kept for the next.
        sample.points.shrink_to(2 * MOST_POINTS);
        read
    }

    fn read_into(&mut self, pages: &Pages<'_>, view: &View, sample: &mut Sample) -> Result<(), PageError> {
        if pages.main.trim_ascii().is_empty() && !(pages.complete && self.is_untouched_when_empty()) {
            return Err(PageError::Empty);
        }
        let ollama = match self.engine {
            None => json::is_ollama(pages.main),
            Some(engine) => engine == Engine::Ollama,
        };
        if ollama {
            return json::ollama(pages.main, view, sample);
        }
        self.scan.page(&self.index, &self.limits, pages, view, sample)?;
        let Some((source, presence)) = self.chosen(pages.main) else {
            return Err(self.stranger(pages.main));
        };
        let Some(known) = self.index.sources().get(source) else {
            return Err(PageError::Empty);
        };
        sample.engine = Some(known.engine);
        sample.points.retain(|point| {
            let presence = presence.get(point.fact);
            let best = presence.series.or(presence.declared);
            point.source == source && best.is_some_and(|best| best.place == point.place)
        });
        settle(&mut sample.points);
        let page = Found {
            source: known,
            untouched: known.has_arrivals && !self.scan.arrivals.get(source).copied().unwrap_or(true),
            has_optional: self.scan.optional.get(source).copied().unwrap_or(true),
            view,
            models: &self.scan.models,
            points: &sample.points,
        };
        sample.told = PerFact::from_fn(|fact| page.told(fact, presence.get(fact), sample.points_of(fact)));
        let told = &sample.told;
        sample
            .points
            .retain(|point| matches!(told.get(point.fact), Told::Counter | Told::Distribution { .. }));
        // That answer may be of an earlier scrape; what the page says is of this one.
        if sample.sleep == Sleep::Unknown
            && let Some(page) = pages.sleeping
        {
            json::sleeping(page, sample);
        }
        if let Some(page) = pages.slots {
            json::slots(page, sample);
        }
        Ok(())
    }

    /// Whether an empty page is what the engine that was named shows before its first request.
    fn is_untouched_when_empty(&self) -> bool {
        self.engine.is_some() && self.index.sources().iter().any(|source| source.has_arrivals)
    }

    /// The source of which the page has most.
    fn chosen(&self, page: &[u8]) -> Option<(usize, &PerFact<Presence>)> {
        if page.trim_ascii().is_empty() {
            return Some((0, self.scan.presence.first()?));
        }
        let mut best = None;
        let mut most = 0;
        for (place, presence) in self.scan.presence.iter().enumerate() {
            let here = |fact: &&Fact| {
                let presence = presence.get(**fact);
                presence.series.is_some() || presence.declared.is_some()
            };
            let found = Fact::ALL.iter().filter(here).count();
            if found > most {
                (most, best) = (found, Some((place, presence)));
            }
        }
        best
    }

    /// Why a page is of nobody that was looked for.
    fn stranger(&self, page: &[u8]) -> PageError {
        const MOST: usize = 8;
        let mut names: Vec<String> = Vec::new();
        for item in Parser::with(page, &self.limits, None).complete().flatten() {
            if names.len() > MOST {
                break;
            }
            if let Item::Sample(sample) = item
                && !names.iter().any(|name| *name == sample.name)
            {
                names.push(sample.name.into_owned());
            }
        }
        let mut seen = if names.is_empty() {
            format!("no metrics: `{}`", excerpt(page))
        } else {
            list(&names)
        };
        match self.engine {
            None => PageError::UnknownEngine { seen },
            Some(engine) => {
                if let Ok(other) = recognise(page) {
                    seen = format!("those of {other}, such as {seen}");
                }
                PageError::OtherEngine { engine, seen }
            }
        }
    }
}

/// Whose page this is.
///
/// # Errors
///
/// Why that cannot be said.
pub fn recognise(page: &[u8]) -> Result<Engine, PageError> {
    let mut reader = Reader::with(None, Index::of(catalogue::ALL));
    let mut sample = Sample::default();
    let pages = Pages {
        main: page,
        complete: true,
        ..Pages::default()
    };
    reader.read(&pages, &View::everything(), &mut sample)?;
    sample.engine.ok_or(PageError::Empty)
}

/// Brings `points` into their order and makes copies of one series one.
fn settle(points: &mut Vec<Point>) {
    points.sort_unstable_by(|a, b| (a.fact, a.part).cmp(&(b.fact, b.part)).then(a.order(b)));
    points.dedup_by(|next, kept| {
        let same = kept.fact == next.fact
            && kept.part == next.part
            && kept.bound.total_cmp(&next.bound).is_eq()
            && kept.key == next.key;
        if same {
            kept.value = kept.value.max(next.value);
        }
        same
    });
}

/// Why these points of `name` have no mean, if so.
fn no_mean(name: &str, points: &[Point]) -> Option<String> {
    [(Part::Sum, "sum"), (Part::Count, "count")]
        .into_iter()
        .find_map(|(part, what)| {
            let mut values = points
                .iter()
                .filter(|point| point.part == part)
                .map(|point| point.value)
                .peekable();
            if values.peek().is_none() {
                return Some(format!("`{name}` has no {what}"));
            }
            let bad = values.find(|value| !value.is_finite())?;
            Some(format!("the {what} of `{name}` is {bad}"))
        })
}

/// A page whose engine is known.
struct Found<'a> {
    source: &'a Source,
    /// Whether no request has come to it yet.
    untouched: bool,
    /// Whether it has the back end that its engine may run without.
    has_optional: bool,
    view: &'a View,
    /// Models on it that are not wanted.
    models: &'a [String],
    points: &'a [Point],
}

impl Found<'_> {
    /// What the page tells of `fact`.
    fn told(&self, fact: Fact, presence: &Presence, points: &[Point]) -> Told {
        let names = self.source.names.get(fact);
        let name = |place: usize| names.get(place).map_or("", AsRef::as_ref);
        if names.is_empty() {
            return Told::Not(Absent::NotSupported);
        }
        if let Some(why) = &presence.broken {
            return Told::Not(Absent::Failed(format!("a line of it cannot be read: {why}")));
        }
        if presence.points > MOST_POINTS {
            return Told::Not(Absent::Failed(format!(
                "the page has more than {MOST_POINTS} series of it"
            )));
        }
        let Some(best) = presence.series else {
            return match presence.declared.map(|best| (best.take, best.place)) {
                Some((Take::Counter, _)) => Told::Counter,
                Some((Take::Histogram | Take::SumWithCount(_), place)) => {
                    if points.iter().any(|point| point.value > 0.0) {
                        let why = format!("`{}` has no value, but something was counted", name(place));
                        return Told::Not(Absent::Failed(why));
                    }
                    Told::nothing_observed()
                }
                Some((_, place)) => Told::Not(Absent::Failed(format!("`{}` has no value yet", name(place)))),
                None if self.untouched => self.before_the_first_request(fact),
                None => self.missing(fact),
            };
        };
        let name = name(best.place);
        if points.is_empty() {
            return Told::Not(self.not_selected(name, presence));
        }
        match best.take {
            Take::Counter => Told::Counter,
            // Of another model than the one that is wanted there may be one.
            Take::SumWithCount(_) if points.iter().all(|point| point.part != Part::Sum) => {
                Told::Not(self.not_selected(name, presence))
            }
            Take::SumWithCount(_) => match no_mean(name, points) {
                Some(why) => Told::Not(Absent::Failed(why)),
                None => Told::Distribution {
                    bounds: Vec::new(),
                    no_mean: None,
                },
            },
            Take::Histogram => match combine::bounds(points) {
                bounds if bounds.len() > MOST_BUCKETS => Told::Not(Absent::Failed(format!(
                    "`{name}` has more than {MOST_BUCKETS} buckets"
                ))),
                bounds => Told::Distribution {
                    bounds,
                    no_mean: no_mean(name, points),
                },
            },
            Take::AdapterLists(_) => {
                let newest = combine::newest(points);
                match combine::gauge(name, fact, newest, Combine::Sum, self.points) {
                    // Adapters without a request just now may be loaded too.
                    Told::Now(adapters, _) => Told::Now(adapters, Quality::Estimated),
                    other => other,
                }
            }
            Take::Gauge | Take::Labels(_) | Take::Models => {
                combine::gauge(name, fact, points, best.combine, self.points)
            }
        }
    }

    /// What is told of `fact` by its name's not being there, when no request has come yet.
    fn before_the_first_request(&self, fact: Fact) -> Told {
        match fact.shape() {
            Shape::Counter => Told::Counter,
            Shape::Distribution => Told::nothing_observed(),
            Shape::Gauge if matches!(fact, Fact::Waiting | Fact::Running) => Told::Now(0.0, Quality::Derived),
            Shape::Gauge => self.missing(fact),
        }
    }

    fn missing(&self, fact: Fact) -> Told {
        let optional = |name| self.source.optional.contains(name);
        if !self.has_optional && self.source.names.get(fact).iter().all(optional) {
            return Told::Not(Absent::NotSupported);
        }
        let names = list(self.source.usual_names.get(fact));
        Told::Not(Absent::Failed(format!("the page has none of {names}")))
    }

    /// Why `name` is on the page, but no series of it is wanted.
    fn not_selected(&self, name: &str, presence: &Presence) -> Absent {
        let what = match (&self.view.adapter, &self.view.model) {
            (Some(adapter), _) => format!("adapter {}", list(&[adapter])),
            (None, Some(model)) => format!("model {}", list(&[model])),
            (None, None) => return Absent::Failed(format!("`{name}` has no series that can be understood")),
        };
        Absent::Failed(if presence.unlabelled {
            format!("`{name}` does not say which part of it is of {what}")
        } else if self.models.is_empty() {
            format!("`{name}` has nothing of {what}")
        } else {
            format!("`{name}` has nothing of {what}, but of {}", list(self.models))
        })
    }
}
