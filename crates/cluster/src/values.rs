use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use kube::Client;
use kube::api::Request;
use rheostat_backoff::Backoff;
use rheostat_reading::{Clock, Timestamp};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::WatchGuard;
use crate::scales::is_name;
use crate::seed_of;

/// Which value: one key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueRef {
    /// What holds it.
    pub holder: Holder,
    /// Namespace of the holder: that of the workload which names it, never another.
    pub namespace: String,
    /// The holder's name.
    pub name: String,
    /// The key in its data.
    pub key: String,
}

/// What holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// `v1 Secret`.
    Secret,
    /// `v1 ConfigMap`.
    ConfigMap,
}

/// The values that are wanted, as last read.
#[derive(Clone, Debug, Default)]
pub struct Values(Arc<BTreeMap<ValueRef, Value>>);

/// One value as last read. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Value {
    /// The text and when it was read last; `None` where it never was, or where the holder or key is gone.
    pub text: Option<(Arc<str>, Timestamp)>,
    /// Why the last attempt gave no text.
    pub problem: Option<String>,
}

/// Reads values for as long as it lives.
#[derive(Debug)]
pub struct ValueWatch {
    wanted: watch::Sender<BTreeSet<ValueRef>>,
    values: watch::Receiver<Values>,
    _guard: WatchGuard,
}

/// Longest text that is kept, bytes: a token or a few lines of configuration.
const LONGEST_TEXT: usize = 64 * 1024;
/// Values that are read of one namespace; further ones stay unread, so that one tenant keeps nobody
/// waiting.
const MOST_OF_A_NAMESPACE: usize = 64;
/// How long one read may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two reads of one round, so that many values are no burst.
const GAP: Duration = Duration::from_millis(20);

impl ValueWatch {
    /// Reads what is wanted at once, and again every `period`: a rotated token is known after it.
    ///
    /// Each object is read by its name, so that a Role may allow just those names. What cannot be
    /// read any more stays, with the problem; what is gone is gone.
    #[must_use]
    pub fn start(client: Client, period: Duration, clock: Clock) -> Self {
        let (wanted, wanted_receiver) = watch::channel(BTreeSet::new());
        let (sender, values) = watch::channel(Values::default());
        let reader = Reader {
            client,
            clock,
            period,
            wanted: wanted_receiver,
            values: sender,
            known: BTreeMap::new(),
            read_at: HashMap::new(),
        };
        Self {
            wanted,
            values,
            _guard: WatchGuard::new(tokio::spawn(reader.run())),
        }
    }

    /// Reads `wanted` from now on, and nothing else.
    pub fn want(&self, wanted: BTreeSet<ValueRef>) {
        self.wanted.send_if_modified(|known| {
            let changed = *known != wanted;
            if changed {
                *known = wanted;
            }
            changed
        });
    }

    /// What is known now.
    #[must_use]
    pub fn latest(&self) -> Values {
        self.values.borrow().clone()
    }

    /// Tells when what is known has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Values> {
        self.values.clone()
    }
}

impl Values {
    /// What is known of `wanted`; `None` until it was asked for once.
    #[must_use]
    pub fn get(&self, wanted: &ValueRef) -> Option<&Value> {
        self.0.get(wanted)
    }

    /// Whether `other` is the same reading of the same values, at no cost. Values that were read
    /// again may be equal all the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Values by hand, where there is no cluster.
    #[must_use]
    pub fn by_hand(values: impl IntoIterator<Item = (ValueRef, String)>, at: Timestamp) -> Self {
        let value = |text: String| Value {
            text: Some((text.into(), at)),
            problem: None,
        };
        Self(Arc::new(
            values
                .into_iter()
                .map(|(wanted, text)| (wanted, value(text)))
                .collect(),
        ))
    }
}

struct Reader {
    client: Client,
    clock: Clock,
    period: Duration,
    wanted: watch::Receiver<BTreeSet<ValueRef>>,
    values: watch::Sender<Values>,
    known: BTreeMap<ValueRef, Value>,
    /// When each was read last, well or not.
    read_at: HashMap<ValueRef, Instant>,
}

/// Why there is no text.
enum Problem {
    /// There is no such object or key.
    Gone(String),
    /// It could not be asked for.
    Passing(String),
}

/// `data` of a Secret (base64) or a ConfigMap (text).
#[derive(Clone, Debug, Deserialize)]
struct DataObject {
    data: Option<BTreeMap<String, String>>,
}

impl Reader {
    /// Ends when nobody can want anything any more.
    async fn run(mut self) {
        let mut jitter = Backoff::new(self.period, self.period, seed_of("values"));
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.known.retain(|known, _| wanted.contains(known));
            self.read_at.retain(|known, _| wanted.contains(known));
            for value in self.due(&wanted) {
                self.read(&value).await;
                self.read_at.insert(value, Instant::now());
                // What is new is not kept waiting by a long round; the round goes on from where it was,
                // since what has been read is not due.
                if self.wanted.has_changed().unwrap_or(true) {
                    break;
                }
                tokio::time::sleep(GAP).await;
            }
            let pause = jitter.jitter(self.period);
            match tokio::time::timeout(pause, self.wanted.changed()).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(_)) => return,
            }
        }
    }

    /// What is to be read now: what never was, then what was read longest ago; of each namespace at most
    /// [`MOST_OF_A_NAMESPACE`].
    fn due(&self, wanted: &BTreeSet<ValueRef>) -> Vec<ValueRef> {
        let mut of_namespace: HashMap<&str, usize> = HashMap::new();
        let mut due: Vec<_> = wanted
            .iter()
            .filter(|value| {
                let count = of_namespace.entry(&value.namespace).or_default();
                *count += 1;
                *count <= MOST_OF_A_NAMESPACE
            })
            .map(|value| (self.read_at.get(value).copied(), value))
            .filter(|(read_at, _)| read_at.is_none_or(|at| at.elapsed() >= self.period / 2))
            .collect();
        due.sort_by_key(|(read_at, _)| *read_at);
        due.into_iter().map(|(_, value)| value.clone()).collect()
    }

    async fn read(&mut self, wanted: &ValueRef) {
        let found = tokio::time::timeout(TIMEOUT, self.ask(wanted)).await;
        let found = found.unwrap_or_else(|_| Err(Problem::Passing("the API server does not answer".into())));
        let before = self.known.get(wanted).and_then(|value| value.text.clone());
        let value = match found {
            Ok(text) => Value {
                text: Some((text.into(), self.clock.now())),
                problem: None,
            },
            Err(Problem::Gone(reason)) => Value {
                text: None,
                problem: Some(reason),
            },
            Err(Problem::Passing(reason)) => Value {
                text: before,
                problem: Some(reason),
            },
        };
        self.known.insert(wanted.clone(), value);
        self.values.send_replace(Values(Arc::new(self.known.clone())));
    }

    async fn ask(&self, wanted: &ValueRef) -> Result<String, Problem> {
        let ValueRef {
            holder,
            namespace,
            name,
            key,
        } = wanted;
        if !is_name(namespace) || !is_name(name) {
            return Err(Problem::Gone(format!("{name:?} is not a Kubernetes name")));
        }
        let path = format!("/api/v1/namespaces/{namespace}/{}", holder.plural());
        let request = Request::new(path)
            .get(name, &kube::api::GetParams::default())
            .map_err(|error| Problem::Passing(error.to_string()))?;
        let object = match self.client.request::<DataObject>(request).await {
            Ok(object) => object,
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                return Err(Problem::Gone(format!("{wanted} does not exist")));
            }
            Err(error) => return Err(Problem::Passing(format!("{wanted} cannot be read: {error}"))),
        };
        let text = object.data.and_then(|mut data| data.remove(key));
        let text =
            text.ok_or_else(|| Problem::Gone(format!("{wanted} does not exist: there is no such key")))?;
        let bytes = match holder {
            Holder::ConfigMap => text.into_bytes(),
            Holder::Secret => base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| Problem::Gone(format!("{wanted} is not base64: {error}")))?,
        };
        if bytes.len() > LONGEST_TEXT {
            return Err(Problem::Gone(format!(
                "{wanted} has {} bytes; at most {LONGEST_TEXT} are read",
                bytes.len()
            )));
        }
        String::from_utf8(bytes).map_err(|_| Problem::Gone(format!("{wanted} is not UTF-8 text")))
    }
}

impl Holder {
    const fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

impl fmt::Display for ValueRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            holder,
            namespace,
            name,
            key,
        } = self;
        write!(out, "key {key:?} of {holder} {namespace}/{name}")
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read_at = self.text.as_ref().map(|(_, at)| at);
        out.debug_struct("Value")
            .field("read_at", &read_at)
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}
