use std::collections::VecDeque;
use std::sync::Arc;

use rheostat_kubescale::Workload;
use rheostat_reading::Count;
use rheostat_sizing::{Observation, Schedule, Stage};

use crate::agenda::{Agenda, Event, PodId};
use crate::least::Least;
use crate::meter::Meter;
use crate::pod::Pod;
use crate::pool::Pool;
use crate::scenario::{Router, Scenario};
use crate::server::{Finished, Job, Outcome, Server, Unfinished};
use crate::time::{LONGEST, Picoseconds, picoseconds, timestamp};

/// The replicas of the workload, and who gets which request.
#[derive(Debug)]
pub(crate) struct Fleet<'a, S> {
    scenario: &'a Scenario,
    hardware: Arc<str>,
    /// A replica that nobody uses, to tell which requests fit any.
    model: S,
    /// `spec.replicas`.
    asked: u32,
    pods: Vec<Option<Pod<S>>>,
    /// Places of `pods` that are empty.
    empty: Vec<usize>,
    made: u64,
    pool: Option<Pool>,
    /// Pods that wait for a node, first come, first served.
    homeless: VecDeque<PodId>,
    /// When each server has something to do.
    due: Least,
    /// How many requests each ready replica has, and when it was chosen last.
    loads: Least,
    /// Ready replicas, in the order in which they became so.
    ready: Vec<usize>,
    chosen: u64,
    /// Requests for which there is no ready replica.
    outside: VecDeque<Job>,
    observed: bool,
    bill: Bill,
    pub(crate) finished: Vec<Finished>,
    pub(crate) preemptions: u64,
    pub(crate) lost: u64,
}

/// Replica time that is paid for.
#[derive(Clone, Copy, Debug)]
struct Bill {
    from: Picoseconds,
    all: Picoseconds,
    starting: Picoseconds,
}

/// Replicas by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stages {
    pub(crate) pending: u32,
    pub(crate) starting: u32,
    pub(crate) ready: u32,
    pub(crate) terminating: u32,
}

impl<'a, S: Server> Fleet<'a, S> {
    /// `warm` replicas that serve already.
    pub(crate) fn new(scenario: &'a Scenario, warm: u32, observed: bool, agenda: &mut Agenda) -> Self {
        let from = picoseconds(scenario.scored_from);
        let gpus = scenario.engine.gpus;
        let pool = scenario
            .nodes
            .as_ref()
            .map(|nodes| Pool::new(nodes, gpus, warm, scenario.seed, from, agenda));
        let mut this = Self {
            scenario,
            hardware: scenario.engine.hardware.as_ref().into(),
            model: S::new(&scenario.engine),
            asked: warm,
            pods: Vec::new(),
            empty: Vec::new(),
            made: 0,
            pool,
            homeless: VecDeque::new(),
            due: Least::new(),
            loads: Least::new(),
            ready: Vec::new(),
            chosen: 0,
            outside: VecDeque::new(),
            observed,
            bill: Bill {
                from,
                all: 0,
                starting: 0,
            },
            finished: Vec::new(),
            preemptions: 0,
            lost: 0,
        };
        for _ in 0..warm {
            let mut pod = Pod::warm(scenario, this.made);
            pod.node = this.pool.as_mut().and_then(Pool::place).map(|place| place.node);
            let id = this.keep(pod);
            this.serve(id.place, None);
        }
        this
    }

    /// `spec.replicas` of the scale.
    pub(crate) const fn asked(&self) -> u32 {
        self.asked
    }

    /// Sets `spec.replicas`; pods follow at once.
    pub(crate) fn ask(&mut self, now: Picoseconds, replicas: u32, agenda: &mut Agenda) {
        self.asked = replicas.min(self.scenario.max_replicas);
        self.reconcile(now, agenda);
    }

    /// When a server has something to do.
    pub(crate) fn due(&self) -> Option<Picoseconds> {
        self.due.first().map(|(_, at)| at)
    }

    /// Does what is due in the first server.
    pub(crate) fn step(&mut self, now: Picoseconds, agenda: &mut Agenda) {
        let Some((place, _)) = self.due.first() else {
            return;
        };
        if let Some(pod) = &mut self.pods[place] {
            let mut outcome = Outcome {
                meter: pod.meter.as_deref_mut(),
                finished: &mut self.finished,
                preemptions: &mut self.preemptions,
            };
            pod.server.step(now, &mut outcome);
        }
        self.look(now, place);
        self.leave(now, place, agenda);
    }

    /// Whether a replica can serve such a request at all.
    pub(crate) fn fits(&self, job: Job) -> bool {
        self.model.fits(job)
    }

    /// A request comes that fits.
    pub(crate) fn arrive(&mut self, now: Picoseconds, job: Job) {
        let Some(place) = self.choose() else {
            self.outside.push_back(job);
            return;
        };
        if let Some(pod) = &mut self.pods[place] {
            pod.server.submit(now, job);
            self.look(now, place);
        }
    }

    /// What has come of what was planned.
    pub(crate) fn happen(&mut self, now: Picoseconds, event: Event, agenda: &mut Agenda) {
        match event {
            Event::Schedule(id) => {
                if self.pod(id).is_some() {
                    self.homeless.push_back(id);
                    self.house(now, agenda);
                }
            }
            Event::Started(id) => {
                if let Some(pod) = self.pod(id) {
                    pod.started(now);
                    let ready = now + pod.start.load;
                    agenda.add(ready, Event::Ready(id));
                }
            }
            Event::Ready(id) => {
                if let Some(pod) = self.pod(id) {
                    pod.ready(now);
                    let billed = pod.billed_from.unwrap_or(now);
                    self.bill.starting += now.saturating_sub(billed.max(self.bill.from));
                    self.serve(id.place, Some(now));
                    self.flush(now);
                }
            }
            Event::StockOutEnds => {
                if let Some(pool) = &mut self.pool {
                    pool.stocked();
                }
                self.house(now, agenda);
            }
            Event::NodeUp(node) => {
                if let Some(pool) = &mut self.pool {
                    pool.up(now, node, agenda);
                }
                self.house(now, agenda);
            }
            Event::NodeIdle(node) => {
                if let Some(pool) = &mut self.pool {
                    pool.idle(now, node);
                }
            }
            Event::NodeNotice(node) => {
                if let Some(pool) = &mut self.pool {
                    pool.notice(now, node, agenda);
                }
                for place in self.on(node) {
                    self.terminate(now, place, agenda);
                }
                self.reconcile(now, agenda);
            }
            Event::NodeGone(node) => {
                for place in self.on(node) {
                    self.lose(now, place, agenda);
                }
                if let Some(pool) = &mut self.pool {
                    pool.remove(now, node);
                }
                self.house(now, agenda);
            }
            Event::Scrape | Event::Look | Event::Autoscale | Event::Sample => {}
        }
    }

    /// Every engine is asked what it has to say.
    pub(crate) fn scrape(&mut self, now: Picoseconds) {
        for pod in self.pods.iter_mut().flatten() {
            pod.scrape(now, self.scenario, &mut self.preemptions);
        }
    }

    /// As a controller sees it.
    pub(crate) fn observation(&self, now: Picoseconds) -> Observation {
        let pods = self.pods.iter().flatten();
        Observation {
            now: timestamp(now),
            replicas: self.asked,
            pods: pods.map(|pod| pod.seen(&self.hardware)).collect(),
            queued_outside: self
                .scenario
                .gateway
                .then_some(Count(self.outside.len() as f64))
                .into(),
            schedule: Schedule::default(),
            pool: self.pool.as_ref().map(Pool::room),
            partner: None,
        }
    }

    /// As KEDA and the HPA see it.
    pub(crate) fn workload(&self) -> Workload {
        let stages = self.stages();
        let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let alive = stages.pending + stages.starting + stages.ready;
        Workload {
            spec_replicas: count(self.asked),
            status_replicas: count(alive),
            pods: count(alive + stages.terminating),
            ready_pods: count(stages.ready),
        }
    }

    pub(crate) fn stages(&self) -> Stages {
        let mut stages = Stages::default();
        for pod in self.pods.iter().flatten() {
            match pod.stage {
                Stage::Pending => stages.pending += 1,
                Stage::Starting => stages.starting += 1,
                Stage::Ready | Stage::Unready | Stage::Asleep => stages.ready += 1,
                Stage::Terminating => stages.terminating += 1,
            }
        }
        stages
    }

    /// Requests in flight, and those of them that wait.
    pub(crate) fn requests(&self) -> (u64, u64) {
        let outside = self.outside.len() as u64;
        let servers = self.pods.iter().flatten().map(|pod| &pod.server);
        servers.fold((outside, outside), |(all, waiting), server| {
            (
                all + u64::from(server.in_flight()),
                waiting + u64::from(server.waiting()),
            )
        })
    }

    /// Replica time until `now`, and the part of it in which replicas were not ready.
    pub(crate) fn billed(&self, now: Picoseconds) -> (Picoseconds, Picoseconds) {
        let since = |from: Picoseconds| now.saturating_sub(from.max(self.bill.from));
        let (mut all, mut starting) = (self.bill.all, self.bill.starting);
        for pod in self.pods.iter().flatten() {
            let billed = pod.billed_from.map_or(0, since);
            all += billed;
            starting += if pod.was_ready { 0 } else { billed };
        }
        (all, starting)
    }

    pub(crate) fn node_gpu_hours(&self, now: Picoseconds) -> Option<f64> {
        self.pool.as_ref().map(|pool| pool.gpu_hours(now))
    }

    /// Takes out all requests that are still there.
    pub(crate) fn take(&mut self, now: Picoseconds) -> Vec<Unfinished> {
        let mut all = Vec::new();
        for pod in self.pods.iter_mut().flatten() {
            let mut outcome = Outcome {
                meter: None,
                finished: &mut self.finished,
                preemptions: &mut self.preemptions,
            };
            pod.server.settle(now, &mut outcome);
            all.append(&mut pod.server.take());
        }
        all.extend(self.outside.drain(..).map(|job| Unfinished {
            job,
            first: None,
            tokens: 0,
        }));
        all
    }

    fn pod(&mut self, id: PodId) -> Option<&mut Pod<S>> {
        let pod = self.pods.get_mut(id.place)?.as_mut()?;
        (pod.serial == id.serial && pod.stage != Stage::Terminating).then_some(pod)
    }

    fn keep(&mut self, pod: Pod<S>) -> PodId {
        let serial = pod.serial;
        self.made += 1;
        let place = self.empty.pop().unwrap_or(self.pods.len());
        if place == self.pods.len() {
            self.pods.push(None);
        }
        self.pods[place] = Some(pod);
        PodId { serial, place }
    }

    /// As many pods as are asked for, as the ReplicaSet controller does it.
    fn reconcile(&mut self, now: Picoseconds, agenda: &mut Agenda) {
        let alive = |pod: &&Pod<S>| pod.stage != Stage::Terminating;
        let mut there = self.pods.iter().flatten().filter(alive).count();
        let wanted = self.asked as usize;
        while there < wanted {
            let mut pod = Pod::new(self.scenario, self.made, now);
            if self.pool.is_none() {
                pod.billed_from = Some(now);
            }
            let schedule = now + pod.start.schedule;
            let id = self.keep(pod);
            agenda.add(schedule, Event::Schedule(id));
            there += 1;
        }
        if there > wanted {
            let mut order: Vec<_> = self
                .pods
                .iter()
                .enumerate()
                .filter_map(|(place, pod)| Some((pod.as_ref().filter(alive)?.dispensable(), place)))
                .collect();
            order.sort_unstable_by(|a, b| b.cmp(a));
            for (_, place) in order.into_iter().take(there - wanted) {
                self.terminate(now, place, agenda);
            }
        }
    }

    /// Gives nodes to those that wait for one.
    fn house(&mut self, now: Picoseconds, agenda: &mut Agenda) {
        while let Some(&id) = self.homeless.front() {
            if self.pod(id).is_none() {
                self.homeless.pop_front();
                continue;
            }
            let place = match &mut self.pool {
                None => None,
                Some(pool) => match pool.place() {
                    Some(place) => Some(place),
                    None => {
                        pool.provide(now, self.homeless.len(), agenda);
                        return;
                    }
                },
            };
            self.homeless.pop_front();
            if let Some(pod) = self.pod(id) {
                pod.scheduled(now);
                pod.node = place.map(|place| place.node);
                pod.billed_from = pod.billed_from.or(Some(now));
                let has_image = place.is_some_and(|place| place.image);
                let image = if has_image { 0 } else { pod.start.image };
                agenda.add(now + image, Event::Started(id));
            }
        }
    }

    /// A pod serves from now on.
    fn serve(&mut self, place: usize, since: Option<Picoseconds>) {
        if let Some(pod) = &mut self.pods[place] {
            if self.observed {
                pod.meter = Some(Box::new(Meter::new(&self.scenario.delays, since)));
            }
            self.ready.push(place);
            self.look(since.unwrap_or(0), place);
        }
    }

    /// Which ready replica gets the next request.
    fn choose(&mut self) -> Option<usize> {
        self.chosen += 1;
        match self.scenario.router {
            Router::RoundRobin => {
                let turn = self.chosen.checked_rem(self.ready.len() as u64)?;
                self.ready.get(turn as usize).copied()
            }
            Router::LeastRequest => {
                let (place, load) = self.loads.first()?;
                self.loads
                    .set(place, (load >> CHOSEN << CHOSEN) | (self.chosen & CHOSEN_MASK));
                Some(place)
            }
        }
    }

    /// Hands out what waits in front.
    fn flush(&mut self, now: Picoseconds) {
        for job in std::mem::take(&mut self.outside) {
            self.arrive(now, job);
        }
    }

    /// Takes note of what a server has to do and how many requests it has.
    fn look(&mut self, now: Picoseconds, place: usize) {
        let Some(pod) = &mut self.pods[place] else {
            return;
        };
        let due = pod.server.next();
        self.due.set(place, due.unwrap_or(Least::ABSENT));
        if pod.busy != due.is_some() {
            pod.busy = due.is_some();
            if let Some(meter) = &mut pod.meter {
                meter.turn(now, pod.busy);
            }
        }
        if pod.stage == Stage::Ready && self.scenario.router == Router::LeastRequest {
            let chosen = self.loads.key(place).map_or(0, |key| key & CHOSEN_MASK);
            let load = u64::from(pod.server.in_flight()).min(LONGEST >> CHOSEN);
            self.loads.set(place, (load << CHOSEN) | chosen);
        }
    }

    /// A pod gets no more requests, and goes when it has served those it has.
    fn terminate(&mut self, now: Picoseconds, place: usize, agenda: &mut Agenda) {
        if let Some(pod) = &mut self.pods[place]
            && pod.stage != Stage::Terminating
        {
            pod.stage = Stage::Terminating;
            self.ready.retain(|ready| *ready != place);
            self.loads.set(place, Least::ABSENT);
            self.leave(now, place, agenda);
        }
    }

    /// A terminating pod goes if it has nothing left to do.
    fn leave(&mut self, now: Picoseconds, place: usize, agenda: &mut Agenda) {
        let done = |pod: &Pod<S>| pod.stage == Stage::Terminating && pod.server.in_flight() == 0;
        if self.pods[place].as_ref().is_some_and(done) {
            self.remove(now, place, agenda);
        }
    }

    fn remove(&mut self, now: Picoseconds, place: usize, agenda: &mut Agenda) {
        let Some(pod) = self.pods[place].take() else {
            return;
        };
        self.due.set(place, Least::ABSENT);
        self.loads.set(place, Least::ABSENT);
        self.ready.retain(|ready| *ready != place);
        self.empty.push(place);
        if let Some(from) = pod.billed_from {
            let billed = now.saturating_sub(from.max(self.bill.from));
            self.bill.all += billed;
            self.bill.starting += if pod.was_ready { 0 } else { billed };
        }
        if let (Some(pool), Some(node)) = (&mut self.pool, pod.node) {
            pool.free(now, node, agenda);
            self.house(now, agenda);
        }
    }

    /// A pod is gone with all it was doing; whoever sent its requests sends them again.
    fn lose(&mut self, now: Picoseconds, place: usize, agenda: &mut Agenda) {
        let Some(pod) = &mut self.pods[place] else {
            return;
        };
        let requests = pod.server.take();
        pod.node = None;
        self.remove(now, place, agenda);
        self.lost += requests.len() as u64;
        for request in requests {
            self.arrive(now, request.job);
        }
    }

    fn on(&self, node: u64) -> Vec<usize> {
        let pods = self.pods.iter().enumerate();
        pods.filter(|(_, pod)| pod.as_ref().is_some_and(|pod| pod.node == Some(node)))
            .map(|(place, _)| place)
            .collect()
    }
}

/// Bits of a load that tell when a replica was chosen last, so that equals take turns.
const CHOSEN: u32 = 36;
const CHOSEN_MASK: u64 = (1 << CHOSEN) - 1;
