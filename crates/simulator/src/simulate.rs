use std::time::Duration;

use rheostat_reading::{Count, Seconds};
use rheostat_trace::Request;

use crate::agenda::{Agenda, Event};
use crate::batch::Batch;
use crate::control::Control;
use crate::driver::{Driver, Wanted};
use crate::fleet::Fleet;
use crate::fluid::Fluid;
use crate::run::{Change, Observer, Progress, Run, Sample};
use crate::scenario::{Mode, Scenario, SimulationError};
use crate::score::Score;
use crate::server::{Job, Server};
use crate::stepping::Stepping;
use crate::time::{LONGEST, Picoseconds, SECOND, duration, picoseconds, seconds};
use crate::timeline::Timeline;

/// Time between two samples.
const SAMPLE: Picoseconds = 10 * SECOND;

/// Runs `requests`, which come in order of time, through the scenario, with `control` deciding on replicas.
///
/// With [`Control::Static`] its replicas serve from the beginning, with any other [`Scenario::warm`] do.
///
/// # Errors
/// If the scenario, the ScaledObject or a request cannot be simulated.
pub fn simulate<O: Observer + ?Sized>(
    scenario: &Scenario,
    requests: impl Iterator<Item = Request>,
    control: Control,
    observer: &mut O,
) -> Result<Run, SimulationError> {
    scenario.check()?;
    let warm = match control {
        Control::Static(replicas) => replicas.min(scenario.max_replicas),
        Control::Direct(_) | Control::Keda { .. } => scenario.warm,
    };
    let driver = Driver::new(control, scenario.hpa_sync_period)?;
    match scenario.mode {
        Mode::Iteration => Simulation::<Batch, O>::new(scenario, warm, driver, observer).run(requests),
        Mode::Fluid => Simulation::<Fluid, O>::new(scenario, warm, driver, observer).run(requests),
        Mode::Stepping => Simulation::<Stepping, O>::new(scenario, warm, driver, observer).run(requests),
    }
}

struct Simulation<'a, S, O: ?Sized> {
    scenario: &'a Scenario,
    agenda: Agenda,
    fleet: Fleet<'a, S>,
    driver: Driver,
    observer: &'a mut O,
    score: Score,
    timeline: Timeline,
    changes: Vec<Change>,
    scaling_events: u64,
    arrived: u64,
    /// Requests that came until the last sample.
    sampled: u64,
    /// The scrape that the next look sees, if there was none later.
    scraped: Option<Picoseconds>,
    /// The event for it that stands in the agenda.
    autoscale_at: Option<Picoseconds>,
}

/// What is next.
enum Next {
    Arrival(Job),
    Server,
    Event(Event),
}

impl<'a, S: Server, O: Observer + ?Sized> Simulation<'a, S, O> {
    fn new(scenario: &'a Scenario, warm: u32, driver: Driver, observer: &'a mut O) -> Self {
        let mut agenda = Agenda::default();
        let fleet = Fleet::new(scenario, warm, driver.period().is_some(), &mut agenda);
        Self {
            scenario,
            agenda,
            fleet,
            driver,
            observer,
            score: Score::new(scenario),
            timeline: Timeline::default(),
            changes: Vec::new(),
            scaling_events: 0,
            arrived: 0,
            sampled: 0,
            scraped: None,
            autoscale_at: None,
        }
    }

    fn run(mut self, requests: impl Iterator<Item = Request>) -> Result<Run, SimulationError> {
        let mut arrivals = Arrivals {
            requests,
            taken: 0,
            last: 0,
        };
        let until = self.scenario.until.map(picoseconds);
        self.agenda.add(SAMPLE, Event::Sample);
        self.plan_look(0);
        self.plan_autoscale();
        let mut arrival = arrivals.next()?;
        let mut end = until.unwrap_or(0);
        while let Some((now, next)) = self.next(arrival) {
            if now > until.unwrap_or(LONGEST) {
                break;
            }
            match next {
                Next::Arrival(job) => {
                    self.arrived += 1;
                    if self.fleet.fits(job) {
                        self.fleet.arrive(now, job);
                    } else {
                        self.score.refused(job.arrived);
                    }
                    arrival = arrivals.next()?;
                    if arrival.is_none() && until.is_none() {
                        end = now;
                        break;
                    }
                }
                Next::Server => {
                    self.fleet.step(now, &mut self.agenda);
                    for done in self.fleet.finished.drain(..) {
                        let served = self.score.served(&done);
                        self.observer.served(&served);
                    }
                }
                Next::Event(event) => self.happen(now, event),
            }
        }
        Ok(self.conclude(end))
    }

    /// What is next, and when. At one moment requests come first: an iteration that begins now takes them.
    fn next(&mut self, arrival: Option<Job>) -> Option<(Picoseconds, Next)> {
        let server = self.fleet.due().unwrap_or(u64::MAX);
        let event = self.agenda.next().unwrap_or(u64::MAX);
        if let Some(job) = arrival
            && job.arrived <= server
            && job.arrived <= event
        {
            return Some((job.arrived, Next::Arrival(job)));
        }
        if server <= event {
            return (server != u64::MAX).then_some((server, Next::Server));
        }
        self.agenda.take().map(|(now, event)| (now, Next::Event(event)))
    }

    fn happen(&mut self, now: Picoseconds, event: Event) {
        match event {
            Event::Scrape => {
                self.fleet.scrape(now);
                self.scraped = Some(now);
            }
            Event::Look => {
                let observation = self.fleet.observation(now);
                let mut workload = self.fleet.workload();
                let wanted = self.driver.look(&observation, &mut workload);
                self.ask(now, wanted);
                self.plan_look(now + self.driver.period().unwrap_or(LONGEST));
                self.plan_autoscale();
            }
            Event::Autoscale => {
                self.autoscale_at = None;
                let mut workload = self.fleet.workload();
                let wanted = self.driver.autoscale(now, &mut workload);
                self.ask(now, wanted);
                self.plan_autoscale();
            }
            Event::Sample => self.sample(now),
            other => self.fleet.happen(now, other, &mut self.agenda),
        }
    }

    /// Asks for as many replicas as are wanted.
    fn ask(&mut self, now: Picoseconds, wanted: Option<Wanted>) {
        let from = self.fleet.asked();
        let Some(Wanted { replicas, why }) = wanted.filter(|wanted| wanted.replicas != from) else {
            return;
        };
        self.fleet.ask(now, replicas, &mut self.agenda);
        let to = self.fleet.asked();
        if to == from {
            return;
        }
        self.scaling_events += u64::from(now >= picoseconds(self.scenario.scored_from));
        let change = Change {
            at: duration(now),
            from,
            to,
            why,
        };
        self.observer.changed(&change, self.driver.decision());
        if self.changes.len() < Run::MOST_CHANGES {
            self.changes.push(change);
        }
    }

    /// The next look, and the scrape that it sees.
    fn plan_look(&mut self, at: Picoseconds) {
        if self.driver.period().is_none() {
            return;
        }
        let interval = picoseconds(self.scenario.delays.scrape).max(1);
        let visible = at.checked_sub(picoseconds(self.scenario.delays.visible_after));
        let scrape = visible.map(|visible| visible / interval * interval);
        if let Some(scrape) = scrape.filter(|scrape| self.scraped.is_none_or(|last| last < *scrape)) {
            self.agenda.add(scrape, Event::Scrape);
        }
        self.agenda.add(at, Event::Look);
    }

    fn plan_autoscale(&mut self) {
        if let Some(due) = self.driver.due()
            && self.autoscale_at.is_none_or(|planned| due < planned)
        {
            self.autoscale_at = Some(due);
            self.agenda.add(due, Event::Autoscale);
        }
    }

    fn sample(&mut self, now: Picoseconds) {
        let (in_flight, waiting) = self.fleet.requests();
        let stages = self.fleet.stages();
        let sample = Sample {
            at: duration(now - SAMPLE),
            lasting: duration(SAMPLE),
            arrivals: self.arrived - self.sampled,
            in_flight,
            waiting,
            asked: Count(f64::from(self.fleet.asked())),
            ready: Count(f64::from(stages.ready)),
            starting: Count(f64::from(stages.pending + stages.starting)),
        };
        self.sampled = self.arrived;
        self.timeline.push(sample);
        self.observer.progress(&Progress {
            sample,
            arrived: self.arrived,
            requests: self.score.requests,
            kept: self.score.kept,
            gpu_hours: self.gpu_hours(now),
        });
        self.agenda.add(now + SAMPLE, Event::Sample);
    }

    fn gpu_hours(&self, now: Picoseconds) -> f64 {
        seconds(self.fleet.billed(now).0) * f64::from(self.scenario.engine.gpus) / 3600.0
    }

    fn conclude(mut self, end: Picoseconds) -> Run {
        let (billed, starting) = self.fleet.billed(end);
        let gpu_hours = self.gpu_hours(end);
        for request in self.fleet.take(end) {
            self.score.unfinished(&request, end);
        }
        let score = self.score;
        Run {
            ended: duration(end),
            replica_seconds: Seconds(seconds(billed)),
            gpu_hours,
            replica_seconds_wasted_starting: Seconds(seconds(starting)),
            node_gpu_hours: self.fleet.node_gpu_hours(end),
            requests: score.requests,
            kept: score.kept,
            attainment: score.attainment(),
            undecided: score.undecided,
            refused: score.refused,
            waiting: score.waiting,
            ttft: score.ttft.latency(),
            itl: score.itl.latency(),
            e2e: score.e2e.latency(),
            preemptions: self.fleet.preemptions,
            lost: self.fleet.lost,
            scaling_events: self.scaling_events,
            timeline: self.timeline.finish(),
            changes: self.changes,
        }
    }
}

/// The requests of a trace, checked.
struct Arrivals<I> {
    requests: I,
    taken: u64,
    last: Picoseconds,
}

impl<I: Iterator<Item = Request>> Arrivals<I> {
    fn next(&mut self) -> Result<Option<Job>, SimulationError> {
        const MOST_TOKENS: u32 = 1 << 24;
        const LAST: Duration = Duration::from_secs(100 * 24 * 3600);
        let Some(request) = self.requests.next() else {
            return Ok(None);
        };
        let refuse = |problem| {
            Err(SimulationError::Request {
                number: self.taken,
                at: request.at,
                problem,
            })
        };
        let arrived = picoseconds(request.at);
        if arrived < self.last {
            return refuse("it arrives before the one before it; requests must come in order of time");
        }
        if request.at > LAST {
            return refuse("it arrives later than 100 days after the beginning");
        }
        let tokens = 1..=MOST_TOKENS;
        if !tokens.contains(&request.prompt_tokens) || !tokens.contains(&request.output_tokens) {
            return refuse("prompt and answer must have 1 to 16777216 tokens each");
        }
        self.taken += 1;
        self.last = arrived;
        Ok(Some(Job {
            arrived,
            prompt: request.prompt_tokens,
            output: request.output_tokens,
        }))
    }
}
