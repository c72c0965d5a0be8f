use rheostat_chart::Level;
use rheostat_kubescale::Writer;

use crate::stage::Served;
use crate::story::CHAT;

/// All that is kept of a run, to be shown at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The state of things, some seconds apart.
    pub(crate) samples: Vec<Sample>,
    /// What was decided and what happened, in order.
    pub(crate) entries: Vec<Entry>,
    /// When the GPU failed, and under which pod.
    pub(crate) failure: Option<(f64, String)>,
    /// When the scaler was first seen to have no reading of a ready pod of chat, and its words.
    pub(crate) unread: Option<(f64, String)>,
    /// Devices that chat was judged by although its pods did not hold them.
    pub(crate) strange_devices: Vec<String>,
    /// How many devices chat was judged by, over all samples.
    pub(crate) own_devices: u64,
    /// The engine of llm that hung.
    pub(crate) trouble: Option<Trouble>,
    /// Falls of llm's replica count.
    pub(crate) falls: Vec<Fall>,
    /// What became of the requests for engines.
    pub(crate) served: Vec<Served>,
}

/// An engine that hung and was restarted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    /// Its pod.
    pub(crate) pod: String,
    /// Since when it hung.
    pub(crate) hung_at: f64,
    /// When the scaler was first seen to have no reading of it.
    pub(crate) noticed_at: Option<f64>,
    /// When it was restarted.
    pub(crate) restarted_at: Option<f64>,
}

/// A fall of a replica count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fall {
    /// When.
    pub(crate) at: f64,
    /// Replicas before.
    pub(crate) from: i32,
    /// Replicas after.
    pub(crate) to: i32,
    /// Requests that waited.
    pub(crate) waiting: u64,
}

/// The state of things at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Second of the day.
    pub(crate) at: f64,
    /// Each workload, by its position.
    pub(crate) workloads: Vec<WorkloadSample>,
    /// Replicas that chat's load needs at its target.
    pub(crate) chat_needs: f64,
}

/// A workload at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WorkloadSample {
    /// Replicas asked for.
    pub(crate) replicas: u32,
    /// Ready pods.
    pub(crate) ready: usize,
    /// Pods that no GPU is free for.
    pub(crate) pending: usize,
    /// GPUs held.
    pub(crate) gpus: usize,
    /// What arrives: GPUs' worth of work, or requests per second where engines serve them.
    pub(crate) load: f64,
    /// How busy the ready pods are, 0 to 1.
    pub(crate) utilization: f64,
    /// GPU-seconds of work that wait.
    pub(crate) backlog: f64,
    /// Requests that wait, in engines or for one.
    pub(crate) waiting: u64,
    /// Requests in the batches of engines.
    pub(crate) running: u64,
}

impl WorkloadSample {
    /// Requests that wait or are being served.
    pub(crate) const fn in_flight(&self) -> u64 {
        self.waiting + self.running
    }
}

/// A decision, or something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Second of the day.
    pub(crate) at: f64,
    /// Position of the workload.
    pub(crate) workload: usize,
    /// Who.
    pub(crate) who: Who,
    /// Replicas before and after, where they changed.
    pub(crate) change: Option<(i32, i32)>,
    /// What, or why in the words of who did it.
    pub(crate) what: String,
    /// The scaler's explanation, where it has one.
    pub(crate) why: String,
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// KEDA's operator.
    Keda,
    /// KEDA's operator, on a message of the scaler's push stream.
    KedaPush,
    /// The HPA controller.
    Hpa,
    /// The Kubernetes scheduler.
    Scheduler,
    /// A node: its GPUs and kubelet.
    Node,
    /// Our scaler, which says what it sees.
    Scaler,
    /// A person.
    User,
}

impl Record {
    /// Changes of the replica count of workload number `index`, as `(second, from, to, who)`.
    pub(crate) fn changes(&self, index: usize) -> impl Iterator<Item = (f64, i32, i32, Who)> {
        let of_workload = self.entries.iter().filter(move |entry| entry.workload == index);
        of_workload.filter_map(|entry| entry.change.map(|(from, to)| (entry.at, from, to, entry.who)))
    }

    /// Chat's replicas, ready and asked for, against what its load needs at its target.
    pub(crate) fn chat_levels(&self) -> Vec<Level> {
        let samples = self.samples.iter();
        samples
            .map(|sample| {
                let chat = &sample.workloads[CHAT];
                Level {
                    at: sample.at,
                    asked: f64::from(chat.replicas),
                    ready: chat.ready as f64,
                    needed: sample.chat_needs,
                }
            })
            .collect()
    }

    /// The largest value of workload number `index`.
    pub(crate) fn most<T: Ord + Default>(&self, index: usize, value: impl Fn(&WorkloadSample) -> T) -> T {
        let samples = self
            .samples
            .iter()
            .filter_map(|sample| sample.workloads.get(index));
        samples.map(value).max().unwrap_or_default()
    }
}

impl Who {
    /// For a person.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keda => "KEDA",
            Self::KedaPush => "KEDA (push)",
            Self::Hpa => "HPA",
            Self::Scheduler => "scheduler",
            Self::Node => "node",
            Self::Scaler => "scaler",
            Self::User => "user",
        }
    }

    /// Of a change by `writer`.
    pub(crate) const fn of(writer: Writer, pushed: bool) -> Self {
        match (writer, pushed) {
            (Writer::Keda, true) => Self::KedaPush,
            (Writer::Keda, false) => Self::Keda,
            (Writer::Hpa, _) => Self::Hpa,
        }
    }
}

/// A second of the day as `mm:ss`.
pub(crate) fn clock_time(second: f64) -> String {
    let whole = second.max(0.0) as u64;
    format!("{:02}:{:02}", whole / 60, whole % 60)
}
