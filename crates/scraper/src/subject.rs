use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::{Endpoint, Engine, EngineChoice, History, PageKind, Pages, Secret};
use rheostat_reading::{Clock, Timestamp};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::board::Slot;
use crate::guard::Refusal;
use crate::http::{Authorization, FailureKind, FetchError, Page, Request, RequestError};
use crate::readers::Readers;
use crate::worker::Asker;

/// One endpoint's engine: which pages it has and what they have said.
///
/// Pages are read where they are received: 100 KiB take well under a millisecond for each view.
pub(crate) struct Subject {
    bearer: Option<Secret>,
    compressed: bool,
    /// Where its metrics may be.
    candidates: Vec<Request>,
    /// Where they were last time.
    found_at: usize,
    /// Whose other pages are asked for.
    engine: Option<Engine>,
    others: Vec<Other>,
    readers: Arc<Readers>,
    views: Vec<Followed>,
}

/// A page beside the metrics.
struct Other {
    kind: PageKind,
    request: Request,
    /// When it is worth asking again.
    due: Instant,
    /// What it last said, where that holds for longer than a scrape; at most [`SLEEP_PAGE`] bytes.
    said: Option<Vec<u8>>,
}

struct Followed {
    slot: Arc<Slot>,
    history: History,
}

/// A scrape that told nothing.
struct Trouble {
    kind: FailureKind,
    why: String,
}

/// How often vLLM is asked whether it sleeps.
const SLEEP_PERIOD: Duration = Duration::from_secs(10);

/// Bytes of the answer to that: it is a word in braces, and kept.
const SLEEP_PAGE: usize = 4 << 10;

/// How long an engine is not asked for a page that it does not have.
const MISSING_PERIOD: Duration = Duration::from_secs(60);

impl Subject {
    /// `readers` are those of the endpoint's choice of engine.
    pub(crate) fn new(endpoint: &Endpoint, readers: Arc<Readers>, compressed: bool) -> Result<Self, Refusal> {
        let mut subject = Self {
            bearer: endpoint.bearer.clone(),
            compressed,
            candidates: Vec::new(),
            found_at: 0,
            engine: None,
            others: Vec::new(),
            readers,
            views: Vec::new(),
        };
        subject.candidates = match &endpoint.path {
            Some(path) => vec![subject.request(path)?],
            None => {
                let pages = endpoint.engine.pages().iter();
                let mains = pages.filter(|page| page.kind == PageKind::Main);
                mains
                    .flat_map(|page| page.paths)
                    .map(|path| subject.request(path))
                    .collect::<Result<_, _>>()?
            }
        };
        if let EngineChoice::Named(engine) = endpoint.engine {
            subject.expect(engine)?;
        }
        Ok(subject)
    }

    /// Reports to these slots from now on.
    pub(crate) fn follow(&mut self, slots: &[Arc<Slot>]) {
        self.views
            .retain(|followed| slots.iter().any(|slot| Arc::ptr_eq(slot, &followed.slot)));
        for slot in slots {
            if !self
                .views
                .iter()
                .any(|followed| Arc::ptr_eq(slot, &followed.slot))
            {
                self.views.push(Followed {
                    slot: Arc::clone(slot),
                    history: History::new(&slot.view),
                });
            }
        }
    }

    /// Asks once, and reports.
    pub(crate) async fn ask(&mut self, asker: &Asker<'_>, clock: &Clock) -> Result<(), FailureKind> {
        let outcome = self.scrape(asker, clock).await;
        if let Err(trouble) = &outcome {
            for followed in &mut self.views {
                followed.history.fail(trouble.why.clone());
                followed.slot.put(followed.history.report());
            }
        }
        outcome.map_err(|trouble| trouble.kind)
    }

    /// Tries the paths from that where it went well last time.
    async fn scrape(&mut self, asker: &Asker<'_>, clock: &Clock) -> Result<(), Trouble> {
        let mut worst: Option<Trouble> = None;
        for step in 0..self.candidates.len() {
            let place = (self.found_at + step) % self.candidates.len();
            let trouble = match asker.page(&self.candidates[place], usize::MAX).await {
                Ok(page) => {
                    let at = clock.now();
                    let slots = self.ask_others(asker).await;
                    match self.read(&page, slots.as_ref(), at).await {
                        Ok(()) => {
                            self.found_at = place;
                            return Ok(());
                        }
                        Err(why) => Trouble {
                            kind: FailureKind::Page,
                            why: format!("{}: {why}", asker.url(&self.candidates[place])),
                        },
                    }
                }
                // There may be another path; of what does not answer at all there is none.
                Err(error) if error.failure.status().is_some() => Trouble::from(error),
                Err(error) => return Err(error.into()),
            };
            // A page that says something else tells more than one that is not there.
            let better = worst
                .as_ref()
                .is_none_or(|worst| worst.kind == FailureKind::Status && trouble.kind == FailureKind::Page);
            if better {
                worst = Some(trouble);
            }
        }
        let others = self.candidates.len().saturating_sub(1);
        Err(match worst {
            Some(mut trouble) => {
                if others > 0 {
                    trouble.why += &format!(" (nor is there an engine's page at {others} other paths)");
                }
                trouble
            }
            None => Trouble {
                kind: FailureKind::Page,
                why: "the engine has no page".into(),
            },
        })
    }

    /// Asks for what is due beside the metrics; gives the slots, where they are told.
    async fn ask_others(&mut self, asker: &Asker<'_>) -> Option<Page> {
        let mut slots = None;
        for other in &mut self.others {
            let now = Instant::now();
            if other.due > now {
                continue;
            }
            match asker.page(&other.request, other.most()).await {
                Ok(page) if other.kind == PageKind::Slots => slots = Some(page),
                Ok(page) => {
                    other.said = Some(page.content);
                    other.due = now + SLEEP_PERIOD;
                }
                Err(error) => {
                    tracing::debug!(%error, "a page is missing");
                    other.said = None;
                    other.due = now + MISSING_PERIOD;
                }
            }
        }
        slots
    }

    /// Reads the pages for every view; an error where they mean nothing to any.
    async fn read(&mut self, page: &Page, slots: Option<&Page>, at: Timestamp) -> Result<(), String> {
        let of_kind = |kind| self.others.iter().find(|other| other.kind == kind);
        let sleeping = of_kind(PageKind::Sleeping).and_then(|other| other.said.clone());
        let pages = Pages {
            main: &page.content,
            complete: page.delimited,
            sleeping: sleeping.as_deref(),
            slots: slots.map(|page| page.content.as_slice()),
        };
        let mut engine = None;
        for place in 0..self.views.len() {
            let reading = AssertUnwindSafe(|| self.read_view(place, &pages, at));
            match catch_unwind(reading) {
                Ok(read) => engine = read?,
                Err(_) => {
                    self.reset();
                    return Err("reading the page failed by a mistake of ours".into());
                }
            }
            yield_now().await;
        }
        if let Some(engine) = engine {
            self.expect(engine).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn read_view(
        &mut self,
        place: usize,
        pages: &Pages<'_>,
        at: Timestamp,
    ) -> Result<Option<Engine>, String> {
        let Some(Followed { slot, history }) = self.views.get_mut(place) else {
            return Ok(None);
        };
        self.readers.lend(|reader, sample| {
            reader
                .read(pages, &slot.view, sample)
                .map_err(|error| error.to_string())?;
            history.push(sample, at);
            slot.put(history.report());
            Ok(sample.engine())
        })
    }

    /// Forgets what may be half done.
    fn reset(&mut self) {
        for Followed { slot, history } in &mut self.views {
            *history = History::new(&slot.view);
        }
    }

    /// Asks for the other pages of `engine` from now on.
    fn expect(&mut self, engine: Engine) -> Result<(), RequestError> {
        if self.engine == Some(engine) {
            return Ok(());
        }
        self.engine = Some(engine);
        self.others.clear();
        for page in engine.pages().iter().filter(|page| page.kind != PageKind::Main) {
            if let Some(path) = page.paths.first() {
                self.others.push(Other {
                    kind: page.kind,
                    request: self.request(path)?,
                    due: Instant::now(),
                    said: None,
                });
            }
        }
        Ok(())
    }

    fn request(&self, path: &str) -> Result<Request, RequestError> {
        let request = Request::get(path)?.compressed(self.compressed);
        match &self.bearer {
            Some(token) => request.authorized(&Authorization::Bearer(token.clone())),
            None => Ok(request),
        }
    }
}

impl Other {
    /// The bytes that it may have.
    fn most(&self) -> usize {
        match self.kind {
            PageKind::Sleeping => SLEEP_PAGE,
            PageKind::Main | PageKind::Slots => usize::MAX,
        }
    }
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self {
            kind: error.failure.kind(),
            why: error.to_string(),
        }
    }
}
